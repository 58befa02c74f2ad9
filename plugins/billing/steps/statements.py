"""The usage statements of invoices: how usage became units, day by day, and what balances are left (rule 6.6).

Put together from the ledger and from what their close had pinned, so that a rerun at any later date says the same.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Row, func, select

from billing.core.balances import balances_at
from billing.core.cycles import CycleSpan
from billing.core.frames import rows
from billing.core.instants import from_day, from_us
from billing.core.issuing import ApiFacts
from billing.core.model import SOURCES, ApiBilling, Balance, DailyUsage, Kind, Statement, StatementLine
from billing.core.quantity import decimal_of_micro
from billing.core.reference import FOREVER_US, Reference
from billing.core.spans import Used
from billing.core.terms import TeamTerms, Terms
from billing.store.database import in_parts
from billing.store.tables import carry, cycles, draws, usage_days

_Key = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Statements:
    """All that the statements of some invoices need, read at once. Rows are by team and start of the cycle."""

    carry: Mapping[_Key, Sequence[Row[Any]]]
    draws: Mapping[_Key, Sequence[Row[Any]]]
    days: Mapping[_Key, Sequence[Row[Any]]]
    taken: Mapping[str, Sequence[Any]]
    terms: Mapping[int, Terms]

    @classmethod
    def read(cls, connection: Connection, heads: Sequence[Row[Any]], references: Mapping[int, Reference]) -> Statements:
        """Read for invoices (rows with team_id and cycle_load), by what was known when their cycles were pinned."""
        teams = sorted({head.team_id for head in heads})
        terms = {
            load: Terms.from_reference(reference, [head.team_id for head in heads if head.cycle_load == load])
            for load, reference in references.items()
        }
        held = {s.subscription_id for one in terms.values() for team in one.teams.values() for s in team.subscriptions}
        return cls(
            carry=_by_cycle(connection, carry, teams),
            draws=_by_cycle(connection, draws, teams),
            days=_by_cycle(connection, usage_days, teams),
            taken=_taken(connection, sorted(held)),
            terms=terms,
        )

    def of(self, head: Row[Any], apis: Mapping[str, ApiFacts]) -> Statement:
        """The statement of one invoice; ``apis`` as they were known at its load."""
        key = (head.team_id, head.cycle_start_us)
        days = {row.api: row for row in self.days.get(key, ())}
        cycle = CycleSpan(head.cycle_start_us, head.cycle_end_us, head.time_zone, None)
        drawn = self.draws.get(key, ())
        lines = [rated_line(row, drawn, cycle, apis[row.api], head.subscription_id) for row in self._rated(key)]
        unrated = [api for api in sorted(days) if apis[api].billing is ApiBilling.UNRATED]
        lines += [_unrated_line(days[api], apis[api]) for api in unrated]
        return Statement(
            lines=tuple(lines),
            daily=tuple(_daily(days[line.api], apis[line.api]) for line in lines if line.api in days),
            balances=tuple(self._balances(head, apis)),
        )

    def _rated(self, key: _Key) -> list[Row[Any]]:
        mine = [row for row in self.carry.get(key, ()) if row.billing == ApiBilling.RATED.value]
        return sorted(mine, key=lambda row: row.api)

    def _balances(self, head: Row[Any], apis: Mapping[str, ApiFacts]) -> Iterable[Balance]:
        """At the cycle's last instant, counting what closed cycles had drawn once this one was closed."""
        team = self.terms[head.cycle_load].teams.get(head.team_id)
        if team is None:
            return
        used = self._used(head, [s.subscription_id for s in team.subscriptions])
        yield from told_balances(head.team_id, team, used, head.cycle_end_us - 1, apis)

    def _used(self, head: Row[Any], subscriptions: Iterable[str]) -> Used:
        free: dict[tuple[str, str, int], int] = defaultdict(int)
        granted: dict[str, int] = defaultdict(int)
        for row in (row for one in subscriptions for row in self.taken.get(one, ())):
            if row.close_no > head.close_no or row.cycle_end_us > head.cycle_end_us:
                continue
            if row.grant_id:
                granted[row.grant_id] += int(row.tokens)
            elif row.source == Kind.FREE.value:
                free[row.subscription_id, row.api, row.period_start_us] += int(row.units)
        return Used(free_units=dict(free), granted_micro=dict(granted))


