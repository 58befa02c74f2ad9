"""Credit notes by the rules: what may be given back, and that parts sum to the whole (rule 6.4)."""

from __future__ import annotations

import decimal
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from billing.core.crediting import (
    Credit,
    Left,
    Wanted,
    credit,
    credits_are_conserved,
    parse_wanted,
    vat_given_back,
    what_is_left,
)
from billing.core.instants import day_number
from billing.core.model import Invoice, TaxCategory, TaxTreatment
from billing.core.particulars import ExchangeRates, vat_total
from billing.core.quantity import decimal_of_micro, minor_digits, round_half_up
from billing.core.tax import tax_on
from tests.documents.invoices import CYCLE, SELLER, invoice, line

TWO_LINES = invoice(
    (
        line(1, charged_units=3, unit_price=Decimal("0.335")),
        line(2, charged_units=200, unit_price=Decimal("1.15")),
    )
)
"""1.01 (of 1.005) and 230.00; tax 46.20 of 46.202."""


def given_back(of: Invoice, *parts: str, earlier: tuple[Credit, ...] = ()) -> Credit:
    """The credit for these parts; it must be possible."""
    made, findings = credit(of, earlier, [parse_wanted(part) for part in parts])
    assert made is not None, findings
    return made


def refused(of: Invoice, *parts: str, earlier: tuple[Credit, ...] = ()) -> list[str]:
    """Why these parts cannot be given back."""
    made, findings = credit(of, earlier, [parse_wanted(part) for part in parts])
    assert made is None
    return [str(finding) for finding in findings]


def told(of: Credit) -> list[tuple[int, int, str, str, bool]]:
    return [(c.invoice_line_no, c.charged_units, f"{c.unit_price:f}", str(c.net), c.by_amount) for c in of.lines]


# --- what may be given back ------------------------------------------------------------------------------------------


def test_whole_is_the_invoice_exactly() -> None:
    """Rule 6.4; 3 x 0.335 = 1.005 is 1.01 here as it is there."""
    whole = given_back(TWO_LINES)
    assert told(whole) == [(1, 3, "0.335", "1.01", False), (2, 200, "1.15", "230.00", False)]
    assert (whole.net, whole.tax, whole.total) == (TWO_LINES.net, TWO_LINES.tax, TWO_LINES.total)


def test_parts_of_lines_in_the_order_of_the_invoice() -> None:
    part = given_back(TWO_LINES, "2:100", "1=0.5", "2=12.50")
    assert told(part) == [
        (1, 1, "0.50", "0.50", True),
        (2, 100, "1.15", "115.00", False),
        (2, 1, "12.50", "12.50", True),
    ]
    assert (part.net, part.tax, part.total) == (Decimal("128.00"), Decimal("25.60"), Decimal("153.60"))


def test_the_rest_is_units_where_the_price_comes_to_it_and_an_amount_where_not() -> None:
    """Rule 6.4: 1 unit is 0.34 (of 0.335), and 2 units 0.67, which is the rest of 1.01."""
    one = given_back(TWO_LINES, "1:1")
    assert told(given_back(TWO_LINES, "1", earlier=(one,))) == [(1, 2, "0.335", "0.67", False)]
    half = given_back(TWO_LINES, "1=0.50", "2=115")
    rest = given_back(TWO_LINES, "1", "2", earlier=(half,))
    assert told(rest) == [(1, 1, "0.51", "0.51", True), (2, 1, "115.00", "115.00", True)]


def test_the_rest_counts_what_the_same_credit_note_gives_back_before() -> None:
    assert told(given_back(TWO_LINES, "2:50", "2")) == [
        (2, 50, "1.15", "57.50", False),
        (2, 150, "1.15", "172.50", False),
    ]
    assert refused(TWO_LINES, "2", "2:50") == ["INV-2025-000001, line 2: 2:50: nothing of it is left"]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("3", "there is no such line"),
        ("0", "there is no such line"),
        ("2:201", "200 units of it are left"),
        ("2:0", "that comes to 0.00; a credit note gives back more than 0"),
        ("2=230.01", "230.00 of it is left"),
        ("2=0", "a credit note gives back more than 0"),
        ("2=0.00", "a credit note gives back more than 0"),
        ("2=-1", "a credit note gives back more than 0"),
        (f"2=-{'9' * 80}", "a credit note gives back more than 0"),
        (f"2={'9' * 80}", "230.00 of it is left"),
        ("2=12.345", "the currency has 2 decimals"),
    ],
)
def test_more_than_is_left_nothing_and_what_the_currency_has_not_are_refused(part: str, why: str) -> None:
    (said,) = refused(TWO_LINES, part)
    assert said == f"INV-2025-000001, line {parse_wanted(part).line_no}: {parse_wanted(part)}: {why}"


