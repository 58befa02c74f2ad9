"""Inspections: an anomaly takes nothing until somebody says why, bugs are never taken, laws are checked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, text

from billing.core.errors import AnomalyFound, ConservationBroken, NotFound, UsageError
from billing.intake.judging import ACCEPTED
from billing.intake.sources.seam import SourceFile, Taken, Window
from billing.steps.batch import Also, IngestSummary, Judged
from billing.steps.checks import check_page, list_checks
from billing.steps.ingest import Occasion, ingest
from billing.steps.inspection import Inspection
from billing.steps.ledger_checks import check_ledger
from billing.steps.status import status
from billing.steps.windows import WindowSummary, take_window
from billing.store import log as log_store
from billing.store.home import Home
from billing.store.tables import batches, log, stopped_windows, validations
from billing.store.validations import Validation

from .small_world import Shop, instant

LAWS = Path(__file__).parents[2] / "sql" / "checks"
RUN = "usage_ingest/manual__2026-08-01"
GHOSTS = [f"g{n},2026-07-05T10:00:00Z,ghost{n % 3},render,1,," for n in range(30)]
HOSTILE = "<script>alert(1)</script>"


def events(prefix: str, count: int, day: str = "07-05") -> list[str]:
    return [f"{prefix}{n},2026-{day}T10:00:00Z,a1,render,1,," for n in range(count)]


def taken(shop: Shop, lines: Sequence[str], *, why: str | None = None, name: str | None = None) -> IngestSummary:
    return ingest(
        shop.home, [shop.file(lines, name)], instant("08-02"), inspector=Inspection(accept_anomaly=why, run=RUN)
    )


def logged(home: Home, kind: str) -> list[dict[str, object]]:
    with home.database.read() as connection:
        payloads = connection.execute(select(log.c.payload).where(log.c.kind == kind).order_by(log.c.seq)).scalars()
        return [json.loads(payload) for payload in payloads]


def kept(home: Home) -> list[Validation]:
    return list_checks(home)[::-1]


# --- what is as expected ----------------------------------------------------------------------------------------------


def test_what_is_as_expected_is_taken_with_two_checks_of_its_batch(shop: Shop) -> None:
    shop.load()
    done = taken(shop, events("e", 3))
    found = kept(shop.home)
    assert [(one.suite, one.batch_no, one.run, one.outcome, one.accepted_why) for one in found] == [
        ("extract", done.batch_no, RUN, "passed", ""),
        ("accepted", done.batch_no, RUN, "passed", ""),
    ]
    assert all(check_page(shop.home, one.validation_no).startswith(b"<!DOCTYPE html>") for one in found)
    assert logged(shop.home, "anomaly accepted") == []


def test_a_reason_where_nothing_is_wrong_is_kept_nowhere(shop: Shop) -> None:
    shop.load()
    taken(shop, events("e", 3), why="to be safe")
    assert {one.accepted_why for one in kept(shop.home)} == {""}
    assert logged(shop.home, "anomaly accepted") == []


def test_without_records_there_is_nothing_to_look_at(shop: Shop) -> None:
    ingest(shop.home, [], instant("08-02"), inspector=Inspection())
    assert kept(shop.home) == []


def test_warnings_are_said_and_stop_nothing(shop: Shop) -> None:
    shop.load()
    taken(shop, events("e", 60))
    inspection = Inspection(run=RUN)
    ingest(shop.home, [shop.file(events("e", 60))], instant("08-03"), inspector=inspection)
    (warning,) = inspection.warnings
    assert "at most 20 of 60 records were delivered before" in warning
    assert kept(shop.home)[2].outcome == "warned"


# --- an anomaly -------------------------------------------------------------------------------------------------------


def test_an_anomaly_takes_nothing_and_says_everything(shop: Shop) -> None:
    shop.load()
    with pytest.raises(AnomalyFound) as stopped:
        taken(shop, [*GHOSTS, *events("e", 3)])
    said = str(stopped.value)
    assert said.startswith("files, through 2026-08-02T00:00:00Z: not as expected. Nothing was taken")
    assert "quarantined 30; expected: at most 20 of 33 records are quarantined" in said
    assert "They are 30 unattributed_app. Look at what came" in said
    assert "with a reason in `accept_anomaly`" in said
    with shop.home.database.read() as connection:
        assert connection.execute(select(batches)).all() == []
    (found,) = kept(shop.home)
    assert (found.suite, found.outcome, found.batch_no, found.run) == ("extract", "stopped", None, RUN)
    assert b"quarantined (critical)" in check_page(shop.home, found.validation_no)
    assert status(shop.home).batches == 0


def test_a_person_accepts_it_with_a_reason_that_is_logged(shop: Shop) -> None:
    shop.load()
    with pytest.raises(AnomalyFound):
        taken(shop, GHOSTS)
    done = taken(shop, GHOSTS, why="  three apps are registered tomorrow  ")
    assert (done.records, done.quarantined) == (30, 30)
    (said,) = logged(shop.home, "anomaly accepted")
    found = kept(shop.home)[1]
    assert (said["why"], said["batch_no"], said["run"]) == ("three apps are registered tomorrow", done.batch_no, RUN)
    assert said["page"] == found.page_sha256
    assert [failure["name"] for failure in said["failed"]] == ["quarantined"]  # type: ignore[attr-defined]
    assert (found.outcome, found.accepted_why) == ("accepted", "three apps are registered tomorrow")
    with shop.home.database.read() as connection:
        log_store.verify(connection)


@pytest.mark.parametrize("blank", ["", "   ", "\n\t"])
def test_a_blank_reason_is_refused(blank: str) -> None:
    with pytest.raises(UsageError, match="blank"):
        Inspection(accept_anomaly=blank)


def test_hostile_names_are_harmless_in_the_page_and_whole_in_the_books(shop: Shop) -> None:
    shop.load()
    name = f"{HOSTILE}.csv"
    lines = [f"g{n},2026-07-05T10:00:00Z,{HOSTILE}{n},{HOSTILE}{n},1,," for n in range(30)]
    with pytest.raises(AnomalyFound):
        taken(shop, [*lines, *(["bad"] * 30)], name=name)
    page = check_page(shop.home, kept(shop.home)[0].validation_no).decode()
    assert "<script" not in page
    assert "‹script›alert(1)‹/script›" in page
    assert any(HOSTILE in failure["observed"] for failure in kept(shop.home)[0].failed)
    taken(shop, [*lines, *(["bad"] * 30)], name=name, why=HOSTILE)
    assert logged(shop.home, "anomaly accepted")[0]["why"] == HOSTILE


# --- windows of a source ----------------------------------------------------------------------------------------------


class Folder:
    """A source that brings the file it is given, once."""

    name, kind, location = "app", "files", "memory"

    def __init__(self) -> None:
        self.waiting: list[SourceFile] = []

    def extract(self, window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        found, self.waiting = self.waiting, []
        return found


def three_weeks(shop: Shop, source: Folder) -> datetime:
    """A file a day at noon, in windows of a day; returns where they end."""
    end = instant("07-05")
    for day in range(21):
        end = instant("07-05") + timedelta(days=day + 1)
        lines = [f"d{day}-{n},{(end - timedelta(hours=12)).isoformat()},a1,render,1,," for n in range(300)]
        source.waiting = [shop.file([line.replace("+00:00", "Z") for line in lines])]
        take_window(shop.home, source, end - timedelta(days=1), end)
    return end


def take(shop: Shop, source: Folder, end: datetime, why: str | None = None) -> WindowSummary:
    inspection = Inspection(accept_anomaly=why, run=RUN)
    return take_window(shop.home, source, end - timedelta(hours=12), end, inspector=inspection)


def test_silence_stops_until_a_person_says_it_is_right_and_then_counts_as_seen(shop: Shop) -> None:
    shop.load()
    source = Folder()
    last = three_weeks(shop, source)
    assert take(shop, source, last + timedelta(days=3)).ingested is not None, "three times the longest pause"
    assert kept(shop.home) == []
    with pytest.raises(AnomalyFound, match="something comes within 73.0 hours: the longest pause was 24.0 hours"):
        take(shop, source, last + timedelta(days=4))
    with shop.home.database.read() as connection:
        assert [row.kind for row in connection.execute(select(stopped_windows))] == ["anomaly"]
    assert take(shop, source, last + timedelta(days=4), "they moved house").ingested is not None
    assert logged(shop.home, "anomaly accepted")[0]["source"] == "app"
    assert take(shop, source, last + timedelta(days=11)).ingested is not None, "within three times the accepted pause"
    with pytest.raises(AnomalyFound, match="longest pause was 96.0 hours"):
        take(shop, source, last + timedelta(days=13))


def test_a_window_is_compared_with_those_of_its_own_source(shop: Shop) -> None:
    """Volume, and how old the newest record is: from the books and the lake's own statistics."""
    shop.load()
    source = Folder()
    last = three_weeks(shop, source)
    old = [f"n{n},2026-07-06T10:00:00Z,a1,render,1,," for n in range(2000)]
    source.waiting = [shop.file(old)]
    with pytest.raises(AnomalyFound) as stopped:
        take(shop, source, last + timedelta(days=1))
    names = [finding.file for finding in stopped.value.findings]
    assert names == ["records_a_day", "delay_hours"]
    assert "between 0 and 1600 records a day: it was 300 to 300 since 2026-07-05" in str(stopped.value)
    assert "at most 37.0 hours old: it was at most 12.0 hours" in str(stopped.value)
    ingest(shop.home, [shop.file(old)], last, source="another", inspector=Inspection())


