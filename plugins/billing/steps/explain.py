"""An invoice or credit note explained: who, when, why this tax, from which usage each line comes, and by what it was
pinned (rules 3.4, 4.4, 6.1 to 6.6).

``explain`` gives facts under keys that stay (texts and whole numbers, decimals as text); ``in_words`` tells them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeAlias

from sqlalchemy import Connection, select

from billing.core.errors import NotFound
from billing.core.instants import day_number, format_instant, format_us, from_day
from billing.core.model import SOURCES, Invoice, InvoiceLine, InvoiceType, PaymentMethod, StatementLine, TaxCategory
from billing.core.quantity import minor_digits, multiply, total
from billing.core.tax import TaxRates
from billing.core.zones import zone
from billing.steps.credit import read_credit_notes
from billing.steps.invoices import read_invoices
from billing.steps.payments.story import paid_in_words
from billing.steps.reference import reference_at
from billing.store import credit_notes, payments
from billing.store.documents import documents_of
from billing.store.home import Home
from billing.store.invoices import replaced_by
from billing.store.tables import closes, cycles, invoices

Facts: TypeAlias = Mapping[str, Any]
_SOURCE_NAMES = dict(zip(SOURCES, ("free", "token_flex", "flex", "pay as you go", "unfunded"), strict=True))


def explain(home: Home, number: str) -> dict[str, Any]:
    """All there is to say of an issued invoice or credit note. ``NotFound`` for a number that was never issued."""
    with home.database.read() as connection:
        credited = credit_notes.invoice_of(connection, [number]).get(number)
    one = read_credit_notes(home, [number])[0] if credited else read_invoices(home, [number])[0]
    with home.database.read() as connection:
        pinned = _pinned(connection, credited or number)
        facts = _who_and_when(one) | {"tax_reason": _tax(home, one, pinned["invoice_load_no"])}
        facts |= {"lines": [_line(line, one.currency) for line in one.lines], "usage": _usage(one)}
        facts |= _amounts(one) | {"collected": _collected(one)}
        facts["documents"] = _documents(connection, number)
        facts |= _given_back(connection, one) if not credited else {}
        facts["paid"] = "" if credited else _paid(connection, number)
    return facts | {"pinned_by": pinned}


def in_words(facts: Facts) -> list[str]:
    """The same as lines of plain text."""
    return [
        *_words_of_head(facts),
        "",
        *_words_of_tax(facts["tax_reason"]),
        "",
        *_words_of_lines(facts),
        "",
        *_words_of_amounts(facts),
        "",
        *_words_of_documents(facts),
        *_words_of_pin(facts["pinned_by"]),
    ]


def _who_and_when(one: Invoice) -> dict[str, Any]:
    customer, cycle = one.customer, one.cycle
    local = zone(cycle.time_zone)
    return {
        "kind": "credit note" if one.type is InvoiceType.CREDIT_NOTE else "invoice",
        "number": one.number,
        "issue_date": one.issue_date.isoformat(),
        "issued_at": format_instant(one.issued_at),
        "about_invoice": one.preceding.number if one.preceding else "",
        "reason": one.reason,
        "seller": {"legal_name": one.seller.legal_name, "country": one.seller.country, "vat_id": one.seller.vat_id},
        "customer": {
            "customer_id": customer.customer_id,
            "legal_name": customer.legal_name,
            "country": customer.country,
            "vat_id": customer.vat_id,
        },
        "team": {"team_id": one.team_id, "name": one.team_name},
        "subscription_id": one.subscription_id,
        "period": {
            "first_day": cycle.period_first_day.isoformat(),
            "last_day": cycle.period_last_day.isoformat(),
            "time_zone": cycle.time_zone,
            "start": format_instant(cycle.start),
            "end": format_instant(cycle.end),
            "start_local": cycle.start.astimezone(local).isoformat(),
            "end_local": cycle.end.astimezone(local).isoformat(),
        },
    }


def _tax(home: Home, one: Invoice, load_no: int) -> dict[str, Any]:
    """Why this category and rate (rule 6.2); ``in_force_since`` is blank where no rate is asked for."""
    treatment, customer, last_day = one.tax_treatment, one.customer, one.cycle.period_last_day
    since = ""
    if treatment.category is TaxCategory.STANDARD:
        days, _ = TaxRates.from_reference(reference_at(home, load_no)).by_country[customer.country]
        since = from_day(days[bisect_right(days, day_number(last_day)) - 1]).isoformat()
    checked = customer.vat_id_checked_at
    return {
        "category": treatment.category.value,
        "percent": f"{treatment.percent:f}",
        "rule": "6.2",
        "why": _why(one),
        "country": customer.country,
        "in_force_on": last_day.isoformat(),
        "in_force_since": since,
        "vat_id_checked_at": "" if checked is None else format_instant(checked),
        "vat_id_check_ref": customer.vat_id_check_ref,
    }


def _why(one: Invoice) -> str:
    seller, buyer = one.seller.country, one.customer.country
    match one.tax_treatment.category:
        case TaxCategory.REVERSE_CHARGE:
            return f"seller in {seller}, buyer in {buyer}, both in the EU, and the buyer has a VAT id of its country"
        case TaxCategory.OUT_OF_SCOPE:
            return f"seller in {seller}, buyer in {buyer}: not both in the EU"
        case _ if seller == buyer:
            return f"seller and buyer are in {buyer}"
        case _:
            return f"seller in {seller}, buyer in {buyer}, both in the EU, and the buyer has no VAT id of its country"


def _line(line: InvoiceLine, currency: str) -> dict[str, Any]:
    exact = multiply(line.charged_units, line.unit_price)
    return {
        "line_no": line.line_no,
        "api": line.api,
        "api_name": line.api_name,
        "charged_units": line.charged_units,
        "unit_price": f"{line.unit_price:f}",
        "exact": _short(exact),
        "net": f"{line.net:f}",
        "currency": currency,
        "by_amount": line.by_amount,
    }


def _usage(one: Invoice) -> list[dict[str, Any]]:
    """How usage became units, by API (rule 4.4); nothing of a credit note, which changes neither."""
    return [_usage_of(line) for line in one.statement.lines] if one.statement else []


def _usage_of(line: StatementLine) -> dict[str, Any]:
    drawn = dict(line.units)
    return {
        "api": line.api,
        "api_name": line.api_name,
        "usage_unit": line.usage_unit,
        "billing": line.billing.value,
        "unit_sizes": [f"{size:f}" for size in line.unit_sizes],
        "opening": f"{line.opening:f}",
        "usage": f"{line.usage:f}",
        "late_usage": f"{line.late_usage:f}",
        "units": sum(drawn.values()),
        "drawn": {source: drawn.get(source, 0) for source in SOURCES},
        "invoiced_units": line.invoiced_units,
        "closing": f"{line.closing:f}",
    }


def _amounts(one: Invoice) -> dict[str, Any]:
    percent = one.tax_treatment.percent
    return {
        "currency": one.currency,
        "minor_digits": minor_digits(one.currency),
        "net": f"{one.net:f}",
        "tax_exact": _short(multiply(multiply(one.net, percent), Decimal("0.01"))),
        "tax": f"{one.tax:f}",
        "total": f"{one.total:f}",
        "vat_currency": "" if one.vat_total is None else one.seller.vat_currency,
        "tax_in_vat_currency": "" if one.vat_total is None else f"{one.vat_total:f}",
    }


def _collected(one: Invoice) -> dict[str, Any]:
    method = one.payment_method
    due = one.due_date.isoformat() if one.due_date else ""
    if one.type is InvoiceType.CREDIT_NOTE:
        return {"how": "given back", "due_date": "", "gateway": "", "method": ""}
    if one.total == 0:
        return {"how": "nothing to collect", "due_date": "", "gateway": "", "method": ""}
    if method is None:
        return {"how": "bank transfer", "due_date": due, "gateway": "", "method": ""}
    return {"how": "stored payment method", "due_date": due, "gateway": method.gateway, "method": _method(method)}


def _paid(connection: Connection, number: str) -> str:
    """How it was paid, in a line; blank where nothing has happened yet."""
    (account,) = payments.accounts(connection, invoices.c.number == number)
    return paid_in_words(account, payments.charge_of(connection, number))


def _method(method: PaymentMethod) -> str:
    if method.mandate:
        return f"direct debit under mandate {method.mandate}"
    ending = f"ending {method.last4}" if method.last4 else ""
    return f"{method.brand} {ending}".strip() or method.payment_method_id


def _documents(connection: Connection, number: str) -> list[dict[str, Any]]:
    return [
        {"kind": one.kind, "sha256": one.sha256, "bytes": one.size_bytes, "path": one.path}
        for one in documents_of(connection, number)
    ]


def _given_back(connection: Connection, one: Invoice) -> dict[str, Any]:
    """An invoice's credit notes, what remains of it, and the one that took its place."""
    notes = credit_notes.of_invoices(connection, [one.number]).get(one.number, [])
    digits = minor_digits(one.currency)

    def remaining(name: str) -> str:
        given = (getattr(note.credit, name).copy_negate() for note in notes)
        return f"{total((getattr(one, name), *given), digits):f}"

    return {
        "credit_notes": [
            {
                "number": note.number,
                "issue_date": note.issue_date.isoformat(),
                "reason": note.reason,
                "net": f"{note.credit.net:f}",
                "tax": f"{note.credit.tax:f}",
                "total": f"{note.credit.total:f}",
            }
            for note in notes
        ],
        "remaining": {name: remaining(name) for name in ("net", "tax", "total")},
        "replaced_by": replaced_by(connection, one.number) or "",
    }


