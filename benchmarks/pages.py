"""Pages: how long each takes to be answered, with 20,000 teams and 24 months behind them; and the refresh of balances.

    python -m benchmarks pages [--teams 20000] [--requests 60] [--rounds 3] [--home FOLDER]

``pages_home.py`` makes the home (SQLite; some minutes; ``--home`` keeps it for the next time). Every page and every
JSON is then asked for over loopback from one process of uvicorn, warm, by one client and by four at once, each time of
another team or invoice where there are many. The table has the median and the 95th percentile in ms, medians of the
rounds, and the server's CPU a page, which says most where others use the machine. Airflow's own log-in before the pages
is not in it. The refresh is measured after seven thousand events of ten minutes, in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from urllib.parse import urlencode

import httpx
import psutil
from sqlalchemy import select

from benchmarks.measuring import ROOT, run
from benchmarks.pages_home import AT, FULL
from billing.core.instants import format_instant
from billing.steps.homes import home_at
from billing.store.tables import invoices

WANTED_MS, WANTED_REFRESH_S = 300, 30
_CLIENTS = 4
_WARM = 5


def main() -> None:
    """Make the home where there is none, serve it, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teams", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=60, help="a page, a client and a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--home", type=Path, help="kept, and used again")
    parser.add_argument("--only", default="", help="pages whose address has this in it")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = chosen.home or Path(scratch) / "home"
        if not (folder / "billing.db").exists():
            subprocess.run(
                [sys.executable, "-m", "benchmarks.pages_home", "make", folder, str(chosen.teams)], cwd=ROOT, check=True
            )
        _measure(folder.absolute(), chosen.teams, chosen.requests, chosen.rounds, chosen.only)
        if not chosen.only:
            found = run("pages_home", "ten_minutes", folder.absolute(), chosen.teams)["refresh"]
            print(
                f"\nrefresh after ten minutes' usage: {found.wall_s:.1f} s ({found.cpu_s:.1f} s CPU, "
                f"{found.peak_mb:.0f} MB); wanted: {WANTED_REFRESH_S} s"
            )


def _measure(home: Path, teams: int, requests: int, rounds: int, only: str) -> None:
    pages = [page for page in addresses(home, teams) if only in page[0]]
    print(f"{teams:,} teams, {requests} requests a page, client and round, medians of {rounds}; wanted: {WANTED_MS} ms")
    print(f"{'':44} {'KB':>6} {'CPU':>7} {'median':>8} {'95 %':>8} {'four: 95 %':>11}")
    with _served(home) as (url, server), httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        for name, of in pages:
            numbers = count(1)
            size = max(len(_get(client, of(next(numbers)))[1]) for _ in range(_WARM))
            alone, together, cpu_ms = [], [], []
            for _ in range(rounds):
                began = _cpu_s(server)
                alone.append(_times(client, [of(next(numbers)) for _ in range(requests)]))
                cpu_ms.append((_cpu_s(server) - began) * 1000 / requests)
                with ThreadPoolExecutor(_CLIENTS) as pool:
                    parts = [[of(next(numbers)) for _ in range(requests)] for _ in range(_CLIENTS)]
                    together.append(
                        [ms for mine in pool.map(lambda part: _times_alone(url, part), parts) for ms in mine]
                    )
            figures = (
                median(cpu_ms),
                median(median(one) for one in alone),
                median(_p95(one) for one in alone),
                median(_p95(one) for one in together),
            )
            over = "  over" if figures[2] > WANTED_MS else ""
            row = "{:7.1f} {:8.1f} {:8.1f} {:11.1f}".format(*figures)
            print(f"{name:44} {size / 1024:6.0f} {row}{over}", flush=True)


