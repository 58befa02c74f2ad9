"""Rating as it is written at first, and as many systems do it: one event after the other, objects and Decimal.

    python -m benchmarks.one_by_one sample  WORKLOAD FOLDER EVENTS
    python -m benchmarks.one_by_one rate    WORKLOAD FOLDER

Events are read from SQLite in their order; for each its team is looked up, its units are completed and drawn on the
team's balances (free, token flex, flex, pay as you go), and each draw becomes a row of a ledger. What can be kept in
memory is: owners, rates, balances. The sample is whole teams, chosen by a hash, of at most ``EVENTS`` events in all.
What was charged goes into ``FOLDER/one_by_one.csv``: team_id, api, source, charged_units, tokens; what waits into
``FOLDER/one_by_one_carry.csv``: team_id, api, carry.
"""

from __future__ import annotations

import csv
import sqlite3
import sys
from bisect import bisect_right
from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from benchmarks.measuring import Figures, measuring, tell
from benchmarks.workload import DAYS, START

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FOREVER_US = 2**62
_AT_ONCE = 100_000
_DATABASE = "one-by-one.db"
ZERO = Decimal(0)


def to_us(text: str) -> int:
    """An instant as microseconds since 1970; none is forever."""
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1) if text else _FOREVER_US


@dataclass(slots=True)
class Draw:
    """What units were drawn from."""

    source: str
    subscription_id: str
    grant_id: str
    units: int
    tokens: Decimal = ZERO
    unit_price: str = ""


class Source(Protocol):
    """What may pay for units."""

    def draw(self, api: str, cost: Decimal, units: int, at_us: int) -> Iterator[Draw]:
        """Pay for as many of the units as it can, ``cost`` tokens each where it pays in tokens."""


@dataclass(slots=True)
class Free:
    """A free subscription: so many units of each API in each of its months."""

    subscription_id: str
    period_starts_us: list[int]
    granted: dict[str, int] = field(default_factory=dict)
    used: dict[tuple[str, int], int] = field(default_factory=lambda: defaultdict(int))

    def draw(self, api: str, cost: Decimal, units: int, at_us: int) -> Iterator[Draw]:
        """As many as are left in the month."""
        period = bisect_right(self.period_starts_us, at_us)
        taken = min(units, self.granted.get(api, 0) - self.used[api, period])
        if period and taken:
            self.used[api, period] += taken
            yield Draw("free", self.subscription_id, "", taken)


@dataclass(slots=True)
class Grant:
    """Tokens of a subscription."""

    subscription_id: str
    grant_id: str
    valid_from_us: int
    expires_us: int
    left: Decimal


@dataclass(slots=True)
class Pool:
    """All grants of one kind (of one subscription: in a workload no team has two); the soonest to expire goes first."""

    kind: str
    grants: list[Grant] = field(default_factory=list)

    def draw(self, api: str, cost: Decimal, units: int, at_us: int) -> Iterator[Draw]:
        """Unit by unit, as long as there is enough for a whole one."""
        valid = [grant for grant in self.grants if grant.left and grant.valid_from_us <= at_us < grant.expires_us]
        while units and sum(grant.left for grant in valid) >= cost:
            units -= 1
            due, unit = cost, 1
            for grant in valid:
                if due and grant.left:
                    tokens = min(due, grant.left)
                    grant.left -= tokens
                    due -= tokens
                    yield Draw(self.kind, grant.subscription_id, grant.grant_id, unit, tokens)
                    unit = 0


@dataclass(slots=True)
class Payg:
    """A subscription that pays as it goes."""

    subscription_id: str
    purchased_us: int
    prices: dict[str, str]

    def draw(self, api: str, cost: Decimal, units: int, at_us: int) -> Iterator[Draw]:
        """All of them."""
        if self.purchased_us <= at_us:
            yield Draw("payg", self.subscription_id, "", units, ZERO, self.prices[api])


@dataclass(slots=True)
class Team:
    """A team with what waits for a whole unit, and what it holds in the order in which that pays."""

    team_id: str
    carry: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    sources: list[Source] = field(default_factory=list)

    def complete(self, api: str, quantity: Decimal, unit_size: Decimal) -> int:
        """Add usage; how many units it completes."""
        total = self.carry[api] + quantity
        units = total // unit_size
        self.carry[api] = total - units * unit_size
        return int(units)

    def draw(self, api: str, cost: Decimal, units: int, at_us: int) -> Iterator[Draw]:
        """Draw units on the sources in turn; what none can pay for is unfunded."""
        for source in self.sources:
            for draw in source.draw(api, cost, units, at_us):
                units -= draw.units
                yield draw
            if not units:
                return
        yield Draw("unfunded", "", "", units)