def test_every_reason_is_told_at_once() -> None:
    assert len(refused(TWO_LINES, "3", "1:4", "2:1", "2=500")) == 3


def test_units_and_amounts_count_together_through_net() -> None:
    """Rule 6.4: an amount takes no unit, and leaves less for units."""
    half = given_back(TWO_LINES, "2=115.01")
    assert refused(TWO_LINES, "2:100", earlier=(half,)) == [
        "INV-2025-000001, line 2: 2:100: that comes to 115.00, and 114.99 of it is left"
    ]
    assert given_back(TWO_LINES, "2:99", earlier=(half,)).net == Decimal("113.85")


def test_units_given_back_one_by_one_are_never_more_than_there_were() -> None:
    """100 x 0.014 = 1.40, but a hundred times 0.01 only 1.00: the units are used up, the rest is an amount."""
    one = invoice((line(1, charged_units=100, unit_price=Decimal("0.014")),))
    earlier: tuple[Credit, ...] = ()
    for _ in range(100):
        earlier = (*earlier, given_back(one, "1:1", earlier=earlier))
    assert refused(one, "1:1", earlier=earlier) == ["INV-2025-000001, line 1: 1:1: 0 units of it are left"]
    assert told(given_back(one, "1", earlier=earlier)) == [(1, 1, "0.40", "0.40", True)]


def test_a_unit_that_rounds_to_nothing_is_refused() -> None:
    """3 x 0.004 = 0.012."""
    small = invoice((line(1, charged_units=3, unit_price=Decimal("0.004")),))
    assert refused(small, "1:1") == [
        "INV-2025-000001, line 1: 1:1: that comes to 0.00; a credit note gives back more than 0"
    ]
    assert given_back(small, "1:2").net == given_back(small).net == Decimal("0.01")


def test_what_cost_nothing_is_not_given_back() -> None:
    free = line(1, charged_units=5, unit_price=Decimal(0))
    assert told(given_back(invoice((free, line(2, charged_units=1, unit_price=Decimal(2)))))) == [
        (2, 1, "2", "2.00", False)
    ]
    assert refused(invoice((free,))) == ["INV-2025-000001: nothing is left to give back"]


def test_all_given_back_nothing_is_left() -> None:
    whole = given_back(TWO_LINES)
    assert what_is_left(TWO_LINES, [whole]) == {}
    assert refused(TWO_LINES, earlier=(whole,)) == ["INV-2025-000001: nothing is left to give back"]
    assert refused(TWO_LINES, "1:1", earlier=(whole,)) == ["INV-2025-000001, line 1: 1:1: nothing of it is left"]


def test_an_amount_that_64_bits_do_not_hold_is_given_back_by_units() -> None:
    large = invoice((line(1, "JPY", charged_units=10**13, unit_price=Decimal(1)),), currency="JPY")
    (said,) = refused(large, "1=10000000000000")
    assert said.endswith("an amount is at most 9223372036854.775807: give back units")
    assert given_back(large, "1:9999999999999").net == 9_999_999_999_999


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2", Wanted(line_no=2)),
        ("2:100", Wanted(line_no=2, units=100)),
        ("02:007", Wanted(line_no=2, units=7)),
        ("2=12.50", Wanted(line_no=2, amount=Decimal("12.5"))),
        ("2=0.000001", Wanted(line_no=2, amount=Decimal("0.000001"))),
    ],
)
def test_a_part_is_written_by_line_units_or_amount(text: str, wanted: Wanted) -> None:
    assert parse_wanted(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "-1",
        "1:",
        "1=",
        "1:1.5",
        "1:-1",
        "1=1,5",
        "1=1e3",
        "1=.5",
        "1=NaN",
        "1 ",
        "1:1\n",
        "٢",
        "1=٢",
        "1:1:1",
        "1=",
    ]
    + ["1=1.0000001", "9" * 10, f"1:{'9' * 20}", f"1={'9' * 5000}"],
)
def test_anything_else_is_no_part(text: str) -> None:
    with pytest.raises(ValueError):
        parse_wanted(text)


# --- the tax ---------------------------------------------------------------------------------------------------------


