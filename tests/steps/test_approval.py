"""Approval before issue: what is asked, what an answer does, and that nothing is issued around it (rules 6.3, 6.7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import pytest
from sqlalchemy import func, select, text, update

from billing.core.approval import NEVER_ASKED, Policy, When
from billing.core.errors import ApprovalAwaited, BillingError, DataRefused, NotFound
from billing.core.months import Month
from billing.steps import commit_points
from billing.steps.approval import (
    Answered,
    answer_for,
    approval_request,
    approve,
    ask,
    parse_rejected,
    question,
    reject_all,
    waiting_close,
)
from billing.steps.audit.chain import verify_log
from billing.steps.audit.choosing import Choice
from billing.steps.audit.genesis import genesis
from billing.steps.audit.logged import disagreements
from billing.steps.audit.manifest import manifest
from billing.steps.audit.rerun import rerun
from billing.steps.close import CloseSummary, close, earliest_as_of, issue, open_close, pending_shards, rate_shards
from billing.steps.credit import credit
from billing.steps.cycle_listing import list_cycles
from billing.steps.ledger_checks import check_ledger
from billing.steps.period_locks import lock_month
from billing.steps.reissue import reissue
from billing.steps.run_summary import in_words, run_summary
from billing.steps.status import status
from billing.store.tables import carry, closes, cycles, draws, log, parked, usage_days

from .small_world import Shop, instant

LAWS = Path(__file__).parents[2] / "sql" / "checks"
ALWAYS = NEVER_ASKED.asked()
AT = "2026-08-05T09:30:00Z"


def july(shop: Shop) -> None:
    """Usage of two teams in July: 3 jobs of 2.40 each, and 3 units of rendering of which one is free."""
    shop.load()
    usage = [
        "e1,2026-07-05T00:00:00Z,a1,translate,3,,",
        "e2,2026-07-06T00:00:00Z,a2,translate,5,,",
        "e3,2026-07-06T00:00:00Z,a1,render,65,,",
    ]
    shop.ingest(*usage, now="08-02")


def close_asking(shop: Shop, as_of: str = "08-02", policy: Policy = ALWAYS) -> int:
    """Run a close until it waits."""
    with pytest.raises(ApprovalAwaited) as awaited:
        close(shop.home, instant(as_of), approval=policy)
    return awaited.value.close_no


def answered(shop: Shop, close_no: int, at: str = AT, by: str = "ada", **rejected: str) -> Answered:
    return approve(shop.home, close_no, by=by, at=instant(at), rejected=rejected)


def laws_hold(shop: Shop, close_no: int = 1) -> None:
    check_ledger(shop.home, LAWS, close_no=close_no)
    verify_log(shop.home)
    with shop.home.database.read() as connection:
        assert disagreements(connection) == []


def differences(shop: Shop) -> list[object]:
    """What a rerun and a run from the beginning find."""
    everything = Choice()
    found = [*rerun(shop.home, everything, documents=False), *genesis(shop.home, everything, documents=False)]
    assert found, "something was compared"
    return [one for one in found if one.stored != one.again]


def rows_of_team(shop: Shop, team_id: str) -> list[int]:
    """How many cycles, carry-overs, draws and days of usage are kept of a team."""
    with shop.home.database.read() as connection:
        tables = (cycles, carry, draws, usage_days)
        return [
            int(connection.execute(select(func.count()).select_from(t).where(t.c.team_id == team_id)).scalar_one())
            for t in tables
        ]


def invoices_of(shop: Shop) -> list[tuple[str, str, str]]:
    return [(row[0], row[1], row[6]) for row in shop.export()["invoices"]]


# --- asked, and approved


def test_nothing_is_issued_before_it_is_approved(shop: Shop) -> None:
    """Rule 6.7: rated, approved, issued; rule 6.3: the issue instant is the approval's."""
    july(shop)
    close_no = close_asking(shop)
    assert shop.export()["invoices"] == shop.export()["cycles"] == []
    assert (waiting_close(shop.home), status(shop.home).awaits_approval) == (1, 1)
    assert {c.state for c in list_cycles(shop.home) if c.start.startswith("2026-07")} == {"rated"}
    with pytest.raises(ApprovalAwaited, match=r"waits for approval \(every close that issues an invoice"):
        issue(shop.home, close_no)
    done = answered(shop, close_no)
    assert (done.is_new, done.answer.approved_by) == (True, "ada")
    assert waiting_close(shop.home) is None
    assert issue(shop.home, close_no) == ("INV-2026-000001", "INV-2026-000002")
    assert {row[6] for row in shop.export()["invoices"]} == {"2026-08-05"}
    with shop.home.database.read() as connection:
        row = connection.execute(select(closes)).one()
        assert (row.state, row.issued_at_us, row.approved_at_us) == ("issued", row.approved_at_us, row.issued_at_us)
    assert "issued 2026-08-05" in in_words(run_summary(shop.home, close_no))[1]
    assert json.loads(manifest(shop.home, "close", "1"))["parameters"]["approved_by"] == "ada"
    laws_hold(shop)
    assert differences(shop) == []


