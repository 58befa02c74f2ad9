"""Rule 6.2: which tax an invoice bears."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest

from billing.core.instants import day_number
from billing.core.model import TaxTreatment
from billing.core.tax import EU_COUNTRIES, TaxRates, has_vat_id_of, normal_vat_id, tax_treatment

from .small_reference import SmallReference

DAY = date(2026, 3, 31)
RATES = TaxRates(
    by_country={
        "FR": ([0], [20_000_000]),
        "DE": ([0], [19_000_000]),
        "GR": ([0], [24_000_000]),
        "US": ([0], [7_000_000]),
        "GB": ([0], [20_000_000]),
        "FI": ([0, day_number(date(2024, 9, 1))], [24_000_000, 25_500_000]),
    }
)


def treatment(seller: str, buyer: str, vat_id: str, day: date = DAY) -> tuple[str, str] | None:
    """Category and percent as text; None where no rate is in force."""
    found = tax_treatment(seller_country=seller, buyer_country=buyer, buyer_vat_id=vat_id, last_day=day, rates=RATES)
    return found and (found.category.value, str(found.percent))


@pytest.mark.parametrize(
    ("seller", "buyer", "vat_id", "expected"),
    [
        pytest.param("FR", "FR", "", ("S", "20"), id="at home"),
        pytest.param("FR", "FR", "FR83404833048", ("S", "20"), id="at home with a VAT id"),
        pytest.param("FR", "FR", "DE136695976", ("S", "20"), id="at home with a foreign VAT id"),
        pytest.param("US", "US", "", ("S", "7"), id="at home outside the EU"),
        pytest.param("FR", "DE", "DE136695976", ("AE", "0"), id="other EU country with its VAT id"),
        pytest.param("FR", "DE", "", ("S", "19"), id="other EU country without a VAT id"),
        pytest.param("FR", "DE", "FR44732829320", ("S", "19"), id="VAT id of the seller's country"),
        pytest.param("FR", "DE", "ATU12345675", ("S", "19"), id="VAT id of a third country"),
        pytest.param("FR", "DE", "136695976", ("S", "19"), id="VAT id without prefix"),
        pytest.param("FR", "DE", " de 811-569.869 ", ("AE", "0"), id="blanks, dots, dashes, small letters"),
        pytest.param("FR", "DE", "D-E 811569869", ("AE", "0"), id="a dash in the prefix"),
        pytest.param("FR", "DE", "D\u00a0E811569869", ("AE", "0"), id="a blank that does not break"),
        pytest.param("FR", "GR", "EL094259216", ("AE", "0"), id="Greece as EL"),
        pytest.param("FR", "GR", "GR094259216", ("AE", "0"), id="Greece as GR"),
        pytest.param("FR", "GR", "", ("S", "24"), id="Greece without"),
        pytest.param("GR", "DE", "EL094259216", ("S", "19"), id="EL is Greece only"),
        pytest.param("FR", "ES", "ESA28015865", ("AE", "0"), id="reverse charge needs no rate"),
        pytest.param("FR", "ES", "", None, id="no rate for the buyer's country"),
        pytest.param("ES", "ES", "", None, id="no rate at home"),
        pytest.param("FR", "GB", "GB123456789", ("O", "0"), id="Britain left"),
        pytest.param("GB", "GB", "", ("S", "20"), id="Britain at home"),
        pytest.param("GB", "FR", "FR83404833048", ("O", "0"), id="from Britain into the EU"),
        pytest.param("FR", "US", "", ("O", "0"), id="out of the EU"),
        pytest.param("FR", "JP", "DE136695976", ("O", "0"), id="out of the EU with a VAT id of the EU"),
        pytest.param("US", "FR", "FR83404833048", ("O", "0"), id="into the EU"),
        pytest.param("FR", "CH", "", ("O", "0"), id="Switzerland is not in the EU"),
        pytest.param("FR", "FI", "", ("S", "25.5"), id="a rate with decimals"),
    ],
)
def test_category_and_rate(seller: str, buyer: str, vat_id: str, expected: tuple[str, str] | None) -> None:
    """Rule 6.2; None where a rate is needed and none is in force (rule 3.8: ``no_tax_rate``)."""
    assert treatment(seller, buyer, vat_id) == expected


@pytest.mark.parametrize(
    ("day", "percent"),
    [("2024-08-31", "24"), ("2024-09-01", "25.5"), ("1970-01-01", "24"), ("1969-12-31", None)],
)
def test_the_rate_of_the_last_day(day: str, percent: str | None) -> None:
    """Rule 6.2: the one in force on the period's last day, from its first day on."""
    assert treatment("FR", "FI", "", date.fromisoformat(day)) == (percent and ("S", percent))


def test_rates_from_the_table_in_any_order() -> None:
    """Data contract: ``tax_rates``; rows are not sorted."""
    small = SmallReference()
    for day, percent in (("2026-01-01", "25.5"), ("2000-01-01", "22"), ("2010-07-01", "23")):
        small.add("tax_rates", country="FI", valid_from=day, percent=percent)
    rates = TaxRates.from_reference(small.frames())
    found = [rates.percent_on("FI", date(year, 12, 31)) for year in (1999, 2009, 2025, 2026)]
    assert found == [None, Decimal(22), Decimal(23), Decimal("25.5")]
    assert rates.percent_on("SE", DAY) is None


def test_member_states() -> None:
    """Rule 6.2: the 27, Greece by its ISO code."""
    assert len(EU_COUNTRIES) == 27
    assert not EU_COUNTRIES & {"GB", "EL", "CH", "NO", "IS", "XI", "MC"}


@pytest.mark.parametrize("vat_id", ["", " ", "-"])
def test_a_blank_is_no_vat_id(vat_id: str) -> None:
    """Rule 6.2."""
    assert normal_vat_id(vat_id) == ""
    assert not has_vat_id_of("DE", vat_id)


def test_nothing_is_charged_but_by_category_s() -> None:
    """Rule 6.2: reverse charge and out of scope are 0 %."""
    for buyer, vat_id in (("DE", "DE1"), ("US", "")):
        found = tax_treatment(seller_country="FR", buyer_country=buyer, buyer_vat_id=vat_id, last_day=DAY, rates=RATES)
        assert isinstance(found, TaxTreatment)
        assert found.percent == 0