@dataclass(slots=True)
class Books:
    """All that rating looks up. ``owners``: by app the (from, until, team) of those who had it; ``rates``: by API the
    unit size and the tokens a unit.
    """

    owners: dict[str, list[tuple[int, int, Team]]]
    rates: dict[str, tuple[Decimal, Decimal]]

    def owner(self, app_id: str, at_us: int) -> Team:
        """The team that had the app then."""
        for since_us, until_us, team in self.owners[app_id]:
            if since_us <= at_us < until_us:
                return team
        raise SystemExit(f"nobody had {app_id} at {at_us}")


def read_books(workload: Path) -> Books:
    """The reference data, and the carry-over that history left."""
    folder = workload / "reference"
    teams = {row["team_id"]: Team(row["team_id"]) for row in _rows(folder / "teams.csv")}
    hub_teams = {row["hub_id"]: row for row in _rows(folder / "hub_teams.csv")}  # no hub moves in a workload
    owners: dict[str, list[tuple[int, int, Team]]] = defaultdict(list)
    for row in _rows(folder / "app_hubs.csv"):
        hub = hub_teams[row["hub_id"]]
        since_us = max(to_us(row["valid_from"]), to_us(hub["valid_from"]))
        until_us = min(to_us(row["valid_to"]), to_us(hub["valid_to"]))
        owners[row["app_id"]].append((since_us, until_us, teams[hub["team_id"]]))
    _hand_out_sources(folder, teams)
    for row in _rows(workload / "opening.csv"):
        teams[row["team_id"]].carry[row["api"]] = Decimal(row["carry"])
    rates = _rows(folder / "unit_rates.csv")
    sizes = {row["api"]: (Decimal(row["unit_size"]), Decimal(row["tokens_per_unit"])) for row in rates}
    return Books(owners=owners, rates=sizes)


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _hand_out_sources(folder: Path, teams: dict[str, Team]) -> None:
    allowances, grants, prices = (_by(folder / f"{name}.csv", key) for name, key in _HELD)
    held = sorted(_rows(folder / "subscriptions.csv"), key=lambda row: _ORDER.index(row["kind"]))
    for row in held:
        name = row["subscription_id"]
        source: Source
        if row["kind"] == "free":
            granted = {each["api"]: int(each["units_per_period"]) for each in allowances[name]}
            source = Free(name, _months(to_us(row["purchased_at"]), row["time_zone"]), granted)
        elif row["kind"] == "payg":
            by_api = {each["api"]: each["unit_price"] for each in prices[row["currency"]]}
            source = Payg(name, to_us(row["purchased_at"]), by_api)
        else:
            source = Pool(row["kind"], sorted(map(_grant, grants[name]), key=_burn_order))
        teams[row["team_id"]].sources.append(source)


_ORDER = ("free", "token_flex", "flex", "payg")
_HELD = (("free_allowances", "subscription_id"), ("token_grants", "subscription_id"), ("unit_prices", "currency"))


def _by(path: Path, key: str) -> dict[str, list[dict[str, str]]]:
    result: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in _rows(path):
        result[row[key]].append(row)
    return result


def _grant(row: dict[str, str]) -> Grant:
    window = (to_us(row["valid_from"]), to_us(row["expires_at"]))
    return Grant(row["subscription_id"], row["grant_id"], *window, Decimal(row["tokens"]))


def _burn_order(grant: Grant) -> tuple[int, int, str]:
    return grant.expires_us, grant.valid_from_us, grant.grant_id


def _months(purchased_us: int, time_zone: str) -> list[int]:
    """When the months of a subscription begin, from its purchase to the workload's end, in microseconds."""
    zone = ZoneInfo(time_zone)
    first = (_EPOCH + timedelta(microseconds=purchased_us)).astimezone(zone).date()
    starts, month = [purchased_us], 0
    while starts[-1] < to_us((START + timedelta(days=DAYS)).isoformat()):
        month += 1
        year, index = divmod(first.year * 12 + first.month - 1 + month, 12)
        day = date(year, index + 1, min(first.day, monthrange(year, index + 1)[1]))
        starts.append(to_us(datetime.combine(day, time(), zone).isoformat()))
    return starts