def test_the_log_says_who_approved_what(shop: Shop) -> None:
    july(shop)
    close_no = close_asking(shop)
    seen = approval_request(shop.home, close_no)
    answered(shop, close_no, t2="the price is wrong")
    with shop.home.database.read() as connection:
        payload = json.loads(connection.execute(select(log.c.payload).where(log.c.kind == "approval")).scalar_one())
    assert (payload["approved_by"], payload["approved_at"], payload["seen_sha256"]) == ("ada", AT, seen.sha256)
    assert payload["asked_why"] == ["every close that issues an invoice is asked for"]
    assert [(one["currency"], one["invoices"], one["net"]) for one in payload["seen"]] == [("EUR", 2, "21.50")]
    left_out = payload["rejected"]["t2"]
    assert (left_out["reason"], left_out["invoices"][0]["net"]) == ("the price is wrong", "12.00")


def test_the_next_run_finds_a_close_that_waits_and_asks_again(shop: Shop) -> None:
    july(shop)
    assert [close_asking(shop), close_asking(shop, "08-03"), close_asking(shop, "09-02")] == [1, 1, 1]
    with shop.home.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(closes)).scalar_one() == 1
    assert ask(shop.home, 1) == approval_request(shop.home, 1)


def test_a_close_that_was_approved_is_finished_by_the_next_run(shop: Shop) -> None:
    """Killed between approval and issue: with the instant of the approval, and then the close that was asked for."""
    july(shop)
    answered(shop, close_asking(shop))
    assert ask(shop.home, 1) is None
    done = close(shop.home, instant("08-06"), approval=ALWAYS)
    assert done.close_no == 2
    assert invoices_of(shop) == [
        ("INV-2026-000001", "t1", "2026-08-05"),
        ("INV-2026-000002", "t2", "2026-08-05"),
    ]
    laws_hold(shop)


def test_a_close_with_nothing_to_issue_asks_nobody(shop: Shop) -> None:
    shop.load()
    shop.ingest(now="08-02")
    assert close(shop.home, instant("08-02"), approval=ALWAYS).cycles == 2
    assert close(shop.home, instant("08-03"), approval=ALWAYS).cycles == 0


def test_what_the_settings_say_is_kept_with_the_close(shop: Shop) -> None:
    """Who issues without asking, by other settings, is refused all the same."""
    july(shop)
    close_no, _ = open_close(shop.home, instant("08-02"), approval=ALWAYS)
    for group in pending_shards(shop.home, close_no):
        rate_shards(shop.home, close_no, group)
    with pytest.raises(ApprovalAwaited):
        issue(shop.home, close_no)
    with pytest.raises(ApprovalAwaited):
        shop.close("08-02")
    with shop.home.database.read() as connection:
        assert Policy.from_json(connection.execute(select(closes.c.approval)).scalar_one()) == ALWAYS


