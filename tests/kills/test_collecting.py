"""Collecting, killed by SIGKILL at every commit point, and run again a day later when the gateway has forgotten its
keys: each invoice is charged once, each credit note given back once (rule 6.5). And two collectors at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from billing.core.crediting import parse_wanted
from billing.steps import commit_points
from billing.steps.credit import credit
from billing.steps.homes import home_at
from tests.kills import collecting
from tests.kills.test_kills import LONG_S, forks
from tests.payments.fake_gateway import FakeGateway
from tests.steps.small_world import Shop
from tests.steps.test_collect import ISSUED, ONE, TWO, VISA, Till

pytestmark = pytest.mark.kills
__all__ = ["forks"]

SECOND = "pm2,c2,fake,tok_2_of_cus2,Visa,1111,2030-01"
MOVED = "pm3,c2,fake,tok_3_of_cus3,Visa,2222,2030-01"
HOUR = timedelta(hours=1)


@pytest.fixture
def till(tmp_path: Path, database_url: str | None) -> Iterator[Till]:
    """One invoice that was paid and is partly given back; one that was declined, its card since replaced by one of
    another customer there; and two new ones. So a run does all that it can do.
    """
    home = home_at(tmp_path / "home", database_url)
    home.create()
    made = Till(Shop(home=home, folder=tmp_path / "files"), FakeGateway(file=tmp_path / "gateway.json"))
    made.load(VISA, SECOND, second="pm2")
    made.gateway.answer("tok_2_of_cus2", "!insufficient_funds")
    made.issue()
    made.collect()
    credit(home, ONE, reason="wrong", wanted=[parse_wanted("1:1")], as_of=made.now)
    made.load(VISA, SECOND, MOVED, second="pm3")
    made.issue(2, "09-02")
    made.now = ISSUED + timedelta(days=31)
    yield made
    home.close()


PAID = {ONE: 576, TWO: 720, "INV-2026-000003": 576, "INV-2026-000004": 480}


def start(forks: Any, till: Till, after: timedelta, kill: tuple[str, int] | None = None) -> Any:
    database = till.shop.home.database
    url = None if database.is_sqlite else database.url
    now = (till.now + after).isoformat()
    till.gateway.set(clock=now)
    arguments = (till.shop.home.folder, url, till.gateway.file, now, kill or ())
    process = forks.Process(target=collecting.run, args=arguments)
    process.start()
    return process


def ended(forks: Any, till: Till, after: timedelta, kill: tuple[str, int] | None = None) -> int | None:
    process = start(forks, till, after, kill)
    process.join(LONG_S)
    return process.exitcode  # type: ignore[no-any-return]


@pytest.mark.parametrize("point", commit_points.COLLECT)
def test_killed_at_a_commit_point_each_is_charged_once(forks: Any, till: Till, point: str) -> None:
    assert ended(forks, till, HOUR, (point, 1)) == -signal.SIGKILL
    till.gateway.forget_keys()
    assert ended(forks, till, timedelta(days=2)) == 0
    assert ended(forks, till, timedelta(days=4)) == 0
    assert till.gateway.taken() == PAID
    assert [till.state(number) for number in PAID] == ["paid"] * 4
    refunded = [event for event in till.events(ONE) if event[0] == "refunded"]
    assert refunded == [("refunded", "2.88")]
    till.laws_hold()


def test_killed_again_and_again(forks: Any, till: Till) -> None:
    for hours, point in enumerate(commit_points.COLLECT * 2):
        ended(forks, till, hours * HOUR, (point, 1 + hours // len(commit_points.COLLECT)))
        till.gateway.forget_keys()
    assert ended(forks, till, timedelta(days=9)) == 0
    assert till.gateway.taken() == PAID
    till.laws_hold()


def test_two_collectors_at_once_double_nothing(forks: Any, till: Till) -> None:
    running = [start(forks, till, HOUR) for _ in range(3)]
    for process in running:
        process.join(LONG_S)
        assert process.exitcode == 0
    assert till.gateway.taken() == PAID
    assert till.gateway.calls("confirm") == 5, "one for each invoice, and the one that was declined"
    till.laws_hold()
