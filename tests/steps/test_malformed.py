"""Malformed usage loses nothing: records in = accepted + duplicates + quarantined, each with a reason (rule 2.4)."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, select

from billing.core.errors import DataRefused
from billing.intake.judging import REASONS
from billing.steps.export import export
from billing.steps.ingest import SourceFile, ingest
from billing.steps.quarantine import list_quarantine
from billing.store.tables import batch_files, batches, duplicate_ranges, quarantine

from . import malformed
from .small_world import Shop, instant, rows_of

RECORDS = {"a.csv": 40_000, "b.jsonl": 20_000, "c.jsonl.gz": 20_000, "d.parquet": 20_000}
NOW = "2026-08-01T00:00:00Z"


def write_all(folder: Path, seed: int) -> list[SourceFile]:
    """A hundred thousand records in four files."""
    folder.mkdir(parents=True)
    dice, first, files = random.Random(seed), 0, []
    for name, records in RECORDS.items():
        if name.endswith(".csv"):
            malformed.write_csv(folder / name, dice, records, first)
        elif "jsonl" in name:
            malformed.write_jsonl(folder / name, dice, records, first)
        else:
            write_parquet(folder / name, dice, records, first)
        first += records
        files.append(SourceFile(path=folder / name, name=name))
    return files


def write_parquet(path: Path, dice: random.Random, records: int, first: int) -> None:
    """Other types than text where that can be read exactly, and nulls."""
    rows = [malformed.row(dice, first + n) for n in range(records)]
    columns = {
        name: [r[place] if dice.randrange(9) else None for r in rows] for place, name in enumerate(malformed.COLUMNS)
    }
    numbers = [dice.choice((1, -1, 0, 2**62, None)) for _ in rows]
    table = pa.table(columns).set_column(4, "quantity", pa.array(numbers, pa.int64()))
    pq.write_table(table.set_column(2, "app_id", table["app_id"].dictionary_encode()), path)


def test_a_hundred_thousand_malformed_records_lose_nothing(shop: Shop) -> None:
    shop.load()
    files = write_all(shop.folder / "usage", seed=1)
    done = ingest(shop.home, files, instant(NOW))
    assert done.records == sum(RECORDS.values())
    assert done.records == done.accepted + done.duplicates + done.quarantined
    assert done.accepted > 2_000
    assert done.duplicates > 500
    assert done.quarantined > 80_000
    assert set(done.reasons) == {reason.value for reason in REASONS} - {"no_subscription"}
    assert sum(done.reasons.values()) == done.duplicates + done.quarantined
    every_record_is_somewhere_once(shop)
    raw_text_is_the_sources_own(shop, files[0].path)
    export(shop.home, shop.folder / "out")
    assert len(rows_of(shop.folder / "out" / "rejected.csv")) == done.duplicates + done.quarantined


def every_record_is_somewhere_once(shop: Shop) -> None:
    """By file: the lines that are accepted, in quarantine or in a range of duplicates are all lines, none twice."""
    table = shop.home.usage.lake.dataset().to_table(columns=["file_no", "line"]).to_pydict()
    seen = list(zip(table["file_no"], table["line"], strict=True))
    with shop.home.database.read() as connection:
        seen += [(r.file_no, r.line) for r in connection.execute(select(quarantine.c.file_no, quarantine.c.line))]
        for r in connection.execute(select(duplicate_ranges)):
            seen += [(r.file_no, line) for line in range(r.first_line, r.last_line + 1)]
        names = {r.file_no: (r.name, r.records) for r in connection.execute(select(batch_files))}
    expected = {
        (file_no, line + name.endswith(".csv"))
        for file_no, (name, records) in names.items()
        for line in range(1, records + 1)
    }
    assert len(seen) == len(expected) == sum(RECORDS.values())
    assert set(seen) == expected


def raw_text_is_the_sources_own(shop: Shop, path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    with shop.home.database.read() as connection:
        rows = connection.execute(select(quarantine.c.line, quarantine.c.raw).where(quarantine.c.file_no == 0)).all()
    assert len(rows) > 30_000
    assert all(row.raw == lines[row.line - 1] for row in rows)


def test_what_is_listed_is_text_that_can_be_written(shop: Shop) -> None:
    """Whatever bytes a record has: a listing of it can be printed, and says the reason."""
    shop.load()
    malformed.write_csv(shop.folder / "usage.csv", random.Random(2), 2_000, 0)
    ingest(shop.home, [SourceFile(path=shop.folder / "usage.csv", name="usage.csv")], instant(NOW))
    found = list_quarantine(shop.home, limit=5_000)
    assert found
    assert all(q.reason and q.raw.encode() for q in found)


@pytest.mark.parametrize("name", sorted(malformed.refused_files(Path())))
def test_a_file_that_is_not_what_it_should_be_is_refused_and_leaves_nothing(shop: Shop, name: str) -> None:
    """Data contract, "Files": with a clear error; what came beside it can be sent again."""
    shop.load()
    good = shop.file(["g1,2026-07-10T10:00:00Z,a1,render,1,,"], name="good.csv")
    bad = shop.folder / name
    bad.write_bytes(malformed.refused_files(shop.folder)[name])
    with pytest.raises(DataRefused) as refused:
        ingest(shop.home, [good, SourceFile(path=bad, name=name)], instant(NOW))
    assert name in str(refused.value)
    with shop.home.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(batches)).scalar_one() == 0
    assert [path for path in shop.home.archive.folder.rglob("*") if path.is_file()] == []
    assert ingest(shop.home, [good], instant(NOW)).accepted == 1


SCRIPT = """
import sys
from pathlib import Path
from billing.core.errors import DataRefused
from billing.steps.ingest import SourceFile, ingest
from billing.store.home import Home
from tests.steps.small_world import Shop, instant
from tests.steps.test_malformed import NOW, write_all
from tests.steps.malformed import refused_files
folder = Path(sys.argv[1])
home = Home.at(folder / "home")
home.create()
shop = Shop(home=home, folder=folder / "files")
shop.load()
ingest(home, write_all(folder / "usage", seed=3), instant(NOW))
bomb = folder / "bomb.csv.gz"
bomb.write_bytes(refused_files(folder)["bomb.csv.gz"])
try:
    ingest(home, [SourceFile(path=bomb, name=bomb.name)], instant(NOW))
except DataRefused as refused:
    lines = Path("/proc/self/status").read_text().splitlines()  # a rusage would begin with the parent's peak
    print("200 times" in str(refused), next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")))
"""


def test_memory_stays_bounded_whatever_comes(tmp_path: Path) -> None:
    """A hundred thousand malformed records and a gzip bomb of 128 MiB, in a process of their own."""
    checkout = Path(__file__).parents[2]
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    refused, peak_mib = done.stdout.split()
    assert refused == "True"
    assert int(peak_mib) < 1_536
