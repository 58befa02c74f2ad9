"""The suites by themselves: what each expectation stops, what it lets pass, and pages that are safe to open."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from billing.core.asof import AsOf
from billing.core.attribution import Owners
from billing.core.errors import UsageError
from billing.core.instants import DAY_US, parse_instant_us
from billing.intake.expectations.accepted import MAGNITUDE_MAX_MICRO, Acceptance, accepted_suite
from billing.intake.expectations.bounds import Bounds
from billing.intake.expectations.evaluation import inspect
from billing.intake.expectations.extract import Extract, extract_suite, is_silent
from billing.intake.expectations.history import History, PastWindow
from billing.intake.expectations.ledger import Law, Total, ledger_suite
from billing.intake.expectations.suite import CRITICAL, Expected, Inspected, Suite, between, one_of
from billing.intake.judging import ACCEPTED, REASONS, Reason, UsageRecords, Verdicts

HOUR_US = 3_600_000_000
MONDAY_US = parse_instant_us("2026-06-29T00:00:00Z")
"""Where the window under test ends."""
NIGHT = range(6)
WEEKEND = (5, 6)


def day(n_before: int, *, weekday: int = 1000, weekend: int = 1000, windows: int = 24) -> list[PastWindow]:
    """The windows of the day that ended ``n_before`` days before the one under test begins, equally full."""
    records = weekend if (-n_before - 1) % 7 in WEEKEND else weekday
    start = MONDAY_US - (n_before + 1) * DAY_US
    step = DAY_US // windows
    return [window(start + n * step, start + (n + 1) * step, records // windows) for n in range(windows)]


def window(start_us: int, end_us: int, records: int, quarantined: int = 0, delay_us: int = 600_000_000) -> PastWindow:
    newest = end_us - delay_us if records else None
    return PastWindow(
        start_us=start_us, end_us=end_us, records=records, quarantined=quarantined, duplicates=0, newest_us=newest
    )


def history(days: int = 28, **how: int) -> History:
    return History(windows=tuple(w for n in reversed(range(days)) for w in day(n, **how)))


def files(*rows: tuple[object, ...], names: tuple[str, ...] = ("usage.csv",)) -> pd.DataFrame:
    columns = ("format", "unknown_columns", "records", "unreadable", "bad_instants", "bad_quantities")
    return pd.DataFrame([list(row) for row in rows], columns=list(columns), index=list(names))


def extract(records: int = 1000, *, hours: float = 24, end_us: int = MONDAY_US + DAY_US, **changed: object) -> Extract:
    """A day that is like those before, but for what is changed."""
    usual = Extract(
        source="drop",
        start_us=end_us - int(hours * HOUR_US),
        end_us=end_us,
        files=files(("csv", 0, records, 0, 0, 0)),
        records=records,
        quarantined=0,
        duplicates=0,
        newest_us=end_us - 600_000_000,
        unknown_apis=0,
        unknown_apps=0,
        first_used_apis=0,
    )
    return replace(usual, **changed)  # type: ignore[arg-type]


def failed(seen: Inspected, severity: str = CRITICAL) -> list[str]:
    return [failure.name for failure in seen.failures if failure.severity == severity]


def look(what: Extract, before: History | None = None, bounds: Bounds | None = None) -> Inspected:
    return inspect(*extract_suite(what, history() if before is None else before, bounds or Bounds()))


# --- the extract: what stops it ---------------------------------------------------------------------------------------

STOPPED: dict[str, tuple[Extract, History | None]] = {
    "format": (extract(files=files(("xlsx", 0, 1000, 0, 0, 0))), None),
    "unreadable": (extract(files=files(("csv", 0, 1000, 201, 0, 0))), None),
    "bad_instants": (extract(files=files(("csv", 0, 1000, 0, 201, 0))), None),
    "bad_quantities": (extract(files=files(("csv", 0, 1000, 0, 0, 201))), None),
    "quarantined": (extract(quarantined=101), None),
    "quarantined_of_a_young_source": (extract(quarantined=501), History()),
    "unknown_apis": (extract(unknown_apis=21), None),
    "unknown_apps": (extract(unknown_apps=21), History()),
    "records_a_day_too_many": (extract(5200), None),
    "records_a_day_too_few": (extract(200), None),
    "delay_hours": (extract(newest_us=MONDAY_US + DAY_US - 2 * HOUR_US), None),
}
PASSED: dict[str, tuple[Extract, History | None]] = {
    "format": (extract(files=files(("jsonl.gz", 0, 1000, 0, 0, 0))), None),
    "unreadable": (extract(files=files(("csv", 0, 1000, 200, 0, 0))), None),
    "bad_instants": (extract(files=files(("csv", 0, 1000, 0, 200, 0))), None),
    "bad_quantities": (extract(files=files(("csv", 0, 1000, 0, 0, 200))), None),
    "quarantined": (extract(quarantined=100), None),
    "quarantined_of_a_young_source": (extract(quarantined=500), History()),
    "unknown_apis": (extract(unknown_apis=20), None),
    "unknown_apps": (extract(unknown_apps=20), History()),
    "records_a_day_too_many": (extract(5000), None),
    "records_a_day_too_few": (extract(300), None),
    "delay_hours": (extract(newest_us=MONDAY_US + DAY_US - HOUR_US), None),
}


@pytest.mark.parametrize("name", STOPPED)
def test_each_expectation_stops_what_it_is_for_and_nothing_else(name: str) -> None:
    what, before = STOPPED[name]
    found = failed(look(what, before))
    assert len(found) == 1 and name.startswith(found[0])


@pytest.mark.parametrize("name", PASSED)
def test_up_to_its_bound_nothing_is_stopped(name: str) -> None:
    what, before = PASSED[name]
    assert failed(look(what, before)) == []


def test_a_failure_says_what_was_seen_what_was_expected_since_when_and_what_to_do() -> None:
    (failure,) = look(extract(200)).critical
    assert str(failure) == (
        "records_a_day: observed: the window: records a day 200.0; expected: between 228 and 5020 records a day: "
        "it was 984 to 984 since 2026-06-01. Records may be missing at the source, or come twice under new ids. "
        "Look at what came; where it is right, run it again with a reason in `accept_anomaly`."
    )


def test_a_failure_names_the_files_at_fault() -> None:
    bad = files(("csv", 0, 900, 0, 0, 0), ("csv", 0, 100, 100, 0, 0), names=("good.csv", "bad.csv"))
    (failure,) = look(extract(files=bad)).critical
    assert failure.observed == "bad.csv: unreadable 100, allowed 20"


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("unknown_columns", extract(files=files(("csv", 1, 1000, 0, 0, 0)))),
        ("duplicates", extract(duplicates=201)),
        ("first_used_apis", extract(first_used_apis=1)),
        ("records_a_weekday", extract(3200)),
    ],
)
def test_what_only_somebody_should_know_is_a_warning(name: str, what: Extract) -> None:
    seen = look(what)
    assert (failed(seen), failed(seen, "warning")) == ([], [name])


# --- false alarms -----------------------------------------------------------------------------------------------------


def at_night() -> History:
    """Sixty records an hour by day, nothing from midnight to six, and a single late record one night."""
    spans = [
        window(start, start + HOUR_US, 0 if hour in NIGHT else 60)
        for n in reversed(range(28))
        for hour in range(24)
        for start in [MONDAY_US - (n + 1) * DAY_US + hour * HOUR_US]
    ]
    return History(windows=tuple(spans))


FALSE_ALARMS: dict[str, Callable[[], tuple[Extract, History]]] = {
    "one bad record of three": lambda: (
        extract(3, hours=0.2, files=files(("csv", 0, 3, 1, 0, 0)), quarantined=1),
        at_night(),
    ),
    "every record of a test file of twenty": lambda: (
        extract(20, files=files(("csv", 0, 20, 20, 0, 0)), quarantined=20),
        History(),
    ),
    "a single record in a window at night": lambda: (
        extract(1, hours=1, end_us=MONDAY_US + 3 * HOUR_US, newest_us=MONDAY_US + 2 * HOUR_US),
        at_night(),
    ),
    "the first window after a night": lambda: (extract(60, hours=1, end_us=MONDAY_US + 7 * HOUR_US), at_night()),
    "a Sunday where Sundays are a tenth": lambda: (
        extract(100, end_us=MONDAY_US - DAY_US + DAY_US),
        History(windows=tuple(w for n in reversed(range(1, 29)) for w in day(n, weekend=100))),
    ),
    "a holiday as quiet as a Sunday": lambda: (extract(100), history(weekend=100)),
    "one window for an outage of three days": lambda: (
        extract(3000, hours=72, end_us=MONDAY_US + 3 * DAY_US, newest_us=MONDAY_US + 3 * DAY_US - HOUR_US),
        history(),
    ),
    "twice as much as ever": lambda: (extract(2000), history()),
    "a source of three records a day that sends ninety": lambda: (extract(90), history(weekday=24, weekend=24)),
    "a source in its second week": lambda: (extract(90_000), history(days=9)),
    "a source with nine windows": lambda: (
        extract(90_000),
        History(windows=tuple(window(MONDAY_US - n * DAY_US - DAY_US, MONDAY_US - n * DAY_US, 10) for n in range(9))),
    ),
    "a delivery by hand of a whole month": lambda: (extract(1_000_000, start_us=None, newest_us=MONDAY_US), history()),
    "many quarantined where many always are": lambda: (
        extract(quarantined=600),
        History(windows=tuple(replace(w, quarantined=w.records // 4) for w in history().windows)),
    ),
}


@pytest.mark.parametrize("name", FALSE_ALARMS)
def test_what_is_usual_stops_nothing(name: str) -> None:
    assert failed(look(*FALSE_ALARMS[name]())) == []


def silent(hours: float, before: History) -> bool:
    """Whether an empty window that ends so many hours after the last records is an anomaly."""
    last = before.last_filled_us
    assert last is not None
    what = extract(0, hours=0.5, end_us=last + int(hours * HOUR_US), newest_us=None, files=files(names=()))
    found = is_silent(what, before, Bounds())
    assert found == bool(failed(look(what, before))), "what is looked at before Great Expectations agrees with it"
    return found


def test_silence_is_measured_by_the_longest_pause() -> None:
    """Of an hourly source: three hours and one; of one with nights: three nights and an hour."""
    assert [hours for hours in (3, 4, 5, 12) if silent(hours, history())] == [5, 12]
    assert [hours for hours in (7, 22, 23, 40) if silent(hours, at_night())] == [23, 40]


def test_a_pause_that_a_person_accepted_counts_as_seen() -> None:
    accepted = replace(history(), silences_us=(40 * HOUR_US,))
    assert not silent(100, accepted)
    assert silent(122, accepted)


def test_a_young_source_may_be_silent_until_two_weeks_have_passed() -> None:
    assert not silent(200, history(days=5))
    assert silent(400, history(days=5))


def test_bounds_can_be_changed_by_name_and_wrong_ones_are_named() -> None:
    assert failed(look(extract(5200), bounds=Bounds.of({"volume_up_times": 6}))) == []
    assert failed(look(extract(unknown_apps=1), bounds=Bounds.of({"unknown_names": 0}))) == ["unknown_apps"]
    for wrong in ({"volume": 1}, {"unknown_names": -1}, {"unknown_names": float("nan")}, {"volume_down_times": 0.5}):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            Bounds.of(wrong)


# --- what is accepted -------------------------------------------------------------------------------------------------

AT = parse_instant_us("2026-07-05T10:00:00Z")
OWNERS = Owners(
    app_ids=["a1", "a2"],
    team_ids=["t1", "t2"],
    first_purchase_us=np.array([AT - DAY_US, AT]),
    spans=AsOf(np.array([0, 1]), np.array([AT - DAY_US, AT - DAY_US]), 2),
    span_team=np.array([0, 1, -1]),
    span_end_us=np.array([AT + DAY_US, AT + DAY_US, 0]),
)
GOOD: dict[str, list[object]] = {
    "event_id": ["e1", "e2", "e3", "e4", "bad"],
    "app_id": ["a1", "a2", "", "a1", "ghost"],
    "api": ["render", "render", "seats", "render", "render"],
    "corrects": ["", "", "", "e1", ""],
    "team_id": ["", "", "t2", "", ""],
    "occurred_at_us": [AT, AT, AT, AT, AT],
    "quantity_micro": [5, MAGNITUDE_MAX_MICRO, 1, -5, 1],
    "occurred_at_ok": [True] * 5,
    "quantity_ok": [True] * 5,
    "unreadable": [False] * 5,
    "reason": [ACCEPTED] * 4 + [REASONS.index(Reason.UNATTRIBUTED_APP)],
    "team": [0, 1, 1, 0, -1],
    "known_before": [False] * 5,
    "id_code": [0, 1, 2, 3, 4],
}
TEXTS = ("event_id", "app_id", "api", "corrects", "team_id")
JUDGED = ("reason", "team", "known_before", "id_code")


def accepted(**changed: list[object]) -> Inspected:
    """The suite over four accepted records and one that is not, with some columns changed: a hand-made verdict."""
    columns = {**GOOD, **changed}
    arrays = {n: pa.array(v, pa.string()) if n in TEXTS else np.array(v) for n, v in columns.items()}
    records = UsageRecords(**{n: v for n, v in arrays.items() if n not in JUDGED})
    verdicts = Verdicts(
        content_hash=np.zeros(5, dtype=np.int64), id_hash=np.zeros(5, dtype=np.uint64), **{n: arrays[n] for n in JUDGED}
    )
    apis = frozenset({"render", "seats"})
    return inspect(
        *accepted_suite(
            Acceptance(records=records, verdicts=verdicts, owners=OWNERS, apis=apis, now_us=AT, subject="drop")
        )
    )


def changed(column: str, place: int, value: object) -> dict[str, list[object]]:
    return {column: [*GOOD[column][:place], value, *GOOD[column][place + 1 :]]}


WRONG: dict[str, dict[str, list[object]]] = {
    "usage.api": changed("api", 0, "translate"),
    "usage.app": changed("app_id", 0, "a3"),
    "usage.team": changed("team", 2, -1),
    "usage.not_in_future": changed("occurred_at_us", 0, AT + 1),
    "usage.owned": changed("team", 0, 1),
    "usage.funded": changed("occurred_at_us", 1, AT - 1),
    "usage.corrects_nothing": changed("corrects", 0, "e0"),
    "usage.above_zero": changed("quantity_micro", 2, 0),
    "usage.not_too_much": changed("quantity_micro", 1, MAGNITUDE_MAX_MICRO + 1),
    "corrections.api": changed("api", 3, "translate"),
    "corrections.app": changed("app_id", 3, "a3"),
    "corrections.team": changed("team", 3, 2),
    "corrections.not_in_future": changed("occurred_at_us", 3, AT + 1),
    "corrections.names_its_event": changed("corrects", 3, ""),
    "corrections.not_too_much": changed("quantity_micro", 3, -MAGNITUDE_MAX_MICRO - 1),
    "totals.every_record_counted": changed("reason", 4, len(REASONS)),
    "totals.every_id_once": changed("event_id", 1, "e1") | changed("id_code", 1, 0),
    "totals.no_id_known_before": changed("known_before", 0, True),
    "totals.no_blank_id": changed("event_id", 2, ""),
    "totals.nothing_missing": changed("event_id", 2, None),
    "totals.nothing_malformed": changed("quantity_ok", 2, False),
}


def test_what_is_right_passes() -> None:
    assert accepted().failures == ()


@pytest.mark.parametrize("name", WRONG)
def test_nothing_bad_passes_and_every_failure_is_critical(name: str) -> None:
    seen = accepted(**WRONG[name])
    assert name in failed(seen)
    assert seen.critical == seen.failures
    assert "cannot be accepted" in seen.failures[0].advice


# --- the books --------------------------------------------------------------------------------------------------------


def test_a_broken_law_and_a_total_that_differs_are_named() -> None:
    laws = [
        Law(name="kept", says="It holds.", violations=0),
        Law(name="broken", says="No.", violations=2, rows=["a 1"]),
    ]
    big = 2**70
    totals = [
        Total(name="equal", says="All is all.", left=big, right=big),
        Total(name="off", says="All is all.", left=big, right=big + 1),
    ]
    seen = inspect(*ledger_suite("close 7", laws, totals))
    assert failed(seen) == ["broken", "off"]
    assert "Broken by: a 1" in seen.failures[0].expected
    assert str(big + 1) in seen.failures[1].observed
    assert seen.expectations == 4


# --- the page ---------------------------------------------------------------------------------------------------------

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"' $$ ${x} {{7*7}} {% raw %} &lt; http://evil.example/"


class Reading(HTMLParser):
    """Every tag and attribute of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}


