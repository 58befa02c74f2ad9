"""Rule 6.5 at its worst: 500 invoices collected over HTTP by the command, while the gateway drops one answer in ten
after it took the money, and the worker is killed ten times. Each is charged once; the books are the gateway's to the
cent.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from billing.core.instants import format_instant
from billing.core.payments import EventKind
from billing.steps.close import close
from billing.store.home import Home
from billing.store.tables import charges, invoices, payment_events
from tests.gateway.world import World
from tests.steps.small_world import ALWAYS, BOUGHT, REFERENCE, Shop, instant

INVOICES = 500
KILLS = 10
ISSUED = instant("08-02")
DAY = timedelta(days=1)
SETTINGS = """
[payments.gateways.stripe]
kind = "stripe"
connection = "stripe_key"
"""


def buyers(world: World) -> dict[str, list[str]]:
    """A customer, team, app and stored card each; every fifth pays in yen."""
    ids = [f"{n:03d}" for n in range(INVOICES)]
    cards = [world.stored_method()[1] for _ in ids]
    currencies = ["JPY" if n % 5 == 0 else "EUR" for n in range(INVOICES)]
    return {
        "customers": [f"c{i},Buyer {i},1 street,,1000,Town,,CH,,ap{i}@example.com,en-GB" for i in ids],
        "teams": [f"t{i},c{i},Team {i}" for i in ids],
        "hubs": [f"h{i},Hub {i}" for i in ids],
        "hub_teams": [f"h{i},t{i},{ALWAYS}," for i in ids],
        "apps": [f"a{i},App {i}" for i in ids],
        "app_hubs": [f"a{i},h{i},{ALWAYS}," for i in ids],
        "unit_prices": [f"translate,EUR,{ALWAYS},2.41", f"translate,JPY,{ALWAYS},333"],
        "subscriptions": [
            f"p{i},t{i},payg,{BOUGHT},UTC,,{currency},pm{i}" for i, currency in zip(ids, currencies, strict=True)
        ],
        "free_allowances": [],
        "token_grants": [],
        "capacity_grants": [],
        "payment_methods": [f"pm{i},c{i},stripe,{card},Visa,4242,2035-12" for i, card in zip(ids, cards, strict=True)],
    }


@pytest.fixture
def home(tmp_path: Path, world: World) -> Iterator[Home]:
    """500 invoices that were issued, of 1 to 11 units each."""
    made = Home.at(tmp_path / "home")
    made.create()
    shop = Shop(home=made, folder=tmp_path / "files")
    shop.load(**{**REFERENCE, **buyers(world)})
    lines = [f"e{n},2026-07-05T00:00:00Z,a{n:03d},translate,{n % 11 + 1},," for n in range(INVOICES)]
    shop.ingest(*lines, now="08-02")
    assert len(close(made, ISSUED, e_invoices=False).invoices) == INVOICES
    (tmp_path / "home" / "billing.toml").write_text(SETTINGS, "utf-8")
    yield made
    made.close()


class Worker:
    """``billing payments collect`` as it is run by hand or by a scheduler, in processes that die."""

    def __init__(self, home: Home, world: World) -> None:
        self.home, self.world, self.now = home, world, ISSUED

    def start(self, *what: str) -> subprocess.Popen[str]:
        environment = os.environ | {"AIRFLOW_CONN_STRIPE_KEY": self.world.connection()}
        self.world.move(at=self.now.timestamp())
        command = [sys.executable, "-m", "billing.cli", "--home", str(self.home.folder), "payments", *what]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(command, env=environment, text=True, **pipes)

    def collect(self) -> subprocess.Popen[str]:
        return self.start("collect", "--now", format_instant(self.now))

    def reconcile(self, *more: str) -> tuple[int, str]:
        process = self.start("reconcile", "--from", "2026-07-01", "--to", "2026-12-31", *more)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def killed_while_at_work(self, payments: int) -> bool:
        """Collect, and die once so many payments were taken, or a moment later: in the middle of others."""
        before = len(self.world.moves())
        process = self.collect()
        while process.poll() is None and len(self.world.moves()) < before + payments:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def states_of(home: Home) -> Counter[str]:
    with home.database.read() as connection:
        return Counter(connection.execute(select(charges.c.state)).scalars())


def taken(world: World) -> Counter[str]:
    """How often the gateway really took money for which invoice."""
    return Counter(move["metadata"]["carryover_invoices"] for move in world.moves() if move["what"] == "taken")


def test_each_of_500_is_charged_once_to_the_cent(home: Home, world: World) -> None:
    chance = random.Random(7)
    worker = Worker(home, world)
    world.faults(seed=11, dropped=10)
    kills = 0
    while kills < KILLS:
        kills += worker.killed_while_at_work(chance.randrange(5, 40))
        worker.now += DAY if kills % 3 == 0 else timedelta(0)  # its keys are forgotten
    while states_of(home) != {"paid": INVOICES}:
        worker.now += DAY
        assert worker.now < ISSUED + 20 * DAY
        worker.collect().communicate(timeout=300)
    world.faults()
    worker.reconcile("--cancel-orphans")  # opened, never stored: never confirmed
    status, said = worker.reconcile()
    assert status == 0, said
    with home.database.read() as connection:
        issued = {row.number: row for row in connection.execute(select(invoices))}
        received = connection.execute(
            select(payment_events).where(payment_events.c.kind == EventKind.RECEIVED.value)
        ).all()
    assert taken(world) == Counter(dict.fromkeys(issued, 1))
    assert {row.number: row.amount_minor for row in received} == {n: row.total_minor for n, row in issued.items()}
    totals: Counter[str] = Counter()
    for row in issued.values():
        totals[row.currency] += row.total_minor
    assert world.taken() == totals
