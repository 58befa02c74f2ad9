"""Exports that are placed by themselves: whole sets, the month that runs and the one before, on disk and on S3."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from billing.core.errors import DataRefused, SourceUnavailable
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


class _Unsaid:
    """What a service is, of which a mistake in the program makes nothing."""

    @property
    def category(self) -> str:
        raise ValueError("a mistake of ours")


def test_a_mistake_of_ours_is_none_of_the_place(shop: Shop) -> None:
    billed(shop)
    root = shop.fresh("exports")
    with pytest.raises(ValueError, match="a mistake of ours"):
        place(shop.home, Exports.at(str(root)), AT, _Unsaid())  # type: ignore[arg-type]
    assert (root / "outputs/manifest.json").exists() and not (root / "focus/2026-08/manifest.json").exists()


class _Failed(Exception):
    """What a storage raises that knows no ``OSError``."""


class _Failing(MemoryFileSystem):  # type: ignore[misc]
    cachable = False

    def put_file(self, *_: object, **__: object) -> None:
        raise _Failed("slow down")


def test_what_a_storage_says_in_its_own_words_is_told(shop: Shop) -> None:
    def fails() -> MemoryFileSystem:
        raise _Failed("no token")

    billed(shop)
    for storage, said in ((_Failing, "slow down"), (fails, "no token")):
        with pytest.raises(SourceUnavailable, match=f"memory://x: cannot be reached .*{said}.* Run again"):
            place(shop.home, Exports(location="memory://x", storage=storage), AT, Service())


def test_without_reference_data_there_is_nothing_to_place(shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="no reference data yet"):
        place(shop.home, Exports.at(str(tmp_path / "x")), AT, Service())
