"""Exports that are placed by themselves: whole sets, the month that runs and the one before, on disk and on S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from billing.core.errors import DataRefused
from billing.core.focus import Service
from billing.steps.placed_exports import Exports, place

from .small_world import Shop, instant
from .test_journal import billed

AT = instant("2026-08-31T22:30:00Z")
"""September in the seller's zone."""


def test_a_folder_gets_the_outputs_and_focus_of_two_months(shop: Shop) -> None:
    billed(shop)
    root = shop.fresh("exports")
    done = place(shop.home, Exports.at(str(root)), AT, Service())
    assert list(done) == ["outputs", "focus/2026-08", "focus/2026-09"]
    assert done["outputs"] > 0 < done["focus/2026-08"]
    assert json.loads((root / "focus/2026-08/manifest.json").read_text("utf-8"))["from"] == "2026-08-01"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert place(shop.home, Exports.at(str(root)), AT, Service()) == done
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_object_storage_gets_them_too(shop: Shop, s3_bucket: Callable[[], tuple[str, dict[str, str]]]) -> None:
    billed(shop)
    url, keys = s3_bucket()
    files = fsspec.filesystem(
        "s3",
        key=keys["aws_access_key_id"],
        secret=keys["aws_secret_access_key"],
        endpoint_url=keys["aws_endpoint_url"],
    )
    place(shop.home, Exports(location=f"{url}/exports", storage=lambda: files), AT, Service())
    found = {name.partition("/exports/")[2] for name in files.find(f"{url}/exports")}
    assert {"outputs/manifest.json", "outputs/invoices.parquet", "focus/2026-08/c1.csv"} <= found


def test_a_place_that_cannot_be_written_is_said(shop: Shop, tmp_path: Path) -> None:
    billed(shop)
    with pytest.raises(DataRefused, match=r"exports cannot be placed here"):
        place(shop.home, Exports.at("nosuch://bucket/x"), AT, Service())


def test_without_reference_data_there_is_nothing_to_place(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="no reference data yet"):
        place(shop.home, Exports.at(str(tmp_path / "x")), AT, Service())
