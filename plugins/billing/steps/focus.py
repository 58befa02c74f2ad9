"""FOCUS for buyers: what was issued in some days, and the usage of the cycles closed in them, as rows of charges.

What is told is chosen by issue date, in the seller's zone: put end to end, exports tell everything once.
Tokens are told on the day of their sale, by the reference data of the export: a sale that is entered later is only in
an export of its sale's days that is made after that.

Before a file is written its charges are compared with net and tax of every document in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, select

from billing.core import checks
from billing.core.accounts import component
from billing.core.cycles import local_date, start_of_local_day_us
from billing.core.errors import NotFound, UsageError
from billing.core.focus import (
    BilledLine,
    Charge,
    Grant,
    Metered,
    Payer,
    Period,
    Service,
    free_charge,
    line_charge,
    purchase_charge,
    reconciles,
    shared_out,
    tax_charge,
    token_charge,
    unused_charge,
)
from billing.core.frames import rows
from billing.core.instants import day_number, to_us
from billing.core.model import ApiBilling, Kind
from billing.core.months import Month
from billing.core.parties import Parties
from billing.core.quantity import MICRO, decimal_of_micro, format_micro
from billing.core.reference import BLANK, Reference
from billing.core.register import DocumentKind, Registered
from billing.core.token_movements import SoldGrant, sold_grants
from billing.outbound.file_sets import Staged, placed_in, schema_told
from billing.outbound.focus_files import VERSIONS, types_of, write_focus_csv, write_focus_parquet
from billing.steps.reference import demanded_load, reference_at
from billing.steps.register import read_register
from billing.store.home import Home
from billing.store.invoices import from_minor, issued_lines
from billing.store.ledger import ISSUED
from billing.store.tables import carry, closes, credit_notes, cycles, draws, invoices

EVERYBODY = "all"
_NAME_DIGITS = 16
_TOKEN_KINDS = (Kind.TOKEN_FLEX.value, Kind.FLEX.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class FocusSummary:
    """Rows by buyer, and what could not be told in full: rows of tokens whose price is not known, and usage at no cost
    of teams of which no currency is known, which is left out.
    """

    rows: Mapping[str, int]
    unpriced: int
    left_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Charges:
    """Charges in their order, by buyer within it, and how many rows of usage were left out for want of a currency."""

    charges: tuple[Charge, ...]
    left_out: int


def export_focus(
    home: Home,
    folder: Path,
    first: date,
    last: date,
    *,
    version: str,
    service: Service,
    customer_id: str = "",
    together: bool = False,
) -> FocusSummary:
    """Write a CSV and a Parquet file a buyer (or of all ``together``) into a folder, all of them or none."""
    days: dict[str, Any] = {"first": first, "last": last, "customer_id": customer_id, "together": together}
    return place_focus(home, placed_in(folder), version=version, service=service, **days)


def place_focus(
    home: Home,
    place: AbstractContextManager[Staged],
    first: date,
    last: date,
    *,
    version: str,
    service: Service,
    customer_id: str = "",
    together: bool = False,
) -> FocusSummary:
    """The same into a place (``outbound.file_sets``).

    Raises ``ConservationBroken`` where charges are not, to the minor unit, what the documents say.
    """
    if version not in VERSIONS:
        raise UsageError(f"{version!r} is no version of FOCUS that is written here; there are: {', '.join(VERSIONS)}.")
    found = charges(home, first, last, customer_id)
    files: dict[str, list[Charge]] = {EVERYBODY: []} if together else {}
    for charge in found.charges:
        files.setdefault(EVERYBODY if together else charge.payer.customer_id, []).append(charge)
    with place as staged:
        names: dict[str, str] = {}
        for buyer, mine in files.items():
            stem = EVERYBODY if together else _file_name(buyer)
            names[stem] = "" if together else buyer
            write_focus_csv(staged.path(f"{stem}.csv"), version, mine, service)
            write_focus_parquet(staged.path(f"{stem}.parquet"), version, mine, service)
            staged.rows |= {f"{stem}.csv": len(mine), f"{stem}.parquet": len(mine)}
        staged.facts |= {
            "export": "focus",
            "FocusVersion": version,
            "from": first.isoformat(),
            "to": last.isoformat(),
            "customers": names,
            "schema": schema_told(types_of(version)),
        }
    return FocusSummary(
        rows={buyer: len(mine) for buyer, mine in files.items()},
        unpriced=sum(one.commitment is not None and one.commitment.grant.amount is None for one in found.charges),
        left_out=found.left_out,
    )


def charges(home: Home, first: date, last: date, customer_id: str = "") -> Charges:
    """The charges of documents issued and cycles closed from one day to another, both included, of one buyer or all."""
    if last < first:
        raise UsageError(f"From {first} to {last} there is no day.")
    with home.database.read() as connection:
        told = _Told.read(home, connection, demanded_load(connection), first, last)
        shares = _shares(told)
        usage = list(_of_usage(told, shares))
        made = [*_of_documents(told, shares), *(one for one in usage if one is not None), *_purchases(told)]
        checks.demand(reconciles(made, {row.number: row.total for row in told.documents}))
        if customer_id and customer_id not in told.customers():
            raise NotFound(f"There is no customer {customer_id!r}, and nothing was ever issued to one.")
    mine = [one for one in made if customer_id in ("", one.payer.customer_id)]
    return Charges(charges=tuple(sorted(mine, key=_order)), left_out=usage.count(None))


def _order(one: Charge) -> tuple[object, ...]:
    who = (one.payer.customer_id, one.payer.team_id, one.period.start_us, one.invoice_id)
    return (*who, one.category.value, one.detail_id.rjust(9), one.sku_price_id, one.source, one.resource_id)


def _file_name(customer_id: str) -> str:
    """A name for a buyer's files: letters, digits and dashes, whatever the id holds; no two ids have the same, also
    where a file system takes capitals for small letters.
    """
    plain = component(customer_id).lower()
    if plain == customer_id and plain != EVERYBODY:
        return plain
    return f"{plain[:40]}-{sha256(customer_id.encode()).hexdigest()[:_NAME_DIGITS]}"


# --- what is read ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """What one load says: buyers, APIs as they are sold, grants of tokens in the order of their ids."""

    reference: Reference
    parties: Parties
    apis: Mapping[str, Any]
    sizes: Mapping[str, Sequence[tuple[int, int, bool]]]
    currencies: Mapping[str, Mapping[str, str]]
    grants: Mapping[str, SoldGrant]

    @classmethod
    def at(cls, home: Home, load_no: int) -> _Known:
        reference = reference_at(home, load_no)
        grants = {one.grant_id: one for one in sold_grants(reference)}
        sizes: dict[str, list[tuple[int, int, bool]]] = {}
        for row in rows(reference["unit_rates"].sort_values("valid_from")):
            takes_tokens = int(row.tokens_per_unit) != BLANK
            sizes.setdefault(row.api, []).append((int(row.valid_from), int(row.unit_size), takes_tokens))
        return cls(
            reference=reference,
            parties=Parties.from_reference(reference),
            apis={row.api: row for row in rows(reference["apis"])},
            sizes=sizes,
            currencies=_currencies(reference, grants.values()),
            grants=grants,
        )

    def metered(self, api: str, end_us: int) -> Metered:
        """An API as it was sold when a period ended."""
        known = self.apis[api]
        in_force = [one for one in self.sizes.get(api, ()) if one[0] < end_us]
        _, size, takes_tokens = in_force[-1] if in_force else (0, MICRO, False)
        # Units of FOCUS are words: what joins them here does not.
        unit = known.usage_unit.replace("_", " ")
        charged = unit if size == MICRO else f"{format_micro(size)} {unit}"
        return Metered(
            api=api, name=known.name or api, usage_unit=unit, charged_unit=charged, takes_tokens=takes_tokens
        )

    def payer(self, team_id: str, customer_id: str = "") -> Payer:
        buyer = customer_id or self.parties.customer_by_team[team_id]
        return Payer(
            seller=self.parties.seller.legal_name,
            customer_id=buyer,
            customer=self.parties.customer(buyer).legal_name,
            team_id=team_id,
            team=self.parties.team_name.get(team_id, ""),
        )


def _currencies(reference: Reference, grants: Iterable[SoldGrant]) -> dict[str, dict[str, str]]:
    """By team the currencies that it pays in: of pay as you go by subscription, the newest first, then of tokens."""
    found: dict[str, dict[str, str]] = {}
    held = reference["subscriptions"].sort_values(["purchased_at", "subscription_id"], ascending=False)
    for row in rows(held[(held["kind"] == Kind.PAYG.value) & (held["team_id"] != "")]):
        found.setdefault(row.team_id, {})[row.subscription_id] = row.currency
    for grant in grants:
        if grant.team_id and grant.currency:
            found.setdefault(grant.team_id, {}).setdefault(f"grant {grant.grant_id}", grant.currency)
    return found


_CycleKey = tuple[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Told:
    """One state of the books, as far as it is told: documents with their lines, closed cycles with their usage and
    draws, what was used of every grant.
    """

    days: tuple[date, date]
    zone: str
    now: _Known
    loads: Mapping[int, _Known]
    documents: tuple[Registered, ...]
    heads: Mapping[str, Any]
    lines: Mapping[str, Sequence[Any]]
    cycles: Mapping[_CycleKey, Any]
    usage: Mapping[_CycleKey, Mapping[str, int]]
    drawn: Mapping[_CycleKey, Sequence[Any]]
    used: Mapping[str, Sequence[Any]]

    @classmethod
    def read(cls, home: Home, connection: Connection, load_no: int, first: date, last: date) -> _Told:
        now = _Known.at(home, load_no)
        zone = now.parties.seller.time_zone
        edges = (start_of_local_day_us(zone, first), start_of_local_day_us(zone, last + timedelta(days=1)))
        days = (day_number(first), day_number(last))
        heads = {row.number: row for row in _heads(connection, days)}
        closed = {(row.team_id, row.cycle_start_us): row for row in connection.execute(_closed(edges))}
        loads = {row.pinned_load for row in heads.values()} | {row.pinned_load for row in closed.values()}
        usage: dict[_CycleKey, dict[str, int]] = {}
        for row in connection.execute(_carried(edges)):
            usage.setdefault((row.team_id, row.cycle_start_us), {})[row.api] = row.usage_micro
        return cls(
            days=(first, last),
            zone=zone,
            now=now,
            loads={one: now if one == load_no else _Known.at(home, one) for one in sorted(loads)},
            documents=read_register(home, connection, first, last).rows,
            heads=heads,
            lines=_grouped(issued_lines(connection, first, last), lambda row: row.number),
            cycles=closed,
            usage=usage,
            drawn=_grouped(connection.execute(_drawn(edges)), lambda row: (row.team_id, row.cycle_start_us)),
            used=_grouped(connection.execute(_used()), lambda row: row.grant_id),
        )

    def customers(self) -> set[str]:
        return {row.customer_id for row in self.documents} | set(self.now.reference["customers"]["customer_id"])

    def grant(self, grant_id: str, known: _Known, currency: str) -> Grant:
        """A grant as it is known now, or as it was when it is gone since."""
        sold = self.now.grants.get(grant_id) or known.grants[grant_id]
        return Grant(
            grant_id=grant_id,
            subscription_id=sold.subscription_id,
            kind=sold.kind,
            granted_micro=sold.granted_micro,
            currency=sold.currency or currency,
            amount=sold.amount,
        )


def _grouped(found: Any, key: Any) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for row in found:
        groups.setdefault(key(row), []).append(row)
    return groups


def _heads(connection: Connection, days: tuple[int, int]) -> Iterator[Any]:
    """Of every document its invoice's load and revision."""
    columns = (invoices.c.pinned_load, invoices.c.revision)
    yield from connection.execute(select(invoices.c.number, *columns).where(invoices.c.issue_day.between(*days)))
    given = select(credit_notes.c.number, *columns).join(invoices, invoices.c.number == credit_notes.c.invoice_number)
    yield from connection.execute(given.where(credit_notes.c.issue_day.between(*days)))


