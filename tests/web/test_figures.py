"""What the pages show is what `billing balances`, the ledger and the events say: for every team, at ten instants after
the last close, through refreshes, ends of grants, and usage that comes late.

Balances are compared with the command's, invoices with the export, units and spend with what the close of the same
cycle later charges; carry-over and usage are put together again from the events alone, by rule 4.2 and by days.
"""

from __future__ import annotations

import html
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from billing.core.cycles import anniversary
from billing.core.instants import DAY_US, from_us, parse_instant_us, to_us
from billing.core.quantity import decimal_of_micro, format_micro
from billing.core.reference import FOREVER_US
from billing.intake.sources.seam import SourceFile
from billing.steps.balances import balances
from billing.steps.close import close
from billing.steps.export import balance_cells
from billing.steps.ingest import ingest
from billing.steps.open_ratings import refresh_open
from billing.steps.simulate import simulate
from billing.steps.standings import refresh_standings
from billing.steps.usage_views import refresh_views
from billing.store.home import Home
from billing.store.ledger import ISSUED
from billing.store.tables import STILL_KNOWN, batches, carry, cycles, draws, invoices, reference_history
from billing.web.access import _viewer
from billing.web.app import app
from billing.web.clock import now
from billing.web.pages.wording import money, number
from tests.steps.small_world import BOUGHT, USAGE_HEADER, Shop

from .conftest import OPERATOR

CASES = Path(__file__).parents[3] / "shared" / "cases"
NAMES = sorted(path.name for path in CASES.iterdir() if path.is_dir()) if CASES.is_dir() else []
INSTANTS = 10
LATE_AFTER, FRESH_AFTER = (0, 1), (3, 6)
_FAR = timedelta(days=800)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """An accepted event; ``effective_us`` as of the last close (rule 3.5), None where a closed cycle has billed it."""

    team_id: str
    event_id: str
    app_id: str
    api: str
    corrects: str
    occurred_us: int
    quantity: int
    effective_us: int | None

    @property
    def order(self) -> tuple[int, int, bool, str]:
        """Rule 4.2's."""
        return (self.effective_us or 0, self.occurred_us, not self.corrects, self.event_id)

    @property
    def day(self) -> date:
        return from_us(self.occurred_us).date()


@dataclass(kw_only=True)
class World:
    """A home, its pages as an operator sees them at ``at``, and the running cycles that were seen."""

    home: Home
    client: TestClient
    clock: dict[str, datetime]
    folder: Path
    seen: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    serial: int = 0
    rated: int = -1

    def team(self, team_id: str, path: str = "/api/v1/team", **more: object) -> Any:
        found = self.client.get(path, params={"team_id": team_id, **more})
        assert found.status_code == 200, found.text
        return found

    def refresh(self, at: datetime) -> None:
        """What `balances_refresh` does, at an instant."""
        self.clock["at"] = at
        if self.rated != len(self.events):  # without new usage there is nothing to rate again
            self.rated = len(self.events)
            refresh_open(self.home)
        refresh_standings(self.home, at)
        refresh_views(self.home, at)

    def arrive(self, lines: list[str], at: datetime) -> None:
        """Usage that comes in at an instant."""
        self.serial += 1
        path = self.folder / f"more-{self.serial}.csv"
        path.write_text("\n".join([USAGE_HEADER, *lines, ""]), "utf-8")
        ingest(self.home, [SourceFile(path=path, name=path.name)], at, source=f"more {self.serial}")
        before = {event.event_id for event in self.events}
        self.events = read_events(self.home)
        for event in self.events:
            if event.event_id not in before:
                self.forget(event)

    def forget(self, event: Event) -> None:
        """A cycle that got more usage is not the one that was seen."""
        for (team_id, start_us), cycle in list(self.seen.items()):
            end_us = parse_instant_us(cycle["end"])
            if team_id == event.team_id and start_us <= (event.effective_us or 0) < end_us:
                del self.seen[team_id, start_us]


