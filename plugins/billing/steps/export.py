"""Write the outputs: what was closed, charged, invoiced, given back, rejected and parked (data contract, "Outputs"); as
Parquet for a warehouse also what became of the money and of the documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pandas as pd
from sqlalchemy import Connection, Row, and_, desc, select

from billing.core.frames import rows
from billing.core.instants import format_instant, format_us, from_day
from billing.core.model import ApiBilling, Kind
from billing.core.quantity import format_micro
from billing.core.reference import FOREVER_US
from billing.outbound.file_sets import Staged, placed_in, schema_told
from billing.outbound.output_tables import COLUMNS, write_table
from billing.outbound.parquet_tables import schema_of, write_parquet
from billing.store import payments
from billing.store.batches import COMMITTED
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.ledger import ISSUED
from billing.store.quarantine import STANDS
from billing.store.tables import (
    batch_files,
    batches,
    carry,
    charge_invoices,
    charges,
    credit_note_lines,
    credit_notes,
    cycles,
    documents,
    draws,
    duplicate_ranges,
    invoice_lines,
    invoices,
    log,
    parked,
    payment_events,
    placed_files,
    quarantine,
)

Cells = Iterator[tuple[str, ...]]
BALANCES = COLUMNS["balances"]
"""The columns of balances, as they are written."""


def export(home: Home, folder: Path) -> dict[str, int]:
    """Write every output table into ``folder``, from one state of the books; returns the rows of each."""
    with home.database.read() as connection:
        tables = {name: list(rows(connection)) for name, rows in _TABLES.items()}
    return {name: write_table(folder / f"{name}.csv", COLUMNS[name], rows) for name, rows in tables.items()}


def export_parquet(home: Home, folder: Path) -> dict[str, int]:
    """Write every output table, and those of the money and the documents, as typed Parquet: all of it or nothing, from
    one state of the books, which ``manifest.json`` names. Returns the rows of each.
    """
    return write_all(home, placed_in(folder))


def write_all(home: Home, place: AbstractContextManager[Staged]) -> dict[str, int]:
    """The same into a place (``outbound.file_sets``). A table is in memory at a time."""
    counts: dict[str, int] = {}
    with place as staged, home.database.read() as connection:
        for name, read in {**_TABLES, **_FURTHER}.items():
            file = f"{name}.parquet"
            counts[name] = staged.rows[file] = write_parquet(staged.path(file), _columns(name), read(connection))
        head = connection.execute(select(log.c.seq, log.c.hash).order_by(desc(log.c.seq)).limit(1)).first()
        told = {name: {f.name: str(f.type) for f in schema_of(_columns(name))} for name in counts}
        staged.facts |= {
            "export": "outputs",
            "log": {"seq": head.seq, "hash": head.hash} if head else None,
            "schema": {name: schema_told(columns) for name, columns in told.items()},
        }
    return counts


def _columns(name: str) -> tuple[str, ...]:
    return COLUMNS.get(name) or FURTHER_COLUMNS[name]


def export_balances(frame: pd.DataFrame, path: Path) -> int:
    """Write balances (``core.balances.BALANCE_COLUMNS``) as a table; returns the number of rows."""
    return write_table(path, COLUMNS["balances"], balance_cells(frame))


def balance_cells(frame: pd.DataFrame) -> Cells:
    """Balances as text, in the order of the output's columns."""
    for row in rows(frame):
        amounts = (format_micro(value) for value in (row.granted_micro, row.used_micro, row.available_micro))
        yield (
            row.team_id,
            row.source,
            row.subscription_id,
            row.grant_id,
            row.api,
            *amounts,
            _end(row.ends_at_us),
            _end(row.refreshes_at_us),
        )


def _end(us: int) -> str:
    return "" if us == FOREVER_US else format_us(us)


def _day(number: int) -> str:
    return from_day(number).isoformat()


def _cycles(connection: Connection) -> Cells:
    for r in connection.execute(select(cycles).where(cycles.c.state == ISSUED)):
        days = (_day(r.period_first_day), _day(r.period_last_day))
        yield (
            r.team_id,
            format_us(r.cycle_start_us),
            format_us(r.cycle_end_us),
            *days,
            r.time_zone,
            r.payg_subscription_id,
        )


def _of_closed(table: object) -> object:
    return and_(
        cycles.c.team_id == table.c.team_id,  # type: ignore[attr-defined]
        cycles.c.cycle_start_us == table.c.cycle_start_us,  # type: ignore[attr-defined]
        cycles.c.state == ISSUED,
    )