def pages() -> list[Inspected]:
    row = pd.DataFrame({"text": [HOSTILE], "n": [3]}, index=[HOSTILE])
    hostile = Suite(
        name="extract",
        subject=HOSTILE,
        expectations=tuple(
            Expected(name=name, frame="f", kind=kind, arguments=arguments, says=HOSTILE, advice=HOSTILE)
            for name, (kind, arguments) in {"a": one_of("text", ["x"]), "b": between("n", 0, 2)}.items()
        ),
    )
    return [look(extract(200)), accepted(), accepted(**WRONG["usage.api"]), inspect(hostile, {"f": row})]


def test_a_page_asks_nobody_for_anything_and_runs_nothing() -> None:
    for page in (seen.page.decode() for seen in pages()):
        read = Reading()
        read.feed(page)
        assert not re.search(r"https?://|//[a-z]|url\(|@import|javascript:", page, re.IGNORECASE)
        assert not read.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base", "a", "svg"}
        assert not [name for name in read.attributes if name.startswith("on") or name in ("src", "href", "data-toggle")]
        assert "default-src 'none'" in page
        assert len(page) < 20_000


def test_hostile_names_stand_in_the_page_as_text() -> None:
    page = pages()[-1].page.decode()
    assert "‹script›alert(1)‹/script›" in page
    assert "{{7*7}}" in page, "no template reads what is in the data"
    assert page.count("Not as expected") == 1


def test_the_page_says_each_expectation_and_its_severity() -> None:
    page = look(extract(3200)).page.decode()
    assert "records_a_day (critical): between 228 and 5020 records a day" in page
    assert "records_a_weekday (warning)" in page
    assert "Evaluated Expectations" in page


# --- the library ------------------------------------------------------------------------------------------------------

SCRIPT = """
import gc, sys
import billing.intake.expectations.extract, billing.steps.inspection, billing.cli
assert "great_expectations" not in sys.modules, "imported before it is needed"
from billing.intake.expectations.evaluation import great_expectations
gx = great_expectations()
left = {name for name in ("altair", "scipy.stats", "boto3", "botocore", "mistune") if name in sys.modules}
assert not left, left
assert gc.isenabled()
import scipy.stats, altair, boto3
from great_expectations.expectations.core import expect_column_kl_divergence_to_be_less_than as user
assert user.stats.entropy([0.5, 0.5]) == scipy.stats.entropy([0.5, 0.5])
assert user.alt.Chart is altair.Chart
print("fine")
"""


def test_the_import_is_late_and_puts_off_what_is_not_used() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False)
    assert done.stdout == "fine\n", done.stderr
