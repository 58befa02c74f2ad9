"""Manifests: what a run that wrote had taken, done and left, on one page of JSON that an auditor can file.

A manifest is derived: from the rows that the run's own transaction wrote, the log's among them, and from the files that
they name. So there is one if and only if the run committed, and it has the same bytes whenever and wherever it is asked
for, as long as nobody changed what it is derived from. A close's names its documents too: it is complete once
``documents_missing`` is 0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, select

from billing.core.errors import ConservationBroken, NotFound
from billing.core.instants import format_us
from billing.core.quantity import format_micro
from billing.documents.e_invoice.syntaxes import Syntax
from billing.outbound.whole_files import write_whole
from billing.store.approvals import read_answer
from billing.store.documents import PDF
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.log import canonical
from billing.store.quarantine import sha256_of
from billing.store.tables import (
    batch_files,
    batches,
    carry,
    closes,
    credit_note_lines,
    credit_notes,
    cycles,
    documents,
    draws,
    invoice_lines,
    invoices,
    log,
    quarantine,
    reference_loads,
)

FORM = 1
"""The form of a manifest; another number where a reader of the old one would misread it."""
_ISSUED_WITH = (PDF, Syntax.CII.value)

Fields = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Kind:
    """A kind of run: the log's row that it writes, the field that names it there, and what derives the rest."""

    log_kind: str
    key: str
    derive: Callable[[Home, Connection, Any], Fields]


def manifest(home: Home, kind: str, name: str) -> bytes:
    """The manifest of a run: ``kind`` of ``KINDS``, ``name`` its number. Canonical JSON in UTF-8, with a line's end.

    Raises ``NotFound`` for what was never committed, ``ConservationBroken`` where a file or row that it needs is gone.
    """
    how = KINDS[kind]
    key: int | str = name if how.key == "number" else int(name) if name.isascii() and name.isdigit() else -1
    with home.database.read() as connection:
        return _manifest(home, connection, kind, key, _entry(connection, kind, key))


def file_all(home: Home, folder: Path) -> int:
    """Write the manifest of every run into a folder, ``KIND-NUMBER.json``; returns how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    with home.database.read() as connection:
        runs = list(_runs(connection))
        for kind, key, entry in runs:
            name = f"{key:06d}" if isinstance(key, int) else key.replace("/", "_")
            write_whole(folder / f"{kind}-{name}.json", _manifest(home, connection, kind, key, entry))
    return len(runs)


def _runs(connection: Connection) -> Iterator[tuple[str, int | str, Row[Any]]]:
    """Every run that is in the log, in its order, with its row there."""
    kinds = {how.log_kind: (kind, how.key) for kind, how in KINDS.items()}
    query = select(log).where(log.c.kind.in_(kinds)).order_by(log.c.seq)
    for row in connection.execute(query):
        kind, key = kinds[row.kind]
        yield kind, json.loads(row.payload)[key], row


def _manifest(home: Home, connection: Connection, kind: str, key: int | str, entry: Row[Any]) -> bytes:
    logged = json.loads(entry.payload)
    by = logged.pop("by", {})  # rows from before it was kept have none
    content = {
        "manifest": FORM,
        "kind": kind,
        "name": key,
        "committed_at": format_us(entry.at_us),
        "triggered_by": {name: by.get(name, "") for name in ("run", "user")},
        "versions": by.get("versions", {}),
        "logged": logged,
        "log_head": f"{entry.seq}:{entry.hash}",
        **KINDS[kind].derive(home, connection, key),
    }
    return f"{canonical(content)}\n".encode()


def _entry(connection: Connection, kind: str, key: int | str) -> Row[Any]:
    """The log's row of a run."""
    how = KINDS[kind]
    said = f'"{how.key}":{canonical(key)}'
    mine = log.c.kind == how.log_kind, log.c.payload.contains(said, autoescape=True)
    for row in connection.execute(select(log).where(*mine).order_by(log.c.seq)):
        if json.loads(row.payload)[how.key] == key:
            return row
    raise NotFound(f"The log has no {kind} {key}: such a run was never committed.")


