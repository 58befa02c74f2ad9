"""FOCUS for buyers: charges are the documents to the cent, usage is told once, and the 1.2 files pass its validator."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from beancount import loader
from sqlalchemy import update

from benchmarks.workload import ALL_CLOSED, Size, write_workload
from billing.core.accounts import Accounts
from billing.core.errors import ConservationBroken, NotFound, UsageError
from billing.core.focus import Service
from billing.core.months import Month
from billing.outbound.focus_files import columns_of
from billing.steps.close import close
from billing.steps.credit import credit
from billing.steps.focus import charges, export_focus
from billing.steps.ingest import SourceFile, ingest
from billing.steps.journal import journal, write_journal
from billing.steps.reference import load_reference
from billing.steps.register import register
from billing.steps.reissue import reissue
from billing.store.home import Home
from billing.store.tables import invoice_lines

from .small_world import Shop, instant
from .test_journal import FIRST, GRANTS, HOSTILE, SECOND, billed

JULY, SEPTEMBER = instant("07-01").date(), instant("09-30").date()


def written(shop: Shop, version: str = "1.4", **asked: Any) -> dict[str, list[dict[str, str]]]:
    """The rows of every CSV, by the name of its file."""
    folder = shop.fresh("focus")
    export_focus(shop.home, folder, JULY, SEPTEMBER, version=version, service=Service(), **asked)
    found = {}
    for path in sorted(folder.glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as handle:
            found[path.stem] = list(csv.DictReader(handle))
    return found


def everything(shop: Shop) -> None:
    """Two invoices that are corrected in part and in whole, tokens that were used and that expired, free units."""
    billed(shop)
    credit(shop.home, SECOND, reason="one job failed", as_of=instant("2026-08-18T00:00:00Z"))
    credit(shop.home, FIRST, reason="wrong buyer", as_of=instant("2026-08-18T00:00:00Z"))
    assert reissue(shop.home, FIRST, as_of=instant("2026-08-19T00:00:00Z"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with everything, which is only read."""
    folder = tmp_path_factory.mktemp("whole")
    home = Home.at(folder / "home")
    home.create()
    shop = Shop(home=home, folder=folder / "files")
    everything(shop)
    yield shop
    home.close()


def told(rows: list[dict[str, str]], *columns: str) -> list[tuple[str, ...]]:
    return [tuple(row[name] for name in columns) for row in rows]


def test_a_buyer_gets_its_own_file_with_what_was_billed_and_what_tokens_paid(shop: Shop) -> None:
    billed(shop)
    found = written(shop)
    assert list(found) == ["c1", "c2"]
    columns = ("x_Source", "ChargeCategory", "BilledCost", "EffectiveCost", "PricingQuantity", "ConsumedQuantity")
    july = [row for row in found["c2"] if row["ChargePeriodStart"] == "2026-06-15T00:00:00Z"]
    assert told(july, "ServiceName", *columns) == [
        ("Rendering", "flex", "Usage", "0.00", "30.00", "3.0", "65.0"),
        ("VAT", "", "Tax", "0.00", "0.00", "", ""),
        ("Translation", "payg", "Usage", "7.20", "7.20", "3.0", "3.0"),
    ]


def test_billed_cost_by_invoice_is_net_and_tax(whole: Shop) -> None:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for row in written(whole, together=True)["all"]:
        if row["InvoiceId"]:
            sums[row["InvoiceId"]] += Decimal(row["BilledCost"])
    assert dict(sums) == {row.number: row.total for row in register(whole.home, JULY, SEPTEMBER).rows}
    assert len(sums) == 6


def test_actual_usage_is_told_once_however_often_it_was_invoiced(whole: Shop) -> None:
    used: dict[str, Decimal] = defaultdict(Decimal)
    for row in written(whole, together=True)["all"]:
        if row["ConsumedQuantity"]:
            used[row["SkuId"]] += Decimal(row["ConsumedQuantity"])
    carried: dict[str, Decimal] = defaultdict(Decimal)
    for row in whole.export()["carry"]:
        carried[row[2]] += Decimal(row[4])
    assert dict(used) == dict(carried)


