"""A rerun in parts, a shard each, and the report of all: what Airflow maps over its workers. Written is below the
home's ``audit/`` only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from billing.outbound.whole_files import write_whole
from billing.steps.audit.comparing import Comparison
from billing.steps.audit.genesis import genesis
from billing.steps.audit.known_now import known_now
from billing.steps.audit.page import REPORTED, Asked, Versions, html_page, money_rows, versions_of
from billing.steps.audit.report import Outcome, put_together, read_file, take
from billing.steps.audit.rerun import rerun
from billing.store.audit_files import COMPARISONS, REPORT, audit_folder, part_file
from billing.store.home import Home
from billing.store.shards import shard_of


def shards_with(home: Home, asked: Asked) -> list[int]:
    """The shards that have a chosen cycle, a part each. From genesis all is read once, so that there is one part, which
    the first of them names. Raises ``NotFound`` where no cycle was chosen.
    """
    with home.database.read() as connection:
        chosen = asked.choice.read(connection)
    shards = sorted({shard_of(team_id) for mine in chosen.values() for team_id, _ in mine})
    return shards[:1] if asked.from_genesis else shards


def compare_shard(home: Home, run_id: str, asked: Asked, shard: int) -> int:
    """Compare a shard's chosen cycles and leave the comparisons in the run's folder; returns how many there are.

    Raises what ``rerun`` and ``known_now`` raise.
    """
    found = take(_again(home, asked, shard), part_file(audit_folder(home, run_id), shard))
    return sum(found.counts.values())


def _again(home: Home, asked: Asked, shard: int) -> Iterable[Comparison]:
    mine = replace(asked.choice, shards=frozenset({shard}))
    if asked.as_known_now:
        return known_now(home, mine)
    if asked.from_genesis:
        return genesis(home, asked.choice, documents=asked.documents)
    return rerun(home, mine, documents=asked.documents)


def leave_report(
    home: Home, run_id: str, asked: Asked, shards: Sequence[int], versions: Sequence[Versions], templates: Path
) -> tuple[Outcome, Path]:
    """Put the parts together and leave every comparison and a report in the run's folder. Returns what was found, and
    where the report is. Run again, it leaves the same.
    """
    folder = audit_folder(home, run_id)
    comparisons, report = folder / COMPARISONS, folder / REPORT
    found = take(put_together([part_file(folder, shard) for shard in shards]), comparisons, REPORTED)
    money = money_rows(read_file(comparisons)) if asked.as_known_now else []
    write_whole(report, html_page(templates, asked, found, versions_of(versions), money, COMPARISONS).encode())
    return found, report