def test_a_person_has_an_interrupted_close_ask(shop: Shop) -> None:
    july(shop)
    open_close(shop.home, instant("08-02"))
    assert close_asking(shop) == 1


# --- rejected


def test_a_rejected_team_is_parked_and_billed_by_the_next_close(shop: Shop) -> None:
    """Rule 6.7: its pin is discarded: what came meanwhile is on time, and what was learnt counts."""
    july(shop)
    close_no = close_asking(shop)
    assert all(rows_of_team(shop, "t2"))
    answered(shop, close_no, t2="the price is wrong")
    assert rows_of_team(shop, "t2") == [0, 0, 0, 0]
    assert issue(shop.home, close_no) == ("INV-2026-000001",)
    assert shop.export()["parked"] == [("t2", "2026-07-01T00:00:00Z", "rejected", "the price is wrong")]
    assert [(p.team_id, p.reason) for p in run_summary(shop.home, close_no).parked] == [("t2", "rejected")]
    laws_hold(shop)
    assert differences(shop) == []
    shop.load(unit_prices=["render,EUR,2020-01-01T00:00:00Z,1.15", "translate,EUR,2020-01-01T00:00:00Z,2"])
    shop.ingest("e9,2026-07-20T00:00:00Z,a2,translate,1,,", now="08-08")
    with pytest.raises(ApprovalAwaited, match="1 team rejected at an earlier close") as asked:
        shop.close("08-08")  # though the settings ask for nothing any more
    (again,) = approval_request(shop.home, asked.value.close_no).again
    assert (again.team_id, str(again.net), again.was_rejected) == ("t2", "12.00", "the price is wrong")
    answered(shop, asked.value.close_no, at="2026-08-09T00:00:00Z")
    assert issue(shop.home, asked.value.close_no) == ("INV-2026-000002",)
    (mine,) = [row for row in shop.export()["carry"] if row[0] == "t2"]
    assert mine[4:7] == ("6", "0", "6"), "nothing of it is late"
    assert shop.export()["parked"] == []
    laws_hold(shop, 2)
    assert differences(shop) == []


def test_usage_that_comes_while_a_close_waits_is_billed_later(shop: Shop) -> None:
    """Rule 3.5: it is not in what was approved."""
    july(shop)
    close_no = close_asking(shop)
    before = approval_request(shop.home, close_no)
    assert shop.balances("08-01")["g2"] == "10"
    shop.ingest("e9,2026-07-20T00:00:00Z,a2,translate,7,,", now="09-02")
    assert approval_request(shop.home, close_no) == before
    answered(shop, close_no)
    issue(shop.home, close_no)
    shop.close("09-02")
    rows = [row for row in shop.export()["carry"] if row[0] == "t2"]
    assert [(row[4], row[5]) for row in rows] == [("5", "0"), ("7", "7")]
    laws_hold(shop, 2)
    assert differences(shop) == []


def test_all_of_a_close_is_rejected(shop: Shop) -> None:
    """It issues nothing and blocks nobody; every team is parked, and asked for again."""
    july(shop)
    close_no = close_asking(shop)
    done = reject_all(shop.home, close_no, reason="wrong prices", by="ada", at=instant(AT))
    assert done.answer.rejected == {"t1": "wrong prices", "t2": "wrong prices"}
    assert not reject_all(shop.home, close_no, reason="wrong prices", by="bob", at=instant(AT)).is_new
    assert issue(shop.home, close_no) == ()
    assert not reject_all(shop.home, close_no, reason="wrong prices", by="bob", at=instant(AT)).is_new
    with pytest.raises(DataRefused, match=r"was answered by ada at .*, leaving out t1 \(wrong prices\)"):
        reject_all(shop.home, close_no, reason="other", by="ada", at=instant(AT))
    assert [row[2] for row in shop.export()["parked"]] == ["rejected", "rejected"]
    assert shop.export()["cycles"] == []
    laws_hold(shop)
    again = close_asking(shop, "08-03", NEVER_ASKED)
    answered(shop, again, at="2026-08-06T00:00:00Z")
    assert len(issue(shop.home, again)) == 2
    laws_hold(shop, again)
    assert differences(shop) == []


