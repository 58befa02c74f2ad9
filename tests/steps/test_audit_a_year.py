"""Rules 7.1 to 7.3 over a year of a shop: whatever happened after a cycle was closed, it comes again, to the last byte,
from what its close had pinned and from the archived bytes; elsewhere, in another time zone, by another hash seed.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, text

from billing.core.errors import StoreOutOfDate
from billing.core.instants import format_instant
from billing.steps.credit import credit
from billing.steps.quarantine import select_records
from billing.steps.reissue import reissue
from billing.steps.render import render, unrendered
from billing.steps.replacement import replace_file
from billing.steps.replay import replay
from billing.steps.upkeep import upkeep
from billing.store import database as database_module
from billing.store.database import Database
from billing.store.tables import cycles, invoices

from .small_world import ALWAYS, REFERENCE, TEMPLATES, Shop

MONTHS = 12
EVENTS = 40
APPS = ("a1", "a2", "a3")


def month(number: int) -> datetime:
    """The start of a month: 0 is July 2026, when everything was bought."""
    year, place = divmod(6 + number, 12)
    return datetime(2026 + year, place + 1, 1, tzinfo=UTC)


class Year:
    """A shop month by month. What the source sends is drawn by a seed; what people do is in ``_done_in``."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.rng = shop, random.Random(7)
        self.reference: dict[str, list[str]] = {name: list(rows) for name, rows in REFERENCE.items()}
        self.reference["apps"] += ["a3,App Three"]
        self.reference["app_hubs"] += [f"a3,h2,{ALWAYS},"]
        self.theme, self.sent = "default", 0
        self.events: dict[int, list[str]] = {}

    def run(self) -> None:
        """Twelve months."""
        self.shop.load(**self.reference)
        for number in range(MONTHS):
            self._usage(number)
            self._done_in(number)
            now = month(number + 1) + timedelta(days=2)
            self.shop.ingest(*self._late(number), now=format_instant(now), name=f"late-{number}.csv")
            self.shop.close(format_instant(now))
            done = render(self.shop.home, unrendered(self.shop.home), TEMPLATES, theme=self.theme)
            assert not done.failed

    def _usage(self, number: int) -> None:
        """The month's usage: half of it at its middle, all of it, again and more, at its end."""
        first, last = month(number), month(number + 1)
        self.events[number] = [self._event(first, last) for _ in range(EVENTS)]
        middle = first + timedelta(days=15)
        early = [line for line in self.events[number] if line.split(",")[1] < format_instant(middle)]
        unknown = f"unknown{number},{format_instant(first)},a9,render,{number + 3},,"
        self.shop.ingest(*early, unknown, now=format_instant(middle))
        rest = [*self.events[number], self._correction(number), f"wrong{number},yesterday,a1,render,1,,"]
        self.rng.shuffle(rest)
        self.shop.ingest(*rest, now=format_instant(last), name=f"month-{number}.csv")

    def _event(self, first: datetime, last: datetime) -> str:
        self.sent += 1
        at = first + (last - first) * self.rng.random()
        api, app = self.rng.choice(("render", "translate")), self.rng.choice(APPS)
        quantity = f"{self.rng.randrange(1, 90)}.{self.rng.randrange(1000):03d}" if api == "render" else "3"
        return f"e{self.sent},{format_instant(at.replace(microsecond=0))},{app},{api},{quantity},,"

    def _correction(self, number: int) -> str:
        """Takes back a part of an event of the month, or of the month before, which is closed."""
        event = self.rng.choice(self.events[max(0, number - number % 2)] or self.events[number]).split(",")
        return f"c{number},{event[1]},{event[2]},{event[3]},-0.5,{event[0]},"

    def _late(self, number: int) -> list[str]:
        return [self._event(month(number - 1), month(number)) for _ in range(4)] if number else []

    def _done_in(self, number: int) -> None:
        shop = self.shop
        at = month(number) + timedelta(days=20)
        if number == 1:  # another price from now on
            self.reference["unit_prices"] += [f"render,EUR,{format_instant(at)},1.35"]
        if number == 2:  # an app moves to another hub, so to another team
            self._moves("a1", "h1", "h2", at)
        if number == 3:  # the app that nobody knew is registered, its usage taken again
            self.reference["apps"] += ["a9,App Nine"]
            self.reference["app_hubs"] += [f"a9,h1,{ALWAYS},"]
        if number == 5:  # another size of a unit
            self.reference["unit_rates"] += [f"render,{format_instant(at)},25,1"]
        if number in (1, 2, 3, 5):
            shop.load(**self.reference)
        if number == 3:
            replay(shop.home, select_records(reasons=["unattributed_app"]), at)
        if number == 4:
            _an_upgrade(shop)
        if number in (4, 8):
            upkeep(shop.home, 0)
        if number == 6:  # the house has another look
            self.theme = "ledger"
        if number == 7:
            shown = self._numbers()
            credit(shop.home, shown[1], reason="Agreed with the customer", as_of=at)
            credit(shop.home, shown[2], reason="Wrong address", as_of=at + timedelta(hours=1))
            reissue(shop.home, shown[2], as_of=at + timedelta(hours=2))
        if number == 9:  # a file of last month, put right
            lines = [line.replace(",3,,", ",2,,") for line in self.events[8]]
            name = "month-8.csv"
            replace_file(shop.home, shop.file([*lines, "c8" + self._line(8)]), at, name, correct=True)

    def _line(self, number: int) -> str:
        first = self.events[number][0].split(",")
        return f",{first[1]},{first[2]},{first[3]},-0.25,{first[0]},"

    def _moves(self, app: str, old: str, new: str, at: datetime) -> None:
        rows = [row for row in self.reference["app_hubs"] if not row.startswith(f"{app},")]
        then = format_instant(at)
        self.reference["app_hubs"] = [*rows, f"{app},{old},{ALWAYS},{then}", f"{app},{new},{then},"]

    def _numbers(self) -> list[str]:
        with self.shop.home.database.read() as connection:
            return list(connection.execute(select(invoices.c.number).order_by(invoices.c.issued_at_us)).scalars())


