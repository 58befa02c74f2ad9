"""An invoice of nobody, with all that an invoice may show: to look at a theme or a translation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal

from billing.core.model import (
    ApiBilling,
    Balance,
    Customer,
    Cycle,
    DailyUsage,
    Invoice,
    InvoiceLine,
    InvoiceReference,
    InvoiceType,
    Kind,
    PaymentMethod,
    Seller,
    Statement,
    StatementLine,
    TaxCategory,
    TaxTreatment,
)
from billing.core.quantity import minor_digits, round_half_up

SELLER = Seller(
    legal_name="Example Platform SAS",
    address_line1="1 rue Exemple",
    postal_code="75002",
    city="Paris",
    country="FR",
    vat_id="FR40303265045",
    invoice_prefix="INV",
    time_zone="Europe/Paris",
    iban="FR7630006000011234567890189",
    bic="EXMPFRPPXXX",
    email="billing@example.com",
    contact_name="Accounts receivable",
    phone="+33 1 00 00 00 00",
    registration_id="303265045",
    registration_scheme="0002",
    creditor_id="FR12ZZZ123456",
    legal_information="SAS au capital de 100 000 €, RCS Paris 303 265 045",
    payment_days=30,
    credit_note_prefix="CN",
)
_CYCLE = Cycle(
    start=datetime(2026, 7, 15, 8, 30, tzinfo=UTC),
    end=datetime(2026, 8, 14, 22, tzinfo=UTC),
    time_zone="Europe/Paris",
    period_first_day=date(2026, 7, 15),
    period_last_day=date(2026, 8, 14),
    payg_subscription_id="sub-0042",
)
_CARD = PaymentMethod(payment_method_id="pm1", gateway="stripe", brand="visa", last4="4242", expires="2028-11")
_REVERSE_CHARGE = TaxTreatment(category=TaxCategory.REVERSE_CHARGE, percent=Decimal(0))
_OUT_OF_SCOPE = TaxTreatment(category=TaxCategory.OUT_OF_SCOPE, percent=Decimal(0))


def _standard(percent: str) -> TaxTreatment:
    return TaxTreatment(category=TaxCategory.STANDARD, percent=Decimal(percent))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Api:
    """An API of the sample: what is opened, closed and late in its usage unit; the units that each source paid for."""

    name: str
    usage_unit: str
    size: Decimal
    opening: Decimal
    closing: Decimal
    late: Decimal
    free: int
    flex: int
    payg: int
    price: Decimal


def _api(row: str) -> _Api:
    name, usage_unit, size, opening, closing, late, free, flex, payg, price = row.strip().split("|")
    return _Api(
        name=name,
        usage_unit=usage_unit,
        size=Decimal(size),
        opening=Decimal(opening),
        closing=Decimal(closing),
        late=Decimal(late),
        free=int(free),
        flex=int(flex),
        payg=int(payg),
        price=Decimal(price),
    )


# As the fields of ``_Api``.
_APIS = tuple(
    _api(row)
    for row in """
        Automation|processing_minute|20|5.5|12.25|61.5|150|0|1284|2.4
        Context tokens|1,000 tokens|1|0.412|0.087|0|0|4000|48210|0.333333
        Model conversion|job|1|0|0|0|50|120|311|0.75
        Reality capture|gigapixel|0.5|0.203125|0.25|0|0|0|77|11.5
        Rendering|core_hour|10|9.9|3.75|0|0|0|96|4.2
    """.strip().splitlines()
)


def sample_invoice(locale: str, *, credit_note: bool = False, with_card: bool = True) -> Invoice:
    """An invoice to a buyer in the locale's country, with a usage statement; or a credit note on a part of it.

    ``with_card``: charged to a card, otherwise to be paid by bank transfer.
    """
    customer, treatment = _buyer(locale)
    lines = tuple(_line(number, api) for number, api in enumerate(_APIS, start=1))
    if credit_note:
        lines = lines[:1]
    net = sum((line.net for line in lines), Decimal("0.00"))
    tax = round_half_up(net * treatment.percent / 100, minor_digits("EUR"))
    issued = datetime(2026, 8, 15, 6, tzinfo=UTC)
    return Invoice(
        number="CN-2026-000007" if credit_note else "INV-2026-000042",
        issued_at=issued,
        issue_date=issued.date(),
        seller=SELLER,
        customer=customer,
        team_id="team-17",
        team_name="Bridges and tunnels",
        subscription_id="sub-0042",
        cycle=_CYCLE,
        currency="EUR",
        lines=lines,
        net=net,
        tax_treatment=treatment,
        tax=tax,
        total=net + tax,
        payment_method=_CARD if with_card else None,
        type=InvoiceType.CREDIT_NOTE if credit_note else InvoiceType.INVOICE,
        due_date=None if credit_note else date(2026, 8, 15) if with_card else date(2026, 9, 14),
        purchase_order="PO-2026-118",
        preceding=InvoiceReference(number="INV-2026-000031", issue_date=date(2026, 7, 15)) if credit_note else None,
        reason="Usage of a test environment was counted." if credit_note else "",
        statement=None if credit_note else sample_statement(),
    )


def sample_statement(apis: int = len(_APIS)) -> Statement:
    """A usage statement of so many rated APIs, and one that is not rated."""
    chosen = [replace(_APIS[number % len(_APIS)], name=_name(number)) for number in range(apis)]
    unrated = StatementLine(
        api="search",
        api_name="Search",
        usage_unit="query",
        billing=ApiBilling.UNRATED,
        unit_sizes=(),
        opening=Decimal(0),
        usage=Decimal(18_442),
        late_usage=Decimal(0),
        units=(),
        invoiced_units=0,
        closing=Decimal(0),
    )
    return Statement(
        lines=(*map(_statement_line, chosen), unrated),
        daily=tuple(_daily(number, api) for number, api in enumerate(chosen)),
        balances=_balances(),
    )


def _name(number: int) -> str:
    name = _APIS[number % len(_APIS)].name
    return name if number < len(_APIS) else f"{name} {number + 1}"


def _buyer(locale: str) -> tuple[Customer, TaxTreatment]:
    language = locale.replace("_", "-").split("-")[0].lower()
    particulars, treatment = _BUYERS.get(language, _BUYERS["en"])
    name, address, postal_code, city, region, country, vat_id, email = particulars.split("|")
    customer = Customer(
        customer_id="c-9",
        legal_name=name,
        address_line1=address,
        address_line2="",
        postal_code=postal_code,
        city=city,
        region=region,
        country=country,
        vat_id=vat_id,
        email=email,
        locale=locale,
        buyer_reference="KST 4711",
    )
    return customer, treatment


def _line(number: int, api: _Api) -> InvoiceLine:
    return InvoiceLine(
        line_no=number,
        api=_id(api.name),
        api_name=api.name,
        usage_unit=api.usage_unit,
        unit_sizes=(api.size,),
        charged_units=api.payg,
        unit_price=api.price,
        net=round_half_up(api.payg * api.price, minor_digits("EUR")),
    )


def _statement_line(api: _Api) -> StatementLine:
    size, units = api.size, api.free + api.flex + api.payg
    drawn = ((Kind.FREE.value, api.free), (Kind.FLEX.value, api.flex), (Kind.PAYG.value, api.payg))
    return StatementLine(
        api=_id(api.name),
        api_name=api.name,
        usage_unit=api.usage_unit,
        billing=ApiBilling.RATED,
        unit_sizes=(size,),
        opening=api.opening,
        usage=units * size + api.closing - api.opening,
        late_usage=api.late,
        units=tuple((source, count) for source, count in drawn if count),
        invoiced_units=api.payg,
        closing=api.closing,
    )


def _daily(number: int, api: _Api) -> DailyUsage:
    """Weekdays more than weekends, each API with a wave of its own; together what the statement says was used."""
    line = _statement_line(api)
    used = line.usage - line.late_usage
    days = [date(2026, 7, 15).toordinal() + day for day in range(31)]
    weights = [
        ((day * (37 + 6 * number) + number * 61) % (89 + number) + 30) * (5 if (day + 6) % 7 < 5 else 1) for day in days
    ]
    parts = [round_half_up(used * weight / sum(weights), 3) for weight in weights[1:]]
    quantities = (used - sum(parts), *parts)
    return DailyUsage(
        api=_id(api.name),
        api_name=api.name,
        usage_unit=api.usage_unit,
        first_day=date(2026, 7, 15),
        quantities=quantities,
    )


def _balances() -> tuple[Balance, ...]:
    refreshes, ends = datetime(2026, 8, 31, 22, tzinfo=UTC), datetime(2027, 3, 31, 22, tzinfo=UTC)

    def balance(source: Kind, name: str, granted: str, available: str, grant: str = "") -> Balance:
        free = source is Kind.FREE
        return Balance(
            source=source, subscription_id=f"sub-{source.value}", grant_id=grant, api=_id(name), api_name=name,
            granted=Decimal(granted), available=Decimal(available),
            ends_at=None if free else ends, refreshes_at=refreshes if free else None,
        )  # fmt: skip

    return (
        balance(Kind.FREE, "Automation", "150", "0"),
        balance(Kind.FREE, "Model conversion", "50", "12"),
        balance(Kind.FLEX, "", "250000", "113412.5", "grant 2026-1"),
        balance(Kind.FLEX, "", "100000", "100000", "grant 2026-2"),
    )


def _id(name: str) -> str:
    return name.lower().replace(" ", "_")


# Legal name, address, postal code, city, region, country, VAT id, e-mail; and how VAT is treated.
_BUYERS = {
    "en": (
        "Meridian Structures Ltd|12 Forge Street|D02 X285|Dublin||IE|IE6388047V|ap@meridian.example",
        _REVERSE_CHARGE,
    ),
    "fr": (
        "Méridien Ouvrages SARL|12 rue des Forges|69002|Lyon||FR|FR83404833048|compta@meridien.example",
        _standard("20"),
    ),
    "fi": (
        "Meridiaani Rakenteet Oy|Pajakatu 12|00100|Helsinki||FI|FI20774740|laskut@meridiaani.example",
        _REVERSE_CHARGE,
    ),
    "de": (
        "Meridian Tragwerke GmbH|Schmiedestraße 12|10115|Berlin||DE|DE136695976|re@meridian.example",
        _REVERSE_CHARGE,
    ),
    "es": (
        "Meridiano Estructuras S.L.|Calle de la Forja 12|28004|Madrid||ES|ESB58378431|ap@meridiano.example",
        _REVERSE_CHARGE,
    ),
    "ja": ("子午線構造株式会社|丸の内1-2-3|100-0005|千代田区|東京都|JP||keiri@meridian.example", _OUT_OF_SCOPE),
}