def rate(database: Path, books: Books) -> Figures:
    """All events of a database, in their order; each draw is a row of its table ``draws``."""
    events = "select event_id, occurred_us, app_id, api, quantity from usage order by occurred_us, event_id"
    ledger = "insert into draws values (?, ?, ?, ?, ?, ?, ?, ?, ?)"
    count = 0
    with measuring() as figures:
        connection = sqlite3.connect(database)
        for event_id, at_us, app_id, api, quantity in connection.execute(events):
            count += 1
            team = books.owner(app_id, at_us)
            if api not in books.rates:
                continue
            unit_size, cost = books.rates[api]
            if units := team.complete(api, Decimal(quantity), unit_size):
                for draw in team.draw(api, cost, units, at_us):
                    paid = (draw.source, draw.subscription_id, draw.grant_id, draw.units, str(draw.tokens))
                    connection.execute(ledger, (event_id, team.team_id, api, *paid, draw.unit_price))
        connection.commit()
        connection.close()
    figures.events = count
    return figures


def write_sample(workload: Path, database: Path, sample: int) -> None:
    """The events of whole teams, at most ``sample`` of them, in SQLite with an index by their order."""
    with duckdb.connect() as engine, sqlite3.connect(database) as connection:
        engine.register("usage", engine.read_parquet(str(workload / "usage" / "*.parquet")))
        engine.register("apps", engine.read_csv(str(workload / "reference" / "app_hubs.csv")))
        sizes = engine.sql("select hub_id, count(*) from usage join apps using (app_id) group by hub_id").fetchall()
        engine.register("chosen", pa.table({"hub_id": pa.array(_chosen(dict(sizes), sample), pa.string())}))
        found = engine.execute(
            "select event_id, epoch_us(occurred_at), app_id, api, quantity::text from usage join apps using (app_id) "
            "join chosen using (hub_id)"
        )
        connection.executescript(_TABLES)
        while rows := found.fetchmany(_AT_ONCE):
            connection.executemany("insert into usage values (?, ?, ?, ?, ?)", rows)
        connection.execute("create index usage_order on usage (occurred_us, event_id)")
    connection.close()


_TABLES = """
create table usage (event_id text, occurred_us integer, app_id text, api text, quantity text);
create table draws (
    event_id text, team_id text, api text, source text, subscription_id text, grant_id text, charged_units integer,
    tokens text, unit_price text
);
"""


def _chosen(size_by_owner: dict[str, int], sample: int) -> list[str]:
    """Owners in the order of a hash, without those that are too large for what is left."""
    chosen = []
    for owner in sorted(size_by_owner, key=lambda name: sha256(name.encode()).digest()):
        if size_by_owner[owner] <= sample:
            sample -= size_by_owner[owner]
            chosen.append(owner)
    return chosen


def _write(database: Path, books: Books, folder: Path) -> None:
    """The ledger's sums, and the carry-over of every team of the sample."""
    sums: dict[tuple[str, str, str], tuple[int, Decimal]] = defaultdict(lambda: (0, ZERO))
    with sqlite3.connect(database) as connection:
        draws = connection.execute("select team_id, api, source, charged_units, tokens from draws")
        for team_id, api, source, units, tokens in draws:
            before = sums[team_id, api, source]
            sums[team_id, api, source] = before[0] + units, before[1] + Decimal(tokens)
        apps = {app for (app,) in connection.execute("select distinct app_id from usage")}
    connection.close()
    header = ("team_id", "api", "source", "charged_units", "tokens")
    _table(folder / "one_by_one.csv", [header, *((*key, *total) for key, total in sums.items())])
    teams = {team.team_id: team for app in apps for *_, team in books.owners[app]}
    waiting = [(name, api, carry) for name, team in teams.items() for api, carry in team.carry.items()]
    _table(folder / "one_by_one_carry.csv", [("team_id", "api", "carry"), *waiting])


def _table(path: Path, rows: Sequence[Sequence[object]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        csv.writer(handle).writerows(rows)


def main(workload: Path, folder: Path) -> None:
    """Rate, and write what was charged."""
    database, books = folder / _DATABASE, read_books(workload)
    figures = rate(database, books)
    _write(database, books, folder)
    database.unlink()
    tell(one_by_one=figures)


if __name__ == "__main__":
    step, workload, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if step == "sample":
        write_sample(workload, folder / _DATABASE, int(sys.argv[4]))
        tell()
    else:
        main(workload, folder)
