"""The journal of a month for accounting: what was issued, earned and paid, in double entry, proven against the books.

A month that is locked has one journal: it is kept when it is first asked for, and given again byte for byte as long as
the lock stands. What is known of it later is booked in the next month. Estimates of a month that is not locked (accrued
revenue of cycles that are open) may still change.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, desc, func, select

from billing.core import checks
from billing.core.accounts import Accounts
from billing.core.accrual import accrued_lines
from billing.core.cycles import local_date
from billing.core.errors import DataRefused, Finding
from billing.core.instants import day_number, format_instant, format_us, from_day
from billing.core.journal import (
    Balances,
    Document,
    Entry,
    Payment,
    Posting,
    accrual_entries,
    agrees,
    booking_day,
    document_entry,
    forgotten_entry,
    in_order,
    is_balanced,
    moved,
    payment_entry,
    reversed_entry,
    token_entries,
)
from billing.core.months import Month
from billing.core.parties import Parties
from billing.core.payments import EventKind, Money
from billing.core.quantity import minor_digits, signed, total
from billing.core.reference import Reference
from billing.core.register import DocumentKind, Registered
from billing.core.token_movements import MoneyMovement, TokenMovement
from billing.outbound.beancount_text import ledger, transactions
from billing.outbound.spreadsheets import Cell, Sheet, csv_bytes
from billing.outbound.whole_files import write_whole
from billing.steps.books_at import Books, books_at
from billing.steps.month_end import demand_over, moved_grants
from billing.steps.reference import reference_at
from billing.steps.register import read_register
from billing.store import log
from billing.store.home import Home
from billing.store.invoices import from_minor, issued_lines
from billing.store.tables import credit_notes, invoices, payment_events, period_locks
from billing.store.tables import log as log_rows

LOG_KIND = "journal"
COLUMNS = (
    "entry",
    "date",
    "posting",
    "account",
    "debit",
    "credit",
    "currency",
    "payee",
    "narration",
    "document",
    "invoice",
    "customer",
    "team",
    "subscription",
    "cycle",
    "gateway",
    "reference",
    "happened",
    "grant",
)
_ABOUT = COLUMNS[10:]


@dataclass(frozen=True, kw_only=True, slots=True)
class Deferred:
    """What is still owed of a grant's money at a month's end."""

    kind: str
    currency: str
    amount: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Journal:
    """A month's entries in order, and what receivables, accrued revenue and deferred tokens hold before and after it.
    ``deferred`` is by grant, ``accruals`` are those that the next month takes back. ``is_kept``: of a locked month.
    ``troubles`` are cycles that could not be rated honestly, in words.
    """

    month: Month
    entries: tuple[Entry, ...]
    opening: Balances
    closing: Balances
    accruals: tuple[str, ...]
    deferred: Mapping[str, Deferred]
    equity: str
    troubles: tuple[str, ...]
    is_kept: bool = False


def journal(home: Home, month: Month, now: datetime, accounts: Accounts) -> Journal:
    """The journal of a month that is over at ``now``.

    Raises ``DataRefused`` where the month is not over, or the one before it is locked without a journal while earlier
    ones have theirs; ``ConservationBroken`` where an entry is out of balance, or opening balances with the month's
    entries are not what the books say at its end.
    """
    with home.database.read() as connection:
        lock_no = _lock_of(connection, month)
        if lock_no is not None and (kept := _kept(home, connection, month, lock_no)) is not None:
            return kept
        made = _made(home, connection, month, now, accounts)
    return made if lock_no is None else _keep(home, made, lock_no, now)


def _keep(home: Home, made: Journal, lock_no: int, now: datetime) -> Journal:
    """Keep the journal of a locked month. The file goes first, under its hash; the log's row makes it the month's."""
    stored = home.documents.put_bytes(log.canonical(_written(made)).encode(), ".json")
    with home.database.exclusive("books") as connection:
        if _lock_of(connection, made.month) != lock_no:
            raise DataRefused(f"{made.month} was opened meanwhile: run this again.")
        found = _kept(home, connection, made.month, lock_no)
        if found is None:
            told = {"month": str(made.month), "lock_no": lock_no, "sha256": stored.sha256, "path": stored.path}
            log.append(connection, now, LOG_KIND, told | {"entries": len(made.entries)})
    return found or replace(made, is_kept=True)


def write_journal(found: Journal, folder: Path) -> list[Path]:
    """Write it as CSV and as beancount; the paths, of which the last is the one that ``bean-check`` reads."""
    name = f"journal-{found.month}"
    title = f"Journal of {found.month}"
    text = transactions(title, found.entries, found.opening, found.closing, found.month.next.first_day)
    booked = {one.account for entry in found.entries for one in entry.postings}
    known = booked | {account for account, _ in (*found.opening, *found.closing)}
    first = found.month.first_day
    whole = ledger(title, f"{name}.beancount", known, found.opening, first, found.equity)
    files = {
        f"{name}.csv": csv_bytes(Sheet(name=title, columns=COLUMNS, rows=tuple(_cells(found)))),
        f"{name}.beancount": text.encode(),
        f"ledger-{found.month}.beancount": whole.encode(),
    }
    for file, content in files.items():
        write_whole(folder / file, content)
    return [folder / file for file in files]


def _cells(found: Journal) -> Iterator[tuple[Cell, ...]]:
    for entry in found.entries:
        about = dict(entry.about)
        rest = (entry.payee, entry.narration, entry.document, *(about.get(name, "") for name in _ABOUT))
        for place, one in enumerate(entry.postings, start=1):
            sides = (one.amount, None) if one.amount >= 0 else (None, one.amount.copy_negate())
            yield (entry.entry_id, entry.date, place, one.account, *sides, one.currency, *rest)


# --- how it is made --------------------------------------------------------------------------------------------------


def _made(home: Home, connection: Connection, month: Month, now: datetime, accounts: Accounts) -> Journal:
    zone = demand_over(home, connection, month, now)
    before = books_at(home, connection, month.start_us(zone))
    books = books_at(home, connection, month.end_us(zone))
    previous = _before(home, connection, month)
    events = list(_events(connection, zone))
    issued = [document_entry(one, accounts) for one in _documents(home, connection, month)]
    paid = [payment_entry(one, accounts) for one in _payments(home, events, month)]
    booked, accruals = _accrued(month, before, books, previous, accounts)
    grants = [(one, money) for one, money in moved_grants(before, books) if money is not None]
    tokens = _tokens(month, zone, grants, previous, accounts)
    taken_back = [reversed_entry(one, month.first_day) for one in booked]
    entries = in_order([*issued, *(one for one in paid if one), *taken_back, *accruals, *tokens])
    deferred = {
        one.grant.grant_id: Deferred(kind=one.grant.kind.value, currency=one.grant.currency, amount=money.deferred)
        for one, money in grants
    }
    opening, closing = (
        _owed(connection, day, events, accounts) | _of_accruals(accrued, accounts) | _of_deferred(left, accounts)
        for day, accrued, left in (
            (month.before.last_day, booked, _opening(grants, previous)),
            (month.last_day, accruals, deferred),
        )
    )
    _demand_proof(month, entries, opening, closing, previous)
    return Journal(
        month=month,
        entries=entries,
        opening=opening,
        closing=_with_opened(closing, opening),
        accruals=tuple(one.entry_id for one in accruals),
        deferred=deferred,
        equity=accounts.of("opening"),
        troubles=tuple(
            f"team {one.team_id}, cycle of {format_us(one.cycle_start_us)}: {one.reason}" for one in books.troubles
        ),
    )


def _demand_proof(
    month: Month, entries: tuple[Entry, ...], opening: Balances, closing: Balances, previous: Journal | None
) -> None:
    """Every entry is in balance, and opening + entries = closing in every account whose balance the books know."""
    known = {account for account, _ in (*opening, *closing)}
    after = {key: amount for key, amount in moved(opening, entries).items() if key[0] in known}
    found: list[Finding] = [*is_balanced(entries), *agrees(str(month), after, closing)]
    if previous is not None:
        _demand_same_accounts(previous, opening)
        found += agrees(f"{month} opens, {previous.month} closed with", previous.closing, opening)
    checks.demand(found)


def _demand_same_accounts(previous: Journal, opening: Balances) -> None:
    """Raise ``DataRefused`` where ``[accounts]`` was changed under balances that go on."""
    now = {account for account, _ in opening}
    gone = sorted({account for (account, _), amount in previous.closing.items() if amount} - now)
    if gone and now:
        raise DataRefused(
            f"[accounts] was changed since the journal of {previous.month} was made, which closed with balances in "
            f"{', '.join(gone)}: give that name again, and rename it in your ledger alone."
        )


def _with_opened(closing: Balances, opening: Balances) -> dict[tuple[str, str], Decimal]:
    """Closing balances, also of 0 where there was an opening."""
    return {key: closing.get(key, total((), minor_digits(key[1]))) for key in sorted({*opening, *closing})}


def _documents(home: Home, connection: Connection, month: Month) -> Iterator[Document]:
    """What was issued in the month, reconciled with the ledger, with net by API."""
    days = (month.first_day, month.last_day)
    lines: dict[str, list[tuple[str, int]]] = {}
    for line in issued_lines(connection, *days):
        lines.setdefault(line.number, []).append((line.api, line.net_minor))
    for row in read_register(home, connection, *days).rows:
        yield _document(row, lines.get(row.number, []))


def _document(row: Registered, lines: list[tuple[str, int]]) -> Document:
    is_credit = row.kind is DocumentKind.CREDIT_NOTE
    sign = -1 if is_credit else 1
    return Document(
        number=row.number,
        is_credit=is_credit,
        invoice_number=row.about if is_credit else row.number,
        day=row.issue_date,
        customer_id=row.customer_id,
        customer=row.customer_name,
        country=row.country,
        team_id=row.team_id,
        subscription_id=row.subscription_id,
        cycle_start=format_instant(row.cycle_start),
        currency=row.currency,
        lines=tuple((api, from_minor(net, row.currency)) for api, net in lines),
        tax=signed(sign, row.tax),
        total=signed(sign, row.total),
    )


def _events(connection: Connection, zone: str) -> Iterator[tuple[date, Any]]:
    """Every event of the money after the day on which it is booked, in the order of the table."""
    locks = [
        (row.at_us, from_day(row.through_day))
        for row in connection.execute(select(period_locks).order_by(period_locks.c.lock_no))
    ]
    columns = (invoices.c.currency, invoices.c.customer_id, invoices.c.pinned_load, invoices.c.issue_day)
    query = select(payment_events, *columns).join(invoices, invoices.c.number == payment_events.c.number)
    for row in connection.execute(query.order_by(payment_events.c.event_no)):
        then = [through for at_us, through in locks if at_us <= row.recorded_at_us]
        issued = from_day(row.issue_day)
        happened, recorded = (max(issued, local_date(zone, us)) for us in (row.at_us, row.recorded_at_us))
        yield booking_day(happened, recorded, then[-1] if then else None), row


def _payments(home: Home, events: list[tuple[date, Any]], month: Month) -> Iterator[Payment]:
    """Those that are booked in the month, with the customer as the invoice names it."""
    parties: dict[int, Parties] = {}
    for day, row in events:
        if Month.of(day) != month:
            continue
        if row.pinned_load not in parties:
            parties[row.pinned_load] = Parties.from_reference(reference_at(home, row.pinned_load))
        yield Payment(
            number=row.number,
            kind=EventKind(row.kind),
            amount=from_minor(row.amount_minor, row.currency),
            currency=row.currency,
            gateway=row.gateway,
            reference=row.reference,
            day=day,
            happened_at=format_us(row.at_us),
            customer_id=row.customer_id,
            customer=parties[row.pinned_load].customer(row.customer_id).legal_name,
        )


def _owed(
    connection: Connection, day: date, events: list[tuple[date, Any]], accounts: Accounts
) -> dict[tuple[str, str], Decimal]:
    """What is outstanding at the end of a day, invoice by invoice, by account and currency."""
    by_number: dict[str, list[tuple[EventKind, int]]] = {}
    for booked, event in events:
        if booked <= day:
            by_number.setdefault(event.number, []).append((EventKind(event.kind), event.amount_minor))
    by_then = credit_notes.c.issue_day <= day_number(day)
    given = select(credit_notes.c.invoice_number, func.sum(credit_notes.c.total_minor).label("credited"))
    credited = given.where(by_then).group_by(credit_notes.c.invoice_number).subquery()
    columns = (invoices.c.number, invoices.c.customer_id, invoices.c.currency, invoices.c.total_minor)
    query = select(*columns, credited.c.credited)
    query = query.outerjoin(credited, credited.c.invoice_number == invoices.c.number)
    sums: dict[tuple[str, str], int] = {}
    for row in connection.execute(query.where(invoices.c.issue_day <= day_number(day))):
        key = (accounts.of("receivable", customer=row.customer_id), row.currency)
        left = Money.of(by_number.get(row.number, ())).outstanding(row.total_minor, int(row.credited or 0))
        sums[key] = sums.get(key, 0) + left
    return {key: from_minor(sums[key], key[1]) for key in sorted(sums)}


def _accrued(
    month: Month, before: Books, books: Books, previous: Journal | None, accounts: Accounts
) -> tuple[list[Entry], list[Entry]]:
    """What the month before had accrued, as it was booked, and what this one accrues."""
    if previous is not None:
        booked = [one for one in previous.entries if one.entry_id in set(previous.accruals)]
    else:
        booked = _accruals(month.before, before, accounts)
    return booked, _accruals(month, books, accounts)


def _accruals(month: Month, books: Books, accounts: Accounts) -> list[Entry]:
    countries = _countries(books.reference)
    lines = accrued_lines(books.draws, books.cut.keys())
    return accrual_entries(lines, str(month), month.last_day, countries, accounts)


def _countries(reference: Reference) -> dict[str, str]:
    """The buyer's country by team."""
    parties = Parties.from_reference(reference)
    return {team_id: parties.country(customer_id) for team_id, customer_id in parties.customer_by_team.items()}


