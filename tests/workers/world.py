"""A few hundred teams and some thousand events of theirs: enough that a close takes a while."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from billing.steps.homes import configure, home_at
from billing.steps.ingest import SourceFile, ingest
from billing.steps.reference import load_reference
from billing.store.home import Home
from tests.steps.small_world import ALWAYS, REFERENCE, USAGE_HEADER, instant, write_reference

TEAMS = 300
EVENTS = 4_000
AS_OF = "2026-08-01T00:00:00Z"
"""Each team has one cycle that is over by then."""


def open_books(folder: Path, database_url: str | None) -> Home:
    """A home with the reference data and the usage, ready to be closed. Made again it is the same."""
    home = home_at(folder / "home", database_url)
    home.create()
    configure(home, "close_lag_seconds", 0)
    load_reference(home, write_reference(folder / "reference", _reference()))
    usage = folder / "usage.csv"
    usage.write_text("\r\n".join([USAGE_HEADER, *_usage(), ""]), "utf-8")
    ingest(home, [SourceFile(path=usage, name=usage.name)], instant(AS_OF))
    return home


def _reference() -> dict[str, list[str]]:
    """Every third team pays as it goes and gets an invoice; the others have free units."""
    teams = [f"{number:03d}" for number in range(TEAMS)]
    of_teams = {
        "teams": [f"t{n},{('c1', 'c2')[int(n) % 2]},Team {n}" for n in teams],
        "hubs": [f"h{n},Hub {n}" for n in teams],
        "hub_teams": [f"h{n},t{n},{ALWAYS}," for n in teams],
        "apps": [f"a{n},App {n}" for n in teams],
        "app_hubs": [f"a{n},h{n},{ALWAYS}," for n in teams],
        "subscriptions": [
            f"s{n},t{n},{_kind(n)},2026-06-{1 + int(n) % 28:02d}T00:00:00Z,UTC,,{_currency(n)}," for n in teams
        ],
        "free_allowances": [f"s{n},render,2" for n in teams if _kind(n) == "free"],
        "token_grants": [],
        "capacity_grants": [],
    }
    return {name: list(lines) for name, lines in REFERENCE.items()} | of_teams


def _kind(number: str) -> str:
    return "free" if int(number) % 3 else "payg"


def _currency(number: str) -> str:
    return "EUR" if _kind(number) == "payg" else ""


def _usage() -> Iterator[str]:
    numbers = random.Random(EVENTS)
    for event in range(EVENTS):
        team, api = numbers.randrange(TEAMS), numbers.choice(("render", "translate"))
        day = f"2026-{numbers.choice(('06-29', '06-30', '07-01', '07-02', '07-20'))}"
        yield f"e{event},{day}T{numbers.randrange(24):02d}:00:00Z,a{team:03d},{api},{numbers.randint(1, 60)},,"
