"""Reference data: taken whole or refused whole, as history (data contract, "Reference data"; rule 3.6)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from sqlalchemy import func, select

from billing.core.errors import DataRefused
from billing.core.instants import format_us
from billing.steps.reference import current_reference
from billing.steps.status import status
from billing.store.tables import reference_loads

from .small_world import ALWAYS, BOUGHT, REFERENCE, Shop

AUGUST, OCTOBER = "2026-08-01T00:00:00Z", "2026-10-01T00:00:00Z"


def refused(shop: Shop, *, allow_removals: bool = False, **changed: Sequence[str]) -> list[str]:
    """The findings of a load that must be refused and change nothing."""
    before = current_reference(shop.home)
    rows = status(shop.home).log_rows
    with pytest.raises(DataRefused, match="the reference data is refused, nothing was changed") as caught:
        shop.load(allow_removals=allow_removals, **changed)
    after = current_reference(shop.home)
    assert after[0] == before[0]
    assert all(after[1][name].equals(before[1][name]) for name in before[1])
    assert status(shop.home).log_rows == rows
    return [str(finding) for finding in caught.value.findings]


def without(table: str, *starts: str) -> list[str]:
    return [line for line in REFERENCE[table] if not line.startswith(starts)]


def closed_july(shop: Shop, *usage: str) -> None:
    """July of both teams is closed."""
    shop.load()
    shop.ingest(*usage, now="08-02")
    assert shop.close("08-02").cycles == 2


# --- whole or not at all ---------------------------------------------------------------------------------------------


def test_a_load_is_refused_whole_with_every_error_of_every_file(shop: Shop) -> None:
    found = refused(
        shop,
        teams=["t1,c1,Team One", "t2,nobody,Team Two"],
        unit_rates=[f"render,{ALWAYS},0,1", f"translate,{ALWAYS},1,"],
        subscriptions=[f"payg1,t1,payg,{BOUGHT},Mars/Olympus,,EUR,"],
        tax_rates=["FR,2000-01-01,20", "FR,2000-01-01,21"],
    )
    text = "\n".join(found)
    assert "teams.csv, line 3, column customer_id: 'nobody' is not in customers" in text
    assert "unit_rates.csv, line 2, column unit_size" in text
    assert "subscriptions.csv, line 2, column time_zone: 'Mars/Olympus' is no IANA time zone" in text
    assert "tax_rates.csv, line 3, column country: has the key of line 2" in text
    assert "free_allowances.csv, line 2, column subscription_id: 'free1' is not in subscriptions" in text


def test_a_load_that_was_refused_can_be_mended_and_taken(shop: Shop) -> None:
    refused(shop, seller=[])
    done = shop.load()
    assert (done.load_no, done.added, done.changed, done.removed, done.late) == (
        1,
        sum(map(len, REFERENCE.values())),
        0,
        0,
        (),
    )


def test_a_load_that_changes_nothing_takes_no_number(shop: Shop) -> None:
    assert shop.load().load_no == 1
    again = shop.load(customers=list(reversed(REFERENCE["customers"])))
    assert (again.load_no, again.added, again.changed, again.removed) == (1, 0, 0, 0)
    assert (status(shop.home).reference_load, status(shop.home).log_rows) == (1, 1)


def test_spelling_is_no_change(shop: Shop) -> None:
    """Instants and decimals are compared by value."""
    shop.load()
    local = [f"render,{ALWAYS},20.0,1.000", "translate,2020-01-01T01:00:00+01:00,1,"]
    assert shop.load(unit_rates=local).load_no == 1


def test_an_absent_file_says_nothing_and_an_empty_one_removes(shop: Shop) -> None:
    shop.load()
    assert shop.load(capacity_grants=None, payment_methods=None).load_no == 1
    assert len(current_reference(shop.home)[1]["capacity_grants"]) == 1
    assert "capacity_grants.csv: the row 's1' is missing" in refused(shop, capacity_grants=[])[0]


def test_a_character_that_no_database_keeps_is_refused_on_every_database(shop: Shop) -> None:
    """PostgreSQL has no text with a zero in it: a home must take the same data on both."""
    found = refused(shop, teams=["t1,c1,Team\x00One", "t2,c2,Team Two"])
    assert found[0].startswith("teams.csv, line 2, column name:")


def test_loads_are_numbered_and_said_in_the_log(shop: Shop) -> None:
    shop.load()
    shop.load(teams=["t1,c1,Team 1", "t2,c2,Team Two"])
    with shop.home.database.read() as connection:
        rows = connection.execute(select(reference_loads).order_by(reference_loads.c.load_no)).all()
    assert [(row.load_no, row.rows_changed) for row in rows] == [(1, 0), (2, 1)]
    assert "sha256" in rows[1].files


# --- removals --------------------------------------------------------------------------------------------------------


def test_removals_are_refused_unless_they_are_allowed(shop: Shop) -> None:
    shop.load(apps=[*REFERENCE["apps"], "a3,"], app_hubs=[*REFERENCE["app_hubs"], f"a3,h1,{ALWAYS},"])
    found = refused(shop)
    assert [line.split(":")[0] for line in found] == ["apps.csv", "app_hubs.csv"]
    assert "is missing, and was known before; put it back, or allow removals (--allow-removals)" in found[0]
    done = shop.load(allow_removals=True)
    assert (done.load_no, done.removed) == (2, 2)


def test_removed_rows_stop_being_known_from_then_on(shop: Shop) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,40,,")
    shop.load(allow_removals=True, apps=["a2,App Two"], app_hubs=[f"a2,h2,{ALWAYS},"])
    assert shop.ingest("e2,2026-07-06T00:00:00Z,a1,render,40,,", now="08-03").reasons == {"unattributed_app": 1}
    shop.load()
    assert shop.ingest("e3,2026-07-06T00:00:00Z,a1,render,40,,", now="08-04").accepted == 1


TOUCHES = {
    "teams": ("t1",),
    "subscriptions": ("payg1",),
    "unit_rates": ("render",),
    "unit_prices": ("render",),
    "apis": ("render",),
    "free_allowances": ("free1",),
    "tax_rates": ("FR",),
    "customers": ("c1",),
}


@pytest.mark.parametrize("table", TOUCHES)
def test_what_an_open_event_needs_is_never_removed(shop: Shop, table: str) -> None:
    """Data contract: "never what an open event or a carry-over needs"."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,60,,", now="07-06")
    found = refused(shop, allow_removals=True, **{table: without(table, *TOUCHES[table])})
    assert "an open event or a carry-over needs it; put it back (its removal cannot be allowed)" in "\n".join(found)


