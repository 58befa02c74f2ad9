"""The demo's data set shows what it says: written twice it is the same, and its outputs hold every kind of thing."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from billing.core.model import UNFUNDED, Kind
from billing.demo.books import reference_folder, tell_how_teams_stand
from billing.demo.dataset import Dataset, write_dataset
from billing.demo.money import settle
from billing.demo.reference import MEMBERS
from billing.intake.judging import Reason
from billing.steps.close import CloseSummary, close
from billing.steps.export import export
from billing.steps.homes import home_at
from billing.steps.payments.story import PaymentListed, list_payments
from billing.steps.reference import load_reference
from billing.steps.simulate import simulate
from billing.store.home import Home

Rows = list[dict[str, str]]
PINNED = "4d695802e0a99ef877553831a105048334742e7f330c38b41d15d591bca210d0"
"""What the names and bytes of all files but Parquet come to."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The data set, the outputs of its scenario, and what came of mending the parked team.

    ``shown``: as of when the books are shown, and the reference data they go on with, before and after the mending.
    """

    dataset: Dataset
    tables: Mapping[str, Rows]
    mended: CloseSummary
    mended_tables: Mapping[str, Rows]
    shown: Mapping[str, tuple[datetime, Path]]
    money: tuple[PaymentListed, ...]

    def team(self, table: str, team_id: str, **cells: str) -> Rows:
        """A team's rows of a table that have these cells."""
        return [r for r in self.tables[table] if r["team_id"] == team_id and cells.items() <= r.items()]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Everything is run once: some eighty ingests and two closes."""
    folder = tmp_path_factory.mktemp("demo")
    dataset = write_dataset(folder / "data")
    home = Home.at(folder / "home")
    assert simulate(home, dataset.folder, folder / "out", templates=None), "one team ends parked"
    tables = read(folder / "out")
    shown = {"before": (tell_how_teams_stand(folder), reference_folder(folder))}
    settle(folder, dataset.closes[-1])
    settle(folder, dataset.closes[-1])  # the demo run again
    money = tuple(list_payments(home, dataset.closes[-1]))
    load_reference(home, dataset.mended_reference)
    mended = close(home, dataset.mended_close, assume_complete=True)
    export(home, folder / "mended")
    shown["after"] = (tell_how_teams_stand(folder), reference_folder(folder))
    yield Outcome(
        dataset=dataset,
        tables=tables,
        mended=mended,
        mended_tables=read(folder / "mended"),
        shown=MappingProxyType(shown),
        money=money,
    )
    home.close()


def read(folder: Path) -> dict[str, Rows]:
    return {path.stem: list(csv.DictReader(path.open(encoding="utf-8", newline=""))) for path in folder.glob("*.csv")}


def units(rows: Rows) -> int:
    return sum(int(row["charged_units"]) for row in rows)


def contents(folder: Path) -> dict[str, tuple[str, float]]:
    """By file, the hash of its bytes and its modification time (which counts for usage only)."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime if path.parent.name == "usage" else 0,
        )
        for path in files
    }


# --- the files -------------------------------------------------------------------------------------------------------


def test_two_writes_give_the_same_bytes_and_times(tmp_path: Path) -> None:
    write_dataset(tmp_path / "one")
    write_dataset(tmp_path / "two")
    write_dataset(tmp_path / "two")  # over what is there
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_the_text_files_are_the_same_on_every_machine(tmp_path: Path) -> None:
    """A Parquet file names its pyarrow; all others have one hash. A change of the data changes it: on purpose only."""
    write_dataset(tmp_path)
    text = [f"{name} {digest}\n" for name, (digest, _) in contents(tmp_path).items() if not name.endswith(".parquet")]
    assert hashlib.sha256("".join(text).encode()).hexdigest() == PINNED


