"""An invoice as the strings that stand on the page, in the customer's language. Formats; never computes."""

from __future__ import annotations

from dataclasses import dataclass

from billing.core.instants import format_instant
from billing.core.model import Customer, Invoice, InvoiceLine, PaymentMethod, Seller, TaxCategory, TaxTreatment
from billing.documents.texts import Texts


@dataclass(frozen=True, kw_only=True, slots=True)
class PartyView:
    """Seller or buyer. A blank ``vat_id`` is not shown."""

    name: str
    address: tuple[str, ...]
    vat_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class LineView:
    """A row of the table; ``unit`` says how much usage one unit is."""

    api: str
    unit: str
    units: str
    price: str
    tax: str
    net: str


@dataclass(frozen=True, kw_only=True, slots=True)
class PageView:
    """The words around the two numbers of "Page 1 of 2"; ``first`` and ``second`` are ``page`` or ``pages``."""

    before: str
    first: str
    between: str
    second: str
    after: str


@dataclass(frozen=True, kw_only=True, slots=True)
class InvoiceView:
    """What the template shows. ``lang`` and ``issued_at`` are for machines, everything else is for reading."""

    lang: str
    issued_at: str
    title: str
    number: str
    seller: PartyView
    buyer: PartyView
    issue_date: str
    period: str
    period_zone: str
    team_name: str
    team_id: str
    subscription_id: str
    currency: str
    collection: str
    lines: tuple[LineView, ...]
    net: str
    tax_label: str
    tax: str
    total: str
    notes: tuple[str, ...]
    contact: tuple[str, ...]
    page: PageView


def invoice_view(invoice: Invoice, texts: Texts) -> InvoiceView:
    """The view of one invoice in one language."""
    currency = invoice.currency
    period = {"first": invoice.cycle.period_first_day, "last": invoice.cycle.period_last_day}
    return InvoiceView(
        lang=texts.language,
        issued_at=format_instant(invoice.issued_at.replace(microsecond=0)),
        title=texts("Invoice %(number)s", number=invoice.number),
        number=invoice.number,
        seller=_seller(invoice.seller, texts),
        buyer=_buyer(invoice.customer, texts),
        issue_date=texts.day(invoice.issue_date),
        period=texts("%(first)s – %(last)s", **{name: texts.day(day) for name, day in period.items()}),
        period_zone=texts("Local days, %(time_zone)s", time_zone=invoice.cycle.time_zone),
        team_name=invoice.team_name,
        team_id=invoice.team_id,
        subscription_id=invoice.subscription_id,
        currency=currency,
        collection=_collection(invoice, texts),
        lines=_lines(invoice, texts),
        net=texts.money(invoice.net, currency),
        tax_label=_tax_label(invoice, texts),
        tax=texts.money(invoice.tax, currency),
        total=texts.money(invoice.total, currency),
        notes=_notes(invoice.tax_treatment.category, texts),
        contact=_contact(invoice.seller, texts),
        page=_page(texts),
    )


def _seller(seller: Seller, texts: Texts) -> PartyView:
    address = (seller.address_line1, f"{seller.postal_code} {seller.city}", texts.country(seller.country))
    return PartyView(name=seller.legal_name, address=_present(*address), vat_id=seller.vat_id)


def _buyer(customer: Customer, texts: Texts) -> PartyView:
    address = (
        customer.address_line1,
        customer.address_line2,
        f"{customer.postal_code} {customer.city}",
        customer.region,
        texts.country(customer.country),
    )
    return PartyView(name=customer.legal_name, address=_present(*address), vat_id=customer.vat_id)


def _present(*lines: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in lines if line.strip())


def _lines(invoice: Invoice, texts: Texts) -> tuple[LineView, ...]:
    tax = _tax_code(invoice.tax_treatment, texts)
    return tuple(
        LineView(
            api=line.api_name,
            unit=_unit(line, texts),
            units=texts.decimal(line.charged_units),
            price=texts.amount(line.unit_price, invoice.currency),
            tax=tax,
            net=texts.amount(line.net, invoice.currency),
        )
        for line in invoice.lines
    )


def _unit(line: InvoiceLine, texts: Texts) -> str:
    """How much usage one unit is: ``20 × processing minute``, with every size that was in force."""
    measure = line.usage_unit.replace("_", " ")
    sizes = [f"{texts.decimal(size)}\N{NO-BREAK SPACE}×\N{NO-BREAK SPACE}{measure}" for size in line.unit_sizes]
    text = sizes[0] if sizes else measure
    for later in sizes[1:]:
        text = texts("%(earlier)s, then %(later)s", earlier=text, later=later)
    return text


def _tax_code(treatment: TaxTreatment, texts: Texts) -> str:
    """Category and rate; what is outside the scope has no rate (EN 16931, BR-O-05)."""
    if treatment.category is TaxCategory.OUT_OF_SCOPE:
        return treatment.category.value
    return f"{treatment.category.value} {texts.percent(treatment.percent)}"


def _tax_label(invoice: Invoice, texts: Texts) -> str:
    treatment = invoice.tax_treatment
    base = texts.money(invoice.net, invoice.currency)
    if treatment.category is TaxCategory.OUT_OF_SCOPE:
        return texts("Not subject to VAT: %(base)s (category %(category)s)", base=base, category=treatment.category)
    return texts(
        "VAT %(rate)s on %(base)s (category %(category)s)",
        rate=texts.percent(treatment.percent),
        base=base,
        category=treatment.category,
    )


def _notes(category: TaxCategory, texts: Texts) -> tuple[str, ...]:
    """The wording that the law asks for (rule 6.2)."""
    if category is TaxCategory.REVERSE_CHARGE:
        return (texts("Reverse charge: the customer owes the VAT, Article 196 of Directive 2006/112/EC."),)
    return ()


def _collection(invoice: Invoice, texts: Texts) -> str:
    """How the total is collected (rule 6.5)."""
    if invoice.total == 0:
        return texts("Nothing to pay")
    method = invoice.payment_method
    if method is None:
        return texts("No payment method on file")
    card = _card(method)
    if not card:
        return texts("To be charged via %(gateway)s", gateway=method.gateway)
    return texts("To be charged to %(card)s via %(gateway)s", card=card, gateway=method.gateway)


def _card(method: PaymentMethod) -> str:
    brand = method.brand[:1].upper() + method.brand[1:]
    digits = f"••••\N{NO-BREAK SPACE}{method.last4}" if method.last4 else ""
    return f"{brand} {digits}".strip()


def _contact(seller: Seller, texts: Texts) -> tuple[str, ...]:
    lines = []
    if seller.email:
        lines.append(texts("Questions about this invoice: %(email)s", email=seller.email))
    if seller.iban:
        lines.append(f"IBAN {_groups_of_four(seller.iban)}")
    return tuple(lines)


def _groups_of_four(iban: str) -> str:
    bare = "".join(iban.split())
    return "\N{NO-BREAK SPACE}".join(bare[start : start + 4] for start in range(0, len(bare), 4))


def _page(texts: Texts) -> PageView:
    # The numbers are counted by the layout; NUL, which is in no translation, marks their places.
    marked = texts("Page %(page)s of %(pages)s", page="\0page\0", pages="\0pages\0")
    before, first, between, second, after = marked.split("\0")
    return PageView(before=before, first=first, between=between, second=second, after=after)