def test_a_team_that_is_behind_is_rejected_with_all_its_cycles(shop: Shop) -> None:
    july(shop)
    shop.ingest("f1,2026-08-06T00:00:00Z,a2,translate,5,,", now="09-02")
    close_no = close_asking(shop, "09-02")
    assert approval_request(shop.home, close_no).teams["t2"][0] == 1_782_864_000_000_000  # 1 July
    answered(shop, close_no, at="2026-09-03T00:00:00Z", t2="no")
    assert rows_of_team(shop, "t2") == [0, 0, 0, 0]
    issue(shop.home, close_no)
    again = close_asking(shop, "09-04", NEVER_ASKED)
    assert len(approval_request(shop.home, again).again) == 2
    answered(shop, again, at="2026-09-05T00:00:00Z")
    issue(shop.home, again)
    laws_hold(shop, again)
    assert differences(shop) == []


def test_a_team_that_is_rejected_again_and_again_is_asked_for_by_its_last_reason(shop: Shop) -> None:
    july(shop)
    for turn, reason in enumerate(("first", "second", "third"), start=2):
        close_no = close_asking(shop, f"08-0{turn}")
        answered(shop, close_no, at=f"2026-08-0{turn}T12:00:00Z", t2=reason)
        issue(shop.home, close_no)
    last = close_asking(shop, "08-09")
    assert [one.was_rejected for one in approval_request(shop.home, last).again] == ["third"]


# --- answers that are refused


def test_an_answer_is_given_once(shop: Shop) -> None:
    july(shop)
    close_no = close_asking(shop)
    answered(shop, close_no, t2="no")
    assert not answered(shop, close_no, at="2026-08-06T00:00:00Z", by="bob", t2="no").is_new
    for other in ({}, {"t1": "no"}, {"t2": "another reason"}):
        with pytest.raises(DataRefused, match=r"was answered by ada at 2026-08-05T09:30:00Z, leaving out t2 \(no\)"):
            answered(shop, close_no, **other)
    issue(shop.home, close_no)
    assert not answered(shop, close_no, t2="no").is_new
    answer = answer_for(shop.home, close_no)
    assert answer is not None
    assert (answer.approved_by, answer.approved_at) == ("ada", instant(AT))
    laws_hold(shop)


@pytest.mark.parametrize(
    ("at", "rejected", "said"),
    [
        pytest.param("2026-08-01T23:00:00Z", {}, "cannot be approved before that", id="before the close"),
        pytest.param(AT, {"t9": "no"}, "team 't9' is not in this close", id="a team that is not in it"),
        pytest.param(AT, {"t2": " "}, "team 't2' is rejected without a reason", id="no reason"),
        pytest.param(AT, {"t2": "x" * 501}, "one line of at most 500", id="a reason that is too long"),
        pytest.param(AT, {"t2": "a\x1b[31m"}, "one line of at most 500", id="a reason with control characters"),
    ],
)
def test_answers_that_are_refused_change_nothing(shop: Shop, at: str, rejected: dict[str, str], said: str) -> None:
    july(shop)
    close_no = close_asking(shop)
    before = approval_request(shop.home, close_no)
    with pytest.raises(DataRefused, match=said):
        approve(shop.home, close_no, by="ada", at=instant(at), rejected=rejected)
    assert approval_request(shop.home, close_no) == before
    assert waiting_close(shop.home) == close_no


def test_what_was_not_looked_at_is_not_approved(shop: Shop) -> None:
    july(shop)
    close_no = close_asking(shop)
    seen = approval_request(shop.home, close_no).sha256
    with shop.home.database.write() as connection:
        connection.execute(
            update(draws).where(draws.c.source == "payg").values(charged_units=draws.c.charged_units + 1)
        )
    with pytest.raises(DataRefused, match="is not what was looked at"):
        approve(shop.home, close_no, by="ada", at=instant(AT), seen=seen)


