"""An invoice or credit note as the strings on its page, in the customer's language. Formats; never computes."""

from __future__ import annotations

from dataclasses import dataclass

from billing.core.model import (
    Customer,
    Cycle,
    Invoice,
    InvoiceLine,
    InvoiceType,
    PaymentMethod,
    Seller,
    TaxCategory,
    TaxTreatment,
)
from billing.documents.tables import PAGE_MM, Columns, columns
from billing.documents.texts import Texts, isolated
from billing.documents.theme import Theme

# Registers by their code in ISO 6523; any other is "Reg. no.".
_REGISTERS = {
    "0002": "SIREN",
    "0009": "SIRET",
    "0060": "DUNS",
    "0088": "GLN",
    "0106": "KVK",
    "0188": "法人番号",
    "0221": "登録番号",
}
_BRANDS = {"amex": "American Express", "jcb": "JCB", "mastercard": "Mastercard", "unionpay": "UnionPay"}
# One character may look different in each: the fonts go by the language.
_LANGUAGES = {
    "CN": "zh-Hans",
    "SG": "zh-Hans",
    "TW": "zh-Hant",
    "HK": "zh-Hant",
    "MO": "zh-Hant",
    "KR": "ko",
    "JP": "ja",
}
# Where region and postal code stand behind the city.
_CITY_FIRST = frozenset({"AU", "CA", "US"})


@dataclass(frozen=True, kw_only=True, slots=True)
class PartyView:
    """Seller or buyer: the name, and below it ``lines`` of address and identifiers. What is blank is left out.

    ``lang`` is the language of the name and the address where it decides the shapes of their characters, else blank.
    """

    name: str
    lang: str
    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class LineView:
    """A row of the table; ``unit`` says how much usage one unit is."""

    api: str
    unit: str
    units: str
    price: str
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
    """What the template shows. ``lang`` is for machines, everything else is for reading.

    ``facts`` and ``totals`` are labels with their values; ``about`` says which document this one is about and why;
    ``collection`` are lines, the most important first.
    """

    lang: str
    title: str
    kind: str
    number: str
    seller: PartyView
    buyer: PartyView
    facts: tuple[tuple[str, str], ...]
    period_zone: str
    references: str
    about: tuple[str, ...]
    total_label: str
    total: str
    collection: tuple[str, ...]
    heads: tuple[str, ...]
    columns: Columns
    lines: tuple[LineView, ...]
    totals: tuple[tuple[str, str], ...]
    tax_in_vat_currency: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    small_print: tuple[str, ...]
    footer: str
    page: PageView


def invoice_view(invoice: Invoice, texts: Texts, theme: Theme) -> InvoiceView:
    """The view of one invoice in one language."""
    title = _title(invoice, texts)
    heads, lines = _heads(invoice, texts), _lines(invoice, texts)
    rows = [(line.api, line.unit, line.units, line.price, line.net) for line in lines]
    return InvoiceView(
        lang=texts.language,
        title=title,
        kind=texts("Credit note") if is_credit(invoice) else texts("Invoice"),
        number=invoice.number,
        seller=party_view(invoice.seller, texts),
        buyer=buyer_view(invoice.customer, texts),
        facts=_facts(invoice, texts),
        period_zone=texts("Local days, %(time_zone)s", time_zone=invoice.cycle.time_zone),
        references=_references(invoice, texts, theme),
        about=_about(invoice, texts),
        total_label=_total_label(invoice, texts),
        total=texts.money(invoice.total, invoice.currency),
        collection=_refund(invoice, texts) if is_credit(invoice) else _collection(invoice, texts),
        heads=heads,
        columns=columns(heads, rows, texts=2, page_mm=PAGE_MM, text_min_mm=60),
        lines=lines,
        totals=_totals(invoice, texts),
        tax_in_vat_currency=_tax_in_vat_currency(invoice, texts),
        notes=_notes(invoice.tax_treatment.category, texts),
        small_print=_small_print(invoice.seller, texts, theme),
        footer=" · ".join(_present(invoice.seller.legal_name, title, theme.texts(texts.language).footer)),
        page=page_view(texts),
    )