_BY_CYCLE = closes.c.close_no == cycles.c.close_no


def _in(edges: tuple[int, int]) -> Any:
    return and_(cycles.c.state == ISSUED, closes.c.issued_at_us >= edges[0], closes.c.issued_at_us < edges[1])


def _closed(edges: tuple[int, int]) -> Any:
    return select(cycles).join(closes, _BY_CYCLE).where(_in(edges))


def _of_cycle(table: Any) -> Any:
    return and_(table.c.team_id == cycles.c.team_id, table.c.cycle_start_us == cycles.c.cycle_start_us)


def _carried(edges: tuple[int, int]) -> Any:
    query = select(carry).join(cycles, _of_cycle(carry)).join(closes, _BY_CYCLE)
    return query.where(_in(edges), carry.c.billing == ApiBilling.RATED.value)


def _drawn(edges: tuple[int, int]) -> Any:
    """Units that no invoice bills, by cycle, API, payer and grant."""
    owner = (draws.c.subscription_id, draws.c.grant_id)
    key = (draws.c.team_id, draws.c.cycle_start_us, draws.c.api, draws.c.source, *owner)
    sums = (
        func.sum(draws.c.charged_units).label("charged_units"),
        func.sum(draws.c.tokens_micro).label("tokens_micro"),
    )
    query = select(*key, *sums).join(cycles, _of_cycle(draws)).join(closes, _BY_CYCLE)
    unbilled = draws.c.source.not_in((Kind.PAYG.value, Kind.CAPACITY.value))
    return query.where(_in(edges), unbilled).group_by(*key).order_by(*key)


