"""What a process that was killed leaves lying in a home, and whether upkeep takes it away."""

from __future__ import annotations

import os
import time
from pathlib import Path
from urllib.parse import unquote

from sqlalchemy import select

from billing.steps.upkeep import upkeep
from billing.store import tables
from billing.store.documents import documents_of
from billing.store.home import Home

_AGE_S = 3 * 24 * 3600


def leftovers(home: Home) -> list[str]:
    """Files that nothing names: half-written ones, data of the usage table that no commit has, archived bytes and
    documents without a row.
    """
    found = [path for path in home.folder.rglob(".new-*") if path.is_file()]
    found += list(_not_in_the_table(home))
    with home.database.read() as connection:
        named = set(connection.execute(select(tables.batch_files.c.sha256)).scalars())
        documents = {document.path for document in documents_of(connection)}
    found += [path for path in _files(home.archive.folder) if path.name.partition(".")[0] not in named]
    found += [p for p in _files(home.documents.folder) if str(p.relative_to(home.documents.folder)) not in documents]
    return sorted(str(path.relative_to(home.folder)) for path in found)


def swept(home: Home) -> bool:
    """Whether upkeep, days later, takes away all that nothing names."""
    long_ago = time.time() - _AGE_S
    for path in home.folder.rglob("*"):
        if path.is_file():
            os.utime(path, (long_ago, long_ago))
    upkeep(home, keep_days=0)
    return not leftovers(home)


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".new-")]


def _not_in_the_table(home: Home) -> list[Path]:
    lake = home.folder / "lake" / "usage"
    actions = home.usage.lake.files()
    named = {unquote(path) for path in actions["path"].to_pylist()} if actions.num_rows else set()
    return [p for p in _files(lake) if "_delta_log" not in p.parts and str(p.relative_to(lake)) not in named]