def is_credit(invoice: Invoice) -> bool:
    """Whether the document gives back."""
    return invoice.type is InvoiceType.CREDIT_NOTE


def period_text(invoice: Invoice, texts: Texts) -> str:
    """The cycle's local days."""
    return days_text(invoice.cycle, texts)


def days_text(cycle: Cycle, texts: Texts) -> str:
    """The first and the last local day of a cycle."""
    # Where it takes two lines it is broken at the dash.
    days = (cycle.period_first_day, cycle.period_last_day)
    first, last = (texts.day(day).replace(" ", "\N{NO-BREAK SPACE}") for day in days)
    return texts("%(first)s – %(last)s", first=first, last=last)


def unit_text(line_sizes: tuple[str, ...], usage_unit: str, texts: Texts) -> str:
    """How much usage one unit is: ``20 × processing minute``, with every size that was in force."""
    measure = usage_unit.replace("_", " ")
    sizes = [f"{size}\N{NO-BREAK SPACE}× {measure}" for size in line_sizes]
    text = sizes[0] if sizes else measure
    for later in sizes[1:]:
        text = texts("%(earlier)s, then %(later)s", earlier=text, later=later)
    return text


def page_view(texts: Texts) -> PageView:
    """The words of the page's number."""
    # The numbers are counted by the layout; NUL, which is in no translation, marks their places.
    marked = texts("Page %(page)s of %(pages)s", page="\0page\0", pages="\0pages\0")
    before, first, between, second, after = marked.split("\0")
    return PageView(before=before, first=first, between=between, second=second, after=after)


def _title(invoice: Invoice, texts: Texts) -> str:
    if is_credit(invoice):
        return texts("Credit note %(number)s", number=invoice.number)
    return texts("Invoice %(number)s", number=invoice.number)


def party_view(seller: Seller, texts: Texts) -> PartyView:
    """The seller."""
    return _described(seller, isolated(seller.legal_name), texts)


def buyer_view(customer: Customer, texts: Texts) -> PartyView:
    """The customer as an address."""
    name = isolated(customer.legal_name)
    # A Japanese document addresses a company with 御中.
    return _described(customer, f"{name} 御中" if texts.language == "ja" else name, texts)


def _described(party: Seller | Customer, name: str, texts: Texts) -> PartyView:
    lines = (*_address(party, texts), *_identifiers(party, texts))
    return PartyView(name=name, lang=_LANGUAGES.get(party.country, ""), lines=lines)


def _address(party: Seller | Customer, texts: Texts) -> tuple[str, ...]:
    """The lines of an address, in the order of its country."""
    country = texts.country(party.country)
    if party.country == "JP" and texts.language == "ja":
        code = f"〒{party.postal_code}" if party.postal_code else ""
        street = f"{party.region}{party.city}{party.address_line1}"
        return _present(code, street, party.address_line2, country)
    if party.country in _CITY_FIRST:
        place = ", ".join(_present(party.city, f"{party.region} {party.postal_code}"))
        return _present(party.address_line1, party.address_line2, place, country)
    place = f"{party.postal_code} {party.city}"
    return _present(party.address_line1, party.address_line2, place, party.region, country)


def _identifiers(party: Seller | Customer, texts: Texts) -> tuple[str, ...]:
    register = _REGISTERS.get(party.registration_scheme) or texts("Reg. no.")
    found = ((texts("VAT ID"), party.vat_id), (register, party.registration_id))
    return tuple(f"{label} {value}" for label, value in found if value)


def _present(*lines: str) -> tuple[str, ...]:
    return tuple(isolated(line.strip()) for line in lines if line.strip())


