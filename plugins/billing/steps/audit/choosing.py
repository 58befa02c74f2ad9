"""Which closed cycles an auditor asks for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from sqlalchemy import ColumnElement, Connection, select

from billing.core.errors import NotFound, UsageError
from billing.core.instants import format_instant, to_us
from billing.store.ledger import ISSUED
from billing.store.shards import shard_of
from billing.store.tables import cycles, invoices

Cycles: TypeAlias = frozenset[tuple[str, int]]
"""Cycles by (team_id, start in microseconds)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """Closed cycles: all; or of ``name`` the cycle of an invoice, or those of a team (one of them, by its start); or
    those that ended from an instant on and before another. ``shards``: of these only those of teams in the shards.
    """

    name: str | None = None
    cycle_start: datetime | None = None
    ended_from: datetime | None = None
    ended_before: datetime | None = None
    shards: Set[int] | None = None

    @classmethod
    def asked(
        cls,
        name: str | None,
        cycle_start: datetime | None,
        ended_from: datetime | None,
        ended_before: datetime | None,
        everything: bool,
    ) -> Choice:
        """A choice as a person makes it. Raises ``UsageError`` unless it is made in exactly one way."""
        bounded = ended_from is not None or ended_before is not None
        if bool(name) + bounded + everything != 1 or (cycle_start is not None and not name):
            raise UsageError(
                "Say which cycles, in one way: an invoice; a team, or a team and the start of its cycle; from and to; "
                "or all."
            )
        return cls(name=name or None, cycle_start=cycle_start, ended_from=ended_from, ended_before=ended_before)

    def read(self, connection: Connection) -> Mapping[int, Cycles]:
        """The cycles, by the close that closed them. Raises ``NotFound`` where there is none."""
        query = select(cycles.c.close_no, cycles.c.team_id, cycles.c.cycle_start_us)
        found: dict[int, set[tuple[str, int]]] = defaultdict(set)
        for row in connection.execute(query.where(cycles.c.state == ISSUED, *self._conditions(connection))):
            if self.shards is None or shard_of(row.team_id) in self.shards:
                found[row.close_no].add((row.team_id, row.cycle_start_us))
        if not found:
            raise NotFound(f"There is no closed cycle {self}: `billing cycles list` shows those that there are.")
        return {close_no: frozenset(mine) for close_no, mine in sorted(found.items())}

    def _conditions(self, connection: Connection) -> list[ColumnElement[bool]]:
        wanted: list[ColumnElement[bool]] = []
        if self.name is not None:
            named = select(invoices.c.team_id, invoices.c.cycle_start_us).where(invoices.c.number == self.name)
            row = connection.execute(named).first()
            wanted.append(cycles.c.team_id == (row.team_id if row else self.name))
            wanted += [cycles.c.cycle_start_us == row.cycle_start_us] if row else []
        if self.cycle_start is not None:
            wanted.append(cycles.c.cycle_start_us == to_us(self.cycle_start))
        if self.ended_from is not None:
            wanted.append(cycles.c.cycle_end_us >= to_us(self.ended_from))
        if self.ended_before is not None:
            wanted.append(cycles.c.cycle_end_us < to_us(self.ended_before))
        return wanted

    def __str__(self) -> str:
        said = [f"of an invoice or a team {self.name}"] if self.name else []
        said += [f"that began at {format_instant(self.cycle_start)}"] if self.cycle_start else []
        said += [f"that ended from {format_instant(self.ended_from)} on"] if self.ended_from else []
        said += [f"that ended before {format_instant(self.ended_before)}"] if self.ended_before else []
        return " ".join(said) or "yet"