# --- what is accepted -------------------------------------------------------------------------------------------------


class Corrupted:
    """An inspector that is given wrong verdicts: as if judging had a bug."""

    def __init__(self, **wrong: object) -> None:
        self.wrong = wrong

    def __call__(self, home: Home, judged: Judged, occasion: Occasion) -> Also:
        verdicts = replace(judged.verdicts, **{n: f(judged) for n, f in self.wrong.items()})  # type: ignore[operator]
        return Inspection(accept_anomaly="whatever", run=RUN)(home, replace(judged, verdicts=verdicts), occasion)


@pytest.mark.parametrize(
    ("wrong", "law"),
    [
        ({"reason": lambda judged: np.full_like(judged.verdicts.reason, ACCEPTED)}, "usage.team"),
        ({"team": lambda judged: 1 - judged.verdicts.team}, "usage.owned"),
    ],
)
def test_a_wrong_verdict_is_never_taken_whatever_reason_is_given(
    shop: Shop, wrong: dict[str, object], law: str
) -> None:
    shop.load()
    with pytest.raises(ConservationBroken, match=f"breaks a rule(?s:.*){law}"):
        ingest(shop.home, [shop.file([*events("e", 3), GHOSTS[0]])], instant("08-02"), inspector=Corrupted(**wrong))
    (found,) = kept(shop.home)
    assert (found.suite, found.outcome, found.batch_no) == ("accepted", "stopped", None)
    assert status(shop.home).batches == 0


