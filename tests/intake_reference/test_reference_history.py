"""A load beside what is known and used: changes and removals that the contract refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from billing.intake.reference_checks import NO_NEEDS, Needs, check_reference, in_force
from billing.intake.reference_files import ReferenceFolder, read_reference_folder

from .folders import EARLY, LATE, Rows, load, places, small, write

ALLOWED = replace(NO_NEEDS, allow_removals=True)


@pytest.fixture
def known(tmp_path: Path) -> ReferenceFolder:
    return read_reference_folder(write(tmp_path / "known", small()))[0]


def _reload(tmp_path: Path, known: ReferenceFolder, rows: Rows, needs: Needs = NO_NEEDS):
    return load(write(tmp_path / "new", rows), known, needs)


def test_the_same_again_is_taken(tmp_path: Path, known):
    assert _reload(tmp_path, known, small()) == []


def test_billing_of_an_api_with_usage_stays(tmp_path: Path, known):
    rows = small()
    rows["apis"][1][3] = "rated"
    needs = replace(NO_NEEDS, billing_by_used_api={"calls": "unrated", "automation": "rated"})
    findings = _reload(tmp_path, known, rows, needs)
    assert places(findings) == [("apis.csv", 3, "billing")]
    assert "was unrated" in findings[0].message
    assert _reload(tmp_path, known, rows) == []


@pytest.mark.parametrize(("tokens", "refused"), [("99.999999", True), ("100", False), ("100.000001", False)])
def test_a_grant_is_not_made_smaller_than_what_is_used_of_it(tmp_path: Path, known, tokens, refused):
    rows = small()
    rows["token_grants"][0][2] = tokens
    rows["capacity_grants"][0][3] = tokens
    used = {"g1": 100_000_000, "gone": 1}
    needs = replace(NO_NEEDS, used_tokens_micro=used, used_capacity_micro={"k1": 100_000_000})
    findings = _reload(tmp_path, known, rows, needs)
    expected = [("token_grants.csv", 2, "tokens"), ("capacity_grants.csv", 2, "quantity")]
    assert places(findings) == (expected if refused else [])


def test_used_tokens_are_compared_exactly_beyond_what_a_float_holds(tmp_path: Path, known):
    rows = small()
    rows["token_grants"][0][2] = "9007199254.740992"  # 2^53 micro
    needs = replace(NO_NEEDS, used_tokens_micro={"g1": 2**53 + 1})
    assert places(_reload(tmp_path, known, rows, needs)) == [("token_grants.csv", 2, "tokens")]


def test_removed_rows_are_listed_unless_removals_are_allowed(tmp_path: Path, known):
    rows = small()
    rows["app_hubs"].pop()
    rows["apps"].pop()
    rows["tax_rates"].pop()
    findings = _reload(tmp_path, known, rows)
    assert [finding.file for finding in findings] == ["apps.csv", "app_hubs.csv", "tax_rates.csv"]
    assert "'a2', 'h1', '2025-01-01T00:00:00Z' is missing" in findings[1].message
    assert "'FI', '2024-09-01'" in findings[2].message
    assert "--allow-removals" in findings[0].message
    assert _reload(tmp_path, known, rows, ALLOWED) == []


def test_what_an_open_event_needs_is_never_removed(tmp_path: Path, known):
    rows = small()
    rows["app_hubs"].pop()
    needs = replace(ALLOWED, needed_keys={"app_hubs": frozenset({("a2", "h1", EARLY), ("never", "known", EARLY)})})
    findings = _reload(tmp_path, known, rows, needs)
    assert [finding.file for finding in findings] == ["app_hubs.csv"]
    assert "an open event or a carry-over needs it" in findings[0].message
    assert len(_reload(tmp_path, known, rows, replace(needs, allow_removals=False))) == 1


def test_another_end_of_a_validity_is_a_change_and_no_removal(tmp_path: Path, known):
    rows = small()
    rows["app_hubs"][2][3] = LATE
    rows["hub_teams"][1][3] = "2027-01-01T00:00:00Z"
    assert _reload(tmp_path, known, rows) == []


def test_the_same_key_in_another_spelling_is_no_removal(tmp_path: Path, known):
    rows = small()
    rows["unit_rates"][0][1] = "2025-01-01T02:00:00.000+02:00"
    assert _reload(tmp_path, known, rows) == []


def test_the_seller_may_change(tmp_path: Path, known):
    rows = small()
    rows["seller"][0][0] = "Another name"
    assert _reload(tmp_path, known, rows) == []


def test_many_removals_are_bounded_with_a_count(tmp_path: Path):
    rows = small()
    rows["apps"] += [[f"x{number}", ""] for number in range(3_000)]
    known = read_reference_folder(write(tmp_path / "known", rows))[0]
    findings = _reload(tmp_path, known, small())
    assert len(findings) == 1_001
    assert "2,000 more" in findings[-1].message


# --- tables whose file is absent -----------------------------------------------------------------------------------


def _without(*tables: str) -> Rows:
    return {table: rows for table, rows in small().items() if table not in tables}


def test_an_absent_file_says_nothing_about_its_table(tmp_path: Path, known):
    rows = _without("payment_methods", "capacity_grants")
    folder = write(tmp_path / "new", rows)
    assert load(folder, known) == []
    new, _ = read_reference_folder(folder)
    tables = in_force(new, known.tables)
    assert tables["payment_methods"]["payment_method_id"].tolist() == ["pm1"]
    assert len(in_force(new, None)["capacity_grants"]) == 0
    assert "capacity_grants" not in new.tables


def test_payment_methods_known_before_are_checked_against(tmp_path: Path, known):
    rows = _without("payment_methods")
    rows["subscriptions"][2][7] = "pm9"
    assert places(_reload(tmp_path, known, rows)) == [("subscriptions.csv", 4, "payment_method_id")]


def test_while_no_payment_methods_are_known_theirs_ids_are_not_checked(tmp_path: Path):
    rows = _without("payment_methods")
    rows["subscriptions"][2][7] = "pm9"
    assert load(write(tmp_path / "absent", rows)) == []
    assert load(write(tmp_path / "empty", rows | {"payment_methods": []})) == []


def test_grants_known_before_still_need_their_subscription(tmp_path: Path, known):
    rows = _without("capacity_grants")
    rows["subscriptions"] = [row for row in rows["subscriptions"] if row[0] != "s-capacity"]
    findings = _reload(tmp_path, known, rows, ALLOWED)
    assert places(findings) == [("capacity_grants (as known before)", None, "subscription_id")]


def test_the_seller_of_an_earlier_load_does_not_stand_in_for_a_missing_file(tmp_path: Path, known):
    findings = _reload(tmp_path, known, _without("seller"))
    assert [finding.file for finding in findings] == ["seller.csv"]


def test_checks_of_a_folder_that_could_not_be_read_say_nothing_more(known):
    assert check_reference(ReferenceFolder(), known.tables, NO_NEEDS) == []
