"""The laws of the books, looked at in the database after a close, by queries that a person can run by hand too; and
that the rows are what the log says of them.
"""

from __future__ import annotations

import json
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, func, select, text

from billing.core.errors import ConservationBroken, NotFound
from billing.core.model import Kind
from billing.intake.expectations.evaluation import inspect
from billing.intake.expectations.ledger import Law, Total, ledger_suite
from billing.steps.audit.logged import disagreements
from billing.steps.inspection import COMMAND, keep, kept
from billing.store.home import Home
from billing.store.invoices import stands
from billing.store.ledger import ISSUED
from billing.store.tables import carry, credit_notes, cycles, draws, invoice_lines, invoices, log

_ROWS_NAMED = 5
_HALF = 10**6


def check_ledger(home: Home, laws: Path, *, close_no: int, run: str = COMMAND) -> int:
    """Run every query in the folder ``laws`` and compare control totals; returns how many expectations were met.

    Kept with its page, but for a close that closed nothing and finds nothing. Raises ``ConservationBroken``, naming
    every law that is broken and its rows; nothing and nobody can accept that. ``NotFound`` where there are no laws.
    """
    found, totals = look(home, laws)
    with home.database.read() as connection:
        closed = connection.execute(select(func.count()).where(cycles.c.close_no == close_no)).scalar_one()
    broken = any(law.violations for law in found) or any(total.left != total.right for total in totals)
    if not closed and not broken:
        return len(found) + len(totals)
    seen = inspect(*ledger_suite(f"close {close_no}", found, totals))
    keep(home, [kept(home, seen, run, close_no=close_no)])
    if seen.failures:
        said = "\n".join(f"  {failure}" for failure in seen.failures)
        raise ConservationBroken(f"After close {close_no} the books break {len(seen.failures)} laws:\n{said}")
    return seen.expectations


def look(home: Home, laws: Path) -> tuple[list[Law], list[Total]]:
    """What every query in the folder finds now, and the control totals. ``NotFound`` where there are no laws."""
    with home.database.read() as connection:
        found = [_law(connection, path) for path in sorted(laws.glob("*.sql"))]
        totals = _totals(connection)
        logged = _as_logged(connection)
    if not found:
        raise NotFound(f"There are no laws (*.sql) in {laws}: set BILLING_SQL to the folder that has checks/.")
    return [*found, logged], totals


def _as_logged(connection: Connection) -> Law:
    differing = disagreements(connection)
    what = "Loads, batches, closes, credit notes, corrected invoices, documents and payments"
    says = f"{what} are what the log says of them."
    return Law(name="kept_as_logged", says=says, violations=len(differing), rows=differing[:_ROWS_NAMED])


def _law(connection: Connection, path: Path) -> Law:
    query = path.read_text("utf-8")
    rows = connection.execute(text(query)).mappings().all()
    shown = [", ".join(f"{name} {value}" for name, value in row.items()) for row in rows[:_ROWS_NAMED]]
    return Law(name=path.stem, says=_first_sentence(query), violations=len(rows), rows=shown)


def _first_sentence(query: str) -> str:
    """The header's first line, which says the law."""
    return query.partition("\n")[0].removeprefix("--").strip()


def _totals(connection: Connection) -> list[Total]:
    """Sums over the whole ledger, cut in another way than the laws cut them."""
    rated = select(carry).where(carry.c.billing == "rated").subquery()
    same_cycle = (cycles.c.team_id == draws.c.team_id) & (cycles.c.cycle_start_us == draws.c.cycle_start_us)
    payg = (draws.c.source == Kind.PAYG.value) & (cycles.c.state == ISSUED)
    paid = select(draws.c.charged_units).join(cycles, same_cycle).where(payg).subquery()
    invoiced = select(invoice_lines.c.charged_units).join(invoices).where(stands()).subquery()
    said = connection.execute(select(log.c.payload).where(log.c.kind == "close")).scalars()
    by_hand = {
        kind: connection.execute(select(func.count()).where(log.c.kind == kind)).scalar_one()
        for kind in ("reissue", "credit_note")
    }
    return [
        Total(
            name="units_charged_and_drawn",
            says="All units charged are all units drawn (rule 5.1).",
            left=_sum(connection, rated.c.charged_units),
            right=_sum(connection, draws.c.charged_units),
        ),
        Total(
            name="units_paid_and_invoiced",
            says="All units that pay as you go paid for are all units on invoices that stand (rule 6.1).",
            left=_sum(connection, paid.c.charged_units),
            right=_sum(connection, invoiced.c.charged_units),
        ),
        Total(
            name="net_of_lines_and_invoices",
            says="The net of all lines is the net of all invoices (rule 6.1).",
            left=_sum(connection, invoice_lines.c.net_minor),
            right=_sum(connection, invoices.c.net_minor),
        ),
        Total(
            name="invoices_logged_and_kept",
            says="The log names as many invoices as there are (rule 6.3).",
            left=sum(len(json.loads(payload)["invoices"]) for payload in said) + by_hand["reissue"],
            right=connection.execute(select(func.count()).select_from(invoices)).scalar_one(),
        ),
        Total(
            name="credit_notes_logged_and_kept",
            says="The log names as many credit notes as there are (rule 6.4).",
            left=by_hand["credit_note"],
            right=connection.execute(select(func.count()).select_from(credit_notes)).scalar_one(),
        ),
    ]


def _sum(connection: Connection, column: ColumnElement[int]) -> int:
    """The exact sum, in two halves: no database's 64 bits can overflow."""
    high, low = connection.execute(select(func.sum(column // _HALF), func.sum(column % _HALF))).one()
    return int(high or 0) * _HALF + int(low or 0)
