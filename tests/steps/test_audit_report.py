"""The report of a rerun: one line for people, every difference up to a bound, harmless whatever it tells, the same from
parts as from one process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import NotFound, UsageError
from billing.steps.audit.choosing import Choice
from billing.steps.audit.comparing import Comparison, Verdict
from billing.steps.audit.genesis import genesis
from billing.steps.audit.in_parts import compare_shard, leave_report, shards_with
from billing.steps.audit.page import REPORTED, Asked, html_page, in_one_line, money_rows, versions_of
from billing.steps.audit.report import put_together, read_file, take
from billing.steps.audit.rerun import rerun
from billing.store.audit_files import COMPARISONS, REPORT, audit_folder, has_report, read_report
from billing.store.home import Home
from billing.store.shards import shard_of
from billing.store.tables import carry, closes, invoices

from .small_world import Shop, instant

TEMPLATES = Path(__file__).parents[2] / "templates" / "audit"
ASKED = Asked(choice=Choice(), documents=True, as_known_now=False, by="ann", at=instant("09-01"))
VERSIONS = {"carryover": "1.2", "tzdata": "2026.1"}
HOSTILE = ("<script>alert(1)</script>", '=HYPERLINK("http://x","y")', "'\"><img src=x onerror=alert(1)>", "{{7*7}}")


def comparison(verdict: Verdict = Verdict.EQUAL, **changed: object) -> Comparison:
    fields: dict[str, object] = {"what": "carry", "team_id": "t1", "cycle_start_us": 0, "key": "render"}
    fields |= {"field": "charged_units", "stored": "1", "again": "2", "verdict": verdict}
    return Comparison(**fields | changed)  # type: ignore[arg-type]


def page(comparisons: Sequence[Comparison], asked: Asked = ASKED, **changed: object) -> str:
    money = money_rows(comparisons) if asked.as_known_now else []
    given: dict[str, object] = {"versions": VERSIONS, "money": money, "csv": COMPARISONS} | changed
    return html_page(TEMPLATES, asked, take(comparisons, shown=REPORTED), **given)  # type: ignore[arg-type]


def closed(shop: Shop) -> None:
    """July and August of two teams of different shards."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,30,,", now="08-02")
    shop.close("08-02")
    shop.ingest(
        "e3,2026-08-05T00:00:00Z,a1,render,90,,",
        "e4,2026-07-07T00:00:00Z,a2,translate,3,,",
        "e5,2026-08-07T00:00:00Z,a2,translate,4,,",
        now="09-02",
    )
    shop.close("09-02")


@pytest.mark.parametrize(
    ("verdicts", "as_known_now", "said"),
    [
        (
            [Verdict.EQUAL] * 2,
            False,
            "All is equal: every figure and every document is the same again (2 comparisons).",
        ),
        (
            [Verdict.EQUAL, Verdict.RENDERER],
            False,
            "Only the renderer differs: every figure is the same again, and 1 of 2 comparisons differ by the versions "
            "of software alone.",
        ),
        ([Verdict.RENDERER, Verdict.DIFFERS], False, "Something differs in substance: 1 of 2 comparisons."),
        ([Verdict.EQUAL], True, "What is known today would change nothing: 1 comparisons are equal."),
        ([Verdict.DIFFERS], True, "What is known today would change 1 of 1 figures."),
    ],
)
def test_what_came_of_it_is_one_line(verdicts: list[Verdict], as_known_now: bool, said: str) -> None:
    asked = replace(ASKED, as_known_now=as_known_now)
    comparisons = [comparison(verdict) for verdict in verdicts]
    assert in_one_line(asked, take(comparisons)) == said
    assert f">{said}</p>" in page(comparisons, asked)


def test_the_page_says_what_was_asked_by_whom_and_with_what() -> None:
    asked = replace(ASKED, choice=Choice(name="t1", cycle_start=instant("07-01")), documents=False)
    shown = page([comparison()], asked, versions=versions_of([VERSIONS, VERSIONS | {"tzdata": "2025.9"}]))
    for said in (
        "closed cycles of an invoice or a team t1 that began at 2026-07-01T00:00:00Z",
        "figures",
        "ann",
        "2026-09-01T00:00:00Z",
        "2025.9, 2026.1",
    ):
        assert f"<dd>{said}</dd>" in shown
    assert "not known" in page([comparison()], replace(ASKED, by=""))


