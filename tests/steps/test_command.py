"""The command: what it says where, and how it ends (data contract, "Commands")."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import BillingError

from .small_world import REFERENCE, USAGE_HEADER, rows_of, write_reference

USAGE = [
    "e1,2026-07-05T00:00:00Z,a1,render,65,,",
    "e2,2026-07-06T00:00:00Z,a2,translate,3,,",
    "e2,2026-07-06T00:00:00Z,a2,translate,3.0,,",
    "e3,2026-07-06T00:00:00Z,ghost,translate,3,,",
]
AS_OF = "2026-08-02T00:00:00Z"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Reference data and usage, as somebody has them."""
    write_reference(tmp_path / "reference", REFERENCE)
    (tmp_path / "july.csv").write_text("\n".join([USAGE_HEADER, *USAGE, ""]))
    return tmp_path


# --- the real command in a process of its own ------------------------------------------------------------------------


def run(folder: Path, *arguments: str, status: int = 0) -> tuple[str, str]:
    """What the command says on standard output and on standard error; it must end with ``status``."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("BILLING_")}
    command = [sys.executable, "-m", "billing.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_refusals_end_with_1_and_their_reasons_on_standard_error(files: Path) -> None:
    said, reasons = run(files, "--home", "nowhere", "status", status=1)
    assert said == ""
    assert reasons == f"There is no home in {files / 'nowhere'}: run `billing --home {files / 'nowhere'} init`.\n"


def test_parked_teams_end_with_3_in_another_database_too(files: Path, postgres_url: Callable[[], str]) -> None:
    case = files / "case"
    write_reference(case / "reference", {**REFERENCE, "tax_rates": ["DE,2000-01-01,19"]})
    (case / "july.csv").write_text("\n".join([USAGE_HEADER, *USAGE, ""]))
    steps = [
        {"do": "reference", "folder": "reference"},
        {"do": "ingest", "file": "july.csv", "now": AS_OF},
        {"do": "close", "as_of": AS_OF},
    ]
    (case / "steps.json").write_text(json.dumps(steps))
    where = ["--database", postgres_url()]
    said, names = run(files, *where, "simulate", "case", "--out", "out", status=3)
    assert said == ""
    assert "parked.csv" in names
    assert rows_of(files / "out" / "parked.csv") == [("t1", "2026-07-01T00:00:00Z", "no_tax_rate", "")]
    assert not (files / "billing-home").exists()
    _, refused = run(files, *where, "simulate", "case", "--out", "out", status=1)
    assert "a scenario needs an empty one" in refused


# --- without a process of its own ------------------------------------------------------------------------------------


def invoke(*arguments: str) -> tuple[int, str]:
    """Status and all that was said; a refusal as ``main`` says it."""
    result = CliRunner().invoke(app, arguments)
    if isinstance(result.exception, BillingError):
        return result.exception.exit_status, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result.exit_code, result.output


def test_a_month_from_nothing(files: Path, database_url: str | None) -> None:
    """The example of the help, with what each command says."""
    home = ["--home", str(files / "home"), *(["--database", database_url] if database_url else [])]

    def done(*arguments: str) -> list[str]:
        status, said = invoke(*home, *arguments)
        assert status == 0, said
        return said.splitlines()

    done("init")
    assert done("reference", "load", str(files / "reference"))[0].startswith("Load 1: ")
    july = str(files / "july.csv")
    counted = "Batch 1: 4 records = 2 accepted + 1 duplicates + 1 quarantined."
    assert done("usage", "ingest", july, "--now", AS_OF) == [counted, "  duplicate: 1", "  unattributed_app: 1"]
    closed = ["Close 1: 2 cycles closed, 2 invoices issued.", "  INV-2026-000001 to INV-2026-000002"]
    assert done("cycles", "close", "--as-of", AS_OF) == closed
    listed = list(csv.DictReader(done("invoices", "list")))
    assert [row["number"] for row in listed] == ["INV-2026-000001", "INV-2026-000002"]
    assert all(Path(row["document"]).read_bytes().startswith(b"%PDF-") for row in listed)
    assert done("invoices", "render") == ["0 documents rendered."]
    assert done("usage", "quarantine", "list")[1].startswith(f"1,{july},5,unattributed_app,")
    done("export", str(files / "out"))
    assert rows_of(files / "out" / "rejected.csv") == [(july, "4", "duplicate"), (july, "5", "unattributed_app")]
    assert done("balances", "--at", AS_OF)[0].startswith("team_id,source,subscription_id,grant_id,api,granted")
    assert done("balances", "--at", AS_OF, "--out", str(files / "now.csv"))[0].startswith("3 balances written")
    said = "\n".join(done("status"))
    assert "2 events accepted in 1 batches, 1 duplicates dropped" in said
    assert "chain verified" in said
    assert invoke(*home, "cycles", "close", "--as-of", "2026-08-01T00:00:00Z")[0] == 1, "earlier than the last"


WRONG_ARGUMENTS = [
    ["nothing"],
    ["usage", "ingest", "july.csv"],
    ["usage", "ingest", "july.csv", "--now", "yesterday"],
    ["usage", "ingest", "july.csv", "--now", "2026-08-02"],
    ["cycles", "close"],
    ["cycles", "close", "--as-of", "2026-08-02T00:00:00"],
    ["cycles", "close", "--as-of", "2026-08-02 00:00:00Z"],
    ["balances", "--at", ""],
    ["simulate", "nowhere", "--out", "out"],
    ["simulate", "."],
    ["--database", "mysql://host/db", "status"],
]


@pytest.mark.parametrize("arguments", WRONG_ARGUMENTS, ids=" ".join)
def test_wrong_arguments_end_with_2(files: Path, arguments: list[str]) -> None:
    status, said = invoke("--home", str(files / "home"), *arguments)
    assert status == 2, said


@pytest.mark.parametrize(
    "arguments",
    [
        ["status"],
        ["reference", "load", "reference"],
        ["usage", "ingest", "july.csv", "--now", AS_OF],
        ["cycles", "close", "--as-of", AS_OF],
        ["balances", "--at", AS_OF],
        ["export", "out"],
        ["invoices", "list"],
        ["usage", "reconcile"],
        ["configure", "close_lag_seconds", "5"],
    ],
    ids=" ".join,
)
def test_nothing_works_before_init_and_everything_says_so(files: Path, arguments: list[str]) -> None:
    status, said = invoke("--home", str(files / "home"), *arguments)
    assert (status, said) == (1, f"There is no home in {files / 'home'}: run `billing --home {files / 'home'} init`.")
    assert not (files / "home").exists()


def test_init_again_keeps_what_is_there(files: Path) -> None:
    home = ["--home", str(files / "home")]
    for _ in range(2):
        assert invoke(*home, "init")[0] == 0
        assert invoke(*home, "reference", "load", str(files / "reference"))[0] == 0
    assert "load 1" in invoke(*home, "status")[1]


def test_settings_are_refused_by_name(files: Path) -> None:
    home = ["--home", str(files / "home")]
    invoke(*home, "init")
    assert invoke(*home, "configure", "close_lag_seconds", "0") == (0, "")
    assert invoke(*home, "configure", "lag", "0")[0] == 2
    assert invoke(*home, "configure", "close_lag_seconds", "--", "-1")[0] == 2


def test_what_is_missing_is_named_by_a_close(files: Path) -> None:
    home = ["--home", str(files / "home")]
    invoke(*home, "init")
    invoke(*home, "reference", "load", str(files / "reference"))
    invoke(*home, "usage", "ingest", str(files / "july.csv"), "--now", "2026-07-20T00:00:00Z")
    status, said = invoke(*home, "cycles", "close", "--as-of", AS_OF)
    assert status == 0
    assert "Close 1: 0 cycles closed, 0 invoices issued." in said
    assert "2 cycles are over and wait: usage is complete through 2026-07-20T00:00:00Z." in said


def test_late_rows_are_named_by_a_load(files: Path) -> None:
    home = ["--home", str(files / "home")]
    invoke(*home, "init")
    invoke(*home, "reference", "load", str(files / "reference"))
    invoke(*home, "usage", "ingest", str(files / "july.csv"), "--now", AS_OF)
    invoke(*home, "cycles", "close", "--as-of", AS_OF, "--no-documents")
    prices = [*REFERENCE["unit_prices"], "translate,EUR,2026-07-02T00:00:00Z,9"]
    write_reference(files / "reference", {"unit_prices": prices})
    status, said = invoke(*home, "reference", "load", str(files / "reference"))
    assert status == 0
    assert "late: unit_prices (translate, EUR, 2026-07-02T00:00:00Z), unit_price (blank) -> 9, came after" in said
    assert "team t2's cycle of 2026-07-01T00:00:00Z (INV-2026-000002) was closed; that cycle stands." in said
    write_reference(files / "reference", {"unit_prices": REFERENCE["unit_prices"]})
    status, said = invoke(*home, "reference", "load", str(files / "reference"))
    assert (status, "--allow-removals" in said) == (1, True)
    assert invoke(*home, "reference", "load", "--allow-removals", str(files / "reference"))[0] == 0


def test_a_restored_database_is_mended_by_the_command_that_the_refusal_names(files: Path) -> None:
    home = ["--home", str(files / "home")]
    invoke(*home, "init")
    invoke(*home, "reference", "load", str(files / "reference"))
    backup = (files / "home" / "billing.db").read_bytes()
    ingest = [*home, "usage", "ingest", str(files / "july.csv"), "--now", AS_OF]
    assert invoke(*ingest)[0] == 0
    for path in (files / "home").glob("billing.db*"):
        path.unlink()
    (files / "home" / "billing.db").write_bytes(backup)
    status, said = invoke(*ingest)
    assert (status, "`billing usage reconcile`" in said) == (1, True)
    assert invoke(*home, "usage", "reconcile") == (0, "Voided batches: 1.\n")
    assert invoke(*home, "usage", "reconcile")[1] == "The database knows every batch of the usage table.\n"
    assert "2 accepted" in invoke(*ingest)[1]