def test_closes_that_wait_for_nobody_are_not_approved(shop: Shop) -> None:
    july(shop)
    with pytest.raises(NotFound, match="There is no close 1"):
        answered(shop, 1)
    open_close(shop.home, instant("08-02"), approval=ALWAYS)
    with pytest.raises(DataRefused, match="does not wait for approval"):
        answered(shop, 1)
    with pytest.raises(DataRefused, match="are not rated"):
        ask(shop.home, 1)
    answered(shop, close_asking(shop))
    issue(shop.home, 1)
    assert isinstance(shop.close("08-06"), CloseSummary)
    with pytest.raises(DataRefused, match="nobody was asked for it"):
        answered(shop, 2)
    assert not answered(shop, 1).is_new, "superseded, and answered as before"


# --- time passes


def test_a_month_that_was_locked_meanwhile_takes_no_approval(shop: Shop) -> None:
    """A close that waits keeps no month open: what it issues is dated later. One that is approved does."""
    july(shop)
    close_no = close_asking(shop)
    now = instant("2026-09-01T12:00:00Z")
    lock_month(shop.home, Month(2026, 8), now)
    with pytest.raises(DataRefused, match="2026-08 is locked"):
        answered(shop, close_no)
    answered(shop, close_no, at="2026-09-02T00:00:00Z")
    with pytest.raises(DataRefused, match="is pinned and not issued"):
        lock_month(shop.home, Month(2026, 9), instant("2026-10-01T12:00:00Z"))
    assert len(issue(shop.home, close_no)) == 2
    lock_month(shop.home, Month(2026, 9), instant("2026-10-01T12:00:00Z"))


def test_what_is_issued_by_hand_meanwhile_comes_before(shop: Shop) -> None:
    """Rule 6.3: a credit note and a corrected invoice; between approval and issue, nothing."""
    july(shop)
    shop.close("08-02")
    shop.ingest("e9,2026-08-20T00:00:00Z,a2,translate,1,,", now="09-02")
    close_no = close_asking(shop, "09-02")
    credit(shop.home, "INV-2026-000001", reason="wrong", as_of=instant("09-03"))
    assert reissue(shop.home, "INV-2026-000001", as_of=instant("09-04")).number == "INV-2026-000003"
    with pytest.raises(DataRefused, match="issue instant never goes back"):
        answered(shop, close_no, at="2026-09-03T12:00:00Z")
    answered(shop, close_no, at="2026-09-05T00:00:00Z")
    credit(shop.home, "INV-2026-000003", reason="wrong", as_of=instant("09-06"))
    with pytest.raises(DataRefused, match="has not issued its invoices yet"):
        reissue(shop.home, "INV-2026-000003", as_of=instant("09-06"))
    assert issue(shop.home, close_no) == ("INV-2026-000004",)
    laws_hold(shop, close_no)


def test_the_next_close_is_not_as_of_before_the_approval(shop: Shop) -> None:
    """Rule 6.3. A run that was due while the close waited closes as of the last issue."""
    july(shop)
    answered(shop, close_asking(shop))
    issue(shop.home, 1)
    with pytest.raises(DataRefused, match="close as of that instant or a later one"):
        shop.close("08-03")
    earliest = earliest_as_of(shop.home)
    assert earliest == instant(AT)
    assert close(shop.home, earliest).cycles == 0


# --- when it is asked


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        pytest.param({"invoice_above": {"EUR": "11.5"}}, ["1 invoice above 11.5 EUR"], id="an invoice"),
        pytest.param({"close_above": {"EUR": "20"}}, ["the total of 23.40 EUR is above 20"], id="all of them"),
        pytest.param({"close_above": {"EUR": "23.4"}}, [], id="at the bound is not above"),
        pytest.param({"close_above": {"USD": "1"}}, ["no bound is set for EUR"], id="a currency without a bound"),
        pytest.param({}, [], id="no bounds"),
    ],
)
def test_bounds(shop: Shop, policy: dict[str, dict[str, str]], why: list[str]) -> None:
    july(shop)
    bounds = {
        name: {c: Decimal(a) for c, a in policy.get(name, {}).items()} for name in ("invoice_above", "close_above")
    }
    asking = Policy(when=When.ABOVE, **bounds, outlier_floor={})
    if why:
        assert list(approval_request(shop.home, close_asking(shop, policy=asking)).asked_why) == why
    else:
        assert len(close(shop.home, instant("08-02"), approval=asking).invoices) == 2