def _used() -> Any:
    """Tokens of closed cycles by grant, cycle and API, in the order in which their cost is told."""
    key = (draws.c.grant_id, draws.c.cycle_start_us, draws.c.api)
    query = select(*key, func.sum(draws.c.tokens_micro).label("tokens_micro")).join(cycles, _of_cycle(draws))
    mine = (cycles.c.state == ISSUED, draws.c.source.in_(_TOKEN_KINDS))
    return query.where(*mine).group_by(*key).order_by(*key)


# --- what is made of it ----------------------------------------------------------------------------------------------


def _of_documents(told: _Told, shares: _Shares) -> Iterator[Charge]:
    """Lines and tax. Actual usage is told once, by the first invoice of a cycle."""
    for row in told.documents:
        head = told.heads[row.number]
        known = told.loads[head.pinned_load]
        is_credit = row.kind is DocumentKind.CREDIT_NOTE
        is_correction = is_credit or head.revision > 1
        same: dict[str, Any] = {
            "payer": known.payer(row.team_id, row.customer_id),
            "period": _period(told, row, is_correction),
            "currency": row.currency,
            "number": row.number,
            "about": row.about,
            "is_correction": is_correction,
        }
        for line in told.lines.get(row.number, ()):
            yield line_charge(
                _billed(line, known.metered(line.api, to_us(row.cycle_end)), row.currency),
                subscription_id=row.subscription_id,
                is_credit=is_credit,
                consumed_micro=None if is_correction else shares.lines.get((row.number, line.line_no), 0),
                **same,
            )
        treatment = row.tax_treatment
        yield tax_charge(tax_category=treatment.category.value, tax_percent=treatment.percent, tax=row.tax, **same)


