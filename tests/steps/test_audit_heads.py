"""Heads of the log, kept in a folder and on an S3 API: added once a day, never replaced, all held by the log."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import delete, select

from billing.core.errors import ConservationBroken, DataRefused, NotFound, UsageError
from billing.steps.audit.chain import Head, verify_log
from billing.steps.audit.heads import Heads, demand_some, keep_head, verify_kept
from billing.store import log as chain
from billing.store.tables import log

from .small_world import Shop

FIRST, SECOND = (datetime(2026, 8, day, 23, 59, tzinfo=UTC) for day in (2, 3))


@pytest.fixture(params=["folder", "s3"])
def heads(request: pytest.FixtureRequest, tmp_path: Path) -> Heads:
    """A place that holds none yet."""
    if request.param == "folder":
        return Heads.at(str(tmp_path / "heads"))
    make: Callable[[], tuple[str, dict[str, str]]] = request.getfixturevalue("s3_bucket")
    url, given = make()
    storage = fsspec.filesystem(
        "s3",
        key=given["aws_access_key_id"],
        secret=given["aws_secret_access_key"],
        endpoint_url=given["aws_endpoint_url"],
        client_kwargs={"region_name": given["aws_region"]},
    )
    return Heads(location=f"{url}/heads", storage=lambda: storage)


def test_a_head_a_day_is_added_and_the_log_holds_them_all(shop: Shop, heads: Heads) -> None:
    shop.load()
    first, is_new = keep_head(shop.home, heads, FIRST)
    assert is_new
    assert keep_head(shop.home, heads, FIRST) == (first, False), "a task that is tried again"
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    second, _ = keep_head(shop.home, heads, SECOND)
    names = {"2026-08-02-000001.head": first, "2026-08-03-000002.head": second}
    assert verify_kept(shop.home, heads) == (second, names)
    assert heads.read() == names


def test_one_that_is_there_is_never_replaced(shop: Shop, heads: Heads) -> None:
    shop.load()
    wrong = Head(seq=1, hash="0" * 64)
    assert heads.keep("2026-08-02-000001.head", wrong)
    with pytest.raises(ConservationBroken, match=r"holds another head than 1:"):
        heads.keep("2026-08-02-000001.head", verify_log(shop.home))
    assert heads.read() == {"2026-08-02-000001.head": wrong}
    with pytest.raises(ConservationBroken, match="1 of 1 heads"):
        keep_head(shop.home, heads, SECOND)
    assert len(heads.read()) == 1, "nothing is kept of a log that is not what it was"


def test_a_log_that_was_written_anew_is_found(shop: Shop, heads: Heads) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    keep_head(shop.home, heads, FIRST)
    with shop.home.database.write() as connection:
        rows = connection.execute(select(log).order_by(log.c.seq)).all()
        connection.execute(delete(log))
        for row in rows:
            chain.append(connection, FIRST, row.kind, {"rewritten": row.seq})
    with pytest.raises(ConservationBroken, match=r"2026-08-02-000002\.head the first"):
        verify_kept(shop.home, heads)


def test_a_proof_against_nothing_is_none(shop: Shop, heads: Heads) -> None:
    shop.load()
    _, kept = verify_kept(shop.home, heads)
    with pytest.raises(NotFound, match="no heads"):
        demand_some(heads, kept)


def test_what_is_no_head_is_refused(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "x.head").write_text("not one")
    with pytest.raises(UsageError, match="is no head"):
        verify_kept(shop.home, Heads.at(str(tmp_path)))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataRefused, match="cannot be kept|cannot be reached"):
        Heads.at("no-such-scheme://x").read()


def test_by_the_command(tmp_path: Path) -> None:
    def billing(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "billing.cli", "--home", str(tmp_path / "home"), *words]
        return subprocess.run(command, env=os.environ, cwd=tmp_path, capture_output=True, text=True, check=False)

    from .small_world import REFERENCE, write_reference

    write_reference(tmp_path / "reference", REFERENCE)
    billing("init")
    billing("reference", "load", str(tmp_path / "reference"))
    assert "has no [audit]" in billing("audit", "log", "--keep").stderr
    (tmp_path / "home" / "billing.toml").write_text('[audit]\nheads = "../kept"\n')
    assert "It is kept in" in billing("audit", "log", "--keep").stdout
    told = billing("audit", "log", "--against", str(tmp_path / "kept")).stdout
    assert "The log holds all 1 heads in" in told and "000001.head" in told