def test_corrections_say_so(whole: Shop) -> None:
    """A credit note, and the invoice that takes the place of one: of their cycle, in the month of their issue."""
    rows = [row for row in written(whole, together=True)["all"] if row["ChargeClass"]]
    assert {row["ChargeClass"] for row in rows} == {"Correction"}
    columns = ("InvoiceId", "x_CorrectedInvoiceId", "BilledCost", "PricingQuantity", "BillingPeriodStart")
    usage = [row for row in rows if row["ChargeCategory"] == "Usage"]
    assert sorted(told(usage, *columns)) == [
        ("INV-2026-000004", FIRST, "2.30", "2.0", "2026-07-31T22:00:00Z"),
        ("INV-CN-2026-000001", SECOND, "-7.20", "-3.0", "2026-07-31T22:00:00Z"),
        ("INV-CN-2026-000002", FIRST, "-2.30", "-2.0", "2026-07-31T22:00:00Z"),
    ]
    assert {row["ChargePeriodStart"] for row in usage} == {"2026-06-15T00:00:00Z"}
    assert {row["ConsumedQuantity"] for row in rows} == {""}, "usage was told by the first invoice"


def test_tokens_cost_what_was_paid_for_them(whole: Shop) -> None:
    """Grant g2: 10 tokens for 100, 3 and 2 used, the rest expired; purchases are of no invoice of ours."""
    rows = [row for row in written(whole)["c2"] if row["CommitmentDiscountId"] == "g2"]
    columns = ("CommitmentDiscountStatus", "CommitmentDiscountQuantity", "EffectiveCost", "BilledCost")
    assert sorted(told(rows, *columns)) == [
        ("Unused", "5.0", "50.00", "0.00"),
        ("Used", "2.0", "20.00", "0.00"),
        ("Used", "3.0", "30.00", "0.00"),
    ]
    (applied,) = {
        json.loads(row["ContractApplied"])["Elements"][0]["ContractCommitmentId"]
        for row in rows
        if row["ContractApplied"]
    }
    assert applied == "g2"
    bought = [row for row in written(whole)["c2"] if row["ChargeCategory"] == "Purchase"]
    assert told(bought, "CommitmentDiscountId", "BilledCost", "EffectiveCost", "InvoiceId") == [
        ("g3", "180.00", "0.00", "")
    ]


def test_every_price_times_its_quantity_is_its_cost(whole: Shop) -> None:
    for row in written(whole, together=True)["all"]:
        if row["PricingQuantity"] and row["ListUnitPrice"]:
            assert Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"]) == Decimal(row["ListCost"])


def test_csv_and_parquet_say_the_same_and_others_read_it(whole: Shop) -> None:
    folder = whole.fresh("focus")
    export_focus(whole.home, folder, JULY, SEPTEMBER, version="1.4", service=Service(), together=True)
    rows = list(csv.DictReader((folder / "all.csv").open(newline="", encoding="utf-8")))
    table = pq.read_table(folder / "all.parquet")
    assert table.column_names == [column.name for column in columns_of("1.4")] == list(rows[0])
    for name in ("BilledCost", "ConsumedQuantity"):
        assert [Decimal(row[name]) if row[name] else None for row in rows] == table.column(name).to_pylist()
    sql = f"select sum(BilledCost), min(BillingPeriodStart) from read_parquet('{folder / 'all.parquet'}')"  # noqa: S608
    (summed,) = duckdb.sql(sql).fetchall()
    assert summed[0] == sum(Decimal(row["BilledCost"]) for row in rows)
    assert len(pd.read_parquet(folder / "all.parquet")) == len(rows)
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert (manifest["FocusVersion"], manifest["files"][0]["rows"]) == ("1.4", len(rows))


def test_the_columns_are_those_of_the_versions() -> None:
    """1.4: 65 columns of the data set, and without what it no longer has; 1.2: those of its requirements model."""
    new, old = ([c.name for c in columns_of(version) if not c.name.startswith("x_")] for version in ("1.4", "1.2"))
    assert (len(new), len(set(new)), len(old), len(set(old))) == (65, 65, 57, 57)
    assert set(old) - set(new) == {"ProviderName", "PublisherName"}


def test_of_one_buyer_only(whole: Shop) -> None:
    assert list(written(whole, customer_id="c1")) == ["c1"]
    with pytest.raises(NotFound, match="no customer 'c9'"):
        written(whole, customer_id="c9")


def test_a_folder_holds_the_buyers_of_the_last_export_only(whole: Shop) -> None:
    folder = whole.fresh("focus")
    export_focus(whole.home, folder, JULY, SEPTEMBER, version="1.4", service=Service())
    export_focus(whole.home, folder, JULY, SEPTEMBER, version="1.4", service=Service(), customer_id="c2")
    assert sorted(path.name for path in folder.iterdir()) == ["c2.csv", "c2.parquet", "manifest.json"]


