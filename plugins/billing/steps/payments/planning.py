"""Which charges there are, and of how much: opened for new invoices, made smaller by credit notes and transfers, put
together where they are too small for the gateway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from billing.core.collecting import Waiting, joined
from billing.core.payments import ChargeState
from billing.steps import commit_points
from billing.steps.origin import origin
from billing.steps.payments.methods import Method
from billing.steps.payments.work import Work, written
from billing.store import payments
from billing.store.invoices import stands
from billing.store.payments import Account, Change, Charge

_Group = tuple[str, ...]
_UNTOUCHED = (ChargeState.PROCESSING, ChargeState.PAID, ChargeState.CANCELLED)


def to_be_charged(work: Work) -> list[tuple[Account, Method]]:
    """Issued invoices that stand, of which something is owed, whose subscription has a stored payment method, and for
    which no charge was opened.
    """
    with work.home.database.read() as connection:
        found = payments.accounts(connection, *work.uncharged, stands())
    methods = [(account, work.methods.of(account.subscription_id)) for account in found]
    return [(account, method) for account, method in methods if method and account.standing.outstanding_minor > 0]


def open_charges(work: Work) -> int:
    """Write a charge for each of them, in one transaction; how many. Nothing is asked of a gateway yet."""
    new = to_be_charged(work)
    if new:
        with work.home.database.exclusive("books") as connection:
            for account, method in new:
                if payments.charge_of(connection, account.number) is None:
                    charge = _charge(account, method, work)
                    payments.open_charge(connection, datetime.now(UTC), origin(), charge)
        commit_points.reached(commit_points.COLLECT_PLANNED)
    return len(new)


def _charge(account: Account, method: Method, work: Work) -> Charge:
    amount = account.standing.outstanding_minor
    return Charge(
        charge_key=account.number,
        customer_id=account.customer_id,
        gateway=method.gateway,
        payment_method_id=method.payment_method_id,
        currency=account.currency,
        amount_minor=amount,
        state=ChargeState.OPEN,
        reference="",
        customer_reference="",
        attempt_reference="",
        attempts=0,
        opened_at=work.now,
        attempted_at=None,
        next_attempt=None,
        problem="",
        detail="",
        method_load=work.methods.load_no,
        parts=((account.number, amount),),
    )


def adjust(work: Work) -> None:
    """Give every charge that is not being paid the amount that is still owed: credit notes and bank transfers that came
    before the money made it smaller. Raises nothing; what is cancelled at the gateway is ``attempts``' work.
    """
    with work.home.database.read() as connection:
        unfinished = payments.read_charges(connection, payments.unfinished())
        found = payments.accounts(connection, payments.unfinished())
    owed = {account.number: max(0, account.standing.outstanding_minor) for account in found}
    for charge in unfinished:
        parts = {number: owed[number] for number in charge.numbers}
        if charge.state not in _UNTOUCHED and parts != dict(charge.parts):
            change = Change(charge_key=charge.charge_key, values={"amount_minor": sum(parts.values())}, parts=parts)
            work.write(change, expected=charge)


def gather(work: Work) -> None:
    """Let charges below their gateway's minimum wait, and put those together that reach it together: of one customer,
    gateway, currency and payment method.
    """
    found = [(charge, method) for charge, method in _that_may_wait(work) if method]
    minimum = _minimums(work, found)
    waiting = [
        Waiting(
            key=charge.charge_key,
            group=_group(charge, method),
            amount_minor=charge.amount_minor,
            is_open_there=bool(charge.reference),
        )
        for charge, method in found
    ]
    by_key = {charge.charge_key: charge for charge, _ in found}
    goes: set[str] = set()
    for key, others in joined(waiting, minimum).items():
        with work.home.database.exclusive("books") as connection:
            others_there = [by_key[other] for other in others]
            payments.join(connection, datetime.now(UTC), origin(), by_key[key], others_there)
        goes |= {key, *others}
    for one in waiting:
        if one.key not in goes:
            _wait_or_not(work, by_key[one.key], minimum[one.group])


def _that_may_wait(work: Work) -> Iterator[tuple[Charge, Method | None]]:
    with work.home.database.read() as connection:
        unfinished = payments.read_charges(connection, payments.unfinished())
        subscription_of = payments.subscriptions(connection, payments.unfinished())
    for charge in unfinished:
        if charge.state in (ChargeState.WAITING, ChargeState.OPEN) and charge.amount_minor and not charge.attempts:
            yield charge, work.methods.of(subscription_of[charge.numbers[0]])


def _wait_or_not(work: Work, charge: Charge, minimum: int) -> None:
    is_small = charge.amount_minor < minimum
    if is_small and charge.state is ChargeState.OPEN:
        least = written(minimum, charge.currency)
        why = f"{charge.gateway} takes {least} {charge.currency} at least: collected with the next invoice"
        work.update(charge, state=ChargeState.WAITING, problem="below_minimum", detail=why)
    elif not is_small and charge.state is ChargeState.WAITING:
        work.update(charge, state=ChargeState.OPEN, problem="", detail="")


def _group(charge: Charge, method: Method) -> _Group:
    return (charge.customer_id, method.gateway, charge.currency, method.payment_method_id)


def _minimums(work: Work, found: Iterable[tuple[Charge, Method]]) -> dict[_Group, int]:
    groups = {_group(charge, method) for charge, method in found}
    return {
        group: work.gateways[group[1]].minimum_minor(group[2]) if group[1] in work.gateways else 0 for group in groups
    }