def _an_upgrade(shop: Shop) -> None:
    """The database is one of an earlier version, and is brought to this one."""
    database = shop.home.database
    with database.write() as connection:
        for statement in _BEFORE_0005:
            connection.execute(text(statement))
    with pytest.raises(StoreOutOfDate):
        database.check_version()
    shop.home.create()
    database.check_version()


_SINCE_0005 = (
    *("charge_invoices", "payment_events", "charges", "mailings", "placed_files"),
    *("ref_team_members", "usage_months", "usage_views", "alerts", "paces"),
    *("standings", "standing_refreshes", "standing_balances", "standing_apis"),
    *("open_carry", "open_draws", "open_teams", "open_ratings"),
    *("rejections", "approvals"),
)
_INDEXES = re.findall(
    r"create_index\(op\.f\('(\w+)'\), '(\w+)'",
    (Path(database_module.__file__).parent / "migrations" / "versions" / "0008_standings.py").read_text("utf-8"),
)
_BEFORE_0005 = (
    *(f"drop index {name}" for name, table in _INDEXES if table not in _SINCE_0005),
    *(f"drop table {name}" for name in _SINCE_0005),
    *(f"alter table closes drop column {name}" for name in ("approval", "approved_at_us")),
    "update alembic_version set version_num = '0004'",
)


@pytest.fixture
def a_year(shop: Shop) -> Shop:
    """The shop after twelve months."""
    Year(shop).run()
    return shop


def test_a_year_comes_again_elsewhere(a_year: Shop, tmp_path: Path, database_url: str | None) -> None:
    with a_year.home.database.read() as connection:
        assert len(connection.execute(select(cycles)).all()) == 2 * MONTHS
        issued = connection.execute(text("select count(*) from invoices where revision = 1")).scalar_one()
        assert issued > MONTHS
        late = connection.execute(text("select count(*) from carry where late_usage_micro <> 0")).scalar_one()
        assert late > MONTHS
    a_year.home.close()
    elsewhere = tmp_path / "somewhere" / "else"
    shutil.copytree(a_year.home.folder, elsewhere)
    for line in (["rerun", "--all"], ["rerun", "--all", "--from-genesis"], ["laws"], ["log"], ["usage"]):
        done = _audited(elsewhere, database_url, line)
        assert done.returncode == 0, (line, done.stdout[-3000:], done.stderr[-3000:])


def _audited(folder: Path, database_url: str | None, line: list[str]) -> subprocess.CompletedProcess[str]:
    where = ["--home", str(folder), *(["--database", Database(database_url, folder).url] if database_url else [])]
    environment = {**os.environ, "TZ": "Pacific/Apia", "PYTHONHASHSEED": "4711", "LC_ALL": "C"}
    return subprocess.run(
        [sys.executable, "-c", "from billing.cli import main; main()", *where, "audit", *line],
        capture_output=True,
        text=True,
        env=environment,
        cwd=folder.parent,
        check=False,
    )
