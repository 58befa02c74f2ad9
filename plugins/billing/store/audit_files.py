"""What reruns leave in a home: a folder a run, with every comparison and a report. No bill depends on it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from billing.core.errors import NotFound
from billing.store.home import Home

REPORT, COMPARISONS = "report.html", "comparisons.csv"
_NAME_LENGTH_MAX = 200


def audit_folder(home: Home, run_id: str) -> Path:
    """The folder of a run, always one below ``audit/``: what is no plain character is escaped as in a URL, and a name
    that is too long for a folder is its SHA-256.
    """
    name = quote(run_id, safe="+:").replace(".", "%2E", 1 if run_id.startswith(".") else 0)
    if not name or len(name) > _NAME_LENGTH_MAX:
        name = sha256(run_id.encode()).hexdigest()
    return home.folder / "audit" / name


def part_file(folder: Path, shard: int) -> Path:
    """Where a shard's comparisons are in the folder of a run."""
    return folder / "parts" / f"{shard:02d}.csv"


def has_report(home: Home, run_id: str) -> bool:
    """Whether a run has left one."""
    return (audit_folder(home, run_id) / REPORT).is_file()


def read_report(home: Home, run_id: str) -> bytes:
    """The report of a run, HTML. ``NotFound`` where it has none (yet)."""
    try:
        return (audit_folder(home, run_id) / REPORT).read_bytes()
    except FileNotFoundError:
        raise NotFound("This run has left no report (yet): see its tasks.") from None
