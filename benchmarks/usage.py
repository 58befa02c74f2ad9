"""A made month of usage through ``billing simulate``, beside reading and writing the same rows by hand.

    python -m benchmarks.usage [--events 1000000] [--teams 1000] [--seed 1]

Prints events, seconds, events per second, peak memory, and the ratio to the floor measured in the same run:
DuckDB reading, joining and writing the same files and summing them, without checks, order, units or balances.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.floor import floor_seconds
from benchmarks.workload import write_workload


def main() -> None:
    """Make the workload, measure the floor, run the scenario in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--teams", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="billing-bench-") as scratch:
        folder = Path(scratch)
        write_workload(folder / "workload", chosen.events, chosen.teams, chosen.seed)
        floor = floor_seconds(folder / "workload")
        began = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "billing.cli",
            "simulate",
            str(folder / "workload"),
            "--out",
            str(folder / "out"),
        ]
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - began
        invoices = len((folder / "out" / "invoices.csv").read_text("utf-8").splitlines()) - 1
    peak_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{chosen.events:,} events, {chosen.teams:,} teams, {invoices:,} invoices")
    print(f"simulate: {seconds:.1f} s, {chosen.events / seconds:,.0f} events/s, peak {peak_mb:,.0f} MB")
    print(f"floor: {floor:.2f} s; ratio {seconds / floor:.1f}")


if __name__ == "__main__":
    main()