def addresses(home: Path, teams: int) -> list[tuple[str, Callable[[int], str]]]:
    """Every page and JSON: what it is called, and the address of its n-th request."""
    billing = home_at(home)
    with billing.database.read() as connection:
        real = select(invoices.c.number).where(invoices.c.prefix == "INV").order_by(invoices.c.number)
        numbers = list(connection.execute(real).scalars())
    billing.close()
    month = str(FULL)

    def team(n: int) -> str:
        return f"t{n * 7919 % teams}"

    def invoice(n: int) -> str:
        return numbers[n * 7919 % len(numbers)]

    def same(path: str, **query: str) -> Callable[[int], str]:
        address = f"{path}?{urlencode(query)}" if query else path
        return lambda _: address

    def of(path: str, name: str, chosen: Callable[[int], str], **query: str) -> Callable[[int], str]:
        return lambda n: f"{path}?{urlencode({name: chosen(n), **query})}"

    sorts = ("name", "least_left", "ends", "spend", "unfunded", "alerts")
    return [
        *((f"/teams sort={sort}", same("/teams", sort=sort)) for sort in sorts),
        *((f"/teams search sort={sort}", of("/teams", "search", _sought, sort=sort)) for sort in ("name", "alerts")),
        ("/teams search of all sort=alerts", same("/teams", search="customer", sort="alerts")),
        ("/team", of("/team", "team_id", team)),
        ("/usage 30 days", of("/usage", "team_id", team)),
        ("/usage 24 months", of("/usage", "team_id", team, days="all")),
        ("/usage.csv 24 months", of("/usage.csv", "team_id", team, days="all")),
        ("/invoice", of("/invoice", "number", invoice)),
        ("/invoice/line", of("/invoice/line", "number", invoice, line_no="1")),
        ("/finance of 20,000 invoices", same("/finance", month=month)),
        ("/finance state=declined", same("/finance", month=month, state="declined")),
        ("/finance state=paid", same("/finance", month=month, state="paid")),
        ("/operations", same("/operations")),
        ("/checks", same("/checks")),
        ("/api/v1/me", same("/api/v1/me")),
        ("/api/v1/teams", same("/api/v1/teams", limit="200", sort="spend")),
        ("/api/v1/team", of("/api/v1/team", "team_id", team)),
        ("/api/v1/usage 24 months by app", of("/api/v1/usage", "team_id", team, first_day="2024-09-01", by_app="true")),
        ("/api/v1/invoice", of("/api/v1/invoice", "number", invoice)),
        ("/api/v1/invoice/events", of("/api/v1/invoice/events", "number", invoice, line_no="1")),
        ("/api/v1/month of 20,000 invoices", same("/api/v1/month", month=month, limit="500")),
        ("/api/v1/operations", same("/api/v1/operations", limit="100")),
        ("/api/v1/openapi.json", same("/api/v1/openapi.json")),
    ]


def _sought(n: int) -> str:
    return f"TEAM {n % 100}"


@contextmanager
def _served(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "BILLING_HOME": str(home),
        "BILLING_PAGES_AT": format_instant(AT),
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    environment.pop("BILLING_DATABASE_URL", None)
    command = [sys.executable, "-m", "uvicorn", "benchmarks.pages_app:app", "--port", str(port), "--log-level", "error"]
    server = subprocess.Popen([*command, "--no-access-log"], cwd=ROOT, env=environment)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(server, url)
        yield url, psutil.Process(server.pid)
    finally:
        server.terminate()
        server.wait(30)


def _cpu_s(server: psutil.Process) -> float:
    times = server.cpu_times()
    return times.user + times.system


def _wait(server: subprocess.Popen[bytes], url: str) -> None:
    for _ in range(240):
        if server.poll() is not None:
            sys.exit("the pages could not be served")
        try:
            httpx.get(f"{url}/api/v1/me", trust_env=False, timeout=60)
            return
        except httpx.TransportError:
            time.sleep(0.5)
    sys.exit("the pages were not served within two minutes")


def _times_alone(url: str, asked: Sequence[str]) -> list[float]:
    with httpx.Client(base_url=url, trust_env=False, timeout=120) as client:
        return _times(client, asked)


def _times(client: httpx.Client, asked: Sequence[str]) -> list[float]:
    return [_get(client, address)[0] for address in asked]


def _get(client: httpx.Client, address: str) -> tuple[float, bytes]:
    """Milliseconds, and what came."""
    began = time.perf_counter()
    answer = client.get(address)
    took = (time.perf_counter() - began) * 1000
    if answer.status_code != 200:
        sys.exit(f"{address}: {answer.status_code} {answer.text[:500]}")
    return took, answer.content


def _p95(times: Sequence[float]) -> float:
    return quantiles(times, n=20, method="inclusive")[-1]


if __name__ == "__main__":
    main()