def _billed(line: Any, metered: Metered, currency: str) -> BilledLine:
    return BilledLine(
        line_no=line.line_no,
        metered=metered,
        charged_units=line.charged_units,
        unit_price=decimal_of_micro(line.unit_price_micro),
        net=from_minor(line.net_minor, currency),
        by_amount=bool(line.by_amount),
    )


def _period(told: _Told, row: Registered, is_correction: bool) -> Period:
    """A correction is of the cycle, and told in the seller's month in which it was issued."""
    start_us, end_us = to_us(row.cycle_start), to_us(row.cycle_end)
    if not is_correction:
        return Period(start_us=start_us, end_us=end_us, billing_start_us=start_us, billing_end_us=end_us)
    month = Month.of(row.issue_date)
    edges = (month.start_us(told.zone), month.end_us(told.zone))
    return Period(start_us=start_us, end_us=end_us, billing_start_us=edges[0], billing_end_us=edges[1])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Shares:
    """Actual usage of the cycles, in 10^-6, shared out over the rows that tell it: lines by number and line, draws that
    no invoice bills, and what made no unit, by cycle and API.
    """

    lines: Mapping[tuple[str, int], int]
    draws: Sequence[tuple[Any, int]]
    waiting: Sequence[tuple[_CycleKey, str, int]]


def _shares(told: _Told) -> _Shares:
    rows_of: dict[tuple[_CycleKey, str], list[tuple[str, Any]]] = {}
    for row in told.documents:
        if row.kind is DocumentKind.INVOICE and told.heads[row.number].revision == 1:
            for line in told.lines.get(row.number, ()):
                key = ((row.team_id, to_us(row.cycle_start)), line.api)
                rows_of.setdefault(key, []).append((row.number, line))
    for cycle, mine in told.drawn.items():
        for draw in mine:
            rows_of.setdefault((cycle, draw.api), []).append(("", draw))
    usage = {(cycle, api): micro for cycle, by_api in told.usage.items() for api, micro in by_api.items()}
    lines, unbilled, waiting = {}, [], []
    for (cycle, api), micro in usage.items():
        mine_rows = rows_of.get((cycle, api), [])
        if not mine_rows and micro:
            waiting.append((cycle, api, micro))
        parts = shared_out(micro, [one.charged_units for _, one in mine_rows]) if mine_rows else []
        for (number, one), part in zip(mine_rows, parts, strict=True):
            if number:
                lines[number, one.line_no] = part
            else:
                unbilled.append((one, part))
    return _Shares(lines=lines, draws=unbilled, waiting=waiting)


