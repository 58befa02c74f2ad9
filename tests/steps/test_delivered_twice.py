"""A month delivered twice, in another order, other file sizes and other formats, is a month delivered once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from billing.core.instants import format_instant
from billing.demo.formats import Record, file_bytes
from billing.steps.ingest import SourceFile, ingest

from .small_world import Shop, instant

MONTHS = (("2026-07-01T00:00:00Z", "2026-08-01T01:00:00Z"), ("2026-08-01T00:00:00Z", "2026-09-01T01:00:00Z"))
"""Where each begins, and when it is closed."""
OUTPUTS = ("cycles", "carry", "charges", "invoices", "invoice_lines", "parked")
"""All but ``rejected``, which lists each second delivery."""


def month(dice: random.Random, name: str, start: datetime, days: int = 31, events: int = 2_000) -> list[Record]:
    """Usage of both teams, three APIs and a capacity resource; every fiftieth event is taken back in part."""
    rows: list[Record] = []
    for number in range(events):
        at = format_instant(start + timedelta(microseconds=dice.randrange(days * 86_400_000_000)))
        app, api = dice.choice(("a1", "a2")), dice.choice(("render", "translate", "browse"))
        quantity = f"{dice.randrange(1, 9)}.{dice.randrange(1, 999_999):06}".rstrip("0")
        rows.append(Record(f"{name}-{number}", at, app, api, quantity))
        if number % 50 == 0:
            rows.append(Record(f"{name}-{number}-back", at, app, api, "-0.5", f"{name}-{number}"))
        if number % 100 == 0:
            rows.append(Record(f"{name}-{number}-seat", at, "", "seats", "0.01", team_id="t1"))
    return rows


class Deliveries:
    """Usage files of one kind of delivery, each a batch of its own."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.number = 0

    def deliver(self, events: Sequence[Record], form: str, now: str) -> int:
        """One file in one format; returns how many records were accepted."""
        self.number += 1
        path = self.shop.folder / f"{self.number:03d}.{form}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file_bytes(path.name, events))
        done = ingest(self.shop.home, [SourceFile(path=path, name=path.name)], instant(now))
        assert done.records == len(events) == done.accepted + done.duplicates + done.quarantined
        return done.accepted

    def once(self, events: Sequence[Record], now: str) -> None:
        """All of it in one file."""
        assert self.deliver(events, "csv", now) == len(events)

    def twice(self, dice: random.Random, events: Sequence[Record], now: str) -> None:
        """Shuffled, in files of any size and format, some empty; then all of it again, in another order."""
        accepted = 0
        for _ in range(2):
            left = dice.sample(events, len(events))
            while left:
                size = dice.choice((0, 1, 7, 150, 1_100))
                form = dice.choice(("csv", "csv.gz", "jsonl", "parquet"))
                accepted += self.deliver(left[:size], form, now)
                left = left[size:]
        assert accepted == len(events), "a correction that came before its event was quarantined, and came again"


@pytest.fixture(scope="module")
def usage() -> tuple[list[Record], list[Record]]:
    dice = random.Random(11)
    july, august = (month(dice, start[5:7], instant(start)) for start, _ in MONTHS)
    return july, august


@pytest.mark.parametrize("late_share", [0.0, 0.1], ids=["in time", "a tenth late"])
def test_delivered_twice_is_delivered_once(
    shop: Shop, other: Shop, usage: tuple[list[Record], list[Record]], late_share: float
) -> None:
    """Rules 2.2, 3.5 and 3.7: cell by cell, on both databases; what is late is late in both."""
    july, august = usage
    dice = random.Random(5)
    late = {event[0] for event in dice.sample(july, int(late_share * len(july)))}
    late |= {event[0] for event in july if event[5] in late}
    in_time = [event for event in july if event[0] not in late]
    (_, july_end), (_, august_end) = MONTHS
    for which in (shop, other):
        which.load()
    Deliveries(shop).once(in_time, july_end)
    twice = Deliveries(other)
    twice.twice(dice, in_time, july_end)
    for which in (shop, other):
        which.close(july_end)
    rest = [event for event in july if event[0] in late]
    once = Deliveries(shop)
    once.number = 100
    once.once([*rest, *august], august_end)
    twice.twice(dice, [*rest, *august], august_end)
    twice.deliver(july, "parquet", august_end)
    for which in (shop, other):
        which.close(august_end)
    expected, found = shop.export(), other.export()
    assert {name: found[name] for name in OUTPUTS} == {name: expected[name] for name in OUTPUTS}
    assert len(expected["invoices"]) == 4
    assert bool([row for row in expected["carry"] if row[5] != "0"]) is bool(late)
