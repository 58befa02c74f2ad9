"""``billing export --format parquet``: the same rows as CSV with types, whole or not at all, the same bytes again."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import duckdb
import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import insert

from billing.core.errors import DataRefused, UsageError
from billing.core.payments import EventKind
from billing.outbound.file_sets import placed_at, placed_in
from billing.outbound.parquet_tables import DAY, INSTANT, MICRO, MONEY, WHOLE
from billing.steps.credit import credit
from billing.steps.export import FURTHER_COLUMNS, export_parquet
from billing.store.tables import charge_invoices, charges, documents, placed_files

from .small_world import Shop, instant
from .test_journal import FIRST, SECOND, billed, event


def filled(shop: Shop) -> None:
    """Something in every table that is about money and documents."""
    billed(shop)
    credit(shop.home, SECOND, reason="x", as_of=instant("2026-08-18T00:00:00Z"))
    event(shop, FIRST, EventKind.RECEIVED, 276, "2026-07-17T03:00:00Z")
    charge = {
        "charge_key": FIRST,
        "customer_id": "c1",
        "gateway": "stripe",
        "payment_method_id": "pm",
        "currency": "EUR",
    }
    file = {"number": FIRST, "kind": "pdf", "sha256": "0" * 64, "bytes": 10, "path": "00/0.pdf"}
    with shop.home.database.write() as connection:
        connection.execute(insert(charges).values(**charge, amount_minor=276, state="paid", opened_at_us=1))
        connection.execute(insert(charge_invoices).values(number=FIRST, charge_key=FIRST, amount_minor=276))
        connection.execute(insert(documents).values(**file, bundle="b", versions="{}"))
        connection.execute(insert(placed_files).values(**file, destination="archive", at_us=1_500_000))


def test_rows_are_those_of_csv_with_types(shop: Shop) -> None:
    filled(shop)
    folder = shop.fresh("parquet")
    counts = export_parquet(shop.home, folder)
    for name, rows in shop.export().items():
        table = pq.read_table(folder / f"{name}.parquet")
        assert (len(rows), counts[name]) == (table.num_rows, table.num_rows)
        for place, column in enumerate(table.column_names):
            for cell, value in zip((row[place] for row in rows), table.column(column).to_pylist(), strict=True):
                assert _same(cell, value), (name, column, cell, value)
    schema = pq.read_schema(folder / "invoices.parquet")
    types = {name: schema.field(name).type for name in ("cycle_start", "issue_date", "net", "tax_percent", "number")}
    assert types == {
        "cycle_start": INSTANT,
        "issue_date": DAY,
        "net": MONEY,
        "tax_percent": MICRO,
        "number": pa.string(),
    }
    assert pq.read_schema(folder / "charges.parquet").field("charged_units").type == WHOLE


def _same(cell: str, value: object) -> bool:
    match value:
        case None:
            return cell == ""
        case Decimal() | int():
            return Decimal(cell) == value
        case str():
            return cell == value
    return cell.rstrip("Z").replace("T", " ") == str(value).removesuffix("+00:00")


def test_money_and_documents_are_there_too(shop: Shop) -> None:
    filled(shop)
    folder = shop.fresh("parquet")
    counts = export_parquet(shop.home, folder)
    assert {name: counts[name] for name in FURTHER_COLUMNS} == dict.fromkeys(FURTHER_COLUMNS, 1)
    (row,) = pq.read_table(folder / "payment_events.parquet").to_pylist()
    assert (row["number"], row["kind"], row["amount"]) == (FIRST, "received", Decimal("2.7600"))
    (file,) = pq.read_table(folder / "placed_files.parquet").to_pylist()
    assert str(file["at"]) == "1970-01-01 00:00:01.500000+00:00"


def test_duckdb_and_pandas_read_it(shop: Shop) -> None:
    filled(shop)
    folder = shop.fresh("parquet")
    export_parquet(shop.home, folder)
    issued, money = (f"read_parquet('{folder / name}.parquet')" for name in ("invoices", "payment_events"))
    left = "i.number, i.total - coalesce(sum(e.amount), 0)"
    sql = f"select {left} from {issued} i left join {money} e using (number) group by 1, i.total order by 1"  # noqa: S608
    assert duckdb.sql(sql).fetchall()[0] == (FIRST, Decimal(0))
    frame = pd.read_parquet(folder / "carry.parquet")
    assert frame["usage"].sum() == sum(Decimal(row[4]) for row in shop.export()["carry"])


def test_the_same_books_are_the_same_bytes_and_the_manifest_names_them(shop: Shop) -> None:
    filled(shop)
    folder, again = shop.fresh("parquet"), shop.fresh("parquet")
    export_parquet(shop.home, folder)
    export_parquet(shop.home, again)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == {p.name: p.read_bytes() for p in again.iterdir()}
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert {one["name"] for one in manifest["files"]} | {"manifest.json"} == {path.name for path in folder.iterdir()}
    assert {"name": "net", "type": "decimal128(23, 4)"} in manifest["schema"]["invoices"]


def _broken(folder: Path) -> None:
    with placed_in(folder) as staged:
        staged.path("a.txt").write_text("2")
        (folder / "nowhere").read_bytes()


def test_what_breaks_leaves_the_set_that_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    with placed_in(folder) as staged:
        staged.path("a.txt").write_text("1")
        staged.path("b/c.txt").write_text("1")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(FileNotFoundError):
        _broken(folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    (folder / "mine.txt").write_text("not ours")
    with placed_in(folder) as staged:
        staged.path("a.txt").write_text("3")
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["a.txt", "manifest.json", "mine.txt"]


@pytest.mark.parametrize("manifest", ["{}", "no json", '{"files": [{"name": "../x"}]}', '{"files": [{"name": "/x"}]}'])
def test_a_manifest_that_is_none_of_ours_stops_it(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(DataRefused, match="manifest.json"), placed_in(tmp_path) as staged:
        staged.path("a.txt").write_text("1")
    assert (tmp_path / "manifest.json").read_text() == manifest


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file"), placed_in(tmp_path / "file"):
        pass


def test_object_storage_holds_the_same_set() -> None:
    files = fsspec.filesystem("memory")
    for content in ("1", "2"):
        with placed_at(files, "/bucket/set") as staged:
            staged.path(f"a{content}.txt").write_text(content)
            staged.path("b.txt").write_text(content)
    found = {name.removeprefix("/bucket/set/"): files.cat_file(name) for name in files.find("/bucket/set")}
    assert set(found) == {"a2.txt", "b.txt", "manifest.json"}
    assert found["b.txt"] == b"2"


def test_csv_stays_the_default_and_the_command_writes_parquet(shop: Shop, run_billing) -> None:  # type: ignore[no-untyped-def]
    shop.load()
    folder = shop.fresh("focus")
    assert run_billing(shop, "export", str(folder))[0] == 0
    assert run_billing(shop, "export", "--format", "parquet", str(folder))[0] == 0
    assert (folder / "invoices.csv").exists() and (folder / "invoices.parquet").exists()
    assert run_billing(shop, "export", "--help")[0] == 0