def rated_line(
    row: Any, drawn: Iterable[Any], cycle: CycleSpan, api: ApiFacts, subscription_id: str | None = None
) -> StatementLine:
    """How one rated API's usage became units in a cycle: a row of ``carry`` with what was drawn in the cycle.
    ``invoiced_units`` are those that one subscription paid as you go, or that all did.
    """
    mine = [draw for draw in drawn if draw.api == row.api]
    units = {source: sum(int(draw.charged_units) for draw in mine if draw.source == source) for source in SOURCES}
    paid = [draw for draw in mine if draw.source == Kind.PAYG and subscription_id in (None, draw.subscription_id)]
    return StatementLine(
        api=row.api,
        api_name=api.name,
        usage_unit=api.usage_unit,
        billing=ApiBilling.RATED,
        unit_sizes=api.sizes_in(cycle),
        opening=decimal_of_micro(int(row.opening_micro)),
        usage=decimal_of_micro(int(row.usage_micro)),
        late_usage=decimal_of_micro(int(row.late_usage_micro)),
        units=tuple((source, count) for source, count in units.items() if count),
        invoiced_units=sum(int(draw.charged_units) for draw in paid),
        closing=decimal_of_micro(int(row.closing_micro)),
    )


def told_balances(
    team_id: str, team: TeamTerms, used: Used, at_us: int, apis: Mapping[str, ApiFacts]
) -> Iterator[Balance]:
    """A team's balances at an instant, as a statement tells them."""
    for row in rows(balances_at({team_id: team}, used, at_us)):
        yield Balance(
            source=Kind(row.source),
            subscription_id=row.subscription_id,
            grant_id=row.grant_id,
            api=row.api,
            api_name=apis[row.api].name if row.api else "",
            granted=decimal_of_micro(row.granted_micro),
            available=decimal_of_micro(row.available_micro),
            ends_at=None if row.ends_at_us == FOREVER_US else from_us(row.ends_at_us),
            refreshes_at=None if row.refreshes_at_us == FOREVER_US else from_us(row.refreshes_at_us),
        )


def _by_cycle(connection: Connection, table: Any, teams: Sequence[str]) -> dict[_Key, list[Row[Any]]]:
    found: dict[_Key, list[Row[Any]]] = defaultdict(list)
    for some in in_parts(teams):
        for row in connection.execute(select(table).where(table.c.team_id.in_(some))):
            found[row.team_id, row.cycle_start_us].append(row)
    return found


def _taken(connection: Connection, subscriptions: Sequence[str]) -> dict[str, list[Any]]:
    """What each cycle took of balances, by subscription: whichever team the subscription belonged to then."""
    key = (draws.c.subscription_id, draws.c.source, draws.c.api, draws.c.period_start_us, draws.c.grant_id)
    of_cycle = (cycles.c.cycle_end_us, cycles.c.close_no)
    sums = (func.sum(draws.c.charged_units).label("units"), func.sum(draws.c.tokens_micro).label("tokens"))
    own = (cycles.c.team_id == draws.c.team_id) & (cycles.c.cycle_start_us == draws.c.cycle_start_us)
    query = select(*key, *of_cycle, *sums).join(cycles, own).where(draws.c.source != Kind.PAYG.value)
    query = query.group_by(*key, *of_cycle)
    found: dict[str, list[Any]] = defaultdict(list)
    for some in in_parts(subscriptions):
        for row in connection.execute(query.where(draws.c.subscription_id.in_(some))):
            found[row.subscription_id].append(row)
    return found


def _unrated_line(row: Row[Any], api: ApiFacts) -> StatementLine:
    nothing = Decimal(0)
    return StatementLine(
        api=row.api,
        api_name=api.name,
        usage_unit=api.usage_unit,
        billing=ApiBilling.UNRATED,
        unit_sizes=(),
        opening=nothing,
        usage=decimal_of_micro(sum(json.loads(row.quantities)) + row.late_micro),
        late_usage=decimal_of_micro(row.late_micro),
        units=(),
        invoiced_units=0,
        closing=nothing,
    )


def _daily(row: Row[Any], api: ApiFacts) -> DailyUsage:
    return DailyUsage(
        api=row.api,
        api_name=api.name,
        usage_unit=api.usage_unit,
        first_day=from_day(row.first_day),
        quantities=tuple(decimal_of_micro(micro) for micro in json.loads(row.quantities)),
    )