def test_counts_by_what_and_verdict() -> None:
    found = [comparison(), comparison(Verdict.DIFFERS), comparison(Verdict.RENDERER, what="pdf"), comparison()]
    rows = re.findall(r"<tr><td>(.*?)</td>" + r'<td class="number">(\d+)</td>' * 3 + "</tr>", page(found))
    assert rows == [("carry", "2", "1", "0"), ("pdf", "0", "0", "1")]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_anybody_wrote_is_text(hostile: str, tmp_path: Path) -> None:
    """In the page; the file keeps it as it is, as figures there begin with a sign too."""

    def shown(text: str) -> tuple[list[Comparison], str]:
        one = comparison(Verdict.DIFFERS, team_id=text, key=text, stored=text, again=text)
        money = comparison(Verdict.DIFFERS, what="invoice", field="total_minor", team_id=text, key="s EUR")
        asked = replace(ASKED, choice=Choice(name=text), by=text, as_known_now=True)
        return [one, money], page([one, money], asked, versions={"x": text})

    (told, as_told), (_, harmless) = shown(hostile), shown("plain")
    tags = r"<[^<>]*>"
    assert re.findall(tags, as_told) == re.findall(tags, harmless)
    assert unescape(as_told).count(hostile) == harmless.count("plain")
    take(told, tmp_path / "all.csv")
    assert list(read_file(tmp_path / "all.csv")) == told


def test_the_page_is_self_contained() -> None:
    shown = page([comparison(Verdict.DIFFERS), comparison(Verdict.RENDERER)])
    assert not re.findall(r"<(?:script|link|img|iframe|form)|(?:src|href|url|@import)\s*[=(]|https?:", shown)


def test_differences_are_bounded_and_the_gravest_are_first() -> None:
    """In the order of the file, whatever the order in which they were found."""
    light = [comparison(Verdict.RENDERER, key=f"a{n:03}") for n in range(REPORTED)]
    grave = [comparison(Verdict.DIFFERS, key=f"b{n:03}") for n in range(REPORTED - 1)]
    shown = page([*reversed(light), *reversed(grave), comparison(key="equal")])
    keys = re.findall(r'data-name="key">(.*?)</td>', shown)
    assert keys == [*(one.key for one in grave), "a000"]
    assert f"And {REPORTED - 1} more: all are in {COMPARISONS}." in shown
    assert shown == page([*light, comparison(key="equal"), *grave])


def test_a_template_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="BILLING_AUDIT_TEMPLATES"):
        html_page(tmp_path, ASKED, take([]), {}, [], "")


@pytest.mark.parametrize("as_known_now", [False, True])
def test_parts_give_what_one_process_gives(shop: Shop, tmp_path: Path, as_known_now: bool) -> None:
    """To the byte: what is said once a close, places among numbers of other shards, and differences too."""
    closed(shop)
    assert shard_of("t1") != shard_of("t2")
    with shop.home.database.write() as connection:
        connection.execute(update(closes).values(tzdata="2020.1"))
        connection.execute(update(carry).where(carry.c.team_id == "t2").values(late_usage_micro=7))
        numbers = {"INV-2026-000001": 90, "INV-2026-000002": 1, "INV-2026-000001 ": 2}
        for number, sequence in numbers.items():  # the two of July change places
            connection.execute(update(invoices).where(invoices.c.number == number.strip()).values(sequence=sequence))
    asked = replace(ASKED, documents=False, as_known_now=as_known_now)
    shards = shards_with(shop.home, asked)
    assert len(shards) == 2
    for shard in shards:
        compare_shard(shop.home, "r/1", asked, shard)
    found, report = leave_report(shop.home, "r/1", asked, shards, [VERSIONS] * 2, TEMPLATES)
    if not as_known_now:
        placed = [c for c in rerun(shop.home, Choice(), documents=False) if c.field == "place"]
        assert [c.verdict for c in placed[:2]] == [Verdict.DIFFERS] * 2
        take(rerun(shop.home, Choice(), documents=False), tmp_path / COMPARISONS)
        assert (report.parent / COMPARISONS).read_bytes() == (tmp_path / COMPARISONS).read_bytes()
        assert found.counts["version", Verdict.RENDERER] == 2, "once a close"
    comparisons = list(read_file(report.parent / COMPARISONS))
    assert report.read_text("utf-8") == page(comparisons, asked)
    assert (report.parent.parent, report.name) == (shop.home.folder / "audit", REPORT)
    again = leave_report(shop.home, "r/1", asked, shards, [VERSIONS] * 2, TEMPLATES)
    assert again == (found, report)


