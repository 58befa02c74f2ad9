"""What buyers are told of their payments: each mail is written into the outbox with what it tells of, once for its key.

Amounts are texts with the currency's digits, dates ``YYYY-MM-DD``; of a payment method brand and last four digits.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from billing.core.collecting import InvoiceState, last_day
from billing.core.mail_kinds import MailKind
from billing.outbound.payment_gateway import GatewayCharge
from billing.steps.payments.methods import Method
from billing.steps.payments.work import Mail, Work, written
from billing.store import payments
from billing.store.payments import Account, Charge


def declined(work: Work, charge: Charge, there: GatewayCharge, attempt: int, due: datetime | None) -> Mail:
    """An attempt was refused; ``next_attempt`` is blank where none is made by itself."""
    about = {"reason": there.problem, "attempt": attempt, "method": _method(work, charge)}
    about["next_attempt"] = "" if due is None else work.methods.day(due).isoformat()
    key = f"payment_declined/{charge.charge_key}/{there.attempt_reference or attempt}"
    return _mail(key, MailKind.PAYMENT_DECLINED, charge, about)


def expired(charge: Charge, method: Method) -> Mail:
    """The card can no longer be used: it was not even tried (attempt 0)."""
    about = {"reason": "expired_card", "attempt": 0, "method": method.shown, "next_attempt": ""}
    key = f"payment_declined/{charge.charge_key}/expired/{method.payment_method_id}/{method.expires}"
    return _mail(key, MailKind.PAYMENT_DECLINED, charge, about)


def authentication_required(work: Work, charge: Charge, there: GatewayCharge) -> Mail:
    """The buyer must confirm the payment at its bank."""
    key = f"authentication_required/{charge.charge_key}/{there.attempt_reference or charge.attempts + 1}"
    return _mail(key, MailKind.AUTHENTICATION_REQUIRED, charge, {"method": _method(work, charge)})


def final_notice(work: Work, charge: Charge, attempts: int) -> Mail:
    """The schedule of retries is used up."""
    key = f"payment_final_notice/{charge.charge_key}/{attempts}"
    return _mail(key, MailKind.PAYMENT_FINAL_NOTICE, charge, {"attempts": attempts})


def remind_of_transfers(work: Work) -> int:
    """Ask for bank transfers that are overdue: of the days that are set up the last one that was reached, once each;
    how many invoices were asked for.
    """
    with work.home.database.read() as connection:
        open_ = payments.accounts(connection, *work.uncharged)
    mails = []
    for account in open_:
        days = (work.today - account.due).days
        reached = [day for day in work.rules.overdue_mail_days if day <= days]
        is_due = account.standing.state(work.today) is InvoiceState.OVERDUE and not _is_charged(work, account)
        if reached and is_due:
            mails.append(_overdue(account, reached[-1], days))
    return work.remind(mails)


def warn_of_expiry(work: Work) -> int:
    """Tell the owners of cards that end soon and that an active subscription pays by; how many were told."""
    mails = []
    for payment_method_id, subscriptions in work.methods.in_use(work.now).items():
        method = work.methods.named(payment_method_id)
        month = method.last_month if method else None
        if method is None or month is None:
            continue
        first = last_day(month) - timedelta(days=work.rules.warn_expiry_days)
        if first <= work.today <= last_day(month):
            mails.append(_expiring(method, month, subscriptions))
    return work.remind(mails)


def _is_charged(work: Work, account: Account) -> bool:
    """Whether a charge is going to be opened for it."""
    return work.methods.of(account.subscription_id) is not None


def _overdue(account: Account, stage: int, days: int) -> Mail:
    outstanding = written(account.standing.outstanding_minor, account.currency)
    about = {"number": account.number, "amount": outstanding, "currency": account.currency}
    return Mail(
        key=f"payment_overdue/{account.number}/{stage}",
        kind=MailKind.PAYMENT_OVERDUE,
        subject_id=account.number,
        customer_id=account.customer_id,
        payload={**about, "due_date": account.due.isoformat(), "days": days},
    )


def _expiring(method: Method, month: tuple[int, int], subscriptions: list[str]) -> Mail:
    expires = f"{month[0]}-{month[1]:02}"
    about = {"payment_method_id": method.payment_method_id, "method": method.shown, "expires": expires}
    return Mail(
        key=f"card_expiring/{method.payment_method_id}/{expires}",
        kind=MailKind.CARD_EXPIRING,
        subject_id=method.payment_method_id,
        customer_id=method.customer_id,
        payload={**about, "subscriptions": subscriptions},
    )


def _mail(key: str, kind: MailKind, charge: Charge, about: dict[str, object]) -> Mail:
    amount = {"amount": written(charge.amount_minor, charge.currency), "currency": charge.currency}
    return Mail(
        key=key,
        kind=kind,
        subject_id=charge.charge_key,
        customer_id=charge.customer_id,
        payload={"number": charge.charge_key, "numbers": list(charge.numbers), **amount, **about},
    )


def _method(work: Work, charge: Charge) -> str:
    method = work.methods.named(charge.payment_method_id)
    return method.shown if method else charge.payment_method_id