def _carry(connection: Connection) -> Cells:
    query = select(carry).join(cycles, _of_closed(carry)).where(carry.c.billing == ApiBilling.RATED.value)  # type: ignore[arg-type]
    for r in connection.execute(query):
        usage = (format_micro(value) for value in (r.opening_micro, r.usage_micro, r.late_usage_micro))
        yield (
            r.team_id,
            format_us(r.cycle_start_us),
            r.api,
            *usage,
            str(r.charged_units),
            format_micro(r.closing_micro),
        )


def _charges(connection: Connection) -> Cells:
    """Free units of several periods of one cycle are one row: the outputs tell subscriptions, not periods."""
    query = select(draws).join(cycles, _of_closed(draws)).where(draws.c.source != Kind.CAPACITY.value)  # type: ignore[arg-type]
    sums: dict[tuple[str, ...], list[int]] = {}
    for r in connection.execute(query):
        total = sums.setdefault(_charge_key(r), [0, 0])
        total[0] += r.charged_units
        total[1] += r.tokens_micro
    for key, (units, tokens) in sums.items():
        yield (*key, str(units), format_micro(tokens))


def _charge_key(r: Row[tuple[object, ...]]) -> tuple[str, ...]:
    price = "" if r.unit_price_micro is None else format_micro(r.unit_price_micro)
    return (r.team_id, format_us(r.cycle_start_us), r.api, r.source, r.subscription_id, r.grant_id, price, r.currency)


def _invoices(connection: Connection) -> Cells:
    query = select(invoices, cycles.c.period_first_day, cycles.c.period_last_day).join(cycles, _of_closed(invoices))  # type: ignore[arg-type]
    for r in connection.execute(query):
        net, tax, total = (str(from_minor(minor, r.currency)) for minor in (r.net_minor, r.tax_minor, r.total_minor))
        days = (_day(r.period_first_day), _day(r.period_last_day), _day(r.issue_day))
        head = (r.number, r.team_id, r.subscription_id, format_us(r.cycle_start_us), *days, r.currency)
        yield (*head, net, r.tax_category, format_micro(r.tax_percent_micro), tax, total)


def _invoice_lines(connection: Connection) -> Cells:
    query = select(invoice_lines, invoices.c.currency).join(invoices, invoices.c.number == invoice_lines.c.number)
    for r in connection.execute(query):
        price, net = format_micro(r.unit_price_micro), str(from_minor(r.net_minor, r.currency))
        yield (r.number, str(r.line_no), r.api, str(r.charged_units), price, net)


def _rejected(connection: Connection) -> Cells:
    files = and_(batch_files.c.batch_no == batches.c.batch_no, batches.c.state == COMMITTED)
    names = {(r.batch_no, r.file_no): r.name for r in connection.execute(select(batch_files).join(batches, files))}
    columns = (quarantine.c.batch_no, quarantine.c.file_no, quarantine.c.line, quarantine.c.reason)
    for r in connection.execute(select(*columns).where(STANDS)):
        yield (names[r.batch_no, r.file_no], str(r.line), r.reason)
    for r in connection.execute(select(duplicate_ranges)):
        for line in range(r.first_line, r.last_line + 1):
            yield (names[r.batch_no, r.file_no], str(line), "duplicate")


def _parked(connection: Connection) -> Cells:
    for r in connection.execute(select(parked)):
        yield (r.team_id, format_us(r.cycle_start_us), r.reason, r.detail)


def _credit_notes(connection: Connection) -> Cells:
    columns = (credit_notes, invoices.c.currency, invoices.c.tax_category, invoices.c.tax_percent_micro)
    query = select(*columns).join(invoices, invoices.c.number == credit_notes.c.invoice_number)
    for r in connection.execute(query):
        net, tax, total = (str(from_minor(minor, r.currency)) for minor in (r.net_minor, r.tax_minor, r.total_minor))
        head = (r.number, r.invoice_number, _day(r.issue_day), r.currency)
        yield (*head, net, r.tax_category, format_micro(r.tax_percent_micro), tax, total, r.reason)


