"""Which tax an invoice bears (rule 6.2)."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from billing.core.frames import rows
from billing.core.instants import day_number
from billing.core.model import TaxCategory, TaxTreatment
from billing.core.quantity import decimal_of_micro, multiply, round_half_up
from billing.core.reference import Reference

# The member states (Article 52 TEU) since the United Kingdom left.
EU_COUNTRIES = frozenset(
    [
        "AT",
        "BE",
        "BG",
        "CY",
        "CZ",
        "DE",
        "DK",
        "EE",
        "ES",
        "FI",
        "FR",
        "GR",
        "HR",
        "HU",
        "IE",
        "IT",
        "LT",
        "LU",
        "LV",
        "MT",
        "NL",
        "PL",
        "PT",
        "RO",
        "SE",
        "SI",
        "SK",
    ]
)
_VAT_PREFIXES: Mapping[str, tuple[str, ...]] = {"GR": ("EL", "GR")}


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxRates:
    """Rates by country: the first days (since 1970-01-01) and the percents in 10^-6, in order of time."""

    by_country: Mapping[str, tuple[Sequence[int], Sequence[int]]]

    @classmethod
    def from_reference(cls, reference: Reference) -> TaxRates:
        """Arrange the table ``tax_rates``."""
        rates: dict[str, tuple[list[int], list[int]]] = {}
        for row in rows(reference["tax_rates"].sort_values("valid_from")):
            days, percents = rates.setdefault(row.country, ([], []))
            days.append(int(row.valid_from))
            percents.append(int(row.percent))
        return cls(by_country=rates)

    def percent_on(self, country: str, day: date) -> Decimal | None:
        """The rate in force in a country on a day; None where there is none."""
        days, percents = self.by_country.get(country, ((), ()))
        place = bisect_right(days, day_number(day))
        return decimal_of_micro(percents[place - 1]) if place else None


def normal_vat_id(vat_id: str) -> str:
    """A VAT id without blanks, dots and dashes, in capitals (rule 6.2)."""
    return re.sub(r"[\s.\-]", "", vat_id).upper()


def has_vat_id_of(country: str, vat_id: str) -> bool:
    """Whether the id carries the country's prefix (``EL`` or ``GR`` for Greece)."""
    return normal_vat_id(vat_id).startswith(_VAT_PREFIXES.get(country, (country,)))


def tax_treatment(
    *, seller_country: str, buyer_country: str, buyer_vat_id: str, last_day: date, rates: TaxRates
) -> TaxTreatment | None:
    """The category and rate; None where a rate is needed and none is in force on the period's last day (rule 3.8)."""
    both_in_eu = {seller_country, buyer_country} <= EU_COUNTRIES
    if buyer_country != seller_country and not both_in_eu:
        return TaxTreatment(category=TaxCategory.OUT_OF_SCOPE, percent=Decimal(0))
    if buyer_country != seller_country and has_vat_id_of(buyer_country, buyer_vat_id):
        return TaxTreatment(category=TaxCategory.REVERSE_CHARGE, percent=Decimal(0))
    percent = rates.percent_on(buyer_country, last_day)
    return None if percent is None else TaxTreatment(category=TaxCategory.STANDARD, percent=percent)


def tax_on(net: Decimal, percent: Decimal, digits: int) -> Decimal:
    """The tax on a sum, computed once and rounded half up to the currency's minor digits (rule 6.2)."""
    return round_half_up(multiply(multiply(net, percent), Decimal("0.01")), digits)