def test_an_invoice_far_from_what_is_usual_is_asked_for(shop: Shop) -> None:
    """Beside the median of the subscription's own invoices."""
    policy = Policy(when=When.ABOVE, invoice_above={}, close_above={}, outlier_times=50, outlier_floor={})
    july(shop)
    close(shop.home, instant("08-02"), approval=policy)
    shop.ingest("f1,2026-08-05T00:00:00Z,a1,translate,5,,", "f2,2026-08-06T00:00:00Z,a2,translate,250,,", now="09-02")
    found = approval_request(shop.home, close_asking(shop, "09-02", policy))
    assert found.asked_why == ("1 invoice at 50 times the usual amount or more",)
    (far,) = found.outliers
    assert (far.team_id, str(far.net), str(far.usual), str(far.times)) == ("t2", "600.00", "12.00", "50.0")
    (euros,) = found.totals
    assert (euros.compared, str(euros.before), str(euros.change)) == (2, "21.50", "590.50")
    assert found.new_buyers == []


# --- on the page and at the prompt


def test_hostile_names_are_only_text(shop: Shop) -> None:
    """Markdown, HTML, Jinja, tables; and the body stays small with any number of teams."""
    name = "<img src=x onerror=alert(1)> | [x](javascript:1) `{{ 7*7 }}` **b** \\| \n# h \u202eevil"
    teams = [f't1,c1,"{name}"', "t2,c2,Team Two"]
    shop.load(teams=teams)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,translate,3,,", now="08-02")
    asked = question(approval_request(shop.home, close_asking(shop)))
    assert not [mark for mark in ("<img", "](", "{{", "**b**", "\\|", "\u202e", "`{") if mark in asked["body"]]
    (row,) = {line for line in asked["body"].splitlines() if "onerror" in line}
    assert row.count("|") == 9
    assert "img" not in asked["in_short"] + asked["subject"]


def test_lines_of_a_form_name_teams_and_reasons(shop: Shop) -> None:
    july(shop)
    close_no = close_asking(shop)
    assert parse_rejected(shop.home, close_no, ["", " t2 =  too   much = far too much "]) == {
        "t2": "too much = far too much"
    }
    with pytest.raises(DataRefused) as refused:
        parse_rejected(shop.home, close_no, ["t2", "t9=no", "t1=", "t1=a", "t1=b"])
    assert [finding.message for finding in refused.value.findings] == [
        "'t2' is not TEAM = REASON",
        "team 't9' is not in this close",
        "team 't1' is rejected without a reason",
        "team 't1' is rejected twice, with different reasons",
    ]


