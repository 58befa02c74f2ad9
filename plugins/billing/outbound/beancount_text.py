"""A month's journal as beancount: its transactions with balance assertions, and a ledger that includes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from decimal import Decimal

from billing.core.accounts import component
from billing.core.journal import Balances, Entry, Posting

# A link of beancount: what else is in a number is written as its mark.
_LINK = re.compile(r"[A-Za-z0-9\-_/.]+")
_LINE_MAX = 400


def transactions(title: str, entries: Sequence[Entry], opening: Balances, closing: Balances, end: date) -> str:
    """The entries of a month, and what its accounts hold at its beginning and at ``end``, the first day after it: an
    assertion of beancount is of the beginning of a day.
    """
    first = entries[0].date.replace(day=1) if entries else (end - timedelta(days=1)).replace(day=1)
    blocks = [f";; {title}", *_assertions(opening, first)]
    blocks += [_transaction(entry) for entry in entries]
    blocks += _assertions(closing, end)
    return "\n\n".join(blocks) + "\n"


def ledger(title: str, included: str, accounts: Iterable[str], opening: Balances, first: date, equity: str) -> str:
    """Accounts opened, what they held before the month, and the month's file: what ``bean-check`` reads by itself."""
    before = first - timedelta(days=1)
    lines = [f'option "title" {_quoted(title)}', ""]
    lines += [f"{before} open {account}" for account in sorted({*accounts, equity})]
    held = [(account, currency, amount) for (account, currency), amount in sorted(opening.items()) if amount]
    if held:
        lines += ["", f'{before} * "Balances before {first}"', '  id: "opening"']
        for account, currency, amount in held:
            lines += [_posting(Posting(account=account, amount=amount, currency=currency))]
            lines += [_posting(Posting(account=equity, amount=amount.copy_negate(), currency=currency))]
    return "\n".join([*lines, "", f"include {_quoted(included)}", ""])


def _assertions(balances: Balances, day: date) -> list[str]:
    lines = [
        f"{day} balance {account}  {_exact(amount)} {currency}" for (account, currency), amount in balances.items()
    ]
    return ["\n".join(lines)] if lines else []


def _exact(amount: Decimal) -> str:
    """An amount with no tolerance: the last digit counts."""
    return f"{amount:f} ~ 0"


def _transaction(entry: Entry) -> str:
    payee = f"{_quoted(entry.payee)} " if entry.payee else ""
    link = f" ^{_link(entry.document)}" if entry.document else ""
    return "\n".join([f"{entry.date} * {payee}{_quoted(entry.narration)}{link}", *_body(entry)])


def _body(entry: Entry) -> Iterator[str]:
    yield f"  id: {_quoted(entry.entry_id)}"
    if entry.document:
        yield f"  document: {_quoted(entry.document)}"
    for name, text in entry.about:
        yield f"  {name}: {_quoted(text)}"
    for one in entry.postings:
        yield _posting(one)


def _posting(one: Posting) -> str:
    return f"  {one.account}  {one.amount:f} {one.currency}"


def _link(number: str) -> str:
    return number if _LINK.fullmatch(number) else component(number)


def _quoted(text: str) -> str:
    """A text of beancount on one line: quotes and backslashes escaped, what cannot be seen a blank."""
    seen = "".join(one if one.isprintable() else " " for one in text)[:_LINE_MAX]
    return '"' + seen.replace("\\", "\\\\").replace('"', '\\"') + '"'
