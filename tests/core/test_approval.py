"""When a person is asked, and what is unusual (rule 6.7)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.core.approval import (
    LARGEST,
    NEVER_ASKED,
    Earlier,
    Policy,
    Proposal,
    When,
    propose,
    rejected_of,
)
from billing.core.cycles import CycleSpan
from billing.core.invoicing import DraftInvoice
from billing.core.model import TaxCategory, TaxTreatment
from billing.core.parties import Parties
from billing.core.quantity import minor_digits
from tests.core.small_reference import frames_of

MONTH_US = 31 * 86_400 * 10**6
AS_OF = datetime(2026, 9, 1, tzinfo=UTC)
TEAMS = [f"t{n:02d}" for n in range(40)]
PARTIES = Parties.from_reference(
    frames_of(
        {
            "seller": [{"legal_name": "S"}],
            "customers": [{"customer_id": f"c-{team}", "legal_name": f"Buyer {team}"} for team in TEAMS],
            "teams": [{"team_id": team, "customer_id": f"c-{team}", "name": team.upper()} for team in TEAMS],
        }
    )
)


def draft(team: str, net: str, currency: str = "EUR", cycle: int = 0) -> DraftInvoice:
    digits = minor_digits(currency)
    amount = Decimal(net).quantize(Decimal(1).scaleb(-digits))
    return DraftInvoice(
        team_id=team,
        customer_id=f"c-{team}",
        subscription_id=f"s-{team}",
        cycle=CycleSpan(cycle * MONTH_US, (cycle + 1) * MONTH_US, "UTC", f"s-{team}"),
        currency=currency,
        lines=(),
        net=amount,
        tax_treatment=TaxTreatment(category=TaxCategory.OUT_OF_SCOPE, percent=Decimal(0)),
        tax=Decimal(0).quantize(amount),
        total=amount,
    )


def before(team: str, *nets: str, currency: str = "EUR") -> list[Earlier]:
    """Invoices of cycles before the first, in order."""
    return [
        Earlier(
            subscription_id=f"s-{team}",
            cycle_start_us=(place - len(nets)) * MONTH_US,
            currency=currency,
            net=Decimal(n),
        )
        for place, n in enumerate(nets)
    ]


def policy(when: When = When.ABOVE, **changed: object) -> Policy:
    return Policy(when=when, **({"invoice_above": {}, "close_above": {}, "outlier_floor": {}} | changed))  # type: ignore[arg-type]


def proposed(
    drafts: Sequence[DraftInvoice],
    rules: Policy = NEVER_ASKED,
    earlier: Sequence[Earlier] = (),
    rejected: dict[tuple[str, int], str] | None = None,
    known: Sequence[str] = (),
) -> Proposal:
    return propose(
        close_no=7,
        as_of=AS_OF,
        policy=rules,
        cycles={(one.team_id, one.cycle.start_us): one.cycle for one in drafts},
        drafts=drafts,
        parties=PARTIES,
        earlier=earlier,
        known_buyers=known,
        rejected=rejected or {},
    )


EUROS = {"EUR": Decimal(100)}


@pytest.mark.parametrize(
    ("rules", "drafts", "why"),
    [
        pytest.param(NEVER_ASKED, [draft("t01", "1e9")], [], id="never"),
        pytest.param(policy(When.ALWAYS), [], [], id="nothing to issue"),
        pytest.param(
            policy(When.ALWAYS), [draft("t01", "0")], ["every close that issues an invoice is asked for"], id="always"
        ),
        pytest.param(policy(invoice_above=EUROS), [draft("t01", "100")], [], id="at the bound"),
        pytest.param(
            policy(invoice_above=EUROS), [draft("t01", "100.01")], ["1 invoice above 100 EUR"], id="a cent above"
        ),
        pytest.param(
            policy(close_above=EUROS),
            [draft("t01", "60"), draft("t02", "60")],
            ["the total of 120.00 EUR is above 100"],
            id="all of them",
        ),
        pytest.param(
            policy(invoice_above=EUROS), [draft("t01", "5", "JPY")], ["no bound is set for JPY"], id="no bound for it"
        ),
        pytest.param(
            policy(invoice_above=EUROS, close_above={"JPY": Decimal(9)}),
            [draft("t01", "5", "JPY")],
            [],
            id="one of two",
        ),
    ],
)
def test_when_a_person_is_asked(rules: Policy, drafts: list[DraftInvoice], why: list[str]) -> None:
    assert list(proposed(drafts, rules).asked_why) == why


def test_what_was_rejected_is_asked_for_whatever_is_set() -> None:
    found = proposed([draft("t01", "1"), draft("t02", "1")], rejected={("t02", 0): "no"})
    assert found.asked_why == ("1 team rejected at an earlier close",)
    assert [(one.team_id, one.was_rejected) for one in found.again] == [("t02", "no")]


@pytest.mark.parametrize(
    ("nets", "net", "usual", "times", "is_outlier"),
    [
        pytest.param([], "1e6", None, None, False, id="never had one"),
        pytest.param(["2"], "100", "2.00", "50.0", True, id="exactly 50 times"),
        pytest.param(["2"], "99.99", "2.00", "50.0", False, id="a cent less, though it rounds to 50"),
        pytest.param(["2", "4"], "150", "3.00", "50.0", True, id="the middle of two"),
        pytest.param(["2", "2.01"], "100.24", "2.01", "50.0", False, id="the middle is 2.005, not 2.00"),
        pytest.param(["2", "2.01"], "100.25", "2.01", "50.0", True, id="50 times 2.005"),
        pytest.param(["2", "9000", "2", "2", "2"], "100", "2.00", "50.0", True, id="one wrong invoice moves nothing"),
        pytest.param(
            ["900", "900", "900", "2", "2", "2", "2", "2", "2"], "100", "2.00", "50.0", True, id="the last six"
        ),
        pytest.param(["0.01"], "49.99", "1.00", "50.0", False, id="not below the floor"),
        pytest.param(["0"], "50", "1.00", "50.0", True, id="after nothing, 50 times the floor"),
    ],
)
def test_what_is_unusual(nets: list[str], net: str, usual: str | None, times: str | None, is_outlier: bool) -> None:
    """The median of the subscription's last invoices, exactly; not below the floor."""
    (one,) = proposed([draft("t01", net)], policy(), before("t01", *nets)).invoices
    assert (one.usual and str(one.usual), one.times and str(one.times), one.is_outlier) == (usual, times, is_outlier)