@pytest.mark.parametrize("table", ["unit_rates", "unit_prices", "apis"])
def test_what_a_carry_over_needs_is_never_removed(shop: Shop, table: str) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,5,,")
    found = refused(shop, allow_removals=True, **{table: without(table, "render")})
    assert "cannot be allowed" in "\n".join(found)


def test_what_nothing_needs_any_more_may_be_removed(shop: Shop) -> None:
    """All of July is billed and nothing waits: the API may go; what was closed keeps what it saw (rule 3.4)."""
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,40,,")
    before = shop.export()
    tables = {name: without(name, "render") for name in ("apis", "unit_rates", "unit_prices")}
    shop.load(allow_removals=True, free_allowances=[], **tables)
    assert shop.export() == before
    assert shop.render().failed == (), "the document is made of what its close had pinned"


def test_an_api_that_was_removed_comes_back_as_what_it_was(shop: Shop) -> None:
    """Refused: "`billing` changed for an API that has usage", also by way of a removal."""
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,translate,1,,")
    tables = {name: without(name, "translate") for name in ("apis", "unit_rates", "unit_prices")}
    shop.load(allow_removals=True, **tables)
    found = refused(shop, apis=[*without("apis", "translate"), "translate,,job,unrated"])
    assert "was rated when usage of this API was accepted" in found[0]


# --- grants and billing ----------------------------------------------------------------------------------------------