def test_the_tax_of_parts_is_that_of_the_sum_less_what_was_given_back() -> None:
    """Rule 6.4: 19 % of 0.50, 1.00 and 1.01 are 0.10 (of 0.095), 0.19 and 0.19 (of 0.1919): 0.10, then 0.09, then 0."""
    german = invoice(
        (line(1, charged_units=1, unit_price=Decimal("1.01")),),
        tax_treatment=TaxTreatment(category=TaxCategory.STANDARD, percent=Decimal(19)),
    )
    first = given_back(german, "1=0.5")
    second = given_back(german, "1=0.5", earlier=(first,))
    third = given_back(german, earlier=(first, second))
    assert [str(one.tax) for one in (first, second, third)] == ["0.10", "0.09", "0.00"]
    assert third.total == third.net == Decimal("0.01")


@pytest.mark.parametrize("category", [TaxCategory.REVERSE_CHARGE, TaxCategory.OUT_OF_SCOPE])
def test_where_no_tax_was_charged_none_is_given_back(category: TaxCategory) -> None:
    """Rule 6.2."""
    of = invoice(tax_treatment=TaxTreatment(category=category, percent=Decimal(0)))
    assert given_back(of).tax == given_back(of, "1:1").tax == 0


# --- properties ------------------------------------------------------------------------------------------------------

CURRENCIES = st.sampled_from(["EUR", "JPY", "KWD", "CLF"])


@st.composite
def invoices(draw: st.DrawFn) -> Invoice:
    """Up to four lines, at prices on which rounding matters and at plain ones."""
    currency = draw(CURRENCIES)
    prices = (
        st.integers(0, 3_000_000) | st.integers(0, 30_000) | st.integers(1, 500).map(lambda units: units * 1_000_000)
    )
    lines = tuple(
        line(
            number,
            currency,
            charged_units=draw(st.integers(1, 12) | st.integers(1, 5_000)),
            unit_price=decimal_of_micro(draw(prices)),
        )
        for number in range(1, 1 + draw(st.integers(1, 4)))
    )
    percent = decimal_of_micro(
        draw(st.sampled_from([0, 5_500_000, 19_000_000, 20_000_000]) | st.integers(0, 99_999_999))
    )
    return invoice(lines, currency=currency, tax_treatment=TaxTreatment(category=TaxCategory.STANDARD, percent=percent))


