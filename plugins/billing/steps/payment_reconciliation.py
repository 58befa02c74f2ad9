"""A gateway's list beside the books, to the cent (rule 6.5): what is only there, only here, or different, each with
what to do. What the gateway knows of our charges and the books did not is recorded and said; nothing else is changed,
but that unconfirmed orphans are cancelled where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from billing.core.collecting import CollectingRules, shared
from billing.core.instants import to_us
from billing.core.payments import ChargeState, EventKind
from billing.outbound.payment_gateway import (
    GatewayCharge,
    GatewayDispute,
    GatewayRefund,
    GatewayRefused,
    GatewayState,
    PaymentGateway,
)
from billing.steps.collect import LOCK
from billing.steps.payments.answers import record_answer
from billing.steps.payments.by_hand import OVERPAID
from billing.steps.payments.observed import charge_at, take_over_dispute, take_over_refund
from billing.steps.payments.work import Work, written
from billing.store import payments
from billing.store.home import Home
from billing.store.payments import Charge, Event
from billing.store.tables import charges, invoices, payment_events

_ENDED = (GatewayState.SUCCEEDED, GatewayState.CANCELLED, GatewayState.PROCESSING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """What is not the same there and here. ``numbers`` are invoices, blank where it is about none of ours."""

    gateway: str
    what: str
    numbers: str
    reference: str
    here: str
    there: str
    to_do: str

    def __str__(self) -> str:
        both = f"here {self.here or 'nothing'}, at {self.gateway} {self.there or 'nothing'}"
        return f"{self.what} {self.numbers} {self.reference}: {both}; {self.to_do}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconciled:
    """What was compared. ``received``: by gateway and currency what the books and the gateway say of our charges, as
    texts. ``recorded``: what the books learned.
    """

    begin: datetime
    end: datetime
    charges: int
    refunds: int
    disputes: int
    received: Mapping[tuple[str, str], tuple[str, str]]
    recorded: tuple[str, ...]
    differences: tuple[Difference, ...]


@dataclass(kw_only=True, slots=True)
class _Comparison:
    """One gateway's comparison, as it goes on."""

    work: Work
    name: str
    gateway: PaymentGateway
    begin: datetime
    end: datetime
    cancel_orphans: bool
    charges: int = 0
    refunds: int = 0
    disputes: int = 0
    recorded: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    received: dict[str, tuple[int, int]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def differs(self, what: str, numbers: Iterable[str], reference: str, here: str, there: str, to_do: str) -> None:
        self.differences.append(
            Difference(
                gateway=self.name,
                what=what,
                numbers=" ".join(numbers),
                reference=reference,
                here=here,
                there=there,
                to_do=to_do,
            )
        )


def reconcile(
    home: Home,
    gateways: Mapping[str, PaymentGateway],
    rules: CollectingRules,
    now: datetime,
    *,
    begin: datetime,
    end: datetime,
    cancel_orphans: bool = False,
) -> Reconciled:
    """Compare what the gateways say of [begin, end) with the books. Raises what a gateway that cannot be asked raises:
    half a comparison is none.
    """
    work = Work.at(home, gateways, rules, now)
    done = []
    with home.database.holding(LOCK):
        for name, gateway in sorted(gateways.items()):
            one = _Comparison(
                work=work, name=name, gateway=gateway, begin=begin, end=end, cancel_orphans=cancel_orphans
            )
            _compare_charges(one)
            _compare_refunds(one)
            _compare_disputes(one)
            _demand_paid_once(one)
            done.append(one)
    return Reconciled(
        begin=begin,
        end=end,
        charges=sum(one.charges for one in done),
        refunds=sum(one.refunds for one in done),
        disputes=sum(one.disputes for one in done),
        received={
            (one.name, currency): (written(here, currency), written(there, currency))
            for one in done
            for currency, (here, there) in sorted(one.received.items())
        },
        recorded=tuple(said for one in done for said in one.recorded),
        differences=tuple(difference for one in done for difference in one.differences),
    )


def _compare_charges(one: _Comparison) -> None:
    seen = set()
    for there in one.gateway.charges_between(one.begin, one.end):
        seen.add(there.reference)
        one.charges += 1
        ours = charge_at(one.work, one.name, there.reference)
        if ours is None:
            _only_there(one, there)
        else:
            _compare(one, ours, there)
    for ours in _ours(one):
        if ours.reference not in seen:
            _look_up(one, ours)


def _ours(one: _Comparison) -> list[Charge]:
    """Our charges of the period that the gateway should have; the clocks may differ by a day."""
    begin, end = to_us(one.begin), to_us(one.end)
    mine = charges.c.gateway == one.name, charges.c.reference != ""
    with one.work.home.database.read() as connection:
        period = charges.c.opened_at_us >= begin, charges.c.opened_at_us < end
        return payments.read_charges(connection, *mine, *period)


def _look_up(one: _Comparison, ours: Charge) -> None:
    try:
        there = one.gateway.charge(ours.reference)
    except GatewayRefused as refusal:
        here = f"{ours.state.value} {written(ours.amount_minor, ours.currency)} {ours.currency}"
        to_do = "see that the key is of the account that it was charged in; ask the gateway"
        one.differs("charge only here", ours.numbers, ours.reference, here, refusal.code, to_do)
        return
    _compare(one, ours, there)


def _compare(one: _Comparison, ours: Charge, there: GatewayCharge) -> None:
    one.touched |= set(ours.numbers)
    if ours.currency != there.currency:
        to_do = "correct it at the gateway: an invoice is paid in its own currency"
        one.differs("other currency", ours.numbers, there.reference, ours.currency, there.currency, to_do)
        return
    before = _received_here(one, ours)
    after = record_answer(one.work, ours, there)
    if after != ours or _received_here(one, after) != before:
        one.recorded.append(f"{', '.join(ours.numbers)}: {ours.state.value} is now {after.state.value}")
    here = _received_here(one, after)
    ours_sum, their_sum = one.received.get(ours.currency, (0, 0))
    one.received[ours.currency] = ours_sum + here, their_sum + there.received_minor
    if here != there.received_minor:
        in_books, said = (written(minor, ours.currency) for minor in (here, there.received_minor))
        to_do = "nothing was changed: compare the charge's history at the gateway with `billing payments show`"
        one.differs("other amount", ours.numbers, there.reference, in_books, said, to_do)
    _compare_states(one, after, there)


def _compare_states(one: _Comparison, ours: Charge, there: GatewayCharge) -> None:
    is_paid = ours.state is ChargeState.PAID, there.state is GatewayState.SUCCEEDED
    is_cancelled_here = ours.state is ChargeState.CANCELLED and there.state not in _ENDED
    if is_paid[0] != is_paid[1] or is_cancelled_here:
        to_do = "see what was done at the gateway, and `billing payments show`"
        one.differs("other state", ours.numbers, there.reference, ours.state.value, there.state.value, to_do)


def _received_here(one: _Comparison, charge: Charge) -> int:
    with one.work.home.database.read() as connection:
        return sum(event.amount_minor for event in payments.received_of(connection, charge))


def _only_there(one: _Comparison, there: GatewayCharge) -> None:
    numbers = _known(one, there)
    said = f"{there.state.value} {written(there.amount_minor, there.currency)} {there.currency}"
    if not there.key or not numbers:
        if there.received_minor and not one.work.rules.ignore_foreign_charges:
            to_do = "it is not ours: where others use the account too, set ignore_foreign_charges"
            one.differs("foreign charge", (), there.reference, "", said, to_do)
        return
    one.touched |= set(numbers)
    if there.received_minor:
        _record_money(one, there, numbers)
    elif there.state is GatewayState.PROCESSING:
        one.differs("charge only there", numbers, there.reference, "", said, "it is being paid: reconcile again")
    elif there.state is not GatewayState.CANCELLED:
        _orphan(one, there, numbers, said)


def _known(one: _Comparison, there: GatewayCharge) -> list[str]:
    """The invoices of a charge that is under one of our keys."""
    named = there.numbers or (there.key.partition("/")[0],)
    with one.work.home.database.read() as connection:
        return [account.number for account in payments.accounts(connection, invoices.c.number.in_(named))]


def _orphan(one: _Comparison, there: GatewayCharge, numbers: list[str], said: str) -> None:
    """Opened before a kill and never stored: it was never confirmed, and nobody will."""
    if one.cancel_orphans:
        one.gateway.cancel(there.reference)
        one.recorded.append(f"{' '.join(numbers)}: the orphan {there.reference} was cancelled at {one.name}")
        return
    to_do = "it takes nothing; `billing payments reconcile --cancel-orphans` cancels it"
    one.differs("orphan", numbers, there.reference, "", said, to_do)


def _record_money(one: _Comparison, there: GatewayCharge, numbers: list[str]) -> None:
    """Money that came by a charge under our key that the books do not have: a restored database, or two homes."""
    with one.work.home.database.read() as connection:
        found = payments.accounts(connection, invoices.c.number.in_(numbers))
    shares = shared(there.received_minor, [(account.number, account.total_minor) for account in found])
    events = []
    for account in found:
        share = shares.get(account.number, 0)
        beyond = share > account.standing.outstanding_minor
        detail = f"{OVERPAID}: taken by another charge" if beyond else "taken by a charge that was not in the books"
        is_new = not any(event.reference == there.reference for event in account.events)
        if share and is_new:
            events.append(
                Event(
                    number=account.number,
                    kind=EventKind.RECEIVED,
                    amount_minor=share,
                    gateway=one.name,
                    reference=there.reference,
                    at=there.settled_at or there.opened_at,
                    detail=detail,
                )
            )
    if events:
        one.work.write(payments.Change(events=events))
        amount = written(there.received_minor, there.currency)
        one.recorded.append(f"{' '.join(numbers)}: {amount} {there.currency} received by {there.reference}")


def _compare_refunds(one: _Comparison) -> None:
    theirs: dict[str, GatewayRefund] = {}
    for refund in one.gateway.refunds_between(one.begin, one.end):
        theirs[refund.reference] = refund
        if charge_at(one.work, one.name, refund.charge_reference) is None:
            continue
        one.refunds += 1
        new = take_over_refund(one.work, one.name, refund)
        one.recorded += [f"{event.number}: {event.kind.value} {refund.reference}" for event in new]
    _compare_sums(one, EventKind.REFUNDED, "refund", theirs, "compare it with the credit note")


def _compare_disputes(one: _Comparison) -> None:
    theirs: dict[str, GatewayDispute] = {}
    for dispute in one.gateway.disputes_between(one.begin, one.end):
        theirs[dispute.reference] = dispute
        charge = charge_at(one.work, one.name, dispute.charge_reference)
        if charge is None:
            continue
        one.disputes += 1
        new = take_over_dispute(one.work, charge, dispute)
        one.recorded += [f"{event.number}: {event.kind.value} {dispute.reference}" for event in new]
    _compare_sums(one, EventKind.DISPUTED, "dispute", theirs, "see what was decided at the gateway")


def _compare_sums(
    one: _Comparison, kind: EventKind, what: str, theirs: Mapping[str, GatewayRefund | GatewayDispute], to_do: str
) -> None:
    """Name what the books have of one kind in the period and the gateway has not, or with another amount."""
    for reference, (numbers, minor, currency) in _sums(one, kind).items():
        found = theirs.get(reference)
        here = f"{written(minor, currency)} {currency}"
        if found is None:
            one.differs(f"{what} only here", numbers, reference, here, "", "ask the gateway what became of it")
        elif found.amount_minor != minor:
            there = f"{written(found.amount_minor, found.currency)} {found.currency}"
            one.differs(f"other {what}", numbers, reference, here, there, to_do)


def _sums(one: _Comparison, kind: EventKind) -> dict[str, tuple[list[str], int, str]]:
    """By the gateway's reference what the books have of one kind in the period: invoices, sum, currency."""
    begin, end = to_us(one.begin), to_us(one.end)
    period = payment_events.c.at_us >= begin, payment_events.c.at_us < end
    with one.work.home.database.read() as connection:
        found = payments.events_at(connection, one.name, payment_events.c.kind == kind.value, *period)
        numbers = sorted({event.number for event in found})
        currency = {
            account.number: account.currency
            for account in payments.accounts(connection, invoices.c.number.in_(numbers))
        }
    sums: dict[str, tuple[list[str], int, str]] = {}
    for event in found:
        names, minor, _ = sums.get(event.reference, ([], 0, ""))
        sums[event.reference] = [*names, event.number], minor + event.amount_minor, currency[event.number]
    return sums


def _demand_paid_once(one: _Comparison) -> None:
    """Name invoices of which more came than they ask for."""
    with one.work.home.database.read() as connection:
        found = payments.accounts(connection, invoices.c.number.in_(sorted(one.touched)))
    for account in found:
        money = account.money
        if money.received - money.refunded > account.total_minor:
            here = f"{written(money.received - money.refunded, account.currency)} {account.currency}"
            there = " ".join(event.reference for event in account.events if event.kind is EventKind.RECEIVED)
            to_do = f"give back what is too much, and record it: billing payments refunded {account.number}"
            total = f"total {written(account.total_minor, account.currency)}"
            one.differs("paid twice", [account.number], there, here, total, to_do)


DEFAULT_PERIOD = timedelta(days=60)
"""How far a reconciliation looks back where nothing else is asked for: longer than most disputes take to be opened."""