# --- batches ---------------------------------------------------------------------------------------------------------


def _batch(home: Home, connection: Connection, number: int) -> Fields:
    row = _one(connection, batches, batches.c.batch_no == number)
    files = connection.execute(select(batch_files).where(batch_files.c.batch_no == number).order_by("file_no"))
    load = {"reference_load": row.load_no, "reference": _load_files(connection, row.load_no)}
    parameters = {
        "kind": row.kind,
        "source": row.source,
        "window_start": None if row.window_start_us is None else format_us(row.window_start_us),
        "window_end": format_us(row.window_end_us),
        "request": row.request,
    }
    named = [{"name": f.name, "sha256": f.sha256, "bytes": f.bytes, "records": f.records} for f in files]
    held = quarantine.c.batch_no == number
    reasons = connection.execute(select(quarantine.c.reason, func.count()).where(held).group_by(quarantine.c.reason))
    totals = {name: getattr(row, name) for name in ("records", "accepted", "duplicates", "quarantined")}
    usage = home.usage.accepted_in(number)
    return {
        "parameters": parameters,
        "inputs": {"files": named, **load},
        "control_totals": {
            **totals,
            "balanced": row.records == row.accepted + row.duplicates + row.quarantined
            and row.records == sum(f["records"] for f in named)
            and row.accepted == sum(one["events"] for one in usage.values()),
            "quarantined_by_reason": dict(sorted(tuple(reason) for reason in reasons)),
        },
        "outputs": {"usage": usage, "quarantine_sha256": sha256_of(connection, number)},
    }


# --- reference data --------------------------------------------------------------------------------------------------


def _load(home: Home, connection: Connection, number: int) -> Fields:
    row = _one(connection, reference_loads, reference_loads.c.load_no == number)
    counts = {name: getattr(row, name) for name in ("rows_added", "rows_changed", "rows_removed")}
    known = home.reference(number)
    tables = {
        name: {"rows": len(frame), "sha256": _hash(sorted(map(list, frame.astype(str).to_numpy().tolist())))}
        for name, frame in sorted(known.items())
    }
    return {
        "parameters": {"source": row.source},
        "inputs": {"files": json.loads(row.files)},
        "control_totals": counts,
        "outputs": {"tables": tables},
    }


def _load_files(connection: Connection, number: int) -> Fields:
    """The files of a load, by table; none before the first."""
    found = connection.execute(select(reference_loads.c.files).where(reference_loads.c.load_no == number)).scalar()
    return dict(json.loads(found)) if found else {}


# --- closes ----------------------------------------------------------------------------------------------------------


def _close(home: Home, connection: Connection, number: int) -> Fields:
    row = _one(connection, closes, closes.c.close_no == number)
    before = connection.execute(select(func.max(closes.c.pinned_batch)).where(closes.c.close_no < number)).scalar() or 0
    parameters: Fields = {name: format_us(getattr(row, f"{name}_us")) for name in ("as_of", "opened_at", "issued_at")}
    if (answer := read_answer(connection, number)) is not None:
        parameters |= {"approved_at": format_us(row.approved_at_us), "approved_by": answer.approved_by}
        parameters |= {"seen_sha256": answer.seen_sha256, "rejected": dict(answer.rejected)}
    inputs = {
        "pinned_batch": row.pinned_batch,
        "new_batches": _taken(connection, before, row.pinned_batch),
        "reference_load": row.pinned_load,
        "reference": _load_files(connection, row.pinned_load),
    }
    own = (invoices.c.close_no == number) & (invoices.c.revision == 1)
    files = _documents(connection, select(invoices.c.number).where(own))
    issued = _invoices(connection, own)
    return {
        "parameters": parameters | {"tzdata": row.tzdata, "version": row.version},
        "inputs": inputs,
        "control_totals": {
            "cycles": _count(connection, cycles, cycles.c.close_no == number),
            "usage_by_api": _usage_of(connection, number),
            "units_by_source": _units_of(connection, number),
            **_money(issued),
        },
        "outputs": {
            "invoices_sha256": _hash(_invoice_cells(connection, own)),
            "ledger_sha256": _ledger_hash(connection, number),
            "documents": files,
            "documents_missing": len(issued) - sum(1 for one in files if one["kind"] == PDF),
        },
    }


