"""``billing month``, ``billing invoices register`` and ``show``: files, arguments, and how they end."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from openpyxl import load_workbook
from pypdf import PdfReader
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import BillingError

from .small_world import REFERENCE, USAGE_HEADER, rows_of, write_reference

MID_JUNE = [line.replace("2026-07-01T00", "2026-06-15T00") for line in REFERENCE["subscriptions"]]
USAGE = ["e1,2026-06-20T00:00:00Z,a1,render,65,,", "e2,2026-07-16T00:00:00Z,a2,translate,3,,"]


@pytest.fixture
def home(tmp_path: Path) -> list[str]:
    """A home in which the cycle to 15 July is closed."""
    write_reference(tmp_path / "reference", {**REFERENCE, "subscriptions": MID_JUNE})
    (tmp_path / "usage.csv").write_text("\n".join([USAGE_HEADER, *USAGE, ""]))
    where = ["--home", str(tmp_path / "home")]
    for step in (
        ["init"],
        ["reference", "load", str(tmp_path / "reference")],
        ["usage", "ingest", str(tmp_path / "usage.csv"), "--now", "2026-08-01T00:00:00Z"],
        ["cycles", "close", "--as-of", "2026-07-16T00:00:00Z", "--no-documents"],
    ):
        assert invoke(*where, *step)[0] == 0
    return where


def invoke(*arguments: str) -> tuple[int, str]:
    """Status and all that was said; a refusal as ``main`` says it."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, BillingError):
        return result.exception.exit_status, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


REGISTER = ("invoices", "register", "--from", "2026-07-01", "--to", "2026-07-31")


@pytest.mark.parametrize(
    ("command", "sheets"),
    [
        (REGISTER, ["Register", "Totals"]),
        (("month", "accrue", "2026-07"), ["Accrual", "Entries", "Not dated yet"]),
        (("month", "tokens", "2026-07"), ["Tokens", "Totals", "Money"]),
    ],
    ids=["register", "accrue", "tokens"],
)
def test_each_table_is_shown_or_written_as_csv_or_workbook(
    home: list[str], tmp_path: Path, command: tuple[str, ...], sheets: list[str]
) -> None:
    status, shown = invoke(*home, *command)
    assert status == 0
    csv, book = tmp_path / "out" / "it.csv", tmp_path / "out" / "it.xlsx"
    assert invoke(*home, *command, "--out", str(csv))[0] == 0
    assert rows_of(csv) and all(",".join(row) in shown for row in rows_of(csv))
    assert len(list(csv.parent.glob("it*.csv"))) == len(sheets)
    assert f"{book} written." in invoke(*home, *command, "--out", str(book))[1]
    assert load_workbook(book).sheetnames == sheets


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("month", "accrue", "2026-7"), 2, "'2026-7' is not a month; write YYYY-MM"),
        (("month", "accrue", "9000-01"), 1, "9000-01 is not over in Europe/Paris"),
        (("month", "lock", "9000-01"), 1, "9000-01 is not over in Europe/Paris"),
        (("month", "unlock", "2026-07"), 2, "Missing option '--reason'"),
        (("month", "unlock", "2026-07", "--reason", "x"), 1, "2026-07 is not locked."),
        (("invoices", "register", "--from", "2026-07-31", "--to", "2026-07-01"), 2, "has no day in it"),
        (("invoices", "register", "--from", "July", "--to", "2026-07-01"), 2, "'July' is not a date"),
        ((*REGISTER, "--out", "it.pdf"), 2, "it.pdf: write a file that ends in .csv or .xlsx."),
        (("invoices", "show", "INV-2026-000009"), 1, "No invoice INV-2026-000009 was ever issued"),
        (("cycles", "summary", "7"), 1, "There is no close 7"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_reason(
    home: list[str], arguments: tuple[str, ...], status: int, said: str
) -> None:
    ended, output = invoke(*home, *arguments)
    assert ended == status
    assert said in " ".join(output.replace("│", " ").split())


def test_a_locked_month_stops_the_close_command(home: list[str]) -> None:
    assert invoke(*home, "month", "lock", "2026-07")[0] == 0
    assert "locked already" in invoke(*home, "month", "lock", "2026-07")[1]
    status, said = invoke(*home, "cycles", "close", "--as-of", "2026-07-31T00:00:00Z")
    assert (status, said[:17]) == (1, "2026-07 is locked")
    assert invoke(*home, "month", "unlock", "2026-07", "--reason", "a late close")[0] == 0
    assert invoke(*home, "cycles", "close", "--as-of", "2026-07-31T00:00:00Z", "--no-documents")[0] == 0


def test_a_close_is_one_page_and_the_first_one_is_kept(home: list[str], tmp_path: Path) -> None:
    path = tmp_path / "out" / "close-1.pdf"
    first = invoke(*home, "cycles", "summary", "1", "--out", str(path))[1].splitlines()
    assert first[0] == f"{path} written."
    assert len(PdfReader(path).pages) == 1
    assert first[1] == f"Kept as close-1: SHA-256 {sha256(path.read_bytes()).hexdigest()}."
    again = invoke(*home, "cycles", "summary", "1", "--out", str(path), "--locale", "fr-FR")[1].splitlines()
    assert again[1] == first[1].removesuffix(".") + ", as it was first made."
    assert sha256(path.read_bytes()).hexdigest() not in first[1], "the page in French is written, not kept"


def test_an_invoice_is_explained_as_json_too(home: list[str]) -> None:
    facts = json.loads(invoke(*home, "invoices", "show", "INV-2026-000001", "--json")[1])
    assert (facts["number"], facts["total"], facts["lines"][0]["net"]) == ("INV-2026-000001", "2.76", "2.30")
