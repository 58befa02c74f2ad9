"""Homes in which something is wrong, one for each entry of ``docs/operations.md``."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from billing.core.errors import BillingError
from billing.core.instants import format_instant, from_us, parse_instant_us
from billing.intake.sources.folder_source import FolderSource
from billing.intake.sources.sql_source import SqlSource
from billing.steps.close import close
from billing.steps.mail_issued import mail_issued
from billing.steps.reference import load_reference
from billing.steps.windows import register, take_window
from billing.store.home import Home
from billing.store.mailings import claim, mailing
from billing.store.tables import closes
from tests.steps.mail_world import issue, keep_document
from tests.steps.small_world import REFERENCE, USAGE_HEADER, Shop, write_reference

CHECKOUT = Path(__file__).parents[2]
JULY = "2026-07-01T00:00:00Z"
AFTER_JULY = "2026-08-01T02:00:00Z"


def instant(written: str) -> datetime:
    return from_us(parse_instant_us(written))


@dataclass(kw_only=True)
class World:
    """A folder with a home, reference data, and the drop folder in it; commands run there."""

    folder: Path
    home: Home

    @property
    def drop(self) -> Path:
        return self.folder / "home" / "drop"

    def reference(self, **changed: Sequence[str]) -> None:
        """Write reference data; it is not loaded yet."""
        write_reference(self.folder / "reference", {**REFERENCE, **changed})

    def load(self, **changed: Sequence[str]) -> None:
        self.reference(**changed)
        load_reference(self.home, self.folder / "reference")

    def deliver(self, name: str, arrived_at: str, *lines: str) -> Path:
        """A usage file in the drop folder."""
        path = self.drop / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([USAGE_HEADER, *lines, ""]), "utf-8")
        seconds = instant(arrived_at).timestamp()
        os.utime(path, (seconds, seconds))
        return path

    def take(self, start: str, end: str) -> None:
        """A window of the drop folder; that it is refused is what some entries begin with."""
        with suppress(BillingError):
            take_window(self.home, FolderSource(name="drop", folder=self.drop), instant(start), instant(end))


def event(number: int, day: str = "2026-07-05", app: str = "a1", api: str = "render", quantity: str = "30") -> str:
    return f"e{number},{day}T10:00:00Z,{app},{api},{quantity},,"


def a_file_cannot_be_read(world: World) -> None:
    world.load()
    world.deliver("0705.csv", "2026-07-05T12:00:00Z", event(1))
    world.take("2026-07-05T00:00:00Z", "2026-07-06T00:00:00Z")
    world.deliver("0706.csv", "2026-07-06T12:00:00Z", event(2, "2026-07-06"))
    path = world.deliver("0706-b.csv", "2026-07-06T12:00:00Z")
    path.write_bytes("event_id;occurred_at\n".encode("utf-16"))
    os.utime(path, (instant("2026-07-06T12:00:00Z").timestamp(),) * 2)
    world.take("2026-07-06T00:00:00Z", "2026-07-07T00:00:00Z")


def a_source_cannot_be_reached(world: World) -> None:
    world.load()
    world.deliver("july.csv", "2026-07-05T12:00:00Z", event(1))
    world.take(JULY, AFTER_JULY)
    database = world.folder / "warehouse" / "usage.db"
    database.parent.mkdir()
    columns = "event_id text, occurred_at text, app_id text, api text, quantity text, corrects text, team_id text"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"create table usage_events ({columns}, arrived_at text)")
        values = "'w1', '2026-07-09T10:00:00Z', 'a2', 'translate', '3', null, null, '2026-07-09 10:00:01.000000'"
        connection.execute(f"insert into usage_events values ({values})")  # noqa: S608
        connection.commit()
    toml = f'[sources.drop]\nkind = "files"\nlocation = "{world.drop}"\n\n'
    toml += f'[sources.warehouse]\nkind = "sql"\nurl = "sqlite:///{database}"\n'
    (world.folder / "home" / "billing.toml").write_text(toml, "utf-8")
    shutil.move(database.parent, world.folder / "unplugged")
    query = CHECKOUT / "sql" / "extract" / "usage.sql"
    gone = SqlSource(name="warehouse", url=f"sqlite:///{database}", query=query)
    with suppress(BillingError):
        take_window(world.home, gone, instant(JULY), instant(AFTER_JULY))


def ten_times_the_usage(world: World) -> None:
    world.load()
    day = instant(JULY)
    for number in range(14):
        start = day + timedelta(days=number)
        written, end = format_instant(start), format_instant(start + timedelta(days=1))
        lines = [event(number * 100 + n, written[:10]) for n in range(40)]
        world.deliver(f"{written[:10]}.csv", format_instant(start + timedelta(hours=12)), *lines)
        world.take(written, end)
    world.deliver("launch.csv", "2026-07-15T12:00:00Z", *(event(9_000 + n, "2026-07-15") for n in range(900)))


def an_app_that_nobody_owns(world: World) -> None:
    world.load(app_hubs=REFERENCE["app_hubs"][:1])
    lines = [event(n, f"2026-07-{n:02}", "a2", "translate") for n in range(10, 16)]
    world.deliver("july.csv", "2026-07-16T12:00:00Z", event(1), *lines)
    world.take(JULY, "2026-07-17T00:00:00Z")
    world.reference()


def a_file_with_wrong_records(world: World) -> None:
    world.load()
    lines = [event(1, quantity="30"), event(2, quantity="3,5"), event(3, quantity="3500")]
    world.deliver("july.csv", "2026-07-16T12:00:00Z", *lines)
    world.take(JULY, "2026-07-17T00:00:00Z")
    mended = [event(1, quantity="30"), event(2, quantity="3.5"), event(3, quantity="35")]
    (world.folder / "july-mended.csv").write_text("\n".join([USAGE_HEADER, *mended, ""]), "utf-8")


def a_country_without_a_tax_rate(world: World) -> None:
    world.load(tax_rates=["DE,2000-01-01,19"])
    world.deliver("july.csv", "2026-07-16T12:00:00Z", event(1, quantity="65"), event(2, app="a2", api="translate"))
    world.take(JULY, AFTER_JULY)
    world.reference()


def a_month_sent_again(world: World) -> None:
    world.load()
    lines = [event(n, f"2026-07-{n:02}") for n in range(10, 16)]
    world.deliver("july.csv", "2026-07-16T12:00:00Z", *lines)
    world.take(JULY, "2026-07-17T00:00:00Z")
    world.deliver("july-again.csv", "2026-07-17T12:00:00Z", *reversed(lines))
    world.take("2026-07-17T00:00:00Z", "2026-07-18T00:00:00Z")


def a_restored_database(world: World) -> None:
    world.load()
    world.deliver("0710.csv", "2026-07-10T12:00:00Z", event(10))
    world.take(JULY, "2026-07-11T00:00:00Z")
    (world.folder / "backup").mkdir()
    with closing(sqlite3.connect(world.folder / "home" / "billing.db")) as database:
        database.execute(f"vacuum into '{world.folder / 'backup' / 'billing.db'}'")
    world.deliver("0711.csv", "2026-07-11T12:00:00Z", event(11))
    world.take("2026-07-11T00:00:00Z", "2026-07-12T00:00:00Z")
    world.home.close()


def newer_zones(world: World) -> None:
    world.load()
    world.deliver("july.csv", "2026-07-05T12:00:00Z", event(1))
    world.take(JULY, AFTER_JULY)
    close(world.home, instant(AFTER_JULY))
    with world.home.database.write() as connection:
        connection.execute(closes.update().values(tzdata="2024.1"))


def a_price_that_came_too_late(world: World) -> None:
    world.load()
    world.deliver("july.csv", "2026-07-05T12:00:00Z", event(1), event(2, app="a2", api="translate"))
    world.take(JULY, AFTER_JULY)
    close(world.home, instant(AFTER_JULY))
    prices = [line.replace("2.4", "2.5") for line in REFERENCE["unit_prices"]]
    world.reference(unit_prices=prices)


def a_source_that_is_gone_for_good(world: World) -> None:
    world.load()
    register(world.home, FolderSource(name="old-gateway", folder=world.folder))
    world.deliver("july.csv", "2026-07-05T12:00:00Z", event(1))
    world.take(JULY, AFTER_JULY)


def a_run_that_was_killed(world: World) -> None:
    from billing.steps import commit_points

    world.load()
    world.deliver("july.csv", "2026-07-05T12:00:00Z", event(1))

    def die(point: str) -> None:
        if point == commit_points.INGEST_USAGE_APPENDED:
            raise KeyboardInterrupt

    commit_points.listen(die)
    with suppress(KeyboardInterrupt):
        world.take(JULY, AFTER_JULY)
    commit_points._listeners.remove(die)


def many_small_files(world: World) -> None:
    world.load()
    for day in range(1, 10):
        world.deliver(f"07{day:02}.csv", f"2026-07-{day:02}T12:00:00Z", event(day, f"2026-07-{day:02}"))
        world.take(f"2026-07-{day:02}T00:00:00Z", f"2026-07-{day + 1:02}T00:00:00Z")


def mails_that_wait(world: World) -> None:
    """One buyer has no address; of the other's mail nobody knows whether it went, as its sender was killed."""
    shop = Shop(home=world.home, folder=world.folder / "in")
    issue(shop, (REFERENCE["customers"][0].replace("ap@example.com", ""), REFERENCE["customers"][1]))
    for number in ("INV-2026-000001", "INV-2026-000002"):
        keep_document(shop, number)
    toml = '[mail]\nsince = 2026-01-01T00:00:00Z\nsender = "billing@example.com"\n'
    (world.folder / "home" / "billing.toml").write_text(toml, "utf-8")
    at = instant(AFTER_JULY)
    mail_issued(world.home, since=instant(JULY), now=at)
    with world.home.database.write() as connection:
        one = mailing(connection, "invoice:INV-2026-000002")
        claim(connection, one, recipient="ap@example.com", message_id="<1@example.com>", at=at)


WORLDS: Mapping[str, Callable[[World], None]] = {
    "A window is missing: a file cannot be read": a_file_cannot_be_read,
    "A window is missing: a source cannot be reached": a_source_cannot_be_reached,
    "Usage is not as expected": ten_times_the_usage,
    "Rejects jumped": an_app_that_nobody_owns,
    "A file had wrong records": a_file_with_wrong_records,
    "A team is parked": a_country_without_a_tax_rate,
    "The source sent a month again": a_month_sent_again,
    "The database was restored": a_restored_database,
    "A zone changed its rules": newer_zones,
    "Reference data came too late": a_price_that_came_too_late,
    "Cycles are over and nothing closes": a_source_that_is_gone_for_good,
    "A run was killed": a_run_that_was_killed,
    "A mail waits for a person": mails_that_wait,
    "Taking and closing have become slow": many_small_files,
}
"""By the heading of the entry."""