def _pinned(connection: Connection, invoice_number: str) -> dict[str, Any]:
    """The close that pinned the cycle, and what it had seen (rule 3.4). ``invoice_load_no`` is the load by which the
    invoice names its parties and their tax: a later one where it was corrected.
    """
    own = (cycles.c.team_id == invoices.c.team_id) & (cycles.c.cycle_start_us == invoices.c.cycle_start_us)
    of_close = (closes.c.as_of_us, closes.c.tzdata, closes.c.version)
    loads = (invoices.c.pinned_load, cycles.c.pinned_load.label("cycle_load"))
    query = select(*loads, cycles.c.close_no, cycles.c.pinned_batch, *of_close)
    query = query.select_from(invoices).join(cycles, own).join(closes, closes.c.close_no == cycles.c.close_no)
    row = connection.execute(query.where(invoices.c.number == invoice_number)).one_or_none()
    if row is None:
        raise NotFound(f"No cycle of {invoice_number} is in the ledger.")
    return {
        "close_no": row.close_no,
        "as_of": format_us(row.as_of_us),
        "batch_no": row.pinned_batch,
        "load_no": row.cycle_load,
        "invoice_load_no": row.pinned_load,
        "tzdata": row.tzdata,
        "version": row.version,
    }


def _words_of_head(facts: Facts) -> Iterator[str]:
    seller, customer, period = facts["seller"], facts["customer"], facts["period"]
    about = facts["about_invoice"]
    if facts["kind"] == "credit note":
        title = f"Credit note {facts['number']} gives back of invoice {about}: {facts['reason']}"
    else:
        title = f"Invoice {facts['number']}" + (f", in place of {about}" if about else "")
    yield title
    yield f"  issued   {facts['issue_date']}, the seller's date at {facts['issued_at']}"
    yield f"  seller   {seller['legal_name']}, {seller['country']}, VAT id {seller['vat_id'] or 'none'}"
    vat_id = customer["vat_id"] or "none"
    yield f"  buyer    {customer['legal_name']} ({customer['customer_id']}), {customer['country']}, VAT id {vat_id}"
    team = facts["team"]
    yield f"  for      team {team['team_id']} {team['name']}, subscription {facts['subscription_id']}".replace(
        " ,", ","
    )
    yield f"  period   {period['first_day']} to {period['last_day']}, days in {period['time_zone']}"
    yield f"           from {_local(period['start_local'])} = {period['start']}"
    yield f"           until {_local(period['end_local'])} = {period['end']}, which is the next cycle's"