def test_the_commands(shop: Shop, run_billing: Callable[..., tuple[int, str]]) -> None:
    """Status 4 while it waits; 3 where a team was left out."""
    july(shop)
    (shop.home.folder / "billing.toml").write_text('[approval]\nwhen = "always"\n', "utf-8")
    line = ("cycles", "close", "--as-of", "2026-08-02T00:00:00Z", "--no-documents")
    ended, said = run_billing(shop, *line)
    assert "billing cycles approve 1" in said
    assert waiting_close(shop.home) == 1
    ended, said = run_billing(shop, "cycles", "approval")
    assert ended == 0
    assert "Close 1, as of 2026-08-02T00:00:00Z: 2 cycles of 2 teams are rated, 2 invoices would be issued." in said
    assert "EUR,2,21.50,1.90,23.40,0,0.00,0.00,+0.00" in said
    facts = json.loads(run_billing(shop, "cycles", "approval", "1", "--json")[1])
    assert [one["total"] for one in facts["invoices"]] == ["11.40", "12.00"]
    assert "approval          close 1 waits: billing cycles approval 1" in run_billing(shop, "status")[1]
    answer = ("cycles", "approve", "1", "--as-of", AT, "--no-documents", "--comment", "as agreed")
    assert "in the future" in run_billing(shop, *answer[:4], "2999-01-01T00:00:00Z")[1]
    ended, said = run_billing(shop, *answer, "--reject", "t2=too much", "--seen", facts["seen"])
    assert ended == 3
    assert "Close 1: 1 invoices issued. INV-2026-000001 to INV-2026-000001" in said
    assert "rejected: team t2: too much" in said
    ended, said = run_billing(shop, *answer, "--reject", "t2=too much")
    assert ended == 3
    assert "as agreed" in run_billing(shop, "cycles", "approval", "1")[1]
    ended, said = run_billing(shop, *line[:3], "2026-08-06T00:00:00Z", line[-1])
    assert "1 team rejected at an earlier close" in said
    ended, said = run_billing(shop, "cycles", "reject", "2", "--reason", "still", "--as-of", "2026-08-07T00:00:00Z")
    assert ended == 3
    assert "Close 2: 0 invoices issued." in said
    laws_hold(shop, 2)


def test_nothing_changes_without_settings(shop: Shop) -> None:
    july(shop)
    assert len(shop.close("08-02").invoices) == 2
    with shop.home.database.read() as connection:
        row = connection.execute(select(closes)).one()
        assert (row.approval, row.approved_at_us, row.state) == ("", None, "issued")
        assert connection.execute(text("select count(*) from approvals")).scalar() == 0
        assert connection.execute(select(func.count()).select_from(parked)).scalar() == 0
    assert "approved_at" not in json.loads(manifest(shop.home, "close", "1"))["parameters"]
    with pytest.raises(BillingError, match="nobody was asked for it"):
        answered(shop, 1)


# --- killed


class Died(BaseException):
    """What nobody catches."""


@pytest.fixture
def dying_at() -> Iterator[list[str]]:
    """Points at which work ends without a word."""
    points: list[str] = []

    def reached(point: str) -> None:
        if point in points:
            raise Died(point)

    commit_points.listen(reached)
    yield points
    points.clear()


@pytest.mark.parametrize("point", commit_points.APPROVAL)
def test_an_answer_is_there_whole_or_not_at_all(shop: Shop, dying_at: list[str], point: str) -> None:
    """Work ends at each point; another run goes on from what is kept."""
    july(shop)
    dying_at.append(point)
    with pytest.raises((Died, ApprovalAwaited)):
        close(shop.home, instant("08-02"), approval=ALWAYS)
    if point != commit_points.APPROVAL_ASKED:
        with pytest.raises(Died):
            answered(shop, 1, t2="no")
    dying_at.clear()
    if point == commit_points.APPROVAL_RECORDED:
        assert ask(shop.home, 1) is None
        assert not answered(shop, 1, t2="no").is_new
    else:
        assert close_asking(shop) == 1
        assert all(rows_of_team(shop, "t2"))
        assert answered(shop, 1, t2="no").is_new
    assert rows_of_team(shop, "t2") == [0, 0, 0, 0]
    assert issue(shop.home, 1) == ("INV-2026-000001",)
    laws_hold(shop)


def test_two_answers_at_once_are_one(shop: Shop) -> None:
    """Rule 6.7: whoever comes second finds the first, or is refused."""
    july(shop)
    close_no = close_asking(shop)

    def give(number: int) -> str:
        try:
            return str(answered(shop, close_no, by=str(number), **({"t2": "no"} if number % 2 else {})).is_new)
        except DataRefused:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        outcomes = sorted(pool.map(give, range(4)))
    assert outcomes == ["False", "True", "refused", "refused"]
    issue(shop.home, close_no)
    laws_hold(shop)
