"""How a team stands at an instant: its balances, its running cycle so far, what that would be invoiced (rules 8.1, 5.5,
5.6, 6.1).

The figures of valid balances are those of ``core.balances``. An estimate of how it goes on is ``core.outlook``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any
from zlib import crc32

import numpy as np

from billing.core.accrual import AccruedLine
from billing.core.balances import balances_of
from billing.core.cycles import CycleSpan, cycle_from, first_start_us, next_anniversary_us, period_start_us
from billing.core.instants import DAY_US, format_us, from_us, to_us
from billing.core.model import UNFUNDED, Kind
from billing.core.quantity import minor_digits
from billing.core.reference import FOREVER_US
from billing.core.spans import Used
from billing.core.terms import Grant, TeamTerms, Terms

SHARE_MICRO = 1_000_000
EXPIRED_MONTHS = 24
"""So long a grant that has ended is still told of, with what was never used."""


class BalanceState(StrEnum):
    """Where a balance is at the instant: only ``VALID`` ones can pay."""

    VALID = "valid"
    COMING = "coming"
    EXPIRED = "expired"


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingBalance:
    """A balance of rule 8.1, in 10^-6 of a unit, token or resource; ``FOREVER_US`` where it does not end or refresh. Of
    an expired one ``available_micro`` is what was never used.
    """

    source: str
    subscription_id: str
    grant_id: str
    api: str
    state: BalanceState
    begins_at_us: int
    granted_micro: int
    used_micro: int
    available_micro: int
    ends_at_us: int
    refreshes_at_us: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What it is told from others by."""
        return (self.source, self.subscription_id, self.grant_id, self.api)

    @property
    def until_us(self) -> int:
        """When it refreshes or ends, whichever is first."""
        return min(self.ends_at_us, self.refreshes_at_us)

    @property
    def changes_us(self) -> int:
        """When it refreshes, or what is left of it ends, whichever is first: one that is used up ends nothing."""
        return self.until_us if self.available_micro else self.refreshes_at_us