def _taken(connection: Connection, after: int, through: int) -> list[Fields]:
    """The committed batches that a close saw and no close before it, with the hashes of their files."""
    mine = batches.c.state == "committed", batches.c.batch_no > after, batches.c.batch_no <= through
    files: dict[int, list[str]] = {}
    of_them = batch_files.c.batch_no > after, batch_files.c.batch_no <= through
    for row in connection.execute(select(batch_files).where(*of_them).order_by("batch_no", "file_no")):
        files.setdefault(row.batch_no, []).append(row.sha256)
    rows = connection.execute(select(batches).where(*mine).order_by("batch_no"))
    return [{"batch_no": r.batch_no, "accepted": r.accepted, "files": files.get(r.batch_no, [])} for r in rows]


def _usage_of(connection: Connection, number: int) -> Fields:
    same = (cycles.c.team_id == carry.c.team_id) & (cycles.c.cycle_start_us == carry.c.cycle_start_us)
    found: dict[str, list[int]] = {}
    query = select(carry).join(cycles, same).where(cycles.c.close_no == number)
    names = ("opening", "usage", "late_usage", "closing")
    for row in connection.execute(query):
        sums = found.setdefault(row.api, [0] * 5)
        for place, name in enumerate(names):
            sums[place] += getattr(row, f"{name}_micro")
        sums[4] += row.charged_units
    return {
        api: {**{n: format_micro(sums[p]) for p, n in enumerate(names)}, "charged_units": sums[4]}
        for api, sums in sorted(found.items())
    }


def _units_of(connection: Connection, number: int) -> dict[str, int]:
    same = (cycles.c.team_id == draws.c.team_id) & (cycles.c.cycle_start_us == draws.c.cycle_start_us)
    query = select(draws.c.source, draws.c.charged_units).join(cycles, same).where(cycles.c.close_no == number)
    found: dict[str, int] = {}
    for row in connection.execute(query):
        found[row.source] = found.get(row.source, 0) + row.charged_units
    return dict(sorted(found.items()))


def _ledger_hash(connection: Connection, number: int) -> str:
    """Of the cycles of a close with their carry-over and draws."""
    mine = cycles.c.close_no == number
    parts: list[object] = []
    for table, last in ((cycles, ()), (carry, (carry.c.api,)), (draws, (draws.c.draw_no,))):
        columns = [c for c in table.c if c.name not in ("draw_no", "state")]
        same = (cycles.c.team_id == table.c.team_id) & (cycles.c.cycle_start_us == table.c.cycle_start_us)
        query = select(*columns).where(mine) if table is cycles else select(*columns).join(cycles, same).where(mine)
        rows = connection.execute(query.order_by(table.c.team_id, table.c.cycle_start_us, *last))
        parts.append([table.name, *(list(row) for row in rows)])
    return _hash(parts)


# --- what is issued --------------------------------------------------------------------------------------------------


def _invoices(connection: Connection, mine: ColumnElement[bool]) -> list[Row[Any]]:
    order = (invoices.c.year, invoices.c.prefix, invoices.c.sequence)
    return list(connection.execute(select(invoices).where(mine).order_by(*order)))


def _money(rows: list[Row[Any]]) -> Fields:
    """How many, the first and the last number, and amounts by currency."""
    sums: dict[str, list[int]] = {}
    for row in rows:
        mine = sums.setdefault(row.currency, [0, 0, 0])
        for place, minor in enumerate((row.net_minor, row.tax_minor, row.total_minor)):
            mine[place] += minor
    amounts = {
        currency: {
            n: str(from_minor(minor, currency)) for n, minor in zip(("net", "tax", "total"), minors, strict=True)
        }
        for currency, minors in sorted(sums.items())
    }
    return {
        "invoices": len(rows),
        "first_number": rows[0].number if rows else "",
        "last_number": rows[-1].number if rows else "",
        "amounts": amounts,
    }


