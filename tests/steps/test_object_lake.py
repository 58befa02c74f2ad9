"""A home whose usage table is on an S3 API gives what one gives with it in its folder; ``billing.toml`` says where."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from billing.cli import app
from billing.core.errors import UsageError
from billing.steps.upkeep import upkeep
from billing.store.home import Home
from billing.store.lake_storage import ObjectStorage

from .small_world import REFERENCE, USAGE_HEADER, Shop, rows_of, write_reference

Bucket = Callable[[], tuple[str, dict[str, str]]]
FILES = 10


@pytest.fixture
def remote(tmp_path: Path, s3_bucket: Bucket) -> Iterator[Shop]:
    """A shop whose lake is on object storage."""
    url, given = s3_bucket()
    home = Home.at(tmp_path / "remote", None, ObjectStorage(url=url, credentials=lambda: given))
    home.create()
    yield Shop(home=home, folder=tmp_path / "remote-files")
    home.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Shop]:
    home = Home.at(tmp_path / "local")
    home.create()
    yield Shop(home=home, folder=tmp_path / "local-files")
    home.close()


def test_outputs_are_those_of_a_lake_in_the_folder(remote: Shop, local: Shop) -> None:
    for shop in (remote, local):
        shop.load()
        for day in range(1, FILES + 1):
            lines = [f"e{day}-{n},2026-07-{day:02d}T0{n}:00:00Z,a{1 + n % 2},render,{day + n},," for n in range(6)]
            shop.ingest(*lines, f"c{day},2026-07-{day:02d}T01:00:00Z,a2,render,-1,e{day}-1,", now="07-15")
        shop.close("08-02")
        if shop is remote:
            upkeep(shop.home, keep_days=0)
        shop.ingest("e1-0,2026-07-01T00:00:00Z,a1,render,1,,", "x,2026-07-01T00:00:00Z,a1,render,9,,", now="08-05")
        shop.ingest("y,2026-08-03T00:00:00Z,a2,render,50,,", now="09-02")
        shop.close("09-02")
    assert remote.home.usage.lake.size()[0] < local.home.usage.lake.size()[0]
    seen = remote.export()
    assert seen == local.export()
    assert len(seen["invoices"]) == 3
    assert remote.balances("09-03") == local.balances("09-03")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3_bucket: Bucket) -> Path:
    """A home with a ``billing.toml``, and what is loaded into it."""
    url, given = s3_bucket()
    connection = {
        "conn_type": "aws",
        "login": given["aws_access_key_id"],
        "password": given["aws_secret_access_key"],
        "extra": {"endpoint_url": given["aws_endpoint_url"], "region_name": given["aws_region"]},
    }
    monkeypatch.setenv("AIRFLOW_CONN_LAKE_BUCKET", json.dumps(connection))
    monkeypatch.chdir(tmp_path)
    write_reference(tmp_path / "reference", REFERENCE)
    (tmp_path / "july.csv").write_text("\n".join([USAGE_HEADER, "e1,2026-07-05T00:00:00Z,a1,render,65,,", ""]))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "billing.toml").write_text(f'[lake]\nlocation = "{url}/acme"\nconnection = "lake_bucket"\n')
    return tmp_path


def run(*line: str) -> None:
    assert app(["--home", "home", *line], standalone_mode=False) in (None, 0)


def test_the_command_finds_it_by_the_setting_and_an_airflow_connection(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("init")
    run("reference", "load", "reference")
    run("usage", "ingest", "july.csv", "--now", "2026-08-02T00:00:00Z")
    run("cycles", "close", "--as-of", "2026-08-02T00:00:00Z", "--no-documents")
    capsys.readouterr()
    run("usage", "compact", "--keep-days", "0")
    said = r"1 files \((\d+) bytes\) are 1 \(\1 bytes\); 0 old ones deleted, in \d+\.\d s\."
    assert re.fullmatch(said, capsys.readouterr().out.strip())
    run("export", "out")
    assert [row[5] for row in rows_of(files / "out" / "invoices.csv")]
    assert not (files / "home" / "lake").exists()


def test_a_connection_that_is_not_there_is_said(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_LAKE_BUCKET")
    with pytest.raises(UsageError, match="no connection 'lake_bucket' .* AIRFLOW_CONN_LAKE_BUCKET"):
        run("init")