def _tokens(
    month: Month,
    zone: str,
    grants: list[tuple[TokenMovement, MoneyMovement]],
    previous: Journal | None,
    accounts: Accounts,
) -> Iterator[Entry]:
    days = (str(month), month.first_day, month.last_day)
    nothing = None if previous is None else Decimal(0)
    for one, money in grants:
        grant = one.grant
        told = None if previous is None else previous.deferred.get(grant.grant_id)
        booked = nothing if told is None else told.amount
        sold_day = local_date(zone, grant.sold_at_us)
        yield from token_entries(grant, money, booked, sold_day, *days, accounts, is_known=told is not None)
    still = {one.grant.grant_id for one, _ in grants}
    for grant_id, left in sorted(previous.deferred.items()) if previous is not None else ():
        if grant_id not in still and left.amount:
            yield forgotten_entry(grant_id, left.kind, left.currency, left.amount, days[0], days[1], accounts)


def _opening(grants: list[tuple[TokenMovement, MoneyMovement]], previous: Journal | None) -> Mapping[str, Deferred]:
    if previous is not None:
        return previous.deferred
    return {
        one.grant.grant_id: Deferred(kind=one.grant.kind.value, currency=one.grant.currency, amount=money.opening)
        for one, money in grants
        if money.opening
    }


