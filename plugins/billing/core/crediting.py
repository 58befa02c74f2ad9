"""What a credit note gives back of an invoice: all of it, the rest of a line, units of it, an amount of it (rule 6.4).

However an invoice is given back in parts, the parts together are never more than it, and once nothing is left they are
exactly its net, its tax and its total.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from billing.core.errors import Finding
from billing.core.model import Invoice, InvoiceLine, Seller
from billing.core.particulars import ExchangeRates, vat_total
from billing.core.quantity import (
    decimal_of_micro,
    fits_int64,
    format_micro,
    minor_digits,
    multiply,
    parse_micro,
    round_half_up,
    total,
)
from billing.core.tax import tax_on

_WANTED = re.compile(r"([0-9]{1,9})(?::([0-9]{1,19})|=(.*))?", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What is asked for of one line of an invoice: so many of its units, an amount, or (neither) the rest of it."""

    line_no: int
    units: int | None = None
    amount: Decimal | None = None

    def __str__(self) -> str:
        if self.units is not None:
            return f"{self.line_no}:{self.units}"
        return str(self.line_no) if self.amount is None else f"{self.line_no}={self.amount:f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class CreditLine:
    """What is given back of one line: ``charged_units`` x ``unit_price``, rounded as on the invoice; ``by_amount``: an
    amount, written as 1 x the amount. ``net`` is above 0 and has the currency's minor digits.
    """

    invoice_line_no: int
    charged_units: int
    unit_price: Decimal
    net: Decimal
    by_amount: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Credit:
    """What one credit note gives back. ``tax`` may be 0 where it is of a small part; nothing is below 0."""

    lines: tuple[CreditLine, ...]
    net: Decimal
    tax: Decimal
    total: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What no credit note has given back of a line yet."""

    line: InvoiceLine
    units: int
    net: Decimal


def parse_wanted(text: str) -> Wanted:
    """``LINE`` (the rest of it), ``LINE:UNITS`` or ``LINE=AMOUNT``. ``ValueError`` for anything else."""
    match = _WANTED.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is none of LINE, LINE:UNITS and LINE=AMOUNT, as 2, 2:100 and 2=12.50 are")
    line_no, units, amount = match.groups()
    return Wanted(
        line_no=int(line_no),
        units=None if units is None else int(units),
        amount=None if amount is None else decimal_of_micro(parse_micro(amount)),
    )


def what_is_left(invoice: Invoice, earlier: Sequence[Credit]) -> dict[int, Left]:
    """By line number the lines of which anything is left, in the order of the invoice."""
    digits = minor_digits(invoice.currency)
    lefts = {line.line_no: Left(line=line, units=line.charged_units, net=line.net) for line in invoice.lines}
    for given in (line for one in earlier for line in one.lines):
        lefts[given.invoice_line_no] = _without(lefts[given.invoice_line_no], given, digits)
    return {line_no: left for line_no, left in lefts.items() if left.net > 0}


def credit(
    invoice: Invoice, earlier: Sequence[Credit], wanted: Sequence[Wanted]
) -> tuple[Credit | None, tuple[Finding, ...]]:
    """What a credit note gives back beside the ``earlier`` ones of the same invoice, or why it cannot: one of the two.

    Nothing ``wanted`` is all that is left. Lines are in the order of the invoice; of one line in the order asked for.
    """
    lefts = what_is_left(invoice, earlier)
    asked = sorted(wanted, key=lambda one: one.line_no) or [Wanted(line_no=line_no) for line_no in lefts]
    lines, findings = _lines(invoice, lefts, asked)
    if not lines and not findings:
        findings = [Finding(file=invoice.number, message="nothing is left to give back")]
    return (None, tuple(findings)) if findings else (_summed(invoice, earlier, lines), ())


def credits_are_conserved(invoice: Invoice, credits: Sequence[Credit]) -> list[Finding]:
    """The laws of all credit notes of one invoice: findings where they do not hold (rule 6.4)."""
    digits = minor_digits(invoice.currency)
    sums = [total((getattr(one, name) for one in credits), digits) for name in ("net", "tax", "total")]
    bounds = [invoice.net, invoice.tax, invoice.total]
    broken = [
        (any(one.net <= 0 or one.tax < 0 for one in credits), "a credit note gives back nothing, or less"),
        (any(mine > bound for mine, bound in zip(sums, bounds, strict=True)), "more is given back than was invoiced"),
        (sums[0] == invoice.net and sums != bounds, "all of its net is given back, but not its tax and total"),
    ]
    return [Finding(file=invoice.number, message=message) for holds_not, message in broken if holds_not]


def vat_given_back(invoice: Invoice, before: Sequence[Credit], this: Credit, rates: ExchangeRates) -> Decimal | None:
    """A credit note's tax in the seller's VAT currency (BT-111); None where the invoice says none.

    At the invoice's own rate, rounded over all that is given back up to this one, as its tax is.
    """
    if invoice.vat_total is None:
        return None
    tax_before = total((one.tax for one in before), minor_digits(invoice.currency))
    day = invoice.cycle.period_last_day
    return vat_of_credit(tax_before, this.tax, invoice.currency, invoice.seller, day, rates)


def vat_of_credit(
    tax_before: Decimal, tax: Decimal, currency: str, seller: Seller, last_day: date, rates: ExchangeRates
) -> Decimal:
    """What a credit's ``tax`` adds, in the seller's VAT currency, to what earlier credits of the invoice gave back:
    the sum is what is rounded. For invoices that have a total in that currency.
    """

    def converted(given: Decimal) -> Decimal:
        return vat_total(given, currency, seller, last_day, rates) or Decimal(0)

    both = total((tax_before, tax), minor_digits(currency))
    return total((converted(both), converted(tax_before).copy_negate()), minor_digits(seller.vat_currency))


def _lines(
    invoice: Invoice, lefts: Mapping[int, Left], asked: Sequence[Wanted]
) -> tuple[list[CreditLine], list[Finding]]:
    """What each gives back of what those before it have left."""
    now, digits = dict(lefts), minor_digits(invoice.currency)
    lines: list[CreditLine] = []
    findings: list[Finding] = []
    known = {line.line_no for line in invoice.lines}
    for one in asked:
        left = now.get(one.line_no)
        if left is None or left.net == 0:
            made: CreditLine | str = "nothing of it is left" if one.line_no in known else "there is no such line"
        else:
            made = _given_back(left, one, digits)
        if isinstance(made, str):
            findings.append(Finding(file=invoice.number, line=one.line_no, message=f"{one}: {made}"))
            continue
        lines.append(made)
        now[one.line_no] = _without(now[one.line_no], made, digits)
    return lines, findings


def _given_back(left: Left, wanted: Wanted, digits: int) -> CreditLine | str:
    """A line, or why there can be none."""
    if wanted.units is not None:
        return _by_units(left, wanted.units, digits)
    if wanted.amount is not None:
        return _by_amount(left, wanted.amount, digits)
    rest = _by_units(left, left.units, digits)
    if not isinstance(rest, str) and rest.net == left.net:
        return rest
    return _by_amount(left, left.net, digits)


def _by_units(left: Left, units: int, digits: int) -> CreditLine | str:
    if units > left.units:
        return f"{left.units} units of it are left"
    net = round_half_up(multiply(units, left.line.unit_price), digits)
    if net <= 0:
        return f"that comes to {net}; a credit note gives back more than 0"
    if net > left.net:
        return f"that comes to {net}, and {left.net} of it is left"
    return CreditLine(
        invoice_line_no=left.line.line_no,
        charged_units=units,
        unit_price=left.line.unit_price,
        net=net,
        by_amount=False,
    )


def _by_amount(left: Left, amount: Decimal, digits: int) -> CreditLine | str:
    if amount <= 0:
        return "a credit note gives back more than 0"
    if amount > left.net:
        return f"{left.net} of it is left"
    net = round_half_up(amount, digits)
    if net != amount:
        return f"the currency has {digits} decimals"
    if not fits_int64(parse_micro(f"{net:f}")):
        return f"an amount is at most {format_micro(2**63 - 1)}: give back units"
    return CreditLine(invoice_line_no=left.line.line_no, charged_units=1, unit_price=net, net=net, by_amount=True)


def _without(left: Left, given: CreditLine, digits: int) -> Left:
    units = 0 if given.by_amount else given.charged_units
    return Left(line=left.line, units=left.units - units, net=total((left.net, given.net.copy_negate()), digits))


def _summed(invoice: Invoice, earlier: Sequence[Credit], lines: Sequence[CreditLine]) -> Credit:
    """The tax is that on all that is given back so far, less what earlier credit notes gave back of it.

    It is never below 0: the rounded tax on a larger sum is not smaller.
    """
    digits = minor_digits(invoice.currency)
    net = total((line.net for line in lines), digits)
    so_far = total((net, *(one.net for one in earlier)), digits)
    due = tax_on(so_far, invoice.tax_treatment.percent, digits)
    tax = total((due, *(one.tax.copy_negate() for one in earlier)), digits)
    return Credit(lines=tuple(lines), net=net, tax=tax, total=total((net, tax), digits))