def _words_of_tax(tax: Facts) -> Iterator[str]:
    yield f"Tax {tax['category']} {tax['percent']} % (rule {tax['rule']}): {tax['why']}"
    if tax["in_force_since"]:
        yield (
            f"  {tax['country']}: {tax['percent']} % since {tax['in_force_since']}, in force on {tax['in_force_on']}, "
            "the period's last day"
        )
    if tax["category"] == TaxCategory.REVERSE_CHARGE.value:
        yield (
            f"  the VAT id was checked at {tax['vat_id_checked_at']}, reference {tax['vat_id_check_ref'] or 'none'}"
            if tax["vat_id_checked_at"]
            else "  no evidence is kept that the VAT id was checked"
        )


def _words_of_lines(facts: Facts) -> Iterator[str]:
    usage = {one["api"]: one for one in facts["usage"]}
    told: set[str] = set()
    for line in facts["lines"]:
        yield f"Line {line['line_no']}: {_named(line)}"
        if line["api"] in usage and line["api"] not in told:
            told.add(line["api"])
            yield from (f"  {words}" for words in _words_of_usage(usage[line["api"]]))
        yield f"  {_product(line)}"
    for api, one in usage.items():
        if api not in told:
            yield f"Not charged: {_named(one)}"
            yield from (f"  {words}" for words in _words_of_usage(one))