@contextmanager
def pages_of(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("BILLING_HOME", str(home.folder))
    monkeypatch.delenv("BILLING_DATABASE_URL", raising=False)
    if not home.database.is_sqlite:
        monkeypatch.setenv("BILLING_DATABASE_URL", home.database.url)
    clock = {"at": datetime.now(UTC)}
    app.dependency_overrides |= {_viewer: lambda: OPERATOR, now: lambda: clock["at"]}
    try:
        with TestClient(app) as client:
            yield World(home=home, client=client, clock=clock, folder=folder, events=read_events(home))
    finally:
        app.dependency_overrides.clear()


def read_events(home: Home) -> list[Event]:
    """Every accepted event, with where it counts now."""
    with home.database.read() as connection:
        closed: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row in connection.execute(select(cycles).where(cycles.c.state == ISSUED)):
            closed[row.team_id].append((row.cycle_end_us, row.pinned_batch))
        known = set(connection.execute(select(batches.c.batch_no).where(batches.c.state == "committed")).scalars())
    rows = home.usage.lake.dataset().to_table().to_pylist() if home.usage.lake.exists() else []
    found = []
    for row in rows:
        if row["batch_no"] not in known:
            continue
        occurred_us, mine = to_us(row["occurred_at"]), closed[row["team_id"]]
        billed = any(end > occurred_us and pin >= row["batch_no"] for end, pin in mine)
        last_end = max((end for end, _ in mine), default=occurred_us)
        found.append(
            Event(
                team_id=row["team_id"],
                event_id=row["event_id"],
                app_id=row["app_id"],
                api=row["api"],
                corrects=row["corrects"],
                occurred_us=occurred_us,
                quantity=row["quantity_micro"],
                effective_us=None if billed else max(occurred_us, last_end),
            )
        )
    return found


# --- the instants ----------------------------------------------------------------------------------------------------


def first_instant(home: Home) -> datetime:
    """The last close's end; without any close the first purchase."""
    with home.database.read() as connection:
        ended = connection.execute(select(func.max(cycles.c.cycle_end_us)).where(cycles.c.state == ISSUED)).scalar()
        bought = connection.execute(select(func.min(reference_history["subscriptions"].c.purchased_at))).scalar()
    return from_us(int(ended or bought or 0))


def walk(world: World) -> None:
    """Ten instants: just before and at what ends or refreshes next, and days and months on; usage comes in between."""
    at = first_instant(world.home)
    for place in range(INSTANTS):
        world.refresh(at)
        following = next_change(compare(world, with_html=place in (2, INSTANTS - 1)), at)
        if place in LATE_AFTER:
            world.arrive(late_lines(world, at, place), at)
        if place in FRESH_AFTER:
            world.arrive(fresh_lines(world, at, place), at)
        match place % 4:
            case 0:
                at += timedelta(hours=30)
            case 1:
                at = max(at, following - timedelta(microseconds=1))
            case 2:
                at = following if following > at else at + timedelta(days=1)
            case 3:
                at += timedelta(days=3 if place < 4 else 75)


def next_change(frame: pd.DataFrame, at: datetime) -> datetime:
    us = [int(u) for name in ("ends_at_us", "refreshes_at_us") for u in frame[name] if to_us(at) < u < FOREVER_US]
    return from_us(min(us, default=to_us(at) + 10 * DAY_US))


def late_lines(world: World, at: datetime, place: int) -> list[str]:
    """The oldest and the newest event of every team and API again, larger and under other ids (rule 3.5)."""
    chosen: dict[tuple[str, str, bool], Event] = {}
    for event in sorted(world.events, key=lambda e: (e.occurred_us, e.event_id)):
        if not event.corrects and event.occurred_us < to_us(at):
            chosen.setdefault((event.team_id, event.api, False), event)
            chosen[event.team_id, event.api, True] = event
    return [
        line(event, f"late-{place}-{nth}", event.occurred_us, 3 * event.quantity + 500_000)
        for nth, event in enumerate(chosen.values())
    ]


def fresh_lines(world: World, at: datetime, place: int) -> list[str]:
    """Usage of this very instant, by every app and API that used anything; some belong to nobody by now."""
    pairs = {(event.app_id, event.api, event.team_id if not event.app_id else ""): event for event in world.events}
    return [
        line(event, f"fresh-{place}-{nth}", to_us(at), 7_250_000)
        for nth, event in enumerate(pairs[key] for key in sorted(pairs))
    ]


def line(event: Event, event_id: str, occurred_us: int, quantity: int) -> str:
    team_id = "" if event.app_id else event.team_id
    cells = (event.app_id, event.api, format_micro(quantity), "", team_id)
    return f"{event_id},{from_us(occurred_us).isoformat().replace('+00:00', 'Z')},{','.join(map(quoted, cells))}"


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if re.search(r'[",\r\n]', cell) else cell


# --- the comparison --------------------------------------------------------------------------------------------------


def compare(world: World, *, with_html: bool) -> pd.DataFrame:
    """Every team: balances, the running cycle, usage by day, and the list. Returns the balances."""
    at = world.clock["at"]
    frame = balances(world.home, at)
    told: dict[str, list[tuple[object, ...]]] = defaultdict(list)
    for cells in balance_cells(frame):
        told[cells[0]].append((*cells[1:5], *map(Decimal, cells[5:8]), *map(us_of, cells[8:10])))
    sizes, rated = unit_sizes(world.home)
    listed = {row["team_id"]: row for row in listing(world)}
    with world.home.database.read() as connection:
        team_ids = list(connection.execute(select_teams()).scalars())
        newest = connection.execute(select(func.max(batches.c.batch_no))).scalar()
    assert set(told) <= set(team_ids)
    for team_id in team_ids:
        page = world.team(team_id).json()
        assert sorted(shown_balances(page), key=str) == sorted(told[team_id], key=str), (team_id, at)
        if page["cycle"] or page["cards"]:
            assert (us_of(page["freshness"]["as_of"]), page["freshness"]["through_batch"]) == (to_us(at), newest)
        compare_cards(page)
        compare_cycle(world, page, sizes, rated)
        compare_usage(world, team_id)
        compare_row(page, listed[team_id])
        if with_html:
            compare_html(page, world.team(team_id, "/team").text)
    return frame


def select_teams() -> Any:
    teams = reference_history["teams"].c
    return select(teams.team_id).where(teams.known_to == STILL_KNOWN).order_by(teams.team_id)


def listing(world: World) -> Iterator[dict[str, Any]]:
    key = ""
    while True:
        page = world.client.get("/api/v1/teams", params={"key": key, "limit": 200}).json()
        yield from page["teams"]
        if not (key := page["next_key"]):
            return


def us_of(text: str | None) -> int | None:
    return parse_instant_us(text) if text else None


def shown_balances(page: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """Rule 8.1: as the command tells them."""
    return [
        (card["source"], one["subscription_id"], one["grant_id"], card["api"])
        + tuple(Decimal(one[name]) for name in ("granted", "used", "available"))
        + tuple(us_of(one[name]) for name in ("ends_at", "refreshes_at"))
        for card in page["cards"]
        for one in card["balances"]
    ]


def compare_cards(page: Mapping[str, Any]) -> None:
    """A card is the sum of its balances; it refreshes with the first of them, and ends with the first that has
    something left.
    """
    for card in page["cards"]:
        for name in ("granted", "used", "available"):
            assert Decimal(card[name]) == sum(Decimal(one[name]) for one in card["balances"])
        for name, mine in (
            ("ends_at", [one for one in card["balances"] if Decimal(one["available"])]),
            ("refreshes_at", card["balances"]),
        ):
            assert us_of(card[name]) == min((us_of(o[name]) or 0 for o in mine if o[name]), default=None)


def unit_sizes(home: Home) -> tuple[dict[str, list[tuple[int, int]]], set[str]]:
    """By API its sizes as known now, by instant; and the APIs that are rated."""
    rates, apis = reference_history["unit_rates"].c, reference_history["apis"].c
    with home.database.read() as connection:
        sizes: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row in connection.execute(select(rates).where(rates.known_to == STILL_KNOWN)):
            sizes[row.api].append((row.valid_from, row.unit_size))
        known = select(apis.api).where(apis.known_to == STILL_KNOWN, apis.billing == "rated")
        return {api: sorted(mine) for api, mine in sizes.items()}, set(connection.execute(known).scalars())


def compare_cycle(
    world: World, page: Mapping[str, Any], sizes: Mapping[str, list[tuple[int, int]]], rated: set[str]
) -> None:
    """Rule 4.2 by hand over the open events: opening, usage, carry-over, and how many units there are."""
    cycle, at_us, team_id = page["cycle"], to_us(world.clock["at"]), page["team_id"]
    if cycle is None:
        return
    start_us = parse_instant_us(cycle["start"])
    shown = {
        one["api"]: (
            Decimal(one["opening"]),
            Decimal(one["usage"]),
            Decimal(one["carry"]),
            sum(paid["units"] for paid in one["units"]),
        )
        for one in cycle["apis"]
        if one["api"] in rated
    }
    mine = [e for e in world.events if e.team_id == team_id and e.effective_us is not None and e.effective_us < at_us]
    closing = closed_carry(world.home, team_id)
    for api in rated:
        used = sorted((event for event in mine if event.api == api), key=lambda event: event.order)
        counted = by_hand(used, sizes.get(api, []), closing.get(api, 0), start_us)
        assert shown.get(api, (0, 0, 0, 0)) == counted, (team_id, api, world.clock["at"])
    by_source = {paid["source"]: paid["units"] for paid in cycle["units"]}
    assert sum(by_source.values()) == sum(units for *_, units in shown.values())
    end_us = parse_instant_us(cycle["end"])
    rest = [e for e in world.events if e.team_id == team_id and e.effective_us is not None and e.effective_us >= at_us]
    world.seen.pop((team_id, start_us), None)
    if not any((event.effective_us or 0) < end_us for event in rest):
        world.seen[team_id, start_us] = cycle


def by_hand(
    used: list[Event], sizes: list[tuple[int, int]], closing: int, start_us: int
) -> tuple[Decimal, Decimal, Decimal, int]:
    opening, usage, held, units = closing, 0, closing, 0
    for event in used:
        at_us = event.effective_us or 0
        size = next((size for valid_from, size in reversed(sizes) if valid_from <= at_us), None)
        held += event.quantity
        whole = 0 if size is None else max(0, held // size)
        held -= whole * (size or 0)
        if at_us < start_us:
            opening = held
        else:
            usage, units = usage + event.quantity, units + whole
    return decimal_of_micro(opening), decimal_of_micro(usage), decimal_of_micro(held), units


def closed_carry(home: Home, team_id: str) -> dict[str, int]:
    """What the team's last closed cycle carried on, by API."""
    with home.database.read() as connection:
        mine = (cycles.c.team_id == team_id) & (cycles.c.state == ISSUED)
        last = connection.execute(select(func.max(cycles.c.cycle_start_us)).where(mine)).scalar()
        rows = connection.execute(select(carry).where(carry.c.team_id == team_id, carry.c.cycle_start_us == last))
        return {row.api: row.closing_micro for row in rows}


def compare_usage(world: World, team_id: str) -> None:
    """Rule 8.2: actual usage by UTC day and app, for 24 months."""
    at = world.clock["at"]
    earliest = anniversary(at.date(), -24)
    page = world.team(team_id, "/api/v1/usage", first_day=earliest, by_app=True).json()
    first = date.fromisoformat(page["first_day"])
    assert (first, page["series_left_out"]) == (earliest, 0)
    shown = {
        (one["api"], one["app_id"], first + timedelta(days=place)): Decimal(quantity)
        for one in page["series"]
        for place, quantity in enumerate(one["quantities"])
        if Decimal(quantity)
    }
    used: dict[tuple[str, str, date], int] = defaultdict(int)
    for event in world.events:
        if event.team_id == team_id and earliest <= event.day <= at.date():
            used[event.api, event.app_id, event.day] += event.quantity
    assert shown == {key: decimal_of_micro(micro) for key, micro in used.items() if micro}, (team_id, at)


def compare_row(page: Mapping[str, Any], row: Mapping[str, Any]) -> None:
    """The list has the team's own figures; a grant that is used up ends nothing, free units that are come again."""
    cycle = page["cycle"] or {"spend": None, "projected": None, "units": []}
    assert (row["spend"], row["projected"]) == (cycle["spend"], cycle["projected"])
    unfunded = sum(one["units"] for one in cycle["units"] if one["source"] == "unfunded")
    assert (row["unfunded_units"] or 0) == unfunded
    balances = [one for card in page["cards"] for one in card["balances"]]
    ends = [us_of(one["refreshes_at"]) for one in balances]
    ends += [us_of(one["ends_at"]) for one in balances if Decimal(one["available"])]
    assert us_of(row["first_end"]) == min((end for end in ends if end is not None), default=None)
    shares = [(Decimal(c["available"]), Decimal(c["granted"])) for c in page["cards"] if Decimal(c["granted"])]
    least = min((available / granted for available, granted in shares), default=None)
    assert (row["least_left"] is None) == (least is None)
    assert least is None or 0 <= least - Decimal(row["least_left"]) < Decimal("0.000001")


def compare_html(page: Mapping[str, Any], text: str) -> None:
    """The page for people has the same numbers in the same order."""
    text = html.unescape(text)
    big = re.findall(r'<p class="big"><strong>([^<]*)</strong> of (\S+) ', text)
    cards = [card for card in page["cards"] if card["balances"]]
    assert big == [(number(Decimal(card["available"])), number(Decimal(card["granted"]))) for card in cards]
    cycle = page["cycle"]
    used = re.findall(r'<p class="big"><strong>([^<]*)</strong> .* used in this cycle', text)
    assert used == [number(Decimal(one["usage"])) for one in (cycle["apis"] if cycle else [])]
    carried = re.findall(r"<li>(\S+) .* carried over from the cycle before", text)
    assert carried == [number(Decimal(one["opening"])) for one in (cycle["apis"] if cycle else [])]
    if cycle and cycle["spend"] is not None:
        shown = re.findall(r"Would be invoiced today, net</dt><dd>([^<]*)<", text)
        assert shown == [money(Decimal(cycle["spend"]), cycle["currency"])]
    for invoice in page["invoices"]:
        assert invoice["number"] in text and money(Decimal(invoice["total"]), invoice["currency"]) in text


def compare_with_the_close(world: World) -> int:
    """What the running cycles showed last is what their close charges and invoices (rules 5.1, 5.5, 6.1); the number of
    cycles with units that were compared.
    """
    close(world.home, world.clock["at"] + _FAR, assume_complete=True, e_invoices=False)
    compared = 0
    with world.home.database.read() as connection:
        issued = {
            (row.team_id, row.cycle_start_us)
            for row in connection.execute(select(cycles).where(cycles.c.state == ISSUED))
        }
        charged: dict[tuple[str, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for row in connection.execute(select(draws)):
            charged[row.team_id, row.cycle_start_us][row.source] += row.charged_units
        rows = connection.execute(select(invoices).order_by(invoices.c.number)).all()
    net = {(row.team_id, row.cycle_start_us, row.subscription_id): row.net_minor for row in rows}
    for (team_id, start_us), cycle in world.seen.items():
        if (team_id, start_us) not in issued:
            continue
        shown = {one["source"]: one["units"] for one in cycle["units"] if one["units"]}
        assert shown == {source: units for source, units in charged[team_id, start_us].items() if units}, team_id
        if cycle["spend"] is not None:
            spend = int(cycle["spend"].replace(".", ""))
            assert spend == net.get((team_id, start_us, cycle["subscription_id"]), 0), (team_id, start_us)
        compared += bool(shown)
    compare_invoices(world, rows)
    return compared


def compare_invoices(world: World, rows: list[Any]) -> None:
    """The ledger's invoices are on their teams' pages, and on no other."""
    for team_id in sorted({row.team_id for row in rows}):
        page = world.team(team_id).json()
        shown = {one["number"]: int(one["total"].replace(".", "")) for one in page["invoices"]}
        mine = sorted((r for r in rows if r.team_id == team_id), key=lambda r: (r.issued_at_us, r.number))[-100:]
        assert shown == {row.number: row.total_minor for row in mine}


# --- the worlds ------------------------------------------------------------------------------------------------------


def test_figures_of_the_small_world(database_url: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On both engines; tokens, a free balance that refreshes, grants that begin and end, seats, pay as you go."""
    home = Home.at(tmp_path / "home", database_url)
    home.create()
    shop = Shop(home=home, folder=tmp_path / "files")
    shop.load(
        token_grants=[
            f"g2,flex2,10,{BOUGHT},2026-09-20T00:00:00Z",
            "g3,flex2,6,2026-10-01T00:00:00Z,2027-07-01T00:00:00Z",
        ],
        capacity_grants=[f"s1,seats1,seats,5,{BOUGHT},2026-11-01T00:00:00Z"],
    )
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,35.5,,",
        "e2,2026-07-06T00:00:00Z,a1,render,30,,",
        "s1,2026-07-07T00:00:00Z,,seats,2,,t1",
        "b1,2026-07-08T00:00:00Z,a1,browse,7,,",
        "x1,2026-07-05T00:00:00Z,a2,translate,2,,",
        "x2,2026-08-05T00:00:00Z,a2,render,219,,",
        "x3,2026-08-05T00:00:00Z,a1,render,57,,",
        now="08-06",
    )
    shop.close("08-06")
    with pages_of(home, tmp_path, monkeypatch) as world:
        walk(world)
        assert compare_with_the_close(world) > 1
    home.close()


@pytest.mark.parametrize("name", NAMES)
def test_figures_of_a_case(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home.at(tmp_path / "home")
    simulate(home, CASES / name, tmp_path / "out")
    with pages_of(home, tmp_path, monkeypatch) as world:
        walk(world)
        compare_with_the_close(world)
    home.close()