def test_from_genesis_there_is_one_part_that_a_page_of_its_own_tells(shop: Shop) -> None:
    closed(shop)
    asked = replace(ASKED, documents=False, from_genesis=True)
    [shard] = shards_with(shop.home, asked)
    assert compare_shard(shop.home, "r/1", asked, shard) == len(list(genesis(shop.home, Choice(), documents=False)))
    found, report = leave_report(shop.home, "r/1", asked, [shard], [VERSIONS], TEMPLATES)
    assert found.verdict is Verdict.EQUAL
    assert {what for what, _ in found.counts} >= {"batch", "carry", "line"}
    assert {one.team_id for one in read_file(report.parent / COMPARISONS)} == {"", "t1", "t2"}
    assert "from the archived source bytes on" in report.read_text("utf-8")
    with pytest.raises(UsageError, match="Either from genesis or as known now"):
        replace(asked, as_known_now=True)


def test_put_together_asks_for_parts_in_order(tmp_path: Path) -> None:
    take([comparison(team_id="b"), comparison(team_id="d")], tmp_path / "1.csv")
    take([comparison(team_id="a"), comparison(team_id="c")], tmp_path / "2.csv")
    assert "".join(c.team_id for c in put_together([tmp_path / "1.csv", tmp_path / "2.csv"])) == "abcd"


@pytest.mark.parametrize(
    "run_id", ["manual__2026-08-01T00:00:00+00:00", ".", "..", "../../x", "a/b", "a" * 250, "%2E", "\0", "", "ü" * 90]
)
def test_a_run_s_folder_is_always_one_below_audit(tmp_path: Path, run_id: str) -> None:
    home = Home.at(tmp_path)
    folder = audit_folder(home, run_id)
    assert folder.parent == tmp_path / "audit"
    assert folder.resolve() == folder
    assert not has_report(home, run_id)
    with pytest.raises(NotFound):
        read_report(home, run_id)
    folder.mkdir(parents=True)
    (folder / REPORT).write_bytes(b"x")
    assert (has_report(home, run_id), read_report(home, run_id)) == (True, b"x")


def test_different_runs_have_different_folders(tmp_path: Path) -> None:
    runs = (".", "..", "%2E", "...", "a/b", "a%2Fb", "a" * 250, "a" * 249, "")
    assert len({audit_folder(Home.at(tmp_path), run_id) for run_id in runs}) == len(runs)


def test_one_way_to_choose() -> None:
    assert Choice.asked(None, None, None, None, True) == Choice()
    assert Choice.asked("t1", instant("07-01"), None, None, False) == Choice(name="t1", cycle_start=instant("07-01"))
    for wrong in (
        (None, None, None, None, False),
        ("", None, None, None, False),
        ("t1", None, None, None, True),
        ("t1", None, instant("07-01"), None, False),
        (None, instant("07-01"), None, None, True),
    ):
        with pytest.raises(UsageError, match="in one way"):
            Choice.asked(*wrong)


def test_the_command_leaves_the_same_report(shop: Shop, tmp_path: Path) -> None:
    closed(shop)
    url = [] if shop.home.database.is_sqlite else ["--database", shop.home.database.url]
    line = ["--home", str(shop.home.folder), *url, "audit", "rerun", "--all", "--no-documents"]
    done = CliRunner().invoke(app, [*line, "--html", str(tmp_path / "a.html"), "--csv", str(tmp_path / COMPARISONS)])
    assert done.exit_code == 0, done.output
    shown = (tmp_path / "a.html").read_text("utf-8")
    assert "All is equal: every figure is the same again" in shown
    for name in ("carryover", "code", "tables", "tzdata"):
        assert re.search(f"<dt>{name}</dt><dd>[^<]+</dd>", shown)
    assert "weasyprint" not in shown
    CliRunner().invoke(app, [*line, "--html", str(tmp_path / "b.html"), "--csv", str(tmp_path / COMPARISONS)])
    when = r"<dt>When</dt><dd>[^<]+</dd>"
    assert re.sub(when, "", shown) == re.sub(when, "", (tmp_path / "b.html").read_text("utf-8"))
    done = CliRunner().invoke(app, [*line, "--as-known-now", "--html", str(tmp_path / "c.html")])
    assert done.exit_code == 1, done.output
    shown = (tmp_path / "c.html").read_text("utf-8")
    assert '<td data-name="team">t2</td><td data-name="currency">EUR</td>' in shown
    assert "comparisons.csv" not in shown