def _of_usage(told: _Told, shares: _Shares) -> Iterator[Charge | None]:
    """What no invoice bills: units in the free tier, of tokens, of nothing; usage that made no unit yet; and tokens
    that expired in a cycle. None for usage that is left out, as no currency of its team is known.
    """
    before = _used_before(told)
    for draw, micro in shares.draws:
        cycle = told.cycles[draw.team_id, draw.cycle_start_us]
        known, same = _of_team(told, cycle)
        currency = _currency(told, known, cycle)
        metered = known.metered(draw.api, cycle.cycle_end_us)
        units: dict[str, Any] = {"charged_units": int(draw.charged_units), "consumed_micro": micro}
        if draw.source in _TOKEN_KINDS:
            grant = told.grant(draw.grant_id, known, currency)
            if not grant.currency:
                yield None
                continue
            used = before[draw.grant_id, draw.cycle_start_us, draw.api]
            tokens: dict[str, Any] = {"tokens_micro": int(draw.tokens_micro), "used_before_micro": used}
            yield token_charge(metered, grant, **same, **units, **tokens)
        elif currency:
            owner = draw.subscription_id
            yield free_charge(metered, currency=currency, source=draw.source, subscription_id=owner, **same, **units)
        else:
            yield None
    yield from _waiting(told, shares)
    yield from _expired(told)


def _waiting(told: _Told, shares: _Shares) -> Iterator[Charge | None]:
    for key, api, micro in shares.waiting:
        cycle = told.cycles[key]
        known, same = _of_team(told, cycle)
        currency = _currency(told, known, cycle)
        if not currency:
            yield None
            continue
        yield free_charge(
            known.metered(api, cycle.cycle_end_us),
            currency=currency,
            source="",
            subscription_id=cycle.payg_subscription_id,
            charged_units=0,
            consumed_micro=micro,
            **same,
        )


def _expired(told: _Told) -> Iterator[Charge]:
    """Tokens of grants that came to their end in a cycle, by its end."""
    by_team = _grouped(told.cycles.values(), lambda row: row.team_id)
    for grant_id, sold in told.now.grants.items():
        for cycle in by_team.get(sold.team_id, ()):
            if not cycle.cycle_start_us < sold.ended_at_us <= cycle.cycle_end_us:
                continue
            known, same = _of_team(told, cycle)
            through = [one for one in told.used.get(grant_id, ()) if one.cycle_start_us <= cycle.cycle_start_us]
            used_micro = sum(int(one.tokens_micro) for one in through)
            grant = told.grant(grant_id, known, _currency(told, known, cycle))
            if used_micro < sold.granted_micro and grant.currency:
                yield unused_charge(grant, used_micro=used_micro, **same)


def _purchases(told: _Told) -> Iterator[Charge]:
    """Grants that were sold in these days to a team, for an amount that is known: charged for all of their term."""
    first, last = told.days
    for grant_id, sold in told.now.grants.items():
        day = local_date(told.zone, sold.sold_at_us)
        if sold.amount is None or not sold.team_id or not first <= day <= last:
            continue
        month = Month.of(day)
        yield purchase_charge(
            told.grant(grant_id, told.now, sold.currency),
            payer=told.now.payer(sold.team_id),
            period=Period(
                start_us=sold.sold_at_us,
                end_us=sold.ended_at_us,
                billing_start_us=month.start_us(told.zone),
                billing_end_us=month.end_us(told.zone),
            ),
        )


def _of_team(told: _Told, cycle: Any) -> tuple[_Known, dict[str, Any]]:
    """What was known at a cycle's close, and whom and when its charges are of."""
    known = told.loads[cycle.pinned_load]
    edges = {"start_us": cycle.cycle_start_us, "end_us": cycle.cycle_end_us}
    period = Period(**edges, billing_start_us=cycle.cycle_start_us, billing_end_us=cycle.cycle_end_us)
    return known, {"payer": known.payer(cycle.team_id), "period": period}


def _used_before(told: _Told) -> dict[tuple[str, int, str], int]:
    """By grant, cycle and API: what was used of the grant before, in 10^-6."""
    before: dict[tuple[str, int, str], int] = {}
    for grant_id, mine in told.used.items():
        done = 0
        for one in mine:
            before[grant_id, one.cycle_start_us, one.api] = done
            done += int(one.tokens_micro)
    return before


def _currency(told: _Told, known: _Known, cycle: Any) -> str:
    """The currency in which a team is told what costs nothing: of its pay as you go, else of its tokens, else that of
    the seller's VAT, else the first of the price list; blank where there is none.
    """
    held = known.currencies.get(cycle.team_id, {})
    paying = held.get(cycle.payg_subscription_id) or next(iter(held.values()), "")
    listed = known.reference["unit_prices"]["currency"]
    return paying or known.parties.seller.vat_currency or min(listed, default="")