def test_a_cent_that_is_missing_stops_it(shop: Shop) -> None:
    billed(shop)
    before = shop.fresh("focus")
    with shop.home.database.write() as connection:
        connection.execute(update(invoice_lines).values(net_minor=invoice_lines.c.net_minor - 1))
    with pytest.raises(ConservationBroken):
        export_focus(shop.home, before, JULY, SEPTEMBER, version="1.4", service=Service())
    assert not before.exists() or not list(before.iterdir())


def test_days_and_versions_that_are_none_are_refused(whole: Shop) -> None:
    with pytest.raises(UsageError, match="there is no day"):
        charges(whole.home, SEPTEMBER, JULY)
    with pytest.raises(UsageError, match="no version of FOCUS"):
        export_focus(whole.home, whole.fresh("f"), JULY, SEPTEMBER, version="0.5", service=Service())


def test_ids_of_buyers_may_hold_anything(shop: Shop) -> None:
    """Their files have names of their own, below the folder."""
    hostile = ["../../etc", "C1", "c1", "all", HOSTILE.replace("\n", " ").replace('"', "")]
    customers = [f'"{name}",Buyer,1 street,,1000,Town,,FR,,,en-GB' for name in hostile]
    teams = [f't{place},"{name}",Team' for place, name in enumerate(hostile, start=1)]
    shop.load(customers=customers, teams=teams)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-05T00:00:00Z,a2,translate,3,,", now="09-01")
    shop.close("08-02")
    found = written(shop)
    assert len(found) == 2
    assert all(re.fullmatch(r"[a-z0-9-]+", name) for name in found)


def test_the_command_writes_it(shop: Shop, run_billing) -> None:  # type: ignore[no-untyped-def]
    billed(shop)
    out = shop.fresh("out")
    status, said = run_billing(shop, "export", "focus", str(out), "--from", "2026-07-01", "--to", "2026-09-30")
    assert status == 0, said
    assert "FOCUS 1.4" in said and (out / "c1.csv").exists()


# --- the validator of FOCUS ------------------------------------------------------------------------------------------

CRITERIA = (
    "ACCOUNT_NAMING_SUPPORTED,MULTIPLE_PRICING_CATEGORIES_SUPPORTED,PUBLIC_PRICE_LIST_SUPPORTED,"
    "NEGOTIATED_PRICING_SUPPORTED,USAGE_MEASUREMENT_SUPPORTED,UNIT_PRICING_SUPPORTED,SUB_ACCOUNT_SUPPORTED,"
    "MULTIPLE_SUB_ACCOUNT_TYPES_SUPPORTED,MULTIPLE_BILLING_ACCOUNT_TYPES_SUPPORTED,"
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED,RESOURCE_TYPE_ASSIGNMENT_SUPPORTED,"
    "PRICING_BILLING_CURRENCY_DIFFERENCES_SUPPORTED,VIRTUAL_CURRENCY_SUPPORTED"
)
WITH_COMMITMENTS = f"{CRITERIA},COMMITMENT_DISCOUNT_SUPPORTED"
# Two rules of the model 1.2.0.1 that no data set with and without invoices, or with and without commitments, can pass:
# the condition of the one is the opposite of its text, the other takes "all null" or "none null" for a whole file.
CANNOT_HOLD = {"CommitmentDiscountStatus-C-004-C", "InvoiceId-C-004-C", "InvoiceId-C-005-C"}
PACKAGES = ("focus-validator==2.2.1", "pyarrow<19")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carryover-tests" / "focus-validator-2.2.1"


def _python() -> str | None:
    """A Python that the validator runs on: 3.12 or 3.13. One that only bears the name (a shim) does not count."""
    names = [str(path) for path in sorted(Path.home().glob(".pyenv/versions/3.1[23]*/bin/python"), reverse=True)]
    names += [found for name in ("python3.13", "python3.12") if (found := shutil.which(name))]
    names += [sys.executable] if sys.version_info >= (3, 12) else []
    runs = (name for name in names if not subprocess.run([name, "-c", "import ensurepip"], check=False).returncode)
    return next(runs, None)


