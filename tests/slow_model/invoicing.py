"""What a closed cycle's `payg` units cost: lines, tax, numbers (rules 6.1-6.3)."""

from dataclasses import dataclass
from datetime import date

from . import cycles
from .cycles import Cycle
from .intake import MICRO, Subscription

CURRENCIES_BY_MINOR_DIGITS = {  # ISO 4217; every other currency has 2
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_DIGITS = {code: digits for digits, codes in CURRENCIES_BY_MINOR_DIGITS.items() for code in codes.split()}
EU_COUNTRIES = "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK"
EU = frozenset(EU_COUNTRIES.split())


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """Rule 6.1: one API at one unit price; `net_minor` in the currency's minor unit."""

    api: str
    unit_price_micro: int
    charged_units: int
    net_minor: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tax:
    """Rule 6.2: the category and the rate."""

    category: str
    percent_micro: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Draft:
    """An invoice that has no number yet."""

    cycle: Cycle
    subscription: Subscription
    lines: list
    tax: Tax | None  # None: no rate is in force

    def net_minor(self):
        """The sum of its lines."""
        return sum(line.net_minor for line in self.lines)

    def tax_minor(self):
        """Rule 6.2: once, on the sum of the lines; they are all of one category."""
        return half_up(self.net_minor() * self.tax.percent_micro, 100 * MICRO)

    def order(self):
        """Rule 6.3: the order in which numbers are given."""
        return (self.cycle.end, self.cycle.team_id, self.subscription.subscription_id)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invoice:
    """Rule 6.3: issued, with its number."""

    number: str
    issue_date: date
    draft: Draft


def minor_digits(currency):
    """Rule 6.1: how many digits the currency's minor unit has."""
    return MINOR_DIGITS.get(currency, 2)


def half_up(numerator, denominator):
    """Rule 6.1: half away from zero."""
    sign = -1 if numerator < 0 else 1
    return sign * ((2 * abs(numerator) + denominator) // (2 * denominator))


def drafts(cycle, rating, reference):
    """Rule 6.1: one invoice for each `payg` subscription that paid for units in the cycle."""
    paid = {payer.subscription_id for _, payer in rating.units if payer.source == "payg"}
    tax = tax_of(cycle, reference)
    return [
        Draft(
            cycle=cycle,
            subscription=reference.subscriptions[subscription_id],
            lines=lines_of(subscription_id, rating),
            tax=tax,
        )
        for subscription_id in sorted(paid)
    ]


def lines_of(subscription_id, rating):
    """Rule 6.1: one line per API and unit price, by API, then by price."""
    lines = []
    for (api, payer), units in rating.units.items():
        if payer.source == "payg" and payer.subscription_id == subscription_id:
            net = half_up(units * payer.unit_price_micro * 10 ** minor_digits(payer.currency), MICRO)
            lines.append(Line(api=api, unit_price_micro=payer.unit_price_micro, charged_units=units, net_minor=net))
    return sorted(lines, key=lambda line: (line.api, line.unit_price_micro))


def tax_of(cycle, reference):
    """Rule 6.2: category and rate of the team's customer; None where the rate is missing."""
    seller, buyer = reference.seller, reference.customers[reference.teams[cycle.team_id]]
    is_home = buyer["country"] == seller["country"]
    if not is_home and not {seller["country"], buyer["country"]} <= EU:
        return Tax(category="O", percent_micro=0)
    if not is_home and has_vat_id(buyer):
        return Tax(category="AE", percent_micro=0)
    rates = [one for one in reference.tax_rates if one.country == buyer["country"]]
    rates = [one for one in rates if one.valid_from <= cycle.last_day()]
    if not rates:
        return None
    return Tax(category="S", percent_micro=max(rates, key=lambda one: one.valid_from).percent_micro)


def has_vat_id(buyer):
    """Rule 6.2: a VAT id whose prefix is the buyer's country (EL or GR for Greece)."""
    prefix = "".join(letter for letter in buyer["vat_id"] if letter not in " .-").upper()[:2]
    return prefix in (("EL", "GR") if buyer["country"] == "GR" else (buyer["country"],))


def issue(all_drafts, as_of, reference, numbers):
    """Rule 6.3: number the drafts of one close in order; `numbers` ((prefix, year) -> last used) grows."""
    issue_date = cycles.local_date(as_of, reference.seller["time_zone"])
    series = (reference.seller["invoice_prefix"], issue_date.year)
    issued = []
    for draft in sorted(all_drafts, key=Draft.order):
        numbers[series] = numbers.get(series, 0) + 1
        number = f"{series[0]}-{series[1]:04d}-{numbers[series]:06d}"
        issued.append(Invoice(number=number, issue_date=issue_date, draft=draft))
    return issued
