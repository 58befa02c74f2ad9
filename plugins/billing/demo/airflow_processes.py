"""The process Airflow's parts are children of: ``python -m billing.demo.airflow_processes PARENT_PID [PART ...]``.

``LocalAirflow`` starts it. It imports Airflow once, makes the metadata database and forks every part from there:
three times the imports are two thirds of the time Airflow takes to come up. It goes with its parts: when one of
them ends, when it is told to stop (SIGTERM), or when the process that started it is gone, however that ended.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import time
from contextlib import suppress
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import psutil

COMMANDS = {
    "api-server": ["api-server"],
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
}
STOP_GRACE_S = 5.0
_LOG_TAIL_LINES = 15
_FORKS = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER = 36
# Imports make objects that stay: the usual 700 has the collector look at them over and over, a quarter of the time.
_GC_THRESHOLD = 50_000


def main(parent_pid: int, parts: list[str]) -> int:
    """Run the parts until told to stop (0) or until one of them ends by itself (1)."""
    adopt_orphans()
    gc.set_threshold(_GC_THRESHOLD)
    make_metadata_database()
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stop.append(number))
    # A fork shares what is imported. macOS cannot fork safely: there, each part imports for itself.
    start = multiprocessing.get_context("fork").Process if _FORKS else multiprocessing.get_context("spawn").Process
    processes: list[BaseProcess] = [start(target=run_part, args=(part,), name=part) for part in parts]
    try:
        for process in processes:
            process.start()
        ended = watch(processes, parent_pid, stop)
    finally:
        stop_tree(processes)
    if ended is None:
        return 0
    log = log_of(ended.name)
    last_lines = log.read_text("utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
    print(f"Airflow's {ended.name} ended by itself (status {ended.exitcode}): {log} ends with", *last_lines, sep="\n")
    return 1


def watch(processes: list[BaseProcess], parent_pid: int, stop: list[int]) -> BaseProcess | None:
    """Wait until there is a reason to end: the part that ended by itself, or ``None`` for any other reason."""
    while not stop and os.getppid() == parent_pid:
        connection.wait([process.sentinel for process in processes], timeout=0.5)
        for process in processes:
            if not stop and process.exitcode is not None:
                return process
    return None


def stop_tree(processes: list[BaseProcess]) -> None:
    """Ask every part to end, then kill what is left, tasks included."""
    for process in processes:
        if process.pid is not None:
            process.terminate()
    deadline = time.monotonic() + STOP_GRACE_S
    for process in processes:
        if process.pid is not None:
            process.join(max(0.0, deadline - time.monotonic()))
    left = psutil.Process().children(recursive=True)
    for child in left:
        with suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(left, timeout=5)


def run_part(part: str) -> None:
    """One part of Airflow, in a process of its own, with a log of its own."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    # The scheduler heeds SIGTERM only in a process of this name.
    multiprocessing.current_process().name = "MainProcess"
    log = os.open(log_of(part), os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from airflow.__main__ import main as airflow_main

    sys.argv = ["airflow", *COMMANDS[part]]
    airflow_main()


def make_metadata_database() -> None:
    """Make or migrate Airflow's own database, and import what every part needs, before anything is forked."""
    from airflow import settings
    from airflow.utils import db

    db.initdb()
    # Not used here: imported so that the forks need not.
    import airflow.cli.commands.dag_processor_command
    import airflow.cli.commands.scheduler_command
    import airflow.executors.local_executor  # noqa: F401

    settings.dispose_orm(do_log=False)  # no connection may be open across a fork
    settings.configure_orm()


def adopt_orphans() -> None:
    """On Linux, become the parent of tasks whose own parent died, so that ``stop_tree`` finds them."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def log_of(part: str) -> Path:
    """Where a part writes."""
    return Path(os.environ["AIRFLOW_HOME"]) / "logs" / f"{part}.log"


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