@st.composite
def parts(draw: st.DrawFn, of: Invoice) -> list[Wanted]:
    """Parts of some lines: often what is there, sometimes more than is left."""

    def one(line_no: int) -> Wanted:
        mine = of.lines[line_no - 1]
        match draw(st.sampled_from(["units", "amount", "rest"])):
            case "units":
                return Wanted(line_no=line_no, units=draw(st.integers(1, max(1, mine.charged_units // 2))))
            case "amount":
                digits = minor_digits(of.currency)
                minor = draw(st.integers(1, max(1, int(mine.net.scaleb(digits)) // 3)) | st.just(1))
                return Wanted(line_no=line_no, amount=Decimal(minor).scaleb(-digits))
        return Wanted(line_no=line_no)

    return [one(line_no) for line_no in draw(st.lists(st.integers(1, len(of.lines)), min_size=1, max_size=3))]


def in_parts(data: st.DataObject, of: Invoice) -> list[Credit]:
    """Any sequence of partial credits that are possible, and at last the rest."""
    given: list[Credit] = []
    for wanted in data.draw(st.lists(parts(of), max_size=6)):
        made, findings = credit(of, given, wanted)
        assert (made is None) == bool(findings), "one of the two"
        given += [made] if made is not None else []
    rest, _ = credit(of, given, [])
    assert (rest is None) == (sum(one.net for one in given) == of.net)
    event(f"{min(len(given), 4)} parts, {'a rest' if rest else 'nothing left'}")
    return [*given, *([rest] if rest else [])]


@given(st.data(), invoices())
def test_parts_and_then_the_rest_sum_exactly_to_the_invoice(data: st.DataObject, of: Invoice) -> None:
    """Rule 6.4: net, tax and total, and each line's net; no line gives back more units than it charged."""
    given = in_parts(data, of)
    sums = [sum((getattr(one, name) for one in given), Decimal(0)) for name in ("net", "tax", "total")]
    assert sums == ([of.net, of.tax, of.total] if of.net else [0, 0, 0])
    for mine in of.lines:
        back = [part for one in given for part in one.lines if part.invoice_line_no == mine.line_no]
        assert sum(part.net for part in back) == mine.net
        assert sum(part.charged_units for part in back if not part.by_amount) <= mine.charged_units
    assert what_is_left(of, given) == {}


@given(st.data(), invoices())
def test_no_credit_is_negative_and_each_adds_up(data: st.DataObject, of: Invoice) -> None:
    """Rule 6.4: the rounded tax on a larger sum is not smaller, so that none is left below 0 for a part."""
    for one in in_parts(data, of):
        assert one.net > 0 and one.tax >= 0
        assert one.total == one.net + one.tax
        assert one.net == sum(part.net for part in one.lines)
        for part in one.lines:
            assert part.net > 0
            assert part.net == round_half_up(part.charged_units * part.unit_price, minor_digits(of.currency))
        money = [one.net, one.tax, one.total, *(part.net for part in one.lines)]
        assert {amount.as_tuple().exponent for amount in money} == {-minor_digits(of.currency)}


@given(st.data(), invoices())
def test_each_tax_is_less_than_a_minor_unit_from_the_exact_one(data: st.DataObject, of: Invoice) -> None:
    """Rule 6.4; so it is at most one minor unit from what its own rounding would have given."""
    digits, percent = minor_digits(of.currency), of.tax_treatment.percent
    minor = Fraction(1, 10**digits)
    for one in in_parts(data, of):
        exact = Fraction(one.net) * Fraction(percent) / 100
        assert abs(Fraction(one.tax) - exact) < minor
        assert abs(Fraction(one.tax) - Fraction(tax_on(one.net, percent, digits))) <= minor


@given(st.data(), invoices())
def test_what_is_possible_breaks_no_law_at_any_time(data: st.DataObject, of: Invoice) -> None:
    given = in_parts(data, of)
    for count in range(len(given) + 1):
        assert credits_are_conserved(of, given[:count]) == []


@given(invoices())
def test_whole_and_at_once_is_the_invoice(of: Invoice) -> None:
    """Rule 6.4."""
    whole, _ = credit(of, [], [])
    if of.net == 0:
        assert whole is None
        return
    assert whole is not None
    assert (whole.net, whole.tax, whole.total) == (of.net, of.tax, of.total)
    assert [(part.charged_units, part.unit_price, part.net) for part in whole.lines] == [
        (mine.charged_units, mine.unit_price, mine.net) for mine in of.lines if mine.net
    ]


@given(st.data(), invoices(), st.integers(1, 400_000_000))
def test_the_tax_in_the_sellers_currency_is_given_back_to_the_cent(data: st.DataObject, of: Invoice, rate: int) -> None:
    """Rule 6.4 and BT-111: at the invoice's own rate, in parts that sum to what the invoice says."""
    rates = ExchangeRates(by_currency={of.currency: ([day_number(CYCLE.period_last_day)], [rate])})
    seller = replace(SELLER, vat_currency="USD")
    of = replace(of, seller=seller, vat_total=vat_total(of.tax, of.currency, seller, CYCLE.period_last_day, rates))
    given = in_parts(data, of)
    back = [vat_given_back(of, given[:place], one, rates) for place, one in enumerate(given)]
    if of.vat_total is None:
        assert set(back) <= {None}
        return
    assert all(amount is not None and amount >= 0 and amount.as_tuple().exponent == -2 for amount in back)
    assert sum(amount for amount in back if amount is not None) == of.vat_total


def test_the_process_s_own_decimal_context_changes_nothing() -> None:
    """Rule 2.1: money is exact, whatever a library set."""
    large = invoice((line(1, charged_units=12_345_678, unit_price=Decimal("98765.4321")),))
    part = given_back(large, "1=1034567890123.45")
    with decimal.localcontext() as context:
        context.prec = 5
        again = given_back(large, "1=1034567890123.45")
        rest = given_back(large, earlier=(again,))
    assert again == part
    assert part.net + rest.net == large.net
    assert part.tax + rest.tax == large.tax


# --- the laws --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "law"),
    [
        ({"net": Decimal("300.00")}, "more is given back than was invoiced"),
        ({"tax": Decimal("46.21")}, "more is given back than was invoiced"),
        ({"tax": Decimal("46.19")}, "all of its net is given back, but not its tax and total"),
        ({"net": Decimal("0.00")}, "a credit note gives back nothing, or less"),
        ({"tax": Decimal("-0.01")}, "a credit note gives back nothing, or less"),
    ],
)
def test_each_law_finds_what_breaks_it(change: dict[str, Decimal], law: str) -> None:
    whole = replace(given_back(TWO_LINES), **change)
    assert law in {finding.message for finding in credits_are_conserved(TWO_LINES, [whole])}
    assert credits_are_conserved(TWO_LINES, [given_back(TWO_LINES)]) == []


def test_what_is_left_of_a_line_is_told_in_units_and_money() -> None:
    half = given_back(TWO_LINES, "2:100", "2=15")
    assert what_is_left(TWO_LINES, [half])[2] == Left(line=TWO_LINES.lines[1], units=100, net=Decimal("100.00"))