def _words_of_usage(one: Facts) -> Iterator[str]:
    late = f" (late {_grouped(one['late_usage'])})" if one["late_usage"] != "0" else ""
    used = f"usage {_grouped(one['usage'])}{late}"
    if one["billing"] != "rated":
        yield f"{used}, shown and never charged"
        return
    sizes = ", then ".join(_grouped(size) for size in one["unit_sizes"])
    yield (
        f"opening carry-over {_grouped(one['opening'])} + {used} = {one['units']:,} units of {sizes} "
        f"+ {_grouped(one['closing'])} carried over"
    )
    shown = {name: one["drawn"][source] for source, name in _SOURCE_NAMES.items()}
    yield ", ".join(f"{name} {units:,}" for name, units in shown.items() if units or name != "unfunded")
    elsewhere = one["drawn"]["payg"] - one["invoiced_units"]
    if elsewhere:
        yield f"{elsewhere:,} of pay as you go are on the invoice of another subscription"


def _product(line: Facts) -> str:
    if line["by_amount"]:
        return f"an amount of {_grouped(line['net'])} {line['currency']}"
    product = f"{line['charged_units']:,} x {line['unit_price']} = "
    if Decimal(line["exact"]) == Decimal(line["net"]):
        return f"{product}{_grouped(line['net'])} {line['currency']}"
    return f"{product}{_grouped(line['exact'])}, rounded half up {_grouped(line['net'])} {line['currency']}"


def _words_of_amounts(facts: Facts) -> Iterator[str]:
    currency, digits = facts["currency"], facts["minor_digits"]
    yield f"Net    {_grouped(facts['net'])} {currency}, the sum of the lines, each rounded half up to {digits} decimals"
    exact = facts["tax_exact"]
    if facts["kind"] == "credit note":
        why = "what is due on all that is given back so far, less what was given back of it before"
    else:
        why = f"{facts['tax_reason']['percent']} % of the net once"
        why += "" if Decimal(exact) == Decimal(facts["tax"]) else f" is {_grouped(exact)}, rounded half up"
    yield f"Tax    {_grouped(facts['tax'])} {currency}, {why}"
    if facts["vat_currency"]:
        yield f"       {_grouped(facts['tax_in_vat_currency'])} {facts['vat_currency']} for the VAT return"
    yield f"Total  {_grouped(facts['total'])} {currency}"
    yield _words_of_collection(facts["collected"])
    if facts["paid"]:
        yield f"Paid   {facts['paid']}"


def _words_of_collection(collected: Facts) -> str:
    if collected["method"]:
        return f"Charged to {collected['method']} via {collected['gateway']}, due {collected['due_date']}"
    due = f", due {collected['due_date']}" if collected["due_date"] else ""
    return f"{str(collected['how']).capitalize()}{due}"


def _words_of_documents(facts: Facts) -> Iterator[str]:
    for one in facts["documents"]:
        yield f"Document {one['kind']}: SHA-256 {one['sha256']}, {one['bytes']:,} bytes, {one['path']}"
    if not facts["documents"]:
        yield "No document yet: `billing invoices render`"
    for note in facts.get("credit_notes", ()):
        given = f"{_grouped(note['total'])} {facts['currency']}"
        yield f"Credit note {note['number']} of {note['issue_date']} gives back {given}: {note['reason']}"
    if facts.get("credit_notes"):
        left = facts["remaining"]
        sums = f"net {_grouped(left['net'])}, tax {_grouped(left['tax'])}, total {_grouped(left['total'])}"
        yield f"Remaining: {sums} {facts['currency']}"
    if facts.get("replaced_by"):
        yield f"Replaced by invoice {facts['replaced_by']}"


def _words_of_pin(pin: Facts) -> Iterator[str]:
    yield (
        f"Pinned by close {pin['close_no']} as of {pin['as_of']}: usage up to batch {pin['batch_no']}, reference data "
        f"of load {pin['load_no']}, zones of tzdata {pin['tzdata']}, version {pin['version']}"
    )
    if pin["invoice_load_no"] != pin["load_no"]:
        yield f"Names, addresses and tax as known at load {pin['invoice_load_no']}, when it was issued"


def _named(one: Facts) -> str:
    return f"{one['api_name']} ({one['api']})" if one["api_name"] else str(one["api"])


def _grouped(number: str) -> str:
    """A decimal with its thousands apart."""
    return f"{Decimal(number):,f}"


def _short(exact: Decimal) -> str:
    """A decimal without zeros at its end."""
    text = f"{exact:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _local(instant: str) -> str:
    """An instant on the local clock, as people write it."""
    return datetime.fromisoformat(instant).strftime("%Y-%m-%d %H:%M:%S %z")
