"""Reference data as history: what was known at each load (rules 3.4 and 3.6).

A row is never edited: a changed row stops being known at the load that changed it, and another begins.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import pandas as pd
from sqlalchemy import Connection, and_, func, or_, select, update

from billing.core.reference import TABLES, ColumnKind, Reference, Table, empty_frame
from billing.store.database import in_parts, insert_rows
from billing.store.tables import STILL_KNOWN, reference_history, reference_loads


@dataclass(frozen=True, kw_only=True, slots=True)
class TableChange:
    """What a load does to one table: frames of the table's columns. ``replaced`` are the rows that ``changed`` ones
    take the place of; ``gone_rows`` are the row numbers that stop being known because they are removed or replaced.
    """

    added: pd.DataFrame
    changed: pd.DataFrame
    replaced: pd.DataFrame
    removed: pd.DataFrame
    gone_rows: tuple[int, ...]


def last_load(connection: Connection) -> int:
    """The number of the last load; 0 before the first."""
    return int(connection.execute(select(func.coalesce(func.max(reference_loads.c.load_no), 0))).scalar_one())


def read_reference(connection: Connection, load_no: int) -> Reference:
    """What was known at a load: every table, with the dtypes of ``core.reference``, in the order of its columns."""
    return without_numbers(read_numbered(connection, load_no))


def read_terms_of(connection: Connection, load_no: int, team_id: str) -> Reference:
    """What was known at a load of what one team holds, and of all that may pay for it: the tables that ``Terms`` reads,
    and no others.
    """
    held = _known(connection, "subscriptions", load_no, "team_id", [team_id])
    numbered = {name: _known(connection, name, load_no) for name in ("apis", "unit_rates", "unit_prices")}
    for name in ("free_allowances", "token_grants", "capacity_grants"):
        numbered[name] = _known(connection, name, load_no, "subscription_id", held["subscription_id"].tolist())
    return without_numbers(numbered | {"subscriptions": held})


def read_numbered(connection: Connection, load_no: int) -> dict[str, pd.DataFrame]:
    """The same, with the number of each row in the history in a first column ``row_no`` (int64)."""
    return {name: _known(connection, name, load_no) for name in TABLES}


def without_numbers(numbered: Mapping[str, pd.DataFrame]) -> Reference:
    """A reference of what ``read_numbered`` gave."""
    return {name: frame.drop(columns="row_no") for name, frame in numbered.items()}


def touched_values(connection: Connection, name: str, column: str, since: int, through: int) -> set[str]:
    """What rows of a table have in a column that began or stopped being known after load ``since`` and by ``through``:
    one that was edited counts with what it said before and after.
    """
    table = reference_history[name]
    begun = and_(table.c.known_from > since, table.c.known_from <= through)
    ended = and_(table.c.known_to > since, table.c.known_to <= through)
    return set(connection.execute(select(table.c[column]).where(or_(begun, ended)).distinct()).scalars())


def known_any(connection: Connection, name: str, load_no: int) -> bool:
    """Whether a table had any row at a load."""
    table = reference_history[name]
    known = and_(table.c.known_from <= load_no, table.c.known_to > load_no)
    return connection.execute(select(table.c.row_no).where(known).limit(1)).first() is not None


def subscribed_teams(connection: Connection, column: str, values: Collection[str]) -> set[str]:
    """The teams that ever had a subscription with any of these values in a column; blank for those of nobody."""
    table, found = reference_history["subscriptions"], set[str]()
    query = select(table.c.team_id).distinct()
    for some in in_parts(sorted(values)):
        found |= set(connection.execute(query.where(table.c[column].in_(some))).scalars())
    return found


def changes(numbered: Mapping[str, pd.DataFrame], new: Mapping[str, pd.DataFrame]) -> dict[str, TableChange]:
    """How each table that has come differs from what was known (``read_numbered``)."""
    return {name: _change(TABLES[name], numbered[name], frame) for name, frame in new.items()}


def write_changes(connection: Connection, load_no: int, found: Mapping[str, TableChange]) -> None:
    """Make ``load_no`` known: its own row in ``reference_loads`` is the caller's."""
    for name, change in found.items():
        table = reference_history[name]
        for gone in in_parts(change.gone_rows):
            connection.execute(update(table).where(table.c.row_no.in_(gone)).values(known_to=load_no))
        new = pd.concat([change.added, change.changed], ignore_index=True)
        insert_rows(connection, table, new.assign(known_from=load_no, known_to=STILL_KNOWN).to_dict("records"))


def _known(
    connection: Connection, name: str, load_no: int, column: str = "", values: Sequence[str] | None = None
) -> pd.DataFrame:
    """Of a table, or of its rows with one of these values in a column."""
    history = reference_history[name]
    columns = [history.c.row_no, *(history.c[c.name] for c in TABLES[name].columns)]
    known = and_(history.c.known_from <= load_no, history.c.known_to > load_no)
    query = select(*columns).where(known).order_by(history.c.row_no)
    parts = [query] if values is None else [query.where(history.c[column].in_(some)) for some in in_parts(values)]
    rows = [row for part in parts for row in connection.execute(part)]
    if not rows:
        return empty_frame(TABLES[name]).assign(row_no=pd.Series([], dtype="int64"))
    cells = zip(*map(tuple, rows), strict=True)
    frame = pd.DataFrame({c.name: list(values) for c, values in zip(columns, cells, strict=True)}, dtype=object)
    whole = ["row_no", *(c.name for c in TABLES[name].columns if c.kind is not ColumnKind.TEXT)]
    return frame.astype(dict.fromkeys(whole, "int64"))


def _change(table: Table, known: pd.DataFrame, new: pd.DataFrame) -> TableChange:
    """Rows are the same by all columns, and versions of one row by the key."""
    columns, key = [c.name for c in table.columns], list(table.key)
    if known.empty:
        none = known[columns]
        return TableChange(added=new[columns], changed=none, replaced=none, removed=none, gone_rows=())
    both = new[columns].merge(known, on=columns, how="outer", indicator=True)
    arrived = both[both["_merge"] == "left_only"][columns]
    left = both[both["_merge"] == "right_only"]
    if key:
        was_known = _keys(arrived, key).isin(_keys(left, key))
        is_replaced = _keys(left, key).isin(_keys(arrived, key))
    else:
        was_known = pd.Series(len(left) > 0, index=arrived.index)
        is_replaced = pd.Series(len(arrived) > 0, index=left.index)
    return TableChange(
        added=_typed(table, arrived[~was_known]),
        changed=_typed(table, arrived[was_known]),
        replaced=_typed(table, left[is_replaced][columns]),
        removed=_typed(table, left[~is_replaced][columns]),
        gone_rows=tuple(int(row) for row in left["row_no"]),
    )


def _keys(frame: pd.DataFrame, key: list[str]) -> pd.Series:
    """One hashable value a row."""
    return reduce(lambda a, b: a + b, (frame[name].map(lambda value: (value,)) for name in key))


def _typed(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    types = {c.name: (object if c.kind is ColumnKind.TEXT else "int64") for c in table.columns}
    return frame.astype(types).reset_index(drop=True)