def test_a_grant_is_not_made_smaller_than_what_is_used_of_it(shop: Shop) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a2,render,120,,")
    found = refused(shop, token_grants=[f"g2,flex2,5,{BOUGHT},2027-07-01T00:00:00Z"])
    assert "column tokens: 5 is less than the 6 that is used of this grant; grant at least that" in found[0]
    assert shop.load(token_grants=[f"g2,flex2,6,{BOUGHT},2027-07-01T00:00:00Z"]).changed == 1


def test_what_open_cycles_use_counts_too(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a2,render,120,,", "e2,2026-07-05T00:00:00Z,,seats,4,,t1", now="07-06")
    found = refused(
        shop,
        token_grants=[f"g2,flex2,5.999999,{BOUGHT},2027-07-01T00:00:00Z"],
        capacity_grants=[f"s1,seats1,seats,3,{BOUGHT},2027-07-01T00:00:00Z"],
    )
    assert "5.999999 is less than the 6 that" in found[0]
    assert "3 is less than the 4 that" in found[1]
    assert shop.load(token_grants=[f"g2,flex2,6,{BOUGHT},2027-07-01T00:00:00Z"]).changed == 1


def test_the_billing_of_an_api_that_has_usage_stays(shop: Shop) -> None:
    shop.load()
    billed = [line.replace("browse,,call,unrated", "browse,,call,rated") for line in REFERENCE["apis"]]
    assert shop.load(apis=billed).changed == 1, "no usage yet"
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,browse,1,,", now="07-06")
    assert "was unrated when usage of this API was accepted and must stay so" in refused(shop, apis=billed)[0]
    renamed = [line.replace("browse,,call", "browse,Browsing,call") for line in REFERENCE["apis"]]
    assert shop.load(apis=renamed).changed == 1, "its name may change"


# --- late rows (rule 3.6) --------------------------------------------------------------------------------------------


def late(shop: Shop, *, allow_removals: bool = False, **changed: Sequence[str]) -> set[tuple[str, str, str]]:
    """What a load reports as late: (table, key, team)."""
    return {(row.table, row.key, row.team_id) for row in shop.load(allow_removals=allow_removals, **changed).late}


def test_a_row_too_late_for_a_closed_cycle_is_taken_and_reported(shop: Shop) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,40,,", "e2,2026-07-05T00:00:00Z,a2,translate,1,,")
    before = shop.export()
    prices = [*REFERENCE["unit_prices"], "render,EUR,2026-07-31T23:59:59.999999Z,9"]
    (row,) = shop.load(unit_prices=prices).late
    key = "render, EUR, 2026-07-31T23:59:59.999999Z"
    assert (row.table, row.key, row.team_id) == ("unit_prices", key, "t1"), "only the team that used it"
    assert format_us(row.cycle_start_us) == BOUGHT
    assert shop.export() == before, "a closed cycle never changes (rule 3.4)"


def test_a_row_from_the_end_of_the_last_closed_cycle_on_is_in_time(shop: Shop) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,40,,")
    prices = [*REFERENCE["unit_prices"], f"render,EUR,{AUGUST},9"]
    bought = [*REFERENCE["subscriptions"], f"new,t1,flex,{AUGUST},UTC,,,"]
    taxes = [*REFERENCE["tax_rates"], "FR,2026-08-01,21"]
    assert late(shop, unit_prices=prices, subscriptions=bought, tax_rates=taxes) == set()


def test_rows_of_every_kind_are_told_to_be_late(shop: Shop) -> None:
    seats = "e3,2026-07-05T00:00:00Z,,seats,2,,t1"
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,60,,", "e2,2026-07-05T00:00:00Z,a2,translate,1,,", seats)
    reported = late(
        shop,
        subscriptions=[*REFERENCE["subscriptions"], "old,t1,flex,2026-07-31T23:00:00Z,UTC,,,"],
        token_grants=[*REFERENCE["token_grants"], "g1,old,5,2026-07-31T23:00:00Z,2027-01-01T00:00:00Z"],
        capacity_grants=[*REFERENCE["capacity_grants"], "s2,seats1,seats,5,2026-07-15T00:00:00Z,2027-01-01T00:00:00Z"],
        free_allowances=["free1,render,2", "free1,translate,1"],
        unit_rates=[*REFERENCE["unit_rates"], "translate,2026-07-10T00:00:00Z,2,"],
        tax_rates=[*REFERENCE["tax_rates"], "FR,2026-07-31,21"],
    )
    assert reported == {
        ("subscriptions", "old", "t1"),
        ("token_grants", "g1", "t1"),
        ("capacity_grants", "s2", "t1"),
        ("free_allowances", "free1, render", "t1"),
        ("unit_rates", "translate, 2026-07-10T00:00:00Z", "t2"),
        ("tax_rates", "FR, 2026-07-31", "t1"),
    }, "an allowance for what the team did not use would have changed nothing"


def ended(at: str) -> list[str]:
    """The subscriptions, the one that pays as it goes with an end."""
    open_one = f"payg1,t1,payg,{BOUGHT},UTC,,"
    return [line.replace(open_one, f"payg1,t1,payg,{BOUGHT},UTC,{at},") for line in REFERENCE["subscriptions"]]


def test_an_end_in_an_open_cycle_changes_no_closed_one(shop: Shop) -> None:
    """The most ordinary change of all: a subscription that was open is given its end."""
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,60,,")
    assert late(shop, subscriptions=ended(OCTOBER)) == set()


def test_an_end_in_a_closed_cycle_would_have_changed_it(shop: Shop) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,60,,")
    assert late(shop, subscriptions=ended("2026-07-20T00:00:00Z")) == {("subscriptions", "payg1", "t1")}


def test_what_no_cycle_depends_on_is_never_late(shop: Shop) -> None:
    """Another payment method, another name: nothing that a closed cycle was made of."""
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,60,,")
    paid = [line + "m1" if line.startswith("payg1") else line for line in REFERENCE["subscriptions"]]
    assert late(shop, subscriptions=paid, teams=["t1,c1,Renamed", "t2,c2,Team Two"]) == set()


def test_a_subscription_that_moves_is_late_for_both_teams(shop: Shop) -> None:
    closed_july(shop, "e1,2026-07-05T00:00:00Z,a1,render,60,,", "e2,2026-07-05T00:00:00Z,a2,render,20,,")
    moved = [line.replace("flex2,t2", "flex2,t1") for line in REFERENCE["subscriptions"]]
    assert late(shop, subscriptions=moved) == {("subscriptions", "flex2", "t1"), ("subscriptions", "flex2", "t2")}


def test_a_row_that_is_removed_can_be_late_too(shop: Shop) -> None:
    both = [*REFERENCE["unit_prices"], "translate,EUR,2026-07-10T00:00:00Z,3"]
    shop.load(unit_prices=both)
    shop.ingest("e1,2026-07-12T00:00:00Z,a2,translate,1,,", now="08-02")
    shop.close("08-02")
    assert late(shop, allow_removals=True) == {("unit_prices", "translate, EUR, 2026-07-10T00:00:00Z", "t2")}


def test_nothing_is_late_before_the_first_close(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,60,,", now="07-06")
    assert late(shop, unit_prices=[*REFERENCE["unit_prices"], "render,EUR,2026-07-02T00:00:00Z,9"]) == set()


def test_the_count_of_loads_is_what_the_status_says(shop: Shop) -> None:
    shop.load()
    with shop.home.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(reference_loads)).scalar_one() == 1
    assert status(shop.home).reference_load == 1


def test_the_files_of_a_load_are_kept_as_they_came(shop: Shop) -> None:
    """Architecture: the source's own bytes are archived under their SHA-256."""
    shop.load()
    with shop.home.database.read() as connection:
        files = json.loads(connection.execute(select(reference_loads.c.files)).scalar_one())
    assert len(files) == len(REFERENCE)
    for file in files.values():
        path = f"{file['sha256'][:2]}/{file['sha256']}.csv"
        assert shop.home.reference_archive.read(path, file["sha256"])