def test_every_format_is_there_and_gzip_is_gzip(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    names = [path.name for path in dataset.arrivals]
    assert all(any(name.endswith(end) for name in names) for end in (".csv", ".csv.gz", ".jsonl", ".parquet"))
    gzipped = next(path for path in dataset.arrivals if path.name.endswith(".gz"))
    assert gzip.decompress(gzipped.read_bytes()).startswith(
        b"event_id,occurred_at,app_id,api,quantity,corrects,team_id\n"
    )


def test_files_carry_their_arrival_in_order_before_today(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    arrivals = list(dataset.arrivals.items())
    assert arrivals == sorted(arrivals, key=lambda item: (item[1], item[0].name))
    assert sorted(dataset.usage.iterdir()) == sorted(dataset.arrivals)
    assert all(datetime.fromtimestamp(path.stat().st_mtime, UTC) == at for path, at in arrivals)
    assert dataset.window_boundaries[0] < arrivals[0][1]
    assert arrivals[-1][1] < dataset.window_boundaries[-1]
    assert dataset.window_boundaries[1:] == dataset.closes
    assert dataset.closes[-1] < dataset.mended_close < datetime(2025, 1, 1, tzinfo=UTC)


def test_the_scenario_ingests_the_same_files_in_the_same_order(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path)
    steps = json.loads((tmp_path / "steps.json").read_text("utf-8"))
    ingested = [
        (tmp_path / step["file"], datetime.fromisoformat(step["now"])) for step in steps if step["do"] == "ingest"
    ]
    assert ingested == list(dataset.arrivals.items())
    closed = [step["as_of"] for step in steps if step["do"] == "close"]
    assert [datetime.fromisoformat(as_of) for as_of in closed] == list(dataset.closes)


# --- the outputs -----------------------------------------------------------------------------------------------------


def test_every_team_has_a_story(outcome: Outcome) -> None:
    teams = {row["team_id"] for row in read(outcome.dataset.reference)["teams"]}
    assert set(outcome.dataset.stories) == teams
    assert len(teams) >= 12


def test_every_member_is_told_of(outcome: Outcome) -> None:
    members = {row["user"]: (row["team_id"], row["role"]) for row in read(outcome.dataset.reference)["team_members"]}
    assert members == {"ada": ("berlin", "buyer"), "ben": ("losangeles", "developer")}
    assert set(MEMBERS) == set(members)


def test_every_source_pays_or_fails_to(outcome: Outcome) -> None:
    """Rule 5.1, and 5.6 for capacity."""
    sources = {row["source"] for row in outcome.tables["charges"]} | {
        row["source"] for row in outcome.tables["balances"]
    }
    assert sources == {*Kind, UNFUNDED}


def test_every_reason_to_reject_a_record(outcome: Outcome) -> None:
    assert {row["reason"] for row in outcome.tables["rejected"]} == set(Reason)


def test_a_file_that_came_twice_counts_once(outcome: Outcome) -> None:
    """Rule 2.2."""
    twice = [row for row in outcome.tables["rejected"] if row["reason"] == "duplicate"]
    assert {row["file"] for row in twice} == {"usage/usage-2024-02-05_again.csv"}
    assert len(twice) > 300


def test_currencies_and_taxes(outcome: Outcome) -> None:
    """Rules 6.1 and 6.2."""
    invoices = outcome.tables["invoices"]
    assert {row["currency"] for row in invoices} == {"EUR", "USD", "JPY", "KWD"}
    taxed = {(row["team_id"], row["tax_category"], row["tax_percent"]) for row in invoices}
    assert {("paris", "S", "20"), ("vienna", "S", "20"), ("helsinki", "AE", "0"), ("tokyo", "O", "0")} <= taxed
    assert any(row["total"].endswith("5") and row["currency"] == "KWD" for row in invoices), "three decimals"


def test_late_usage(outcome: Outcome) -> None:
    """Rule 3.5; what came late to a cycle that is still open is not late usage."""
    late = {row["team_id"] for row in outcome.tables["carry"] if row["late_usage"] != "0"}
    assert late == {"losangeles", "madrid", "paris", "vienna"}


def test_anchors_at_the_end_of_the_month(outcome: Outcome) -> None:
    """Rule 3.1: 31 January, 29 February, 31 March; 30 January, 29 February, 30 March; 29 February."""
    first_days = {
        team: [row["period_first_day"] for row in outcome.team("cycles", team)] for team in outcome.dataset.stories
    }
    assert first_days["paris"] == ["2024-01-15", "2024-01-31", "2024-02-29"]
    assert outcome.team("cycles", "paris")[-1]["period_last_day"] == "2024-03-30"
    assert first_days["saopaulo"] == ["2024-01-30", "2024-02-29"]
    assert first_days["tokyo"][-1] == "2024-02-29"


def test_most_teams_have_two_closed_cycles(outcome: Outcome) -> None:
    short = {team for team in outcome.dataset.stories if len(outcome.team("cycles", team)) < 2}
    assert short == {"auckland", "lodz", "toronto"}


def test_a_unit_that_only_the_carry_over_completes(outcome: Outcome) -> None:
    """Rule 4.2."""
    carry = [(r["opening"], r["usage"], r["charged_units"], r["closing"]) for r in outcome.team("carry", "dublin")]
    assert carry == [("0", "3", "0", "3"), ("3", "3", "1", "1")]


def test_flex_runs_out_and_one_unit_takes_two_grants(outcome: Outcome) -> None:
    """Rules 5.1 and 5.3: the first grant's units cost more than it gave; in the second cycle payg takes over."""
    first, second = (row["cycle_start"] for row in outcome.team("cycles", "helsinki"))
    split = outcome.team("charges", "helsinki", cycle_start=first, api="automation", grant_id="helsinki-flex-1")
    assert units(split) * Decimal("0.7") > sum(Decimal(row["tokens"]) for row in split)
    assert {r["source"] for r in outcome.team("charges", "helsinki", cycle_start=first)} == {"flex"}
    assert {r["source"] for r in outcome.team("charges", "helsinki", cycle_start=second)} == {"flex", "payg"}


def test_prices_and_unit_sizes_change(outcome: Outcome) -> None:
    """Rule 4.1: two prices on one invoice; simple jobs in units of 20, then of 16."""
    paid = outcome.team("charges", "paris", api="automation", source="payg")
    assert {row["unit_price"] for row in paid} == {"2.4", "2.65"}
    row = outcome.team("carry", "kolkata", api="model_derivative_simple")[-1]
    moved = Decimal(row["opening"]) + Decimal(row["usage"]) - Decimal(row["closing"])
    assert 16 * int(row["charged_units"]) < moved < 20 * int(row["charged_units"])


def test_a_hub_and_an_app_move(outcome: Outcome) -> None:
    """Rule 1.2."""
    assert outcome.team("carry", "sydney")[-1]["usage"] == "0"
    assert outcome.team("carry", "auckland", api="reality_capture")
    before, after = outcome.team("cycles", "newyork")
    assert not outcome.team("carry", "newyork", cycle_start=before["cycle_start"], api="automation")
    assert outcome.team("carry", "newyork", cycle_start=after["cycle_start"], api="automation")


def test_an_invoice_over_nothing(outcome: Outcome) -> None:
    """Rules 5.4 and 6.5: a price of 0 pays."""
    assert {row["total"] for row in outcome.team("invoices", "cairo")} == {"0.00"}


def test_a_final_invoice_and_late_usage_after_it(outcome: Outcome) -> None:
    """Rules 3.3 and 5.1."""
    madrid = outcome.team("cycles", "madrid")
    assert [row["payg_subscription_id"] for row in madrid] == ["madrid-payg", "madrid-payg", ""]
    assert [row["cycle_start"] for row in outcome.team("invoices", "madrid")] == [row["cycle_start"] for row in madrid]


def test_corrections_take_back_and_leave_a_credit(outcome: Outcome) -> None:
    """Rules 2.3 and 4.3: the second comes after the close, and is more than the cycle opened with."""
    late = outcome.team("carry", "vienna", api="automation")[-1]
    assert late["late_usage"] == "-450"
    assert Decimal(late["opening"]) < 450


def test_capacity_is_shown_as_available_of_granted(outcome: Outcome) -> None:
    """Rule 8.1: 140 of 150."""
    (row,) = outcome.team("balances", "berlin", source="capacity")
    assert (row["available"], row["granted"]) == ("140", "150")


def test_buyers_speak_french_and_languages_that_fall_back(outcome: Outcome) -> None:
    reference = read(outcome.dataset.reference)
    assert {"fr-FR", "en-US", "fi-FI"} <= {row["locale"] for row in reference["customers"]}
    unpaid = {r["team_id"] for r in reference["subscriptions"] if r["kind"] == "payg" and not r["payment_method_id"]}
    assert unpaid == {"dublin"}


def test_one_team_ends_parked_and_a_row_mends_it(outcome: Outcome) -> None:
    """Rule 3.8."""
    assert [(row["team_id"], row["reason"]) for row in outcome.tables["parked"]] == [("lodz", "no_tax_rate")]
    assert outcome.mended_tables["parked"] == []
    assert outcome.mended.parked == ()
    (number,) = outcome.mended.invoices
    (invoice,) = (row for row in outcome.mended_tables["invoices"] if row["number"] == number)
    assert (invoice["team_id"], invoice["tax_category"], invoice["tax_percent"]) == ("lodz", "S", "23")


def test_invoices_are_paid_overdue_and_credited(outcome: Outcome) -> None:
    """As of the last close; what nothing came for yet is due 30 days after its issue."""
    assert Counter(one.state.value for one in outcome.money) == {
        "paid": 1,
        "partly_paid": 1,
        "credited": 1,
        "overdue": 6,
        "nothing_due": 2,
        "open": 10,
    }
    said = {one.number: (one.held, one.credited, one.outstanding) for one in outcome.money}
    assert said["INV-2024-000001"] == ("162.50", "0.00", "0.00")
    assert said["INV-2024-000002"] == ("0.00", "9.55", "0.00")
    assert said["INV-2024-000016"] == ("5.00", "0.00", "1.75")


def test_books_are_shown_as_of_the_last_close_and_stay_mended(outcome: Outcome) -> None:
    """An invoice of 3 April is not shown as of the 2nd; what is loaded next takes no tax rate back (rule 3.6)."""
    assert outcome.shown == {
        "before": (datetime(2024, 4, 2, 2, tzinfo=UTC), outcome.dataset.folder / "reference"),
        "after": (datetime(2024, 4, 3, 2, tzinfo=UTC), outcome.dataset.folder / "reference-mended"),
    }


def test_books_before_anything_was_loaded(tmp_path: Path) -> None:
    """The demo was stopped early."""
    home = home_at(tmp_path / "home")
    home.create()
    home.close()
    assert tell_how_teams_stand(tmp_path) == datetime(2024, 4, 2, 2, tzinfo=UTC)
    assert reference_folder(tmp_path) == tmp_path / "data" / "reference"