def _facts(invoice: Invoice, texts: Texts) -> tuple[tuple[str, str], ...]:
    due = () if invoice.due_date is None else ((texts("Due date"), texts.day(invoice.due_date)),)
    return ((texts("Issue date"), texts.day(invoice.issue_date)), *due, (texts("Period"), period_text(invoice, texts)))


def _references(invoice: Invoice, texts: Texts, theme: Theme) -> str:
    """What the buyer files the document under, in one line."""
    team = isolated(invoice.team_name) if invoice.team_name else ""
    parts = (
        (texts("Your reference"), isolated(invoice.customer.buyer_reference)),
        (texts("Purchase order"), isolated(invoice.purchase_order)),
        (texts("Team"), f"{team} ({invoice.team_id})" if team else invoice.team_id)
        if "team" in theme.shown
        else ("", ""),
        (texts("Subscription"), invoice.subscription_id) if "subscription" in theme.shown else ("", ""),
    )
    return " · ".join(texts("%(label)s: %(value)s", label=label, value=value) for label, value in parts if value)


def _about(invoice: Invoice, texts: Texts) -> tuple[str, ...]:
    """Which document this one corrects or takes the place of (rule 6.4), and why."""
    lines = []
    if other := invoice.preceding:
        named = {"number": other.number, "day": texts.day(other.issue_date)}
        if is_credit(invoice):
            lines.append(texts("Corrects invoice %(number)s of %(day)s.", **named))
        else:
            lines.append(texts("Takes the place of invoice %(number)s of %(day)s.", **named))
    if invoice.reason:
        lines.append(texts("Reason: %(reason)s", reason=isolated(invoice.reason)))
    return tuple(lines)


def _total_label(invoice: Invoice, texts: Texts) -> str:
    return texts("Total credited") if is_credit(invoice) else texts("Total")


def _heads(invoice: Invoice, texts: Texts) -> tuple[str, ...]:
    """The heads of the table. Tax is the same on every line, so that it is said once, over the amounts."""
    treatment, currency = invoice.tax_treatment, invoice.currency
    price, net, vat = texts("Unit price"), texts("Net"), texts("VAT")
    return (
        texts("API"),
        texts("1 unit ="),
        texts("Credited units") if is_credit(invoice) else texts("Charged units"),
        f"{price}\n{currency}",
        f"{net} {currency}\n{vat}\N{NO-BREAK SPACE}{tax_code(treatment, texts)}",
    )


def tax_code(treatment: TaxTreatment, texts: Texts) -> str:
    """Category and rate; what is outside the scope has no rate (EN 16931, BR-O-05)."""
    if treatment.category is TaxCategory.OUT_OF_SCOPE:
        return treatment.category.value
    return f"{treatment.category.value}\N{NO-BREAK SPACE}{texts.percent(treatment.percent)}"


def _lines(invoice: Invoice, texts: Texts) -> tuple[LineView, ...]:
    return tuple(
        LineView(
            api=isolated(line.api_name),
            unit=_unit(line, texts),
            units=texts.decimal(line.charged_units),
            price=texts.amount(line.unit_price, invoice.currency),
            net=texts.amount(line.net, invoice.currency),
        )
        for line in invoice.lines
    )


def _unit(line: InvoiceLine, texts: Texts) -> str:
    if line.by_amount:
        return texts("credited by amount")
    return unit_text(tuple(texts.decimal(size) for size in line.unit_sizes), line.usage_unit, texts)


def _totals(invoice: Invoice, texts: Texts) -> tuple[tuple[str, str], ...]:
    currency = invoice.currency
    net_label = texts("Credited before tax") if is_credit(invoice) else texts("Total before tax")
    return (
        (net_label, texts.money(invoice.net, currency)),
        (_tax_label(invoice, texts), texts.money(invoice.tax, currency)),
        (_total_label(invoice, texts), texts.money(invoice.total, currency)),
    )


