"""One team: is there enough, when does it end, what will be invoiced (rule 8.1); its invoices, apps and troubles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select

from billing.core.cycles import CycleSpan
from billing.core.errors import NotFound
from billing.core.instants import DAY_US, from_day, from_us, to_us
from billing.core.model import SOURCES, UNFUNDED, Kind
from billing.core.quantity import decimal_of_micro, divide_half_up
from billing.core.standing import BalanceState
from billing.store.database import in_parts
from billing.store.invoices import from_minor
from billing.store.tables import (
    invoices,
    parked,
    quarantine,
    reference_history,
    standing_apis,
    standing_balances,
    standings,
)
from billing.web.reading import known
from billing.web.reading.alerts import AlertRow, alerts_of
from billing.web.reading.freshness import Freshness, of_standings
from billing.web.reading.known import instant, money, quantity
from billing.web.reading.payments import InvoiceRow, invoice_rows
from billing.web.viewer import Viewer

INVOICES = 100
_SHARE_DIGITS = 6
_ORDER = {source: place for place, source in enumerate((*Kind, UNFUNDED))}


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamCustomer:
    """Who buys for the team."""

    customer_id: str
    legal_name: str
    country: str
    vat_id: str
    email: str
    locale: str


@dataclass(frozen=True, kw_only=True, slots=True)
class SubscriptionRow:
    """What the team bought. ``last_grant_ends_at``: when the last of its grants ends, None where it has none, or one
    that does not end. ``payment_method``: gateway, brand and last four digits, never more; blank where none.
    """

    subscription_id: str
    kind: Kind
    purchased_at: datetime
    ends_at: datetime | None
    last_grant_ends_at: datetime | None
    time_zone: str
    currency: str
    purchase_order: str
    payment_method: str
    is_active: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class BalanceRow:
    """One balance (rule 8.1): a free allowance, or a grant. ``share_left`` is available of granted, 0 to 1, None where
    nothing was granted. Days are whole ones that are left: what ends within the next 24 hours ends in 0 days.
    ``runs_out``: at the pace of the last weeks, between ``runs_out_earliest`` and ``runs_out_latest``; ``forecast``
    says how that was found, or why nothing is said.
    """

    subscription_id: str
    grant_id: str
    granted: Decimal
    used: Decimal
    available: Decimal
    share_left: Decimal | None
    ends_at: datetime | None
    ends_in_days: int | None
    refreshes_at: datetime | None
    refreshes_in_days: int | None
    per_day: Decimal | None
    runs_out_earliest: datetime | None
    runs_out: datetime | None
    runs_out_latest: datetime | None
    forecast: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """All balances of one kind and API (blank for tokens): what is available of what is granted, the total ever
    purchased (None of free units, which nobody buys), and what ends with something left or refreshes first: each of
    ``balances`` says how much comes again when, and until when it lasts. Units of ``free``, tokens of
    ``token_flex`` and ``flex``, the resource's own unit of ``capacity``. ``expired``: grants that ended in the last 24
    months; their ``available`` was never used. ``coming``: grants that begin later.
    """

    source: Kind
    api: str
    api_name: str
    usage_unit: str
    granted: Decimal
    used: Decimal
    available: Decimal
    share_left: Decimal | None
    total_purchased: Decimal | None
    ends_at: datetime | None
    ends_in_days: int | None
    refreshes_at: datetime | None
    refreshes_in_days: int | None
    balances: tuple[BalanceRow, ...]
    expired: tuple[BalanceRow, ...]
    coming: tuple[BalanceRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitsBySource:
    """Charged units that a source paid for: a kind of subscription, or ``unfunded``."""

    source: str
    units: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ApiCard:
    """An API in the running cycle: what it opened with, was used, and is carried over. ``progress``: the carry-over as
    a share of the next unit, 0 to 1 (below 0 a credit that later usage fills first; None without a unit size).
    ``spend``: what pay as you go would charge for it, net.
    """

    api: str
    api_name: str
    usage_unit: str
    unit_size: Decimal | None
    opening: Decimal
    usage: Decimal
    carry: Decimal
    progress: Decimal | None
    units: tuple[UnitsBySource, ...]
    spend: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class RunningCycle:
    """The cycle that runs: what would be invoiced now (``spend``, net) and what may be at its end, between low and
    high. Amounts are None without a pay-as-you-go subscription.
    """

    start: datetime
    end: datetime
    ends_in_days: int
    time_zone: str
    period_first_day: date
    period_last_day: date
    subscription_id: str
    currency: str
    spend: Decimal | None
    projected_low: Decimal | None
    projected: Decimal | None
    projected_high: Decimal | None
    units: tuple[UnitsBySource, ...]
    apis: tuple[ApiCard, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class QuarantinedRows:
    """Records of the team's apps that wait in quarantine, by reason and app; days are in UTC, None where unreadable."""

    reason: str
    app_id: str
    records: int
    first_day: date | None
    last_day: date | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ParkedCycle:
    """Why a cycle could not be billed honestly (rule 3.8), at which close."""

    cycle_start: datetime
    reason: str
    detail: str
    close_no: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AppRow:
    """An app that belongs to the team's hub."""

    app_id: str
    name: str
    since: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """The team's developer hub and its apps, by id."""

    hub_id: str
    name: str
    apps: tuple[AppRow, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """Somebody who may look at the team."""

    user: str
    role: str


@dataclass(frozen=True, kw_only=True, slots=True)
class TeamPage:
    """Everything of one team. ``cycle`` is None before its first, and before its first standing. ``invoices``: the
    newest 100, newest first. ``alerts``: those that still hold, newest first (of a balance that fell below several
    shares the smallest), then the last 20 that ended.
    """

    team_id: str
    name: str
    customer: TeamCustomer
    subscriptions: tuple[SubscriptionRow, ...]
    cards: tuple[Card, ...]
    cycle: RunningCycle | None
    alerts: tuple[AlertRow, ...]
    invoices: tuple[InvoiceRow, ...]
    quarantine: tuple[QuarantinedRows, ...]
    parked: ParkedCycle | None
    hub: Hub | None
    members: tuple[Member, ...]
    freshness: Freshness


def team(connection: Connection, viewer: Viewer, team_id: str, *, at: datetime) -> TeamPage:
    """All that buyers, admins and operators see of a team. Days to an end are counted from ``at``.

    Raises ``NotForYou``, and ``NotFound`` for an id that no team ever had (to operators).
    """
    viewer.demand_money(team_id)
    head, at_us = head_of(connection, team_id), to_us(at)
    standing = connection.execute(select(standings).where(standings.c.team_id == team_id)).first()
    hub = _hub(connection, team_id, at_us)
    bought = _bought(connection, team_id)
    grants = _grants(connection, [row.subscription_id for row in bought])
    held = _subscriptions(connection, bought, grants, at_us)
    newest = select(invoices).where(invoices.c.team_id == team_id).order_by(invoices.c.issued_at_us.desc())
    return TeamPage(
        team_id=team_id,
        name=head.name,
        customer=_customer(connection, head.customer_id),
        subscriptions=held,
        cards=_cards(connection, team_id, _purchased(held, grants), at_us),
        cycle=None if standing is None else _cycle(connection, standing, at_us),
        alerts=alerts_of(connection, team_id),
        invoices=tuple(invoice_rows(connection, newest.order_by(invoices.c.number.desc()).limit(INVOICES), at)),
        quarantine=_quarantine(connection, [app.app_id for app in hub.apps] if hub else []),
        parked=_parked(connection, team_id),
        hub=hub,
        members=_members(connection, team_id),
        freshness=of_standings(
            connection, standing.as_of_us if standing else None, standing.through_batch if standing else None
        ),
    )


def head_of(connection: Connection, team_id: str) -> Row[Any]:
    """A team's row as known now, or as it was known last. Raises ``NotFound``."""
    rows = reference_history["teams"]
    query = select(rows).where(rows.c.team_id == team_id).order_by(rows.c.known_to.desc()).limit(1)
    found = connection.execute(query).first()
    if found is None:
        raise NotFound("There is no team of this id in the reference data.")
    return found


def _customer(connection: Connection, customer_id: str) -> TeamCustomer:
    rows = reference_history["customers"]
    query = select(rows).where(rows.c.customer_id == customer_id).order_by(rows.c.known_to.desc()).limit(1)
    row = connection.execute(query).one()
    return TeamCustomer(
        customer_id=row.customer_id,
        legal_name=row.legal_name,
        country=row.country,
        vat_id=row.vat_id,
        email=row.email,
        locale=row.locale,
    )


def _bought(connection: Connection, team_id: str) -> list[Row[Any]]:
    """The rows of the team's subscriptions, in the order of purchase."""
    mine = known.rows_of("subscriptions").where(reference_history["subscriptions"].c.team_id == team_id)
    return sorted(connection.execute(mine), key=lambda row: (row.purchased_at, row.subscription_id))


def _subscriptions(
    connection: Connection, rows: Sequence[Row[Any]], grants: Sequence[_Grant], at_us: int
) -> tuple[SubscriptionRow, ...]:
    last_us: dict[str, int] = {}
    for grant in grants:
        last_us[grant.subscription_id] = max(grant.expires_us, last_us.get(grant.subscription_id, 0))
    methods = {
        row.payment_method_id: " ".join(part for part in (row.gateway, row.brand, row.last4) if part)
        for row in known.by_key(
            connection, "payment_methods", "payment_method_id", {row.payment_method_id for row in rows}
        )
    }
    return tuple(
        SubscriptionRow(
            subscription_id=row.subscription_id,
            kind=Kind(row.kind),
            purchased_at=from_us(row.purchased_at),
            ends_at=instant(row.ends_at),
            last_grant_ends_at=(
                instant(min(last_us[row.subscription_id], row.ends_at)) if row.subscription_id in last_us else None
            ),
            time_zone=row.time_zone,
            currency=row.currency,
            purchase_order=row.purchase_order,
            payment_method=methods.get(row.payment_method_id, ""),
            is_active=row.purchased_at <= at_us < row.ends_at,
        )
        for row in rows
    )


def _cards(
    connection: Connection, team_id: str, bought: Mapping[tuple[Kind, str], int], at_us: int
) -> tuple[Card, ...]:
    rows = connection.execute(select(standing_balances).where(standing_balances.c.team_id == team_id)).all()
    facts = known.apis(connection, {row.api for row in rows if row.api})
    pools: dict[tuple[str, str], list[Row[Any]]] = {}
    for row in sorted(rows, key=lambda r: (_ORDER[r.source], r.api, r.ends_at_us, r.subscription_id, r.grant_id)):
        pools.setdefault((row.source, row.api), []).append(row)
    return tuple(_card(Kind(source), facts.get(api), mine, bought, at_us) for (source, api), mine in pools.items())


def _card(
    source: Kind,
    api: known.Api | None,
    rows: Sequence[Row[Any]],
    bought: Mapping[tuple[Kind, str], int],
    at_us: int,
) -> Card:
    by_state = {state: [row for row in rows if row.state == state.value] for state in BalanceState}
    valid = by_state[BalanceState.VALID]
    granted, used, available = (
        sum(row._mapping[f"{n}_micro"] for row in valid) for n in ("granted", "used", "available")
    )
    ends = min((row.ends_at_us for row in valid if row.available_micro), default=None)
    refreshes = min((row.refreshes_at_us for row in valid), default=None)
    return Card(
        source=source,
        api=api.api if api else "",
        api_name=api.name if api else "",
        usage_unit=api.usage_unit if api else "",
        granted=decimal_of_micro(granted),
        used=decimal_of_micro(used),
        available=decimal_of_micro(available),
        share_left=_share(available, granted),
        total_purchased=quantity(bought.get((source, api.api if api else ""))),
        ends_at=instant(ends),
        ends_in_days=_days(ends, at_us),
        refreshes_at=instant(refreshes),
        refreshes_in_days=_days(refreshes, at_us),
        balances=tuple(_balance(row, at_us) for row in valid),
        expired=tuple(_balance(row, at_us) for row in by_state[BalanceState.EXPIRED]),
        coming=tuple(_balance(row, at_us) for row in by_state[BalanceState.COMING]),
    )


def _balance(row: Row[Any], at_us: int) -> BalanceRow:
    return BalanceRow(
        subscription_id=row.subscription_id,
        grant_id=row.grant_id,
        granted=decimal_of_micro(row.granted_micro),
        used=decimal_of_micro(row.used_micro),
        available=decimal_of_micro(row.available_micro),
        share_left=_share(row.available_micro, row.granted_micro),
        ends_at=instant(row.ends_at_us),
        ends_in_days=_days(row.ends_at_us, at_us),
        refreshes_at=instant(row.refreshes_at_us),
        refreshes_in_days=_days(row.refreshes_at_us, at_us),
        per_day=quantity(row.per_day_micro),
        runs_out_earliest=instant(row.runs_out_low_us),
        runs_out=instant(row.runs_out_us),
        runs_out_latest=instant(row.runs_out_high_us),
        forecast=row.forecast,
    )


class _Grant(NamedTuple):
    """What was granted on a subscription, of an API (blank for tokens), in 10^-6."""

    subscription_id: str
    api: str
    amount_micro: int
    expires_us: int


def _grants(connection: Connection, subscription_ids: Sequence[str]) -> list[_Grant]:
    """All that were ever granted on these subscriptions, in no order."""
    return [
        _Grant(row.subscription_id, row._mapping.get("api", ""), row._mapping[amount], row.expires_at)
        for table, amount in (("token_grants", "tokens"), ("capacity_grants", "quantity"))
        for row in known.by_key(connection, table, "subscription_id", subscription_ids)
    ]


def _purchased(held: Iterable[SubscriptionRow], grants: Iterable[_Grant]) -> dict[tuple[Kind, str], int]:
    """By kind and API (blank for tokens) all that was ever granted on the team's subscriptions, in 10^-6."""
    kinds = {s.subscription_id: s.kind for s in held}
    total: dict[tuple[Kind, str], int] = {}
    for grant in grants:
        key = (kinds[grant.subscription_id], grant.api)
        total[key] = total.get(key, 0) + grant.amount_micro
    return total


def _cycle(connection: Connection, standing: Row[Any], at_us: int) -> RunningCycle | None:
    if standing.cycle_start_us is None or standing.cycle_end_us is None:
        return None
    start_us, end_us, currency = standing.cycle_start_us, standing.cycle_end_us, standing.currency
    span = CycleSpan(start_us, end_us, standing.time_zone, None).describe()
    rows = connection.execute(
        select(standing_apis).where(standing_apis.c.team_id == standing.team_id).order_by(standing_apis.c.api)
    ).all()
    facts = known.apis(connection, {row.api for row in rows})
    return RunningCycle(
        start=span.start,
        end=span.end,
        ends_in_days=max(0, _days(end_us, at_us) or 0),
        time_zone=standing.time_zone,
        period_first_day=span.period_first_day,
        period_last_day=span.period_last_day,
        subscription_id=standing.subscription_id,
        currency=currency,
        spend=money(standing.spend_minor, currency),
        projected_low=money(standing.projected_low_minor, currency),
        projected=money(standing.projected_minor, currency),
        projected_high=money(standing.projected_high_minor, currency),
        units=_units(rows),
        apis=tuple(_api_card(row, facts[row.api], currency) for row in rows),
    )


def _api_card(row: Row[Any], api: known.Api, currency: str) -> ApiCard:
    return ApiCard(
        api=row.api,
        api_name=api.name,
        usage_unit=api.usage_unit,
        unit_size=quantity(row.unit_size_micro),
        opening=decimal_of_micro(row.opening_micro),
        usage=decimal_of_micro(row.usage_micro),
        carry=decimal_of_micro(row.carry_micro),
        progress=None if row.unit_size_micro is None else _share(row.carry_micro, row.unit_size_micro),
        units=_units([row]),
        spend=from_minor(row.spend_minor, currency) if currency else None,
    )


def _units(rows: Sequence[Row[Any]]) -> tuple[UnitsBySource, ...]:
    """Units by source in the order in which sources pay, without those that gave none."""
    sums = {source: sum(row._mapping[f"{source}_units"] for row in rows) for source in SOURCES}
    return tuple(UnitsBySource(source=source, units=units) for source, units in sums.items() if units)


def _quarantine(connection: Connection, app_ids: Sequence[str]) -> tuple[QuarantinedRows, ...]:
    key = (quarantine.c.reason, quarantine.c.app_id)
    days = (func.min(quarantine.c.occurred_day).label("first"), func.max(quarantine.c.occurred_day).label("last"))
    waiting = select(*key, func.count().label("records"), *days).where(quarantine.c.ending == "").group_by(*key)
    rows: list[Row[Any]] = []
    for some in in_parts(app_ids):
        rows += connection.execute(waiting.where(quarantine.c.app_id.in_(some))).all()
    return tuple(
        QuarantinedRows(
            reason=row.reason,
            app_id=row.app_id,
            records=int(row.records),
            first_day=None if row.first is None else from_day(row.first),
            last_day=None if row.last is None else from_day(row.last),
        )
        for row in sorted(rows, key=lambda row: (row.reason, row.app_id))
    )


def _parked(connection: Connection, team_id: str) -> ParkedCycle | None:
    row = connection.execute(select(parked).where(parked.c.team_id == team_id)).first()
    if row is None:
        return None
    at = from_us(row.cycle_start_us)
    return ParkedCycle(cycle_start=at, reason=row.reason, detail=row.detail, close_no=row.close_no)


def _hub(connection: Connection, team_id: str, at_us: int) -> Hub | None:
    hubs = known.hubs_of(connection, team_id, at_us)
    if not hubs:
        return None
    assigned = reference_history["app_hubs"].c
    valid = (assigned.hub_id == hubs[0]) & (assigned.valid_from <= at_us) & (assigned.valid_to > at_us)
    rows = connection.execute(known.rows_of("app_hubs").where(valid).order_by(assigned.app_id)).all()
    app_names = known.names(connection, "apps", {row.app_id for row in rows})
    return Hub(
        hub_id=hubs[0],
        name=known.names(connection, "hubs", hubs).get(hubs[0], ""),
        apps=tuple(
            AppRow(app_id=row.app_id, name=app_names.get(row.app_id, ""), since=from_us(row.valid_from)) for row in rows
        ),
    )


def _members(connection: Connection, team_id: str) -> tuple[Member, ...]:
    members = reference_history["team_members"].c
    rows = connection.execute(known.rows_of("team_members").where(members.team_id == team_id))
    return tuple(sorted((Member(user=row.user, role=row.role) for row in rows), key=lambda m: (m.user, m.role)))


def _share(part_micro: int, whole_micro: int) -> Decimal | None:
    if whole_micro <= 0:
        return None
    return divide_half_up(Decimal(part_micro), Decimal(whole_micro), _SHARE_DIGITS)


def _days(end_us: int | None, at_us: int) -> int | None:
    """Whole days that are left to an instant; None for an open end, and for one that is over."""
    if instant(end_us) is None or end_us is None or end_us < at_us:
        return None
    return (end_us - at_us) // DAY_US