def test_other_currencies_and_subscriptions_do_not_count() -> None:
    earlier = [*before("t02", "1"), *before("t01", "1", currency="USD")]
    (one,) = proposed([draft("t01", "100")], policy(), earlier).invoices
    assert (one.before, one.is_outlier) == (None, False)


def test_a_cycle_stands_beside_the_one_before_it_in_the_same_close() -> None:
    """A team that is behind; and its buyer is new once."""
    first, second = proposed([draft("t01", "60", cycle=1), draft("t01", "1")], policy()).invoices
    assert (first.before, str(second.before), second.is_outlier) == (None, "1.00", True)
    assert [first.is_new, second.is_new] == [True, False]


def test_totals_are_compared_with_the_invoices_before() -> None:
    drafts = [draft("t01", "12"), draft("t02", "5"), draft("t03", "7", "JPY")]
    euros, yen = proposed(drafts, earlier=before("t01", "20"), known=["c-t01"]).totals
    assert (euros.invoices, str(euros.net), euros.compared, str(euros.before)) == (2, "17.00", 1, "20.00")
    assert str(euros.change) == "-8.00"
    assert (str(yen.net), yen.compared, str(yen.before), str(yen.change)) == ("7", 0, "0", "0")


def test_the_largest_are_named_by_currency() -> None:
    drafts = [draft(team, str(n)) for n, team in enumerate(TEAMS)]
    found = proposed([*drafts[:-1], draft(TEAMS[-1], "1", "JPY")])
    assert [one.team_id for one in found.largest] == [*reversed(TEAMS[-1 - LARGEST : -1]), TEAMS[-1]]


@given(st.permutations(range(8)))
def test_the_order_of_what_goes_in_says_nothing(order: list[int]) -> None:
    drafts = [draft(TEAMS[n], str(n + 1), cycle=n % 3) for n in range(8)]
    earlier = [one for n in range(8) for one in before(TEAMS[n], "1", str(n))]
    rules = policy(When.ALWAYS, outlier_times=2)
    straight = proposed(drafts, rules, earlier)
    assert proposed([drafts[n] for n in order], rules, earlier[::-1]) == straight


def test_the_hash_is_of_what_is_decided() -> None:
    seen = proposed([draft("t01", "1"), draft("t02", "1")]).sha256
    assert proposed([draft("t02", "1"), draft("t01", "1")]).sha256 == seen
    for other in ([draft("t01", "1")], [draft("t01", "1"), draft("t02", "1.01")]):
        assert proposed(other).sha256 != seen
    assert proposed([draft("t01", "1"), draft("t02", "1")], policy(When.ALWAYS)).sha256 != seen


def test_what_is_set_is_kept_as_it_is() -> None:
    rules = policy(invoice_above={"EUR": Decimal("10.50")}, outlier_times=3, outlier_floor={"JPY": Decimal(100)})
    assert Policy.from_json(rules.to_json()) == rules
    assert Policy.from_json("") == NEVER_ASKED
    assert rules.asked().when is When.ALWAYS


def test_lines_with_ids_that_hold_the_sign() -> None:
    """The longest id that is one of the close's."""
    teams = {"a", "a=b", "c"}
    assert rejected_of(["a=b=why = so", "a = b", ""], teams) == ({"a=b": "why = so", "a": "b"}, [])
    assert rejected_of(["c = it=is"], teams) == ({"c": "it=is"}, [])
