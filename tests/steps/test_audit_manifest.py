"""Manifests: derived from what a run's own transaction wrote, so that they are the same whenever they are asked for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from billing.core.errors import NotFound
from billing.steps.audit.chain import Head, verify_log
from billing.steps.audit.manifest import file_all, manifest
from billing.steps.credit import credit
from billing.steps.origin import acting_for
from billing.steps.reissue import reissue
from billing.steps.upkeep import upkeep

from .small_world import Shop, instant

RUN = "usage_ingest/scheduled__2026-08-02T00:00:00+00:00"
LATER = instant("2030-01-01T00:00:00Z")


@pytest.fixture
def books(shop: Shop) -> Shop:
    """A load, two batches, a close with documents, and an invoice that was given back and issued anew."""
    shop.load()
    july = ("e1,2026-07-05T00:00:00Z,a1,render,65.5,,", "e2,2026-07-05T00:00:00Z,a1,translate,7,,")
    with acting_for(RUN):
        shop.ingest(*july, "e3,2026-07-05T00:00:00Z,nobody,render,1,,", now="08-01", name="july.csv")
    shop.ingest(*july, "e4,2026-07-06T00:00:00Z,a2,translate,3,,", now="08-02", name="again.csv")
    shop.close("08-02")
    shop.render()
    credit(shop.home, "INV-2026-000001", reason="wrong", as_of=LATER)
    reissue(shop.home, "INV-2026-000001", as_of=LATER)
    return shop


def of(shop: Shop, kind: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(manifest(shop.home, kind, name))
    return found


def all_of(shop: Shop) -> dict[str, bytes]:
    folder = shop.fresh("manifests")
    file_all(shop.home, folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_run_has_one_and_it_is_canonical(books: Shop) -> None:
    found = all_of(books)
    assert sorted(found) == [
        "batch-000001.json",
        "batch-000002.json",
        "close-000001.json",
        "credit-note-INV-CN-2030-000001.json",
        "load-000001.json",
        "reissue-INV-2030-000001.json",
    ]
    for content in found.values():
        again = json.dumps(json.loads(content), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert content == f"{again}\n".encode()
        head = json.loads(content)["log_head"]
        assert verify_log(books.home, Head.parse(head)).seq >= int(head.partition(":")[0])


def test_a_batch_says_who_and_what_and_adds_up(books: Shop) -> None:
    found = of(books, "batch", "1")
    assert found["triggered_by"]["run"] == RUN and found["triggered_by"]["user"]
    assert {"carryover", "python", "tzdata", "duckdb"} <= set(found["versions"])
    (file,) = found["inputs"]["files"]
    kept = [path for path in books.home.archive.folder.rglob("*.csv") if path.stem == file["sha256"]]
    assert [sha256(path.read_bytes()).hexdigest() for path in kept] == [file["sha256"]]
    assert found["control_totals"] == {
        "records": 3,
        "accepted": 2,
        "duplicates": 0,
        "quarantined": 1,
        "balanced": True,
        "quarantined_by_reason": {"unattributed_app": 1},
    }
    assert found["outputs"]["usage"] == {
        "render": {"events": 1, "quantity_micro": 65_500_000},
        "translate": {"events": 1, "quantity_micro": 7_000_000},
    }
    again = of(books, "batch", "2")
    assert again["triggered_by"]["run"] == "library"
    assert (again["control_totals"]["duplicates"], again["control_totals"]["accepted"]) == (2, 1)


def test_a_close_says_what_it_took_and_what_it_made(books: Shop) -> None:
    """As the outputs have it, also after an invoice of it was given back and issued anew."""
    found, out = of(books, "close", "1"), books.export()
    own = [row for row in out["invoices"] if row[0].startswith("INV-2026")]
    totals = found["control_totals"]
    assert totals["invoices"] == len(own) == 2
    assert (totals["first_number"], totals["last_number"]) == ("INV-2026-000001", "INV-2026-000002")
    with books.home.database.read() as connection:
        net = connection.execute(text("select sum(net_minor) from invoices where close_no = 1 and revision = 1"))
        units = connection.execute(text("select sum(charged_units) from carry")).scalar_one()
        assert totals["amounts"]["EUR"]["net"].replace(".", "") == str(net.scalar_one())
    assert sum(totals["units_by_source"].values()) == units
    assert sum(api["charged_units"] for api in totals["usage_by_api"].values()) == units
    assert totals["usage_by_api"]["render"] == {
        "opening": "0",
        "usage": "65.5",
        "late_usage": "0",
        "closing": "5.5",
        "charged_units": 3,
    }
    assert [one["batch_no"] for one in found["inputs"]["new_batches"]] == [1, 2]
    assert found["outputs"]["documents_missing"] == 0
    for one in found["outputs"]["documents"]:
        (path,) = books.home.documents.folder.rglob(f"{one['sha256']}*")
        assert sha256(path.read_bytes()).hexdigest() == one["sha256"]
    assert {one["kind"] for one in found["outputs"]["documents"]} == {"pdf", "cii"}


def test_what_is_issued_by_hand_has_one_too(books: Shop) -> None:
    note, anew = of(books, "credit-note", "INV-CN-2030-000001"), of(books, "reissue", "INV-2030-000001")
    assert note["inputs"]["invoice"] == anew["parameters"]["replaces"] == "INV-2026-000001"
    assert note["control_totals"]["amounts"] == anew["control_totals"]["amounts"]


def test_it_is_the_same_at_any_later_time(books: Shop) -> None:
    """Asked twice, after more runs, and after compaction."""
    before = all_of(books)
    assert all_of(books) == before
    books.ingest("e9,2026-08-05T00:00:00Z,a1,render,65,,", now="09-02")
    books.close("2030-01-02T00:00:00Z")
    upkeep(books.home, 0)
    after = all_of(books)
    assert {name: after[name] for name in before} == before


def test_it_is_the_same_from_another_folder_and_time_zone(tmp_path: Path) -> None:
    """By the command, whose name it says; a refused batch leaves none."""

    def billing(*words: str, zone: str = "UTC", cwd: Path = tmp_path) -> bytes:
        command = [sys.executable, "-m", "billing.cli", "--home", str(tmp_path / "home"), *words]
        environment = os.environ | {"TZ": zone}
        return subprocess.run(command, env=environment, cwd=cwd, capture_output=True, check=True).stdout

    from .small_world import REFERENCE, write_reference

    write_reference(tmp_path / "reference", REFERENCE)
    billing("init")
    billing("reference", "load", str(tmp_path / "reference"))
    first = billing("audit", "manifest", "load", "1")
    assert json.loads(first)["triggered_by"]["run"].endswith(" reference load")
    (tmp_path / "elsewhere").mkdir()
    assert billing("audit", "manifest", "load", "1", zone="Asia/Tokyo", cwd=tmp_path / "elsewhere") == first
    billing("audit", "manifest", "--all", str(tmp_path / "filed"))
    assert (tmp_path / "filed" / "load-000001.json").read_bytes() == first


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("batch-000001.json", "update batches set accepted = accepted + 1 where batch_no = 1"),
        ("batch-000001.json", "update batch_files set sha256 = 'x' where batch_no = 1"),
        ("batch-000001.json", "update quarantine set reason = 'x' where batch_no = 1"),
        ("close-000001.json", "update draws set charged_units = charged_units + 1"),
        ("close-000001.json", "update carry set usage_micro = usage_micro + 1"),
        ("close-000001.json", "update invoices set total_minor = total_minor + 1"),
        ("close-000001.json", "update invoice_lines set unit_price_micro = unit_price_micro + 1"),
        ("close-000001.json", "update documents set sha256 = 'x' where kind = 'pdf'"),
        ("close-000001.json", "update log set hash = 'x'"),
        ("credit-note-INV-CN-2030-000001.json", "update credit_note_lines set net_minor = net_minor + 1"),
        ("reissue-INV-2030-000001.json", "update invoices set customer_id = 'c2' where revision = 2"),
        ("load-000001.json", "update ref_teams set name = 'Another'"),
    ],
)
def test_a_row_that_was_tampered_with_changes_it(books: Shop, name: str, change: str) -> None:
    before = all_of(books)[name]
    books.home._references.clear()
    with books.home.database.write() as connection:
        connection.execute(text(change))
    assert all_of(books)[name] != before


@pytest.mark.parametrize(("kind", "name"), [("batch", "3"), ("batch", "x"), ("close", "2"), ("credit-note", "INV-1")])
def test_what_never_committed_has_none(books: Shop, kind: str, name: str) -> None:
    with pytest.raises(NotFound, match="was never committed"):
        manifest(books.home, kind, name)
