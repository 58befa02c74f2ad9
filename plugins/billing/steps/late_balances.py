"""Late subscriptions, allowances and grants: closed cycles whose boundaries or balances they would have changed
(rules 3.3, 3.6 and section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from billing.core.cycles import cycle_from, first_start_us
from billing.core.frames import rows
from billing.core.instants import format_us
from billing.core.model import Kind, Subscription
from billing.core.reference import FOREVER_US, TABLES, Reference
from billing.core.terms import subscriptions_of
from billing.steps.late_closed import ClosedCycle, Hit, closed_of_teams
from billing.steps.reference_versions import Version
from billing.store.late_rows import Figure, Touched

_Held = Mapping[str, tuple[str, int]]
"""By subscription its team and purchase."""
_Subscriptions = Mapping[str, Sequence[Subscription]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Claim:
    """A version that may have changed the cycles of some teams that end after ``from_us``: those in which it
    ``matters``, because something was there to be paid.
    """

    version: Version
    team_ids: frozenset[str]
    from_us: int
    matters: Callable[[ClosedCycle], bool]


def balance_hits(
    connection: Connection, found: Mapping[str, Sequence[Version]], before: Reference, after: Reference
) -> Iterator[Hit]:
    """Closed cycles that a subscription, allowance or grant would have changed, with that row."""
    held = _held(before) | _held(after)
    claims = [_CLAIMS[name](version, held) for name in _CLAIMS for version in found.get(name, ())]
    claims = [claim for claim in claims if claim.from_us < FOREVER_US and claim.team_ids]
    teams = set[str]().union(*(claim.team_ids for claim in claims))
    closed = closed_of_teams(connection, teams, min((claim.from_us for claim in claims), default=0))
    were, are = subscriptions_of(before, set(closed)), subscriptions_of(after, set(closed))
    for claim in claims:
        for team_id in sorted(claim.team_ids & closed.keys()):
            yield from _touched(claim, closed[team_id], were, are)


def _touched(claim: _Claim, closed: Sequence[ClosedCycle], were: _Subscriptions, are: _Subscriptions) -> Iterator[Hit]:
    for cycle in closed:
        touched, figures = set[Touched](), list[Figure]()
        if cycle.end_us > claim.from_us and claim.matters(cycle):
            touched |= {Touched.BALANCE, *_other_price(claim.version)}
        if claim.version.table == "subscriptions" and cycle.end_us >= claim.from_us:
            held = were.get(cycle.team_id, ()), are.get(cycle.team_id, ())
            if _moves(claim.version.row.subscription_id, cycle, *held):
                touched.add(Touched.BOUNDARIES)
                figures = list(_boundaries(cycle, held[1]))
        if touched:
            yield Hit(
                version=claim.version,
                team_id=cycle.team_id,
                cycle_start_us=cycle.start_us,
                touched=frozenset(touched),
                figures=tuple(figures),
            )


def _other_price(version: Version) -> set[Touched]:
    other = version.table == "subscriptions" and version.what == "changed" and version.changed("currency")
    return {Touched.PRICE} if other and Kind.PAYG in version.each("kind") else set()


# --- boundaries (rule 3.3) -------------------------------------------------------------------------------------------


def _moves(
    subscription_id: str, cycle: ClosedCycle, before: Sequence[Subscription], after: Sequence[Subscription]
) -> bool:
    """Whether this subscription's change alone would have moved a boundary of the cycle, or its anchor or ``payg``."""
    alone = [s for s in before if s.subscription_id != subscription_id]
    alone += [s for s in after if s.subscription_id == subscription_id]
    if not before or not alone:
        return bool(before or alone)
    begins_elsewhere = cycle.is_first and first_start_us(before) != first_start_us(alone)
    return begins_elsewhere or cycle_from(before, cycle.start_us) != cycle_from(alone, cycle.start_us)


def _boundaries(cycle: ClosedCycle, after: Sequence[Subscription]) -> Iterator[Figure]:
    """Where the cycle would have begun and ended by all that is known after the load."""
    if not after:
        return
    start_us, end_us = first_start_us(after), cycle_from(after, cycle.start_us).end_us
    if cycle.is_first and start_us != cycle.start_us:
        yield Figure(what="the first cycle's start", stands=format_us(cycle.start_us), would_be=format_us(start_us))
    if start_us <= cycle.start_us and end_us not in (cycle.end_us, FOREVER_US):
        yield Figure(what="the cycle's end", stands=format_us(cycle.end_us), would_be=format_us(end_us))


# --- who may have been paid by what ----------------------------------------------------------------------------------


def _held(reference: Reference) -> dict[str, tuple[str, int]]:
    table = reference["subscriptions"]
    return {row.subscription_id: (row.team_id, int(row.purchased_at)) for row in rows(table)}


def _claim(version: Version, team_ids: set[str], from_us: int, matters: Callable[[ClosedCycle], bool]) -> _Claim:
    return _Claim(version=version, team_ids=frozenset(team_ids - {""}), from_us=int(from_us), matters=matters)


def _subscription(version: Version, held: _Held) -> _Claim:
    from_us, kinds = FOREVER_US, version.each("kind")  # how it is charged changes no cycle
    if version.changed("team_id", "kind", "purchased_at", "time_zone", "currency"):
        from_us = min(version.each("purchased_at"))
    elif version.changed("ends_at"):
        from_us = min(version.each("ends_at"))
    pays_otherwise = version.changed("team_id", "kind", "purchased_at", "currency", "ends_at") or Kind.FREE in kinds
    return _claim(
        version,
        version.each("team_id"),
        from_us,
        lambda cycle: pays_otherwise and bool(_payable(kinds, cycle)),
    )


def _payable(kinds: set[str], cycle: ClosedCycle) -> frozenset[str]:
    """What a subscription of these kinds can pay for, or count."""
    counted = cycle.counted if Kind.CAPACITY in kinds else frozenset()
    return counted | (cycle.charged if kinds - {Kind.CAPACITY} else frozenset())


def _allowance(version: Version, held: _Held) -> _Claim:
    team_id, bought_us = held[version.row.subscription_id]
    return _claim(version, {team_id}, bought_us, lambda cycle: version.row.api in cycle.charged)


def _token_grant(version: Version, held: _Held) -> _Claim:
    return _claim(version, *_granted(version, held), lambda cycle: bool(cycle.charged))


def _capacity_grant(version: Version, held: _Held) -> _Claim:
    return _claim(version, *_granted(version, held), lambda cycle: bool(version.each("api") & cycle.counted))


def _granted(version: Version, held: _Held) -> tuple[set[str], int]:
    """Whose grant it is, and from when on it may have paid otherwise: what was paid for it changes nothing."""
    rest = [c.name for c in TABLES[version.table].columns if c.name != "expires_at" and not c.optional]
    from_us = FOREVER_US
    if version.changed(*rest):
        from_us = min(version.each("valid_from"))
    elif version.changed("expires_at"):
        from_us = min(version.each("expires_at"))
    return {held[subscription_id][0] for subscription_id in version.each("subscription_id")}, int(from_us)


_CLAIMS: Mapping[str, Callable[[Version, _Held], _Claim]] = {
    "subscriptions": _subscription,
    "free_allowances": _allowance,
    "token_grants": _token_grant,
    "capacity_grants": _capacity_grant,
}
