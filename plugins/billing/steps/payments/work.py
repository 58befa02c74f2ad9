"""What a run of collecting works with: gateways, payment methods, rules, the instant; and how it writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from threading import Lock
from typing import Any

from sqlalchemy import ColumnElement, Connection

from billing.core.collecting import CollectingRules
from billing.core.errors import BillingError
from billing.core.instants import day_number, to_us
from billing.core.mail_kinds import MailKind
from billing.core.payments import ChargeState
from billing.outbound.payment_gateway import PaymentGateway
from billing.steps.origin import origin
from billing.steps.payments.methods import Method, Methods
from billing.store import payments
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.mailings import enqueue
from billing.store.payments import Change, Charge, Event
from billing.store.tables import charges, invoices


class Overtaken(BillingError):
    """Somebody else has changed a charge meanwhile: nothing was written, and the next run goes on from there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mail:
    """A mail about payment, to be sent once for its key."""

    key: str
    kind: MailKind
    subject_id: str
    customer_id: str
    payload: Mapping[str, object]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One run. ``told`` collects what a person should read, in any order."""

    home: Home
    gateways: Mapping[str, PaymentGateway]
    methods: Methods
    rules: CollectingRules
    now: datetime
    told: list[str]
    _lock: Lock

    @classmethod
    def at(cls, home: Home, gateways: Mapping[str, PaymentGateway], rules: CollectingRules, now: datetime) -> Work:
        """A run at an instant, with what is known then."""
        methods = Methods.read(home)
        return cls(home=home, gateways=gateways, methods=methods, rules=rules, now=now, told=[], _lock=Lock())

    @property
    def today(self) -> date:
        """The seller's local date."""
        return self.methods.day(self.now)

    def tell(self, what: str) -> None:
        """Something that a person should read."""
        with self._lock:
            self.told.append(what)

    @property
    def uncharged(self) -> list[ColumnElement[bool]]:
        """What invoices meet that are collected here, ask for something, and have no charge."""
        wanted = [payments.without_charge(), invoices.c.total_minor > 0]
        if self.rules.since is not None:
            wanted.append(invoices.c.issue_day >= day_number(self.rules.since))
        return wanted

    def method(self, charge: Charge) -> Method | None:
        """The payment method that a charge is to be taken from now: that of its first invoice's subscription."""
        with self.home.database.read() as connection:
            subscription_of = payments.subscriptions(connection, invoices.c.number == charge.numbers[0])
        return self.methods.of(subscription_of[charge.numbers[0]])

    def write(
        self, change: Change, *, mails: Sequence[Mail] = (), why: str = "", expected: Charge | None = None
    ) -> Any:
        """Write a change with its mails, in one transaction; the charge as it is then.

        Raises ``Overtaken`` where it is not in the state that is ``expected``.
        """
        with self.home.database.exclusive("books") as connection:
            if expected is not None:
                found = payments.read_charges(connection, charges.c.charge_key == expected.charge_key)
                if [(one.state, one.reference, one.attempts) for one in found] != [
                    (expected.state, expected.reference, expected.attempts)
                ]:
                    raise Overtaken(f"{expected.charge_key} was changed by somebody else meanwhile: run again.")
            at, by = datetime.now(UTC), origin()
            charge, _ = payments.write(connection, at, by, change, recorded_at=self.now, why=why)
            self._enqueue(connection, mails)
        return charge

    def remind(self, mails: Sequence[Mail]) -> int:
        """Write mails that tell of nothing that is written with them, in one transaction; how many are new."""
        if not mails:
            return 0
        with self.home.database.exclusive("books") as connection:
            return self._enqueue(connection, mails)

    def _enqueue(self, connection: Connection, mails: Sequence[Mail]) -> int:
        return sum(
            enqueue(
                connection,
                mail.key,
                mail.kind,
                subject_id=mail.subject_id,
                customer_id=mail.customer_id,
                payload=mail.payload,
                due=self.now,
            )
            for mail in mails
        )

    def update(
        self, charge: Charge, *, events: Sequence[Event] = (), mails: Sequence[Mail] = (), **values: Any
    ) -> Charge:
        """Change columns of a charge: states and instants as they are in values."""
        plain = {name: _plain(value) for name, value in values.items()}
        renamed = {_COLUMNS.get(name, name): value for name, value in plain.items()}
        done: Charge = self.write(Change(charge_key=charge.charge_key, values=renamed, events=events), mails=mails)
        return done

    def block(self, charge: Charge, problem: str, detail: str) -> Charge:
        """Say that a charge cannot be attempted as things are; it is looked at again in each run. One that waits for
        the buyer or for finance goes on waiting: what is mended must not make it be attempted.
        """
        self.tell(f"{', '.join(charge.numbers)}: {detail}")
        if charge.state in _THAT_WAIT or (charge.state is ChargeState.DECLINED and charge.next_attempt is None):
            return charge
        if (charge.state, charge.problem, charge.detail) == (ChargeState.BLOCKED, problem, detail):
            return charge
        return self.update(charge, state=ChargeState.BLOCKED, problem=problem, detail=detail)


_THAT_WAIT = (ChargeState.AUTHENTICATION_REQUIRED, ChargeState.UNCOLLECTED, ChargeState.PAID, ChargeState.CANCELLED)
_COLUMNS = {"attempted_at": "attempted_at_us", "next_attempt": "next_attempt_us"}


def _plain(value: object) -> object:
    if isinstance(value, ChargeState):
        return value.value
    return to_us(value) if isinstance(value, datetime) else value


def written(amount_minor: int, currency: str) -> str:
    """An amount as text with the currency's digits."""
    return f"{from_minor(amount_minor, currency):f}"