def _of_deferred(deferred: Mapping[str, Deferred], accounts: Accounts) -> dict[tuple[str, str], Decimal]:
    """What is owed for tokens, as a balance: a credit."""
    sums: dict[tuple[str, str], list[Decimal]] = {}
    for one in deferred.values():
        sums.setdefault((accounts.of("deferred_tokens", kind=one.kind), one.currency), []).append(one.amount)
    return {key: signed(-1, total(amounts, minor_digits(key[1]))) for key, amounts in sorted(sums.items())}


def _of_accruals(accruals: list[Entry], accounts: Accounts) -> dict[tuple[str, str], Decimal]:
    account = accounts.of("accrued")
    return {key: amount for key, amount in moved({}, accruals).items() if key[0] == account}


# --- how it is kept --------------------------------------------------------------------------------------------------


def _lock_of(connection: Connection, month: Month) -> int | None:
    """The lock that a month is locked by: the first one since it was last open; None where it is open."""
    found = None
    for row in connection.execute(select(period_locks).order_by(desc(period_locks.c.lock_no))):
        if row.through_day < day_number(month.last_day):
            break
        found = row.lock_no
    return found


def _told(connection: Connection) -> list[dict[str, Any]]:
    """Every journal that was kept, in order."""
    query = select(log_rows.c.payload).where(log_rows.c.kind == LOG_KIND).order_by(log_rows.c.seq)
    return [json.loads(text) for text in connection.execute(query).scalars()]


