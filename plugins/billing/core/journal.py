"""The journal of a month: double entries of what was issued, earned and paid, balanced entry by entry and currency.

Amounts are debits above 0 and credits below 0, with the currency's minor digits. An entry's id is made from what it is
about, so that the same fact has the same id in every export. Nothing here is kept in the books: it is a view of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from hashlib import sha256

from billing.core.accounts import Accounts
from billing.core.accrual import AccruedLine
from billing.core.errors import Finding
from billing.core.payments import MANUAL, EventKind
from billing.core.quantity import minor_digits, signed, total
from billing.core.token_movements import MoneyMovement, SoldGrant

_ID_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Posting:
    """An amount in an account: above 0 a debit, below 0 a credit."""

    account: str
    amount: Decimal
    currency: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is booked at once. ``entry_id`` stays; ``document`` is the invoice or credit note that it is about (blank:
    none), ``about`` further facts by name (team, cycle, reference ...), in order.
    """

    entry_id: str
    date: date
    payee: str
    narration: str
    document: str
    about: tuple[tuple[str, str], ...]
    postings: tuple[Posting, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """An invoice, or a credit note whose amounts are what it gives back. ``lines`` are net by API, in order."""

    number: str
    is_credit: bool
    invoice_number: str
    day: date
    customer_id: str
    customer: str
    country: str
    team_id: str
    subscription_id: str
    cycle_start: str
    currency: str
    lines: tuple[tuple[str, Decimal], ...]
    tax: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Payment:
    """An event of an invoice's money, booked on ``day``."""

    number: str
    kind: EventKind
    amount: Decimal
    currency: str
    gateway: str
    reference: str
    day: date
    happened_at: str
    customer_id: str
    customer: str


Balances = Mapping[tuple[str, str], Decimal]
"""By account and currency; those of 0 are in it where something was booked there."""


def entry_id(kind: str, *parts: str) -> str:
    """An id for what has none of its own, whatever its parts hold."""
    text = json.dumps(parts, ensure_ascii=True, separators=(",", ":"))
    return f"{kind}:{sha256(text.encode()).hexdigest()[:_ID_DIGITS]}"


def document_entry(document: Document, accounts: Accounts) -> Entry:
    """Receivable against revenue per API and VAT; a credit note the other way round."""
    sign = -1 if document.is_credit else 1

    def posting(role: str, amount: Decimal, **ids: str) -> Posting:
        return Posting(account=accounts.of(role, **ids), amount=signed(sign, amount), currency=document.currency)

    postings = [posting("receivable", document.total, customer=document.customer_id)]
    for api, net in _summed(document.lines, document.currency).items():
        postings.append(posting("usage", signed(-1, net), api=api, country=document.country))
    if document.tax:
        postings.append(posting("vat", signed(-1, document.tax), country=document.country))
    kind = "credit-note" if document.is_credit else "invoice"
    said = f"Credit note {document.number} for {document.invoice_number}" if document.is_credit else ""
    return Entry(
        entry_id=f"{kind}:{document.number}",
        date=document.day,
        payee=document.customer,
        narration=said or f"Invoice {document.number}",
        document=document.number,
        about=(
            *((("invoice", document.invoice_number),) if document.is_credit else ()),
            ("customer", document.customer_id),
            ("team", document.team_id),
            ("subscription", document.subscription_id),
            ("cycle", document.cycle_start),
        ),
        postings=tuple(postings),
    )


_WAYS: Mapping[EventKind, tuple[int, str]] = {
    EventKind.RECEIVED: (-1, "Payment of"),
    EventKind.REFUNDED: (1, "Refund of"),
    EventKind.REFUND_FAILED: (-1, "Refund came back:"),
    EventKind.DISPUTED: (1, "Disputed:"),
    EventKind.DISPUTE_WON: (-1, "Dispute won:"),
    EventKind.WRITTEN_OFF: (-1, "Written off:"),
}
"""Which way the receivable goes; what is not here moves no money."""


def payment_entry(payment: Payment, accounts: Accounts) -> Entry | None:
    """Money against the receivable; None for what moves none (a declined attempt, a dispute that was lost)."""
    if payment.kind not in _WAYS:
        return None
    way, said = _WAYS[payment.kind]
    if payment.kind is EventKind.WRITTEN_OFF:
        other = accounts.of("bad_debt", customer=payment.customer_id)
    elif payment.gateway == MANUAL:
        other = accounts.of("bank")
    else:
        other = accounts.of("gateway", gateway=payment.gateway)
    amount = signed(way, payment.amount)
    return Entry(
        entry_id=entry_id("payment", payment.number, payment.kind.value, payment.gateway, payment.reference),
        date=payment.day,
        payee=payment.customer,
        narration=f"{said} {payment.number}",
        document=payment.number,
        about=(
            ("customer", payment.customer_id),
            ("gateway", payment.gateway),
            ("reference", payment.reference),
            ("happened", payment.happened_at),
        ),
        postings=(
            Posting(
                account=accounts.of("receivable", customer=payment.customer_id),
                amount=amount,
                currency=payment.currency,
            ),
            Posting(account=other, amount=signed(-1, amount), currency=payment.currency),
        ),
    )


def accrual_entries(
    lines: Iterable[AccruedLine], month: str, day: date, countries: Mapping[str, str], accounts: Accounts
) -> list[Entry]:
    """Accrued revenue per team, subscription and currency, per API. ``countries`` by team."""
    groups: dict[tuple[str, str, str], list[AccruedLine]] = {}
    for line in lines:
        groups.setdefault((line.team_id, line.subscription_id, line.currency), []).append(line)
    return [_accrual(key, groups[key], month, day, countries.get(key[0], ""), accounts) for key in sorted(groups)]


def _accrual(
    key: tuple[str, str, str], lines: Sequence[AccruedLine], month: str, day: date, country: str, accounts: Accounts
) -> Entry:
    team_id, subscription_id, currency = key
    by_api = _summed([(line.api, line.net) for line in lines], currency)
    whole = total(by_api.values(), minor_digits(currency))
    earned = [
        Posting(account=accounts.of("usage", api=api, country=country), amount=signed(-1, net), currency=currency)
        for api, net in by_api.items()
    ]
    return Entry(
        entry_id=entry_id(f"accrual:{month}", *key),
        date=day,
        payee="",
        narration=f"Accrued revenue of {month}",
        document="",
        about=(("team", team_id), ("subscription", subscription_id)),
        postings=(Posting(account=accounts.of("accrued"), amount=whole, currency=currency), *earned),
    )


def reversed_entry(accrual: Entry, day: date) -> Entry:
    """An accrual taken back, in the accounts in which it was booked."""
    return Entry(
        entry_id=accrual.entry_id.replace("accrual:", "reversal:", 1),
        date=day,
        payee=accrual.payee,
        narration=f"Reversed: {accrual.narration}",
        document="",
        about=accrual.about,
        postings=tuple(
            Posting(account=one.account, amount=signed(-1, one.amount), currency=one.currency)
            for one in accrual.postings
        ),
    )


def token_entries(
    grant: SoldGrant,
    amounts: MoneyMovement,
    booked: Decimal | None,
    sold_day: date,
    month: str,
    first_day: date,
    last_day: date,
    accounts: Accounts,
    *,
    is_known: bool,
) -> list[Entry]:
    """What a month did to a grant's money. ``booked`` is what an earlier journal left deferred of it: None where there
    is none that stays; ``is_known``: that journal had its sale, also where all of it was used since. What is known of
    earlier months only now is booked on the month's first day.
    """
    currency, kind = grant.currency, grant.kind.value
    deferred = accounts.of("deferred_tokens", kind=kind)
    roles = {role: accounts.of(role, kind=kind) for role in ("tokens_sold", "tokens", "breakage")}
    moves: list[tuple[str, date, str, list[tuple[str, Decimal]]]] = []
    if amounts.sold:
        moves.append(("sold", sold_day, "Tokens sold", [(roles["tokens_sold"], amounts.sold)]))
    elif booked is not None and booked != amounts.opening:
        moves.append(("late", first_day, "Tokens: known later", _late(grant, amounts, booked, roles, is_known)))
    if amounts.recognised:
        moves.append(("used", last_day, "Tokens used", [(roles["tokens"], signed(-1, amounts.recognised))]))
    if amounts.breakage:
        moves.append(("expired", last_day, "Tokens expired", [(roles["breakage"], signed(-1, amounts.breakage))]))
    return [_token_entry(grant, move, month, deferred, currency) for move in moves]


def _late(
    grant: SoldGrant, amounts: MoneyMovement, booked: Decimal, roles: Mapping[str, str], is_known: bool
) -> list[tuple[str, Decimal]]:
    """What an earlier month would have booked had it known: a sale that was entered later, or usage that came later."""
    digits = minor_digits(grant.currency)
    if is_known or booked or grant.amount is None:
        return [(roles["tokens"], total((amounts.opening, signed(-1, booked)), digits))]
    used = total((amounts.opening, signed(-1, grant.amount)), digits)
    return [(roles["tokens_sold"], grant.amount), *([(roles["tokens"], used)] if used else [])]


def _token_entry(
    grant: SoldGrant,
    move: tuple[str, date, str, list[tuple[str, Decimal]]],
    month: str,
    deferred: str,
    currency: str,
) -> Entry:
    what, day, said, others = move
    against = signed(-1, total((amount for _, amount in others), minor_digits(currency)))
    named = entry_id("tokens-sold", grant.grant_id) if what == "sold" else ""
    return Entry(
        entry_id=named or entry_id(f"tokens-{what}:{month}", grant.grant_id),
        date=day,
        payee="",
        narration=said,
        document="",
        about=(
            *((("team", grant.team_id),) if grant.team_id else ()),
            ("subscription", grant.subscription_id),
            ("grant", grant.grant_id),
        ),
        postings=(
            *(Posting(account=account, amount=amount, currency=currency) for account, amount in others),
            Posting(account=deferred, amount=against, currency=currency),
        ),
    )


def forgotten_entry(
    grant_id: str, kind: str, currency: str, booked: Decimal, month: str, day: date, accounts: Accounts
) -> Entry:
    """What an earlier journal left deferred of a grant that is over or gone by now: nothing is owed for it any more."""
    return Entry(
        entry_id=entry_id(f"tokens-late:{month}", grant_id),
        date=day,
        payee="",
        narration="Tokens: known later",
        document="",
        about=(("grant", grant_id),),
        postings=(
            Posting(account=accounts.of("deferred_tokens", kind=kind), amount=booked, currency=currency),
            Posting(account=accounts.of("breakage", kind=kind), amount=signed(-1, booked), currency=currency),
        ),
    )


def booking_day(happened: date, recorded: date, locked_through: date | None) -> date:
    """The day on which an event of the money is booked: when it happened, or when it was recorded where its day was
    locked by then. So nothing comes into a locked month.
    """
    return recorded if locked_through is not None and happened <= locked_through else happened


def in_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """By date, then by id."""
    return tuple(sorted(entries, key=lambda one: (one.date, one.entry_id)))


def moved(opening: Balances, entries: Iterable[Entry]) -> dict[tuple[str, str], Decimal]:
    """Balances after entries, of every account that has an opening or a posting."""
    sums: dict[tuple[str, str], list[Decimal]] = {key: [amount] for key, amount in opening.items()}
    for entry in entries:
        for one in entry.postings:
            sums.setdefault((one.account, one.currency), []).append(one.amount)
    return {key: total(sums[key], minor_digits(key[1])) for key in sorted(sums)}


def is_balanced(entries: Iterable[Entry]) -> list[Finding]:
    """Every entry adds up to 0 in every currency; no id is there twice."""
    found, seen = [], set()
    for entry in entries:
        sums: dict[str, list[Decimal]] = {}
        for one in entry.postings:
            sums.setdefault(one.currency, []).append(one.amount)
        for currency, amounts in sorted(sums.items()):
            left = total(amounts, minor_digits(currency))
            if left:
                found.append(Finding(file=entry.entry_id, message=f"is out of balance by {left} {currency}"))
        if entry.entry_id in seen:
            found.append(Finding(file=entry.entry_id, message="is there twice"))
        seen.add(entry.entry_id)
    return found


def agrees(what: str, booked: Balances, owed: Balances) -> list[Finding]:
    """What the journal says of accounts is what the books say, to the minor unit."""
    return [
        Finding(
            file=f"{what}: {account}",
            message=f"{booked.get((account, currency), Decimal(0))} {currency} by the journal, "
            f"{owed.get((account, currency), Decimal(0))} by the books",
        )
        for account, currency in sorted({*booked, *owed})
        if booked.get((account, currency), Decimal(0)) != owed.get((account, currency), Decimal(0))
    ]


def _summed(lines: Iterable[tuple[str, Decimal]], currency: str) -> dict[str, Decimal]:
    by_api: dict[str, list[Decimal]] = {}
    for api, net in lines:
        by_api.setdefault(api, []).append(net)
    return {api: total(by_api[api], minor_digits(currency)) for api in sorted(by_api)}
