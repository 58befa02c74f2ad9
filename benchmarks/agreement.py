"""Whether those who were measured say the same: a contender that is fast and wrong is none.

Everybody's units by team and API are compared, and what waits for a whole unit where they say it; ours with the rater
of one event at a time by source of payment and tokens too, and ours in one close with ours in many. Where units and
carry-over are equal, so is usage: ``opening + usage = units x size + carry`` (rule 4.4) is how the floor's are found.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from benchmarks.workload import FIRST_START, RATED

Key = tuple[str, ...]
_SHOWN = 5
_NOTHING = (Decimal(0), Decimal(0))


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What one contender says: by (team_id, api) the units and what waits (None: it does not say), of all teams unless
    ``teams`` names them.
    """

    who: str
    units: Mapping[Key, int]
    carry: Mapping[Key, Decimal] | None = None
    teams: frozenset[str] | None = None


def disagreements(workload: Path, folder: Path) -> list[str]:
    """What differs, in words; ``folder`` is where the contenders wrote, those that were asked to."""
    claims = [claim for read in _READERS if (claim := read(workload, folder)) is not None]
    found = [line for claim in claims[1:] for line in _differing(claims[0], claim)]
    if (folder / "ours").exists() and (folder / "one_by_one.csv").exists():
        found += _payment_differing(folder)
    if (folder / "ours").exists() and (folder / "simulate").exists():
        found += _closes_differing(folder)
    return found


def _differing(left: Claim, right: Claim) -> list[str]:
    """Where both speak of a team; what one of them does not name is zero there."""
    found = _unequal(left.who, left.units, right.who, right.units, right.teams)
    if left.carry is not None and right.carry is not None:
        found += _unequal(f"{left.who}'s carry", left.carry, f"{right.who}'s", right.carry, right.teams)
    return found


def _unequal(
    left: str, said: Mapping[Key, object], right: str, other: Mapping[Key, object], teams: frozenset[str] | None
) -> list[str]:
    keys = [key for key in sorted({*said, *other}) if teams is None or key[0] in teams]
    apart = [key for key in keys if said.get(key, 0) != other.get(key, 0)]
    lines = [f"{' '.join(key)}: {left} {said.get(key, 0)}, {right} {other.get(key, 0)}" for key in apart[:_SHOWN]]
    return lines + ([f"... {len(apart)} of {len(keys):,} differ"] if len(apart) > _SHOWN else [])


def _floor(workload: Path, folder: Path) -> Claim | None:
    """Sums make units where nothing is corrected and no size changes."""
    if not (folder / "floor.csv").exists():
        return None
    sizes = {api: Decimal(unit_size) for api, _, unit_size, _ in RATED}
    total: dict[Key, Decimal] = defaultdict(Decimal)
    for path, column in ((workload / "opening.csv", "carry"), (folder / "floor.csv", "quantity")):
        for row in _rows(path):
            if row["api"] in sizes:
                total[row["team_id"], row["api"]] += Decimal(row[column])
    units = {key: int(sum_ // sizes[key[1]]) for key, sum_ in total.items()}
    return Claim(who="floor", units=units, carry={key: sum_ % sizes[key[1]] for key, sum_ in total.items()})


def _ours(workload: Path, folder: Path) -> Claim | None:
    if not (folder / "ours").exists():
        return None
    units: dict[Key, int] = defaultdict(int)
    last: dict[Key, tuple[datetime, Decimal]] = {}
    for row in _measured(folder / "ours" / "carry.csv"):
        key, start = (row["team_id"], row["api"]), datetime.fromisoformat(row["cycle_start"])
        units[key] += int(row["charged_units"])
        if key not in last or last[key][0] < start:
            last[key] = start, Decimal(row["closing"])
    return Claim(who="ours", units=units, carry={key: carry for key, (_, carry) in last.items()})


def _postgres(workload: Path, folder: Path) -> Claim | None:
    if not (folder / "postgres.csv").exists():
        return None
    rows = _rows(folder / "postgres.csv")
    return Claim(who="PostgreSQL", units={(row["team_id"], row["api"]): int(row["charged_units"]) for row in rows})


def _one_by_one(workload: Path, folder: Path) -> Claim | None:
    if not (folder / "one_by_one.csv").exists():
        return None
    units: dict[Key, int] = defaultdict(int)
    for row in _rows(folder / "one_by_one.csv"):
        units[row["team_id"], row["api"]] += int(row["charged_units"])
    carry: dict[Key, Decimal] = {}
    for row in _rows(folder / "one_by_one_carry.csv"):
        carry[row["team_id"], row["api"]] = Decimal(row["carry"])
    return Claim(who="one by one", units=units, carry=carry, teams=frozenset(team for team, *_ in carry))


_READERS = (_floor, _ours, _postgres, _one_by_one)


def _payment_differing(folder: Path) -> list[str]:
    """By team, API and source: units and tokens."""
    ours, other = _paid(_measured(folder / "ours" / "charges.csv")), _paid(_rows(folder / "one_by_one.csv"))
    teams = frozenset(row["team_id"] for row in _rows(folder / "one_by_one_carry.csv"))
    return _unequal("ours (units, tokens)", ours, "one by one", other, teams)


def _paid(rows: Iterable[Mapping[str, str]]) -> dict[Key, tuple[Decimal, Decimal]]:
    sums: dict[Key, tuple[Decimal, Decimal]] = {}
    for row in rows:
        key = (row["team_id"], row["api"], row["source"])
        units, tokens = sums.get(key, _NOTHING)
        sums[key] = units + int(row["charged_units"]), tokens + Decimal(row["tokens"])
    return sums


def _closes_differing(folder: Path) -> list[str]:
    """Cycles that the scenario closed month by month, beside the same ones closed at once."""
    closed = {(row["team_id"], row["cycle_start"]) for row in _rows(folder / "simulate" / "cycles.csv")}
    found = []
    for name in ("carry.csv", "charges.csv"):
        ours, scenario = ({tuple(row.values()) for row in _rows(folder / who / name)} for who in ("ours", "simulate"))
        apart = {row for row in ours if row[:2] in closed} ^ scenario
        found += [f"{name}: {row} is in one of ours only, the close or the scenario" for row in sorted(apart)[:_SHOWN]]
    return found


def _measured(path: Path) -> Iterator[dict[str, str]]:
    """Rows of cycles with usage of the measured month."""
    return (row for row in _rows(path) if datetime.fromisoformat(row["cycle_start"]) >= FIRST_START)


def _rows(path: Path) -> Iterator[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        yield from csv.DictReader(handle)
