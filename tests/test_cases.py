"""Every golden case beside the checkout agrees to the last cell, through ``simulate``, on SQLite and on PostgreSQL."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
from pypdf import PdfReader
from sqlalchemy import select

from billing.core.errors import NotFound
from billing.core.instants import parse_instant_us
from billing.core.metering import units_by_size
from billing.core.quantity import parse_micro
from billing.documents.e_invoice.syntaxes import Syntax
from billing.documents.e_invoice.validator import Validator
from billing.steps.audit.choosing import Choice
from billing.steps.audit.comparing import Verdict
from billing.steps.audit.genesis import genesis
from billing.steps.audit.rerun import rerun
from billing.steps.audit.trace import trace
from billing.steps.homes import home_at
from billing.steps.simulate import simulate
from billing.store.home import Home
from billing.store.tables import carry, invoice_lines, invoices
from billing.store.trace import trace_line

SHARED = Path(__file__).parents[2] / "shared"
CASES, VERAPDF = SHARED / "cases", SHARED / "tools" / "verapdf" / "verapdf"
TEMPLATES = Path(__file__).parents[1] / "templates" / "invoices"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir()) if CASES.is_dir() else []

pytestmark = pytest.mark.skipif(not NAMES, reason="the cases are not beside the checkout")


def table(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.reader(handle))


def compare(expected: Path, actual: Path) -> None:
    """Cell by cell and in order; further columns may follow the expected ones."""
    for path in sorted(expected.glob("*.csv")):
        want = table(path)
        width = len(want[0])
        assert [row[:width] for row in table(actual / path.name)] == want, path.name


@pytest.fixture(scope="module")
def with_documents(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The outputs and documents of a case, made once, on SQLite."""

    @cache
    def of(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name)
        home = home_at(folder / "home")
        simulate(home, CASES / name, folder / "out", templates=TEMPLATES)
        same_again(home, documents=name == "real-llm-calls")
        home.close()
        return folder / "out"

    return of


@pytest.mark.parametrize("name", NAMES)
def test_case(name: str, tmp_path: Path, database_url: str | None, with_documents: Callable[[str], Path]) -> None:
    if database_url is None:
        compare(CASES / name / "expected", with_documents(name))
        return
    home = home_at(tmp_path / "home", database_url)
    simulate(home, CASES / name, tmp_path / "out")
    same_again(home)
    home.close()
    compare(CASES / name / "expected", tmp_path / "out")


def same_again(home: Home, *, documents: bool = False) -> None:
    """Every closed cycle, rated again from what its close had pinned, and from the archived bytes, is the one that is
    stored (rules 7.1, 7.3).
    """
    with suppress(NotFound):  # nothing was closed
        assert [c for c in rerun(home, Choice(), documents=documents) if c.verdict is not Verdict.EQUAL] == []
        assert [c for c in genesis(home, Choice(), documents=False) if c.verdict is not Verdict.EQUAL] == []