def test_an_id_that_an_earlier_batch_accepted_is_not_taken_again(shop: Shop) -> None:
    shop.load()
    taken(shop, events("e", 3))
    wrong = {
        "reason": lambda judged: np.full_like(judged.verdicts.reason, ACCEPTED),
        "team": lambda judged: np.zeros_like(judged.verdicts.team),
    }
    with pytest.raises(ConservationBroken, match="no_id_known_before"):
        ingest(shop.home, [shop.file(events("e", 2))], instant("08-03"), inspector=Corrupted(**wrong))


def test_corrections_of_usage_whose_app_moved_since_are_right(shop: Shop) -> None:
    """A correction belongs to its event's team, whoever owns the app by now (rules 1.2, 2.3)."""
    shop.load()
    taken(shop, ["e1,2026-07-05T10:00:00Z,a1,render,10,,", "e2,2026-07-05T11:00:00Z,a1,render,-4,e1,"])
    shop.load(app_hubs=["a1,h2,2020-01-01T00:00:00Z,", "a2,h2,2020-01-01T00:00:00Z,"], allow_removals=True)
    assert taken(shop, ["e3,2026-07-05T10:00:00Z,a1,render,-3,e1,"]).accepted == 1


# --- the books --------------------------------------------------------------------------------------------------------