def _tax_in_vat_currency(invoice: Invoice, texts: Texts) -> tuple[tuple[str, str], ...]:
    """The tax once more, where the seller accounts for it in another currency (BT-111)."""
    if invoice.vat_total is None:
        return ()
    currency = invoice.seller.vat_currency
    return ((texts("VAT in %(currency)s", currency=currency), texts.money(invoice.vat_total, currency)),)


def _tax_label(invoice: Invoice, texts: Texts) -> str:
    treatment = invoice.tax_treatment
    base = texts.money(invoice.net, invoice.currency)
    if treatment.category is TaxCategory.OUT_OF_SCOPE:
        return texts("Not subject to VAT: %(base)s (category %(category)s)", base=base, category=treatment.category)
    return _rated_label(treatment, base, texts)


def _rated_label(treatment: TaxTreatment, base: str, texts: Texts) -> str:
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


def _collection(invoice: Invoice, texts: Texts) -> tuple[str, ...]:
    """How the total is collected (rule 6.5)."""
    method = invoice.payment_method
    if invoice.total == 0:
        return (texts("Nothing to pay"),)
    if method is None:
        return _transfer(invoice, texts)
    if method.mandate:
        return (texts("To be collected by SEPA direct debit"), *_mandate(method, invoice.seller, texts))
    if card := _card(method):
        return (texts("To be charged to %(card)s", card=card),)
    return (texts("To be charged via %(gateway)s", gateway=method.gateway),)


def _refund(invoice: Invoice, texts: Texts) -> tuple[str, ...]:
    """How what is credited comes back."""
    method = invoice.payment_method
    if invoice.total == 0:
        return (texts("Nothing to refund"),)
    if method is None:
        return (texts("To be refunded by bank transfer, or set off against open invoices"),)
    if method.mandate:
        return (texts("To be refunded to the account that was debited"), *_mandate(method, invoice.seller, texts))
    if card := _card(method):
        return (texts("To be refunded to %(card)s", card=card),)
    return (texts("To be refunded via %(gateway)s", gateway=method.gateway),)


def _transfer(invoice: Invoice, texts: Texts) -> tuple[str, ...]:
    seller = invoice.seller
    due = texts.day(invoice.due_date) if invoice.due_date else ""
    if not seller.iban:
        return (texts("To be paid by %(day)s", day=due) if due else texts("No payment method on file"),)
    return _present(
        texts("To be paid by bank transfer by %(day)s", day=due) if due else texts("To be paid by bank transfer"),
        f"IBAN {_groups_of_four(seller.iban)}",
        f"BIC {seller.bic}" if seller.bic else "",
        texts("Payment reference: %(number)s", number=invoice.number),
    )


def _mandate(method: PaymentMethod, seller: Seller, texts: Texts) -> tuple[str, ...]:
    account = f"IBAN ••••\N{NO-BREAK SPACE}{method.last4}" if method.last4 else ""
    return _present(
        account,
        texts("Mandate %(mandate)s", mandate=method.mandate),
        texts("Creditor ID %(creditor)s", creditor=seller.creditor_id) if seller.creditor_id else "",
    )


def _card(method: PaymentMethod) -> str:
    brand = _BRANDS.get(method.brand.lower(), method.brand[:1].upper() + method.brand[1:])
    digits = f"••••\N{NO-BREAK SPACE}{method.last4}" if method.last4 else ""
    return f"{brand} {digits}".strip()


def _small_print(seller: Seller, texts: Texts, theme: Theme) -> tuple[str, ...]:
    words = theme.texts(texts.language)
    contact = " · ".join(_present(seller.contact_name, seller.email, seller.phone))
    return _present(
        words.terms,
        words.legal,
        seller.legal_information if "legal_information" in theme.shown else "",
        texts("Questions: %(contact)s", contact=contact) if contact else "",
    )


def _groups_of_four(iban: str) -> str:
    bare = "".join(iban.split())
    return "\N{NO-BREAK SPACE}".join(bare[start : start + 4] for start in range(0, len(bare), 4))