def _invoice_cells(connection: Connection, mine: ColumnElement[bool]) -> list[list[object]]:
    lines = select(invoice_lines).join(invoices).where(mine).order_by(invoice_lines.c.number, invoice_lines.c.line_no)
    heads = connection.execute(select(invoices).where(mine).order_by(invoices.c.number))
    return [*map(list, heads), *map(list, connection.execute(lines))]


def _reissue(home: Home, connection: Connection, number: str) -> Fields:
    row = _one(connection, invoices, invoices.c.number == number)
    mine = invoices.c.number == number
    return {
        "parameters": {"replaces": row.replaces, "issued_at": format_us(row.issued_at_us)},
        "inputs": {"reference_load": row.pinned_load, "reference": _load_files(connection, row.pinned_load)},
        "control_totals": _money(_invoices(connection, mine)),
        "outputs": {"invoices_sha256": _hash(_invoice_cells(connection, mine)), **_own_documents(connection, number)},
    }


def _credit_note(home: Home, connection: Connection, number: str) -> Fields:
    row = _one(connection, credit_notes, credit_notes.c.number == number)
    lines = connection.execute(
        select(credit_note_lines).where(credit_note_lines.c.number == number).order_by("line_no")
    ).all()
    invoice = _one(connection, invoices, invoices.c.number == row.invoice_number)
    amounts = {n: str(from_minor(getattr(row, f"{n}_minor"), invoice.currency)) for n in ("net", "tax", "total")}
    return {
        "parameters": {"reason": row.reason, "issued_at": format_us(row.issued_at_us)},
        "inputs": {"invoice": row.invoice_number, "reference_load": invoice.pinned_load},
        "control_totals": {"lines": len(lines), "amounts": {invoice.currency: amounts}},
        "outputs": {"credit_note_sha256": _hash([list(row), *map(list, lines)]), **_own_documents(connection, number)},
    }


def _own_documents(connection: Connection, number: str) -> Fields:
    found = _documents(connection, select(documents.c.number).where(documents.c.number == number).distinct())
    return {"documents": found, "documents_missing": int(not any(one["kind"] == PDF for one in found))}


def _documents(connection: Connection, numbers: Any) -> list[Fields]:
    """The files that were made with what was issued; what is made at request later (UBL) is not among them."""
    mine = documents.c.number.in_(numbers), documents.c.kind.in_(_ISSUED_WITH)
    rows = connection.execute(select(documents).where(*mine).order_by(documents.c.number, documents.c.kind))
    return [
        {
            "number": row.number,
            "kind": row.kind,
            "sha256": row.sha256,
            "bytes": row.bytes,
            "bundle": row.bundle,
            "versions": json.loads(row.versions),
        }
        for row in rows
    ]


def _one(connection: Connection, table: Any, mine: ColumnElement[bool]) -> Row[Any]:
    found: Row[Any] | None = connection.execute(select(table).where(mine)).one_or_none()
    if found is None:
        raise ConservationBroken(f"The log says of a run that {table.name} does not hold any more: restore a backup.")
    return found


def _count(connection: Connection, table: Any, mine: ColumnElement[bool]) -> int:
    return int(connection.execute(select(func.count()).select_from(table).where(mine)).scalar_one())


def _hash(parts: Any) -> str:
    """SHA-256 of the canonical JSON of a list."""
    return sha256(canonical(list(parts)).encode()).hexdigest()


KINDS: Mapping[str, Kind] = {
    "load": Kind(log_kind="reference", key="load_no", derive=_load),
    "batch": Kind(log_kind="batch", key="batch_no", derive=_batch),
    "close": Kind(log_kind="close", key="close_no", derive=_close),
    "credit-note": Kind(log_kind="credit_note", key="number", derive=_credit_note),
    "reissue": Kind(log_kind="reissue", key="number", derive=_reissue),
}
"""What is written by runs that leave a manifest. Replays and replacements are batches."""
