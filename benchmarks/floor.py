"""The floor on this machine: less than the job, by DuckDB, so that no honest pipeline is faster.

    python -m benchmarks.floor ingest | rate  WORKLOAD FOLDER

``ingest`` reads the usage files, looks the teams up, writes one Parquet file and sees that no id is there twice.
``rate`` sums that file by team and API. Neither knows faults, order, units, balances or cycles.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import duckdb

from benchmarks.measuring import Figures, measuring, tell


def ingest(workload: Path, folder: Path) -> Figures:
    """The floor of taking usage in."""
    reference, kept = workload / "reference", str(folder / "floor.parquet")
    with measuring() as figures, duckdb.connect() as engine:
        engine.execute("set preserve_insertion_order = false")
        engine.register("apps", engine.read_csv(str(reference / "app_hubs.csv")))
        engine.register("hubs", engine.read_csv(str(reference / "hub_teams.csv")))
        engine.execute("create table owners as select app_id, team_id from apps join hubs using (hub_id)")
        engine.register("usage", engine.read_parquet(str(workload / "usage" / "*.parquet")))
        owned = engine.sql("select usage.*, owners.team_id from usage join owners using (app_id)")
        owned.write_parquet(kept, compression="zstd")
        engine.register("kept", engine.read_parquet(kept))
        rows, ids = engine.sql("select count(*), count(distinct event_id) from kept").fetchall()[0]
    if rows != ids:
        raise SystemExit(f"{rows:,} events have {ids:,} ids")
    return figures


def rate(folder: Path) -> Figures:
    """The floor of rating; the sums stay in ``floor.csv``: team_id, api, quantity."""
    with measuring() as figures, duckdb.connect() as engine:
        engine.register("kept", engine.read_parquet(str(folder / "floor.parquet")))
        sums = engine.sql("select team_id, api, sum(quantity) from kept group by all").fetchall()
    with (folder / "floor.csv").open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("team_id", "api", "quantity"), *sums])
    (folder / "floor.parquet").unlink()
    return figures


if __name__ == "__main__":
    step, workload, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if step == "ingest":
        tell(floor_ingest=ingest(workload, folder))
    else:
        tell(floor_rate=rate(folder))