def closed(shop: Shop) -> int:
    shop.load()
    shop.ingest(*events("e", 60), now="08-02")
    return shop.close("08-02").close_no


def test_good_books_pass_with_a_page(shop: Shop) -> None:
    assert (
        check_ledger(shop.home, LAWS, close_no=closed(shop), run="cycle_close/r1")
        == len(list(LAWS.glob("*.sql"))) + 1 + 5
    )
    (found,) = kept(shop.home)
    assert (found.suite, found.close_no, found.outcome, found.run) == ("ledger", 1, "passed", "cycle_close/r1")


@pytest.mark.parametrize(
    ("tampering", "law"),
    [
        ("update carry set charged_units = charged_units + 1 where billing = 'rated'", "units_charged_and_drawn"),
        ("update invoice_lines set charged_units = charged_units + 1", "units_paid_and_invoiced"),
        ("update invoice_lines set net_minor = net_minor + 1", "net_of_lines_and_invoices"),
        ("update invoices set sequence = sequence + 5", "numbers_have_no_gap"),
        ("update invoices set total_minor = total_minor + 1", "lines_add_up"),
        (
            "insert into invoices select 'X-1', 'X', year, 1, team_id, customer_id, 'other', cycle_start_us, currency, "
            "0, tax_category, 0, 0, 0, issued_at_us, issue_day, close_no, pinned_load, 1, '' from invoices",
            "invoices_logged_and_kept",
        ),
    ],
)
def test_tampered_books_are_named_with_their_rows(shop: Shop, tampering: str, law: str) -> None:
    close_no = closed(shop)
    with shop.home.database.write() as connection:
        connection.execute(text(tampering))
    with pytest.raises(ConservationBroken, match=law):
        check_ledger(shop.home, LAWS, close_no=close_no)
    (found,) = kept(shop.home)
    assert (found.outcome, found.close_no) == ("stopped", close_no)
    assert law in [failure["name"] for failure in found.failed]


def test_a_close_that_closed_nothing_is_kept_only_where_the_books_are_wrong(shop: Shop) -> None:
    closed(shop)
    nothing = shop.close("08-03").close_no
    check_ledger(shop.home, LAWS, close_no=nothing)
    assert kept(shop.home) == []
    with shop.home.database.write() as connection:
        connection.execute(text("update invoices set total_minor = total_minor + 1"))
    with pytest.raises(ConservationBroken, match="number INV-2026-000001, net_minor"):
        check_ledger(shop.home, LAWS, close_no=nothing)


def test_without_laws_nothing_is_checked_and_that_is_said(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no laws"):
        check_ledger(shop.home, tmp_path, close_no=1)


def test_a_page_that_was_changed_is_not_shown(shop: Shop) -> None:
    shop.load()
    taken(shop, events("e", 1))
    with shop.home.database.read() as connection:
        row = connection.execute(select(validations)).first()
    assert row is not None
    path = shop.home.checks.locate(row.page_path)
    path.chmod(0o644)
    path.write_bytes(b"<p>all is well</p>")
    with pytest.raises(ConservationBroken, match="changed"):
        check_page(shop.home, row.validation_no)
