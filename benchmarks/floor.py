"""The floor on this machine: the same files read, joined to teams, written and summed by DuckDB, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import duckdb


def floor_seconds(workload: Path) -> float:
    """Seconds to read the usage files, look the teams up, check ids, write Parquet and sum it by team and API."""
    usage, owned, written = workload / "usage" / "*.parquet", workload / "reference", workload / "floor.parquet"
    began = time.perf_counter()
    with duckdb.connect() as engine:
        engine.execute("set preserve_insertion_order = false")
        hubs = engine.read_csv(str(owned / "app_hubs.csv"))
        teams = engine.read_csv(str(owned / "hub_teams.csv"))
        events = engine.read_parquet(str(usage))
        engine.register("events", events)
        engine.register("hubs", hubs)
        engine.register("teams", teams)
        joined = engine.sql("select events.*, team_id from events join hubs using (app_id) join teams using (hub_id)")
        joined.write_parquet(str(written), compression="zstd")
        kept = engine.read_parquet(str(written))
        engine.register("kept", kept)
        engine.sql("select count(*), count(distinct event_id) from kept").fetchall()
        engine.sql("select team_id, api, sum(quantity) from kept group by all").fetchall()
    written.unlink()
    return time.perf_counter() - began