@dataclass(frozen=True, kw_only=True, slots=True)
class StandingApi:
    """An API in the running cycle so far, in 10^-6 of its usage unit: what it opened with, used, and carries towards
    the next unit (of ``unit_size_micro``, None where none is in force); of a resource the carry-over is minus the
    credit. ``units`` by who paid for them; ``spend_minor`` is the net of its lines.
    """

    api: str
    unit_size_micro: int | None
    opening_micro: int = 0
    usage_micro: int = 0
    carry_micro: int = 0
    units: Mapping[str, int] = field(default_factory=dict)
    spend_minor: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """How a team stands at ``as_of_us``. ``cycle`` is the running one, None before its first; ``subscription_id`` and
    ``currency`` are of the pay as you go of it, blank where there is none, and ``spend_minor`` what its invoice would
    be now, net. Without usage nothing of it changes before ``changes_at_us``, at most a day later.
    """

    team_id: str
    as_of_us: int
    cycle: CycleSpan | None
    subscription_id: str
    currency: str
    spend_minor: int
    unfunded_units: int
    balances: tuple[StandingBalance, ...]
    apis: tuple[StandingApi, ...]
    changes_at_us: int

    @property
    def valid(self) -> Iterator[StandingBalance]:
        """The balances that can pay now."""
        return (balance for balance in self.balances if balance.state is BalanceState.VALID)

    @property
    def least_left_micro(self) -> int | None:
        """The smallest share, in 10^-6 and rounded down, that is left of anything granted: of a kind's valid balances
        of one API (or of tokens) together, as they pay for the same. None without any.
        """
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for one in self.valid:
            granted, available = sums.get((one.source, one.api), (0, 0))
            sums[one.source, one.api] = granted + one.granted_micro, available + one.available_micro
        return min((left * SHARE_MICRO // granted for granted, left in sums.values() if granted), default=None)

    @property
    def first_end_us(self) -> int | None:
        """When the first valid balance refreshes or ends with something left; None where none does."""
        first = min((balance.changes_us for balance in self.valid), default=FOREVER_US)
        return None if first == FOREVER_US else first


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """The unit size of an API in 10^-6 of its usage unit, and what a unit costs in 10^-6 of a token; None where tokens
    cannot pay.
    """

    size_micro: int
    tokens_micro: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenFacts:
    """What a team's cycles that are not closed hold, as rows: ``draws`` with the columns of ``rating.DRAW_COLUMNS``,
    ``carry`` of ``store.open_ratings.CARRIED`` in order of time; ``closed_carry_micro`` is what closed ones carried, by
    API; ``lines`` are those of accrual, of every such cycle.
    """

    draws: Sequence[Any] = ()
    carry: Sequence[Any] = ()
    closed_carry_micro: Mapping[str, int] = field(default_factory=dict)
    lines: Sequence[AccruedLine] = ()


def running_cycle(team: TeamTerms, open_from_us: int | None, as_of_us: int) -> CycleSpan | None:
    """The cycle that holds the instant; ``open_from_us`` is where the last closed one ended, None where none was."""
    start_us = first_start_us(team.subscriptions) if open_from_us is None else open_from_us
    if start_us > as_of_us:
        return None
    while (cycle := cycle_from(team.subscriptions, start_us)).end_us <= as_of_us:
        start_us = cycle.end_us
    return cycle


def standing_of(
    team_id: str,
    terms: Terms,
    used: Used,
    facts: OpenFacts,
    cycle: CycleSpan | None,
    rates: Mapping[str, Rate],
    as_of_us: int,
) -> Standing:
    """How a team stands; ``used`` and ``facts`` count all that is effective before the instant, ``rates`` are those in
    force at it.
    """
    team = terms.teams[team_id]
    mine = [row for row in facts.draws if cycle and row.cycle_start_us == cycle.start_us]
    lines = [line for line in facts.lines if cycle and line.cycle_start_us == cycle.start_us]
    subscription_id, currency = _payer(team, cycle, lines)
    counted = [line for line in lines if line.currency == currency]
    return Standing(
        team_id=team_id,
        as_of_us=as_of_us,
        cycle=cycle,
        subscription_id=subscription_id,
        currency=currency,
        spend_minor=sum(_minor(line.net, currency) for line in counted),
        unfunded_units=sum(int(row.charged_units) for row in mine if row.source == UNFUNDED),
        balances=tuple(_balances(team_id, team, used, as_of_us)),
        apis=tuple(_apis(rates, facts, mine, counted, cycle, as_of_us)),
        changes_at_us=min(_changes_at(team, terms, cycle, as_of_us), _looked_at_again_us(team_id, as_of_us)),
    )


def instant_text(us: int | None) -> str | None:
    """An instant of a standing in RFC 3339; None where there is none, or it never comes."""
    return None if us is None or us == FOREVER_US else format_us(us)


def months_before_us(as_of_us: int, months: int) -> int:
    """The same time of day so many months earlier in UTC, the day clamped to the length of the month."""
    at = from_us(as_of_us)
    count = at.year * 12 + at.month - 1 - months
    year, month = divmod(max(count, 12), 12)
    following = to_us(at.replace(year=year + (month == 11), month=(month + 1) % 12 + 1, day=1))
    last_day = from_us(following - DAY_US).day
    return to_us(at.replace(year=year, month=month + 1, day=min(at.day, last_day)))


def _payer(team: TeamTerms, cycle: CycleSpan | None, lines: Sequence[AccruedLine]) -> tuple[str, str]:
    """Whose pay as you go the running cycle is: the active one's, else that of what late usage is paid by."""
    if cycle and cycle.payg_subscription_id:
        (active,) = (s for s in team.payg if s.subscription_id == cycle.payg_subscription_id)
        return active.subscription_id, active.currency or ""
    return (lines[-1].subscription_id, lines[-1].currency) if lines else ("", "")


def _minor(net: Decimal, currency: str) -> int:
    return int(net.scaleb(minor_digits(currency)))


def _balances(team_id: str, team: TeamTerms, used: Used, as_of_us: int) -> Iterator[StandingBalance]:
    bought = {s.subscription_id: s for s, _ in team.free}
    grants = {grant.grant_id: grant for grant in _grants(team)}
    for _, source, subscription_id, grant_id, api, granted, spent, left, ends, refreshes in balances_of(
        team_id, team, used, as_of_us
    ):
        if grant_id:
            begins = grants[grant_id].starts_us
        else:
            free = bought[subscription_id]
            begins = period_start_us(free.time_zone, free.purchased_at_us, as_of_us)
        yield StandingBalance(
            source=source,
            subscription_id=subscription_id,
            grant_id=grant_id,
            api=api,
            state=BalanceState.VALID,
            begins_at_us=begins,
            granted_micro=granted,
            used_micro=spent,
            available_micro=left,
            ends_at_us=ends,
            refreshes_at_us=refreshes,
        )
    yield from _other_grants(grants.values(), used, as_of_us)


def _grants(team: TeamTerms) -> tuple[Grant, ...]:
    return (*team.token_grants[Kind.TOKEN_FLEX], *team.token_grants[Kind.FLEX], *team.capacity_grants)


def _other_grants(grants: Iterable[Grant], used: Used, as_of_us: int) -> Iterator[StandingBalance]:
    """Those that begin later, and those that ended not long ago."""
    since_us: int | None = None
    for grant in grants:
        if grant.starts_us <= as_of_us < grant.ends_us or grant.starts_us >= grant.ends_us:
            continue
        if grant.ends_us <= as_of_us:
            since_us = months_before_us(as_of_us, EXPIRED_MONTHS) if since_us is None else since_us
            if grant.ends_us <= since_us:
                continue
        spent = used.granted_micro.get(grant.grant_id, 0)
        yield StandingBalance(
            source=grant.subscription.kind.value,
            subscription_id=grant.subscription.subscription_id,
            grant_id=grant.grant_id,
            api=grant.api,
            state=BalanceState.COMING if grant.starts_us > as_of_us else BalanceState.EXPIRED,
            begins_at_us=grant.starts_us,
            granted_micro=grant.granted_micro,
            used_micro=spent,
            available_micro=max(0, grant.granted_micro - spent),
            ends_at_us=grant.ends_us,
            refreshes_at_us=FOREVER_US,
        )


def _apis(
    rates: Mapping[str, Rate],
    facts: OpenFacts,
    draws: Sequence[Any],
    lines: Sequence[AccruedLine],
    cycle: CycleSpan | None,
    as_of_us: int,
) -> Iterator[StandingApi]:
    """The APIs with anything in the running cycle, by name."""
    rows = _carried(facts, cycle.start_us if cycle else as_of_us)
    units: dict[str, dict[str, int]] = {}
    for row in draws:
        if row.charged_units:
            by_source = units.setdefault(row.api, {})
            by_source[str(row.source)] = by_source.get(str(row.source), 0) + int(row.charged_units)
    for api in sorted(rows.keys() | units.keys()):
        opening, usage, carry = rows.get(api, (0, 0, 0))
        yield StandingApi(
            api=api,
            unit_size_micro=rates[api].size_micro if api in rates else None,
            opening_micro=opening,
            usage_micro=usage,
            carry_micro=carry,
            units=units.get(api, {}),
            spend_minor=sum(_minor(line.net, line.currency) for line in lines if line.api == api),
        )


def _carried(facts: OpenFacts, start_us: int) -> dict[str, tuple[int, int, int]]:
    """By API what the running cycle opened with, used and carries: an earlier cycle's carry-over is its opening."""
    found = {api: (micro, 0, micro) for api, micro in facts.closed_carry_micro.items() if micro}
    for row in facts.carry:
        closing = int(row.closing_micro)
        if row.cycle_start_us == start_us:
            found[row.api] = (int(row.opening_micro), int(row.usage_micro), closing)
        else:
            found[row.api] = (closing, 0, closing)
    return {api: three for api, three in found.items() if any(three)}


def rates_at(terms: Terms, at_us: int) -> dict[str, Rate]:
    """What is in force of every API that has a unit size then (rule 4.1)."""
    place = np.arange(len(terms.apis), dtype=np.int64)
    found = terms.rates.row_at(place, np.full(len(place), at_us, dtype=np.int64)).tolist()
    sizes, tokens = terms.rate_size_micro, terms.rate_tokens_micro
    return {
        api: Rate(size_micro=int(sizes[row]), tokens_micro=None if tokens[row] < 0 else int(tokens[row]))
        for api, row in zip(terms.apis, found, strict=True)
        if row >= 0
    }


def _looked_at_again_us(team_id: str, as_of_us: int) -> int:
    """When a team's forecast is made anew: once a day, at a time of its own, so that not all teams are due at once."""
    own_us = crc32(team_id.encode()) % 86_400 * 1_000_000
    return (as_of_us - own_us) // DAY_US * DAY_US + DAY_US + own_us


def _changes_at(team: TeamTerms, terms: Terms, cycle: CycleSpan | None, as_of_us: int) -> int:
    """The first instant after this one at which something can change without usage."""
    edges = [*terms.rate_from_us, cycle.end_us if cycle else first_start_us(team.subscriptions)]
    for s in team.subscriptions:
        edges += (s.purchased_at_us, s.ends_at_us)
    for grant in _grants(team):
        edges += (grant.starts_us, grant.ends_us)
    later = [edge for edge in edges if edge > as_of_us]
    later += [next_anniversary_us(s.time_zone, s.purchased_at_us, as_of_us) for s, _ in team.free]
    return min(later, default=FOREVER_US)