def _kept(home: Home, connection: Connection, month: Month, lock_no: int) -> Journal | None:
    """The journal that was kept of a locked month, as long as that lock stands."""
    for told in reversed(_told(connection)):
        if told["month"] == str(month) and told["lock_no"] == lock_no:
            return _read(month, json.loads(home.documents.read(told["path"], told["sha256"])))
    return None


def _before(home: Home, connection: Connection, month: Month) -> Journal | None:
    """The kept journal of the month before; None where that month is open, or journals begin later."""
    lock_no = _lock_of(connection, month.before)
    if lock_no is None:
        return None
    found = _kept(home, connection, month.before, lock_no)
    if found is None and any(told["month"] < str(month.before) for told in _told(connection)):
        raise DataRefused(
            f"{month.before} is locked and its journal was never made: run `billing month journal {month.before}` "
            f"first, so that {month} goes on where it ended."
        )
    return found


def _written(made: Journal) -> dict[str, object]:
    """A journal as JSON; amounts are texts."""
    return {
        "entries": [_plain(asdict(one)) for one in made.entries],
        "opening": [[*key, f"{amount:f}"] for key, amount in made.opening.items()],
        "closing": [[*key, f"{amount:f}"] for key, amount in made.closing.items()],
        "accruals": list(made.accruals),
        "deferred": {grant_id: _plain(asdict(one)) for grant_id, one in made.deferred.items()},
        "equity": made.equity,
        "troubles": list(made.troubles),
    }


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case Decimal():
            return f"{value:f}"
        case date():
            return value.isoformat()
    return value


def _read(month: Month, kept: dict[str, Any]) -> Journal:
    return Journal(
        month=month,
        entries=tuple(_entry(one) for one in kept["entries"]),
        opening={(account, currency): Decimal(amount) for account, currency, amount in kept["opening"]},
        closing={(account, currency): Decimal(amount) for account, currency, amount in kept["closing"]},
        accruals=tuple(kept["accruals"]),
        deferred={
            grant_id: Deferred(kind=one["kind"], currency=one["currency"], amount=Decimal(one["amount"]))
            for grant_id, one in kept["deferred"].items()
        },
        equity=kept["equity"],
        troubles=tuple(kept["troubles"]),
        is_kept=True,
    )


def _entry(kept: dict[str, Any]) -> Entry:
    return Entry(
        entry_id=kept["entry_id"],
        date=date.fromisoformat(kept["date"]),
        payee=kept["payee"],
        narration=kept["narration"],
        document=kept["document"],
        about=tuple((name, text) for name, text in kept["about"]),
        postings=tuple(
            Posting(account=one["account"], amount=Decimal(one["amount"]), currency=one["currency"])
            for one in kept["postings"]
        ),
    )
