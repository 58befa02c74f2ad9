"""The arithmetic of an invoice or credit note, exact: what the rules of e-invoicing leave lax (section 6 of the rules).

Each function returns findings, whose ``file`` is the document's number; none raises.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise

from billing.core.errors import Finding
from billing.core.model import Invoice, InvoiceLine, InvoiceType, TaxCategory
from billing.core.quantity import minor_digits, multiply, round_half_up, total
from billing.core.tax import tax_on


def document_findings(invoice: Invoice) -> list[Finding]:
    """Everything that does not add up; empty where it does.

    A credit note's tax may be off by less than one minor unit: all credits of an invoice together give back its tax
    and no more, so that the last one bears what rounding left over.
    """
    found = [*_digits(invoice), *_dates(invoice)]
    if all(amount.is_finite() for _, amount in _amounts(invoice)):
        found += [*_lines(invoice), *_sums(invoice), *_tax(invoice)]
    return [Finding(file=invoice.number, message=message) for message in found]


def _digits(invoice: Invoice) -> Iterator[str]:
    """Amounts carry the currency's minor digits, and are not negative."""
    for name, amount in _amounts(invoice):
        yield from _of_amount(name, amount, invoice.currency)
    if invoice.vat_total is not None:
        if invoice.seller.vat_currency in ("", invoice.currency):
            yield f"a VAT total in {invoice.seller.vat_currency or 'no currency'} beside one in {invoice.currency}"
        yield from _of_amount("vat_total", invoice.vat_total, invoice.seller.vat_currency)


def _of_amount(name: str, amount: Decimal, currency: str) -> Iterator[str]:
    if not amount.is_finite():
        yield f"{name} is {amount}"
    elif amount.as_tuple().exponent != -minor_digits(currency):
        yield f"{name} is {amount}, and {currency} has {minor_digits(currency)} decimals"
    elif amount < 0:
        yield f"{name} is {amount}, below 0"


def _amounts(invoice: Invoice) -> Iterator[tuple[str, Decimal]]:
    for line in invoice.lines:
        yield f"line {line.line_no}: net", line.net
    yield from (("net", invoice.net), ("tax", invoice.tax), ("total", invoice.total))


def _lines(invoice: Invoice) -> Iterator[str]:
    """Net is units x price, rounded half up (rule 6.1); line numbers go up."""
    if not invoice.lines:
        yield "no line"
    for before, line in pairwise(invoice.lines):
        if line.line_no <= before.line_no:
            yield f"line {line.line_no} follows line {before.line_no}"
    for line in invoice.lines:
        if line.by_amount and invoice.type is not InvoiceType.CREDIT_NOTE:
            yield f"line {line.line_no}: only a credit note gives back an amount"
        yield from _net_of(line, invoice.currency)


def _net_of(line: InvoiceLine, currency: str) -> Iterator[str]:
    units = 1 if line.by_amount else line.charged_units
    price = line.net if line.by_amount else line.unit_price
    if units < 0 or not price.is_finite() or price < 0:
        yield f"line {line.line_no}: {units} x {price}, below 0"
    elif round_half_up(multiply(units, price), minor_digits(currency)) != line.net:
        yield f"line {line.line_no}: net is {line.net}, and {units} x {price} is not"


def _sums(invoice: Invoice) -> Iterator[str]:
    """Net is the sum of the lines; the total is net and tax."""
    digits = minor_digits(invoice.currency)
    net = total((line.net for line in invoice.lines), digits)
    if net != invoice.net:
        yield f"net is {invoice.net}, and the lines are {net}"
    with_tax = total((invoice.net, invoice.tax), digits)
    if with_tax != invoice.total:
        yield f"total is {invoice.total}, and net and tax are {with_tax}"


def _tax(invoice: Invoice) -> Iterator[str]:
    """Rule 6.2: once on the sum, rounded half up; nothing where nothing is charged."""
    treatment, digits = invoice.tax_treatment, minor_digits(invoice.currency)
    if treatment.percent < 0:
        yield f"the rate is {treatment.percent} %, below 0"
    if treatment.category is not TaxCategory.STANDARD and treatment.percent:
        yield f"category {treatment.category} has a rate of {treatment.percent} %"
    exact = multiply(multiply(invoice.net, treatment.percent), Decimal("0.01"))
    if invoice.type is InvoiceType.CREDIT_NOTE:
        if abs(invoice.tax - exact) >= Decimal(1).scaleb(-digits):
            yield f"tax is {invoice.tax}, a minor unit or more from {treatment.percent} % of {invoice.net}"
    elif invoice.tax != tax_on(invoice.net, treatment.percent, digits):
        yield f"tax is {invoice.tax}, and {treatment.percent} % of {invoice.net} is not"


def _dates(invoice: Invoice) -> Iterator[str]:
    """The period lies before the issue, what is due and what is named lie on the right side of it."""
    cycle = invoice.cycle
    if cycle.period_first_day > cycle.period_last_day:
        yield f"the period ends on {cycle.period_last_day}, before it begins on {cycle.period_first_day}"
    if cycle.end > invoice.issued_at:
        yield f"issued at {invoice.issued_at}, before the cycle's end at {cycle.end}"
    if invoice.due_date is not None and invoice.due_date < invoice.issue_date:
        yield f"due on {invoice.due_date}, before its issue on {invoice.issue_date}"
    if invoice.type is InvoiceType.CREDIT_NOTE and invoice.preceding is None:
        yield "a credit note without the invoice that it is about"
    if invoice.preceding is not None and invoice.preceding.issue_date > invoice.issue_date:
        yield f"issued on {invoice.issue_date}, before {invoice.preceding.number} on {invoice.preceding.issue_date}"