@pytest.fixture(scope="module")
def validator() -> Path:
    """The site-packages of an environment of its own with the validator in it; made once, kept in the user's cache."""
    done = CACHE / "made"
    if not done.exists():
        python = _python()
        if python is None:
            pytest.skip("focus-validator needs a Python 3.12 or 3.13, and there is none here")
        for command in (
            [python, "-m", "venv", "--clear", str(CACHE)],
            [str(CACHE / "bin" / "pip"), "install", "-q", *PACKAGES],
        ):
            made = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
            if made.returncode:
                pytest.skip(f"focus-validator cannot be installed here: {made.stderr[-300:]}")
        done.touch()
    return next(CACHE.glob("lib/python3*/site-packages"))


def failing(validator: Path, path: Path, criteria: str) -> set[str]:
    """Rules without parts of their own that a file fails. The validator looks for its own files where it is run."""
    command = [str(CACHE / "bin" / "focus-validator"), "--data-file", str(path), "--validate-version", "1.2"]
    command += ["--block-download", "--applicability-criteria", criteria]
    done = subprocess.run(command, cwd=validator, capture_output=True, text=True, check=False, timeout=300)
    said = done.stdout + done.stderr
    passed = re.findall(r"✅ (\S+): PASS", said)
    assert len(passed) > 200, said[-2000:]
    failed = dict(re.findall(r"❌ (\S+): FAIL +\(violations=\d+, msg=(.*)", said))
    return {
        name for name, message in failed.items() if "failed child rules" not in message and "all child" not in message
    }


def test_files_of_1_2_pass_the_validator(whole: Shop, validator: Path) -> None:
    folder = whole.fresh("focus")
    export_focus(whole.home, folder, JULY, SEPTEMBER, version="1.2", service=Service(), together=True)
    assert failing(validator, folder / "all.csv", WITH_COMMITMENTS) <= CANNOT_HOLD
    invoiced = folder / "invoiced.parquet"
    pq.write_table(pq.read_table(folder / "all.parquet", filters=[("InvoiceId", "!=", "")]), invoiced)
    # Of two rules of which one must hold, the one that does not is named as well.
    assert failing(validator, invoiced, CRITERIA) == {"InvoiceId-C-004-C"}, "what is invoiced passes every rule"


def test_a_made_month_passes_the_validator_and_beancount(shop: Shop, validator: Path) -> None:
    """The benchmark's data, small: many zones, currencies, units of two words, tokens without an amount."""
    scenario, out = shop.fresh("workload"), shop.fresh("out")
    write_workload(scenario, Size(events=3_000, teams=40, days_a_file=45))
    for step in json.loads((scenario / "steps.json").read_text("utf-8")):
        match step["do"]:
            case "reference":
                load_reference(shop.home, scenario / step["folder"])
            case "ingest":
                file = SourceFile(path=scenario / step["file"], name=step["file"])
                ingest(shop.home, [file], instant(step["now"]))
    close(shop.home, ALL_CLOSED)
    last = ALL_CLOSED.date()
    export_focus(shop.home, out, JULY, last, version="1.2", service=Service(), together=True)
    assert failing(validator, out / "all.parquet", WITH_COMMITMENTS) <= CANNOT_HOLD
    found = journal(shop.home, Month.of(last), instant("2027-01-01T00:00:00Z"), Accounts())
    assert any(one.document for one in found.entries)
    _, errors, _ = loader.load_file(str(write_journal(found, out)[-1]))
    assert errors == []


def test_what_the_validator_cannot_hold_holds(whole: Shop) -> None:
    """The two rules as their texts have them."""
    for row in written(whole, version="1.2", together=True)["all"]:
        held, status = row["CommitmentDiscountId"], row["CommitmentDiscountStatus"]
        assert bool(status) == (bool(held) and row["ChargeCategory"] == "Usage")
        assert bool(row["InvoiceId"]) == (row["x_Source"] == "payg" or row["ChargeCategory"] == "Tax")


def test_grants_without_an_amount_are_told_at_no_cost(shop: Shop) -> None:
    billed(shop, token_grants=[",".join(line.split(",")[:5]) for line in GRANTS])
    folder = shop.fresh("focus")
    done = export_focus(shop.home, folder, JULY, SEPTEMBER, version="1.4", service=Service())
    assert (done.unpriced, done.left_out) == (3, 0)
    rows = list(csv.DictReader((folder / "c2.csv").open(newline="", encoding="utf-8")))
    known = [row["ChargeDescription"] for row in rows if row["CommitmentDiscountStatus"] == "Used"]
    assert known and all("not known" in text for text in known)