def _credit_note_lines(connection: Connection) -> Cells:
    """``by`` says whether ``units`` or an ``amount`` (1 x the amount) is given back."""
    lines, mine = credit_note_lines, invoice_lines
    query = (
        select(lines, mine.c.api, invoices.c.currency)
        .join(credit_notes, credit_notes.c.number == lines.c.number)
        .join(invoices, invoices.c.number == credit_notes.c.invoice_number)
        .join(mine, and_(mine.c.number == invoices.c.number, mine.c.line_no == lines.c.invoice_line_no))
    )
    for r in connection.execute(query):
        money = (format_micro(r.unit_price_micro), str(from_minor(r.net_minor, r.currency)))
        by = "amount" if r.by_amount else "units"
        yield (r.number, str(r.line_no), str(r.invoice_line_no), r.api, by, str(r.charged_units), *money)


def _payments(connection: Connection) -> Cells:
    """An invoice each: what its events add up to, and the charge that it is part of."""
    charges = {charge.charge_key: charge for charge in payments.read_charges(connection)}
    for account in payments.accounts(connection):
        money, standing, charge = account.money, account.standing, charges.get(account.charge_key)
        sums = (standing.total_minor, standing.credited_minor, money.received, money.refunded, money.disputed)
        amounts = (*sums, money.written_off, standing.outstanding_minor)
        head = (account.number, account.customer_id, account.currency)
        how = ("manual", "", "", "", "", "", "")
        if charge is not None:
            due = "" if charge.next_attempt is None else format_instant(charge.next_attempt)
            of = (charge.gateway, charge.payment_method_id, charge.charge_key, charge.state.value)
            how = (*of, str(charge.attempts), due, charge.problem)
        money_cells = (str(from_minor(minor, account.currency)) for minor in amounts)
        yield (*head, *money_cells, account.due.isoformat(), *how)


def _payment_events(connection: Connection) -> Cells:
    query = select(payment_events, invoices.c.currency).join(invoices, invoices.c.number == payment_events.c.number)
    for r in connection.execute(query):
        amount = str(from_minor(r.amount_minor, r.currency))
        yield (r.number, r.kind, amount, r.currency, r.gateway, r.reference, format_us(r.at_us), r.detail)


_TABLES: dict[str, Callable[[Connection], Cells]] = {
    "cycles": _cycles,
    "carry": _carry,
    "charges": _charges,
    "invoices": _invoices,
    "invoice_lines": _invoice_lines,
    "rejected": _rejected,
    "parked": _parked,
    "credit_notes": _credit_notes,
    "credit_note_lines": _credit_note_lines,
    "payments": _payments,
    "payment_events": _payment_events,
}


# --- the money and the documents -------------------------------------------------------------------------------------

FURTHER_COLUMNS = {
    "documents": ("number", "kind", "sha256", "bytes", "path", "bundle"),
    "placed_files": ("destination", "path", "number", "kind", "sha256", "bytes", "at"),
    "payment_charges": (
        "charge_key",
        "customer_id",
        "gateway",
        "payment_method_id",
        "currency",
        "amount",
        "state",
        "reference",
        "attempts",
        "opened_at",
        "attempted_at",
        "next_attempt_at",
        "problem",
    ),
    "payment_charge_invoices": ("number", "charge_key", "currency", "amount"),
}
"""Tables that only the Parquet has."""


def _documents(connection: Connection) -> Cells:
    for r in connection.execute(select(documents)):
        yield (r.number, r.kind, r.sha256, str(r.bytes), r.path, r.bundle)


def _placed_files(connection: Connection) -> Cells:
    for r in connection.execute(select(placed_files)):
        yield (r.destination, r.path, r.number, r.kind, r.sha256, str(r.bytes), format_us(r.at_us))


def _payment_charges(connection: Connection) -> Cells:
    for r in connection.execute(select(charges)):
        amount = str(from_minor(r.amount_minor, r.currency))
        times = ("" if us is None else format_us(us) for us in (r.opened_at_us, r.attempted_at_us, r.next_attempt_us))
        head = (r.charge_key, r.customer_id, r.gateway, r.payment_method_id, r.currency, amount)
        yield (*head, r.state, r.reference, str(r.attempts), *times, r.problem)


def _payment_charge_invoices(connection: Connection) -> Cells:
    query = select(charge_invoices, invoices.c.currency).join(invoices, invoices.c.number == charge_invoices.c.number)
    for r in connection.execute(query):
        yield (r.number, r.charge_key, r.currency, str(from_minor(r.amount_minor, r.currency)))


_FURTHER: dict[str, Callable[[Connection], Cells]] = {
    "documents": _documents,
    "placed_files": _placed_files,
    "payment_charges": _payment_charges,
    "payment_charge_invoices": _payment_charge_invoices,
}