def test_every_invoice_of_every_case_has_documents_that_keep_the_standards(
    with_documents: Callable[[str], Path],
) -> None:
    """PDF/A-3a and PDF/UA-1 by veraPDF, EN 16931 by its schema and Schematron; the XML inside is the XML beside."""
    pdfs: list[Path] = []
    for name in NAMES:
        out = with_documents(name)
        numbers = [row[0] for row in table(out / "invoices.csv")[1:]]
        assert sorted(path.stem for path in (out / "documents").glob("*.pdf")) == numbers
        xmls = {path.stem: path.read_bytes() for path in sorted((out / "documents").glob("*.xml"))}
        assert set(Validator().findings(list(xmls.items()), Syntax.CII).values()) <= {()}, name
        for path in sorted((out / "documents").glob("*.pdf")):
            expected = {"factur-x.xml": [xmls[path.stem]]} if path.stem in xmls else {}
            assert dict(PdfReader(path).attachments) == expected, path
            pdfs.append(path)
    assert pdfs
    for flavour in ("3a", "ua1"):
        done = subprocess.run([str(VERAPDF), flavour, *map(str, pdfs)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.count("PASS ")) == (0, len(pdfs)), done.stdout[-3000:] + done.stderr


@pytest.mark.parametrize(("name", "status"), [("waterfall", 0), ("parked", 3)])
def test_case_through_the_command(name: str, status: int, tmp_path: Path) -> None:
    """Exit status 0: done; 3: done, but teams are parked."""
    command = [
        sys.executable,
        "-m",
        "billing.cli",
        "simulate",
        str(CASES / name),
        "--out",
        str(tmp_path),
        "--documents",
    ]
    assert subprocess.run(command, check=False).returncode == status
    compare(CASES / name / "expected", tmp_path)
    invoices = [row[0] for row in table(tmp_path / "invoices.csv")[1:]]
    assert sorted(path.stem for path in (tmp_path / "documents").glob("*.pdf")) == invoices


def test_every_line_of_real_traffic_leads_to_records_of_the_source(tmp_path: Path) -> None:
    """Rule 7.3: id, instant, app and quantity of every traced event are those of the record in the file as it came, no
    record is behind two lines, and all of what was used in a cycle is behind its invoice.
    """
    folder = CASES / "real-llm-calls"
    home = home_at(tmp_path / "home")
    simulate(home, folder, tmp_path / "out")
    seen: set[tuple[str, int]] = set()
    for number in [row[0] for row in table(tmp_path / "out" / "invoices.csv")[1:]]:
        for found in trace(home, number):
            for event in found.events:
                raw = usage_file(event.file)[event.record - 2]
                assert (raw["event_id"], raw["app_id"], raw["api"]) == (event.event_id, event.app_id, found.api)
                assert parse_instant_us(raw["occurred_at"]) == event.occurred_at_us
                assert parse_micro(raw["quantity"]) == event.quantity_micro
                assert (event.file, event.record) not in seen
                seen.add((event.file, event.record))
    assert len(seen) > 1_000
    home.close()


@pytest.mark.parametrize(
    "name",
    [
        "price-change",
        "size-shrinks",
        "waterfall",
        "one-order-over-apis",
        "two-free",
        "late-usage",
        "payg-late-after-end",
        "random-103",
    ],
)
def test_what_paid_for_each_event_comes_to_the_lines(name: str, tmp_path: Path) -> None:
    """Rules 5.1, 6.1, 7.3: the units of a line are those that its events completed at its price, and all units of its
    API those that its events completed by any source and in any size; two sizes follow from the sums, too (rule 4.4).
    """
    home = home_at(tmp_path / "home")
    simulate(home, CASES / name, tmp_path / "out")
    with home.database.read() as connection:
        lines = connection.execute(select(invoice_lines, invoices.c.subscription_id).join(invoices)).all()
        for line in lines:
            traced = trace_line(home, connection, line.number, line.line_no, 0, 10)
            paid = [one for parts in traced.paid.values() for one in parts]
            of_line = (line.subscription_id, line.unit_price_micro)
            mine = [one for one in paid if (one.subscription_id, one.unit_price_micro) == of_line]
            assert sum(one.charged_units for one in mine) == line.charged_units
            assert sum(one.charged_units for one in paid) == traced.found.charged_units
            sizes = traced.found.sizes
            assert sum(one.charged_units for one in sizes) == traced.found.charged_units
            if len(sizes) == 2:
                of_cycle = (carry.c.team_id == traced.found.team_id) & (
                    carry.c.cycle_start_us == traced.found.cycle_start_us
                )
                kept = connection.execute(select(carry).where(of_cycle, carry.c.api == line.api)).one()
                used_up = Decimal(kept.opening_micro + kept.usage_micro - kept.closing_micro)
                by_sums = units_by_size([Decimal(one.size_micro) for one in sizes], used_up, kept.charged_units)
                assert by_sums == tuple(one.charged_units for one in sizes)
            own = trace_line(home, connection, line.number, line.line_no, 0, 1_000_000, own=True)
            assert [event.place for event in own.found.events] == list(own.own)
            assert sum(event.charged_units for event in own.found.events) >= line.charged_units
    home.close()


@cache
def usage_file(name: str) -> list[dict[str, str]]:
    with (CASES / "real-llm-calls" / name).open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))
