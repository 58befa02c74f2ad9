"""From a line to its events, and from an event to where it was billed (rule 7.3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import ConservationBroken, NotFound
from billing.core.instants import parse_instant_us
from billing.steps.audit.trace import Place, Trace, trace, whereabouts
from billing.store.home import Home
from billing.store.tables import carry, draws
from billing.store.trace import TracedLine, trace_line

from .small_world import ALWAYS, REFERENCE, Shop

JULY, AUGUST = (parse_instant_us(f"2026-{month}-01T00:00:00Z") for month in ("07", "08"))
FIRST, SECOND, THIRD = (f"INV-2026-{number:06d}" for number in (1, 2, 3))


@pytest.fixture
def closed(shop: Shop) -> Shop:
    """Two months of rendering in units of 20 minutes, with an event that comes late and one that takes back."""
    shop.load()
    shop.ingest(
        "e2,2026-07-06T00:00:00Z,a1,render,30,,",
        "e1,2026-07-05T00:00:00Z,a1,render,35,,",
        "bad,2026-07-05T00:00:00Z,nobody,render,1,,",
        "x1,2026-07-05T00:00:00Z,a2,translate,1,,",
        now="08-02",
        name="july.csv",
    )
    shop.close("08-02")
    shop.ingest(
        "late,2026-07-07T00:00:00Z,a1,render,10,,",
        "e3,2026-08-05T00:00:00Z,a1,render,90,,",
        "back,2026-08-05T00:00:00Z,a1,render,-15,e3,",
        "e1,2026-07-05T00:00:00Z,a1,render,35,,",
        "e4,2026-08-30T00:00:00Z,a1,render,4,,",
        now="09-02",
        name="august.csv",
    )
    shop.close("09-02")
    shop.ingest("open,2026-09-01T12:00:00Z,a1,render,1,,", now="09-03", name="september.csv")
    return shop


def told(found: Trace) -> list[tuple[str, int, int, str, int, bool]]:
    """Of each event: its id, units, carry-over after it in whole minutes, file, record, whether it was late."""
    return [
        (e.event_id, e.charged_units, e.carry_micro // 1_000_000, e.file, e.record, e.is_late) for e in found.events
    ]


def test_a_line_leads_to_the_events_that_completed_its_units(closed: Shop) -> None:
    [july] = trace(closed.home, FIRST)
    assert (july.team_id, july.cycle_start_us, july.api, july.opening_micro) == ("t1", JULY, "render", 0)
    assert told(july) == [("e1", 1, 15, "july.csv", 3, False), ("e2", 2, 5, "july.csv", 2, False)]
    assert july.lines == [(1, 2)], "the first of three units was free"
    [august] = trace(closed.home, THIRD, 1)
    assert (august.cycle_start_us, august.opening_micro, august.closing_micro) == (AUGUST, 5_000_000, 14_000_000)
    assert told(august) == [
        ("late", 0, 15, "august.csv", 2, True),
        ("back", 0, 0, "august.csv", 4, False),
        ("e3", 4, 10, "august.csv", 3, False),
        ("e4", 0, 14, "august.csv", 6, False),
    ]


Told = list[tuple[str, list[tuple[str, int, int | None, int]]]]


def payers(home: Home, number: str, line_no: int, *, own: bool = False) -> tuple[TracedLine, Told]:
    """The events behind a line, and of each (source, units, price, tokens) of what paid for its units."""
    with home.database.read() as connection:
        traced = trace_line(home, connection, number, line_no, 0, 100, own)
    told = [
        (
            event.event_id,
            [
                (one.source, one.charged_units, one.unit_price_micro, one.tokens_micro)
                for one in traced.paid.get(event.place, ())
            ],
        )
        for event in traced.found.events
    ]
    return traced, told


def test_each_event_says_at_which_price_and_size_its_units_were_completed(shop: Shop) -> None:
    """Rules 4.1, 5.1, 6.1: 45 minutes make two units of 20, one of them free; 5 + 20 one at the new price; 5 + 30 two
    units of 16.
    """
    shop.load(
        unit_prices=[*REFERENCE["unit_prices"], "render,EUR,2026-07-15T00:00:00Z,1.3"],
        unit_rates=[*REFERENCE["unit_rates"], "render,2026-07-20T00:00:00Z,16,1"],
    )
    shop.ingest(
        "e1,2026-07-02T00:00:00Z,a1,render,45,,",
        "e2,2026-07-16T00:00:00Z,a1,render,20,,",
        "e3,2026-07-21T00:00:00Z,a1,render,30,,",
        now="08-02",
    )
    shop.close("08-02")
    traced, told = payers(shop.home, FIRST, 1)
    assert told == [
        ("e1", [("free", 1, None, 0), ("payg", 1, 1_150_000, 0)]),
        ("e2", [("payg", 1, 1_300_000, 0)]),
        ("e3", [("payg", 2, 1_300_000, 0)]),
    ]
    assert (traced.new_prices, traced.own) == ({0, 1}, [0])
    assert [(one.unit_price_micro, one.since_us) for one in traced.prices] == [
        (1_150_000, None),
        (1_300_000, parse_instant_us("2026-07-15T00:00:00Z")),
    ]
    assert [(one.size_micro, one.since_us, one.charged_units) for one in traced.found.sizes] == [
        (20_000_000, None, 3),
        (16_000_000, parse_instant_us("2026-07-20T00:00:00Z"), 2),
    ]
    second, own = payers(shop.home, FIRST, 2, own=True)
    assert ([event_id for event_id, _ in own], second.own, second.found.total) == (["e2", "e3"], [1, 2], 3)


def test_tokens_that_other_apis_draw_on_are_drawn_in_the_order_of_all_events(shop: Shop) -> None:
    """Rules 1.4, 5.3: of ten tokens translation takes three, rendering six of six units, and one token is too little
    for the next translation: that one and the last unit are paid as they go, or in tokens.
    """
    shop.load(unit_rates=[f"render,{ALWAYS},20,1", f"translate,{ALWAYS},1,3"])
    shop.ingest(
        "x1,2026-07-02T00:00:00Z,a2,translate,1,,",
        "r1,2026-07-03T00:00:00Z,a2,render,120,,",
        "x2,2026-07-04T00:00:00Z,a2,translate,1,,",
        "r2,2026-07-05T00:00:00Z,a2,render,40,,",
        now="08-02",
    )
    shop.close("08-02")
    _, rendering = payers(shop.home, FIRST, 1)
    assert rendering == [
        ("r1", [("flex", 6, None, 6_000_000)]),
        ("r2", [("flex", 1, None, 1_000_000), ("payg", 1, 1_150_000, 0)]),
    ]
    traced, translation = payers(shop.home, FIRST, 2)
    assert translation == [("x1", [("flex", 1, None, 3_000_000)]), ("x2", [("payg", 1, 2_400_000, 0)])]
    assert traced.new_prices == frozenset(), "there is one price only"


def test_draws_that_are_not_those_of_the_events_are_said_so(closed: Shop) -> None:
    with closed.home.database.write() as connection:
        connection.execute(update(draws).where(draws.c.source == "free").values(charged_units=2))
    with pytest.raises(ConservationBroken, match=f"drawn on is not what the ledger says.*billing audit rerun {FIRST}"):
        payers(closed.home, FIRST, 1)


def test_an_event_leads_to_where_it_was_billed(closed: Shop) -> None:
    def where(event_id: str) -> list[tuple[str, str, int | None, str, int, str]]:
        found: list[Place] = whereabouts(closed.home, event_id)
        return [(p.state, p.team_id, p.cycle_start_us, p.file, p.record, p.detail) for p in found]

    assert where("e1") == [("billed", "t1", JULY, "july.csv", 3, FIRST)]
    assert where("late") == [("billed", "t1", AUGUST, "august.csv", 2, THIRD)]
    assert where("open") == [("open", "t1", None, "september.csv", 2, "")]
    assert where("bad") == [("quarantined", "", None, "july.csv", 4, "unattributed_app; waits")]
    with pytest.raises(NotFound, match="No event 'ghost' was ever accepted or quarantined"):
        where("ghost")


def test_events_that_are_not_what_was_charged_are_said_so(closed: Shop) -> None:
    with closed.home.database.write() as connection:
        connection.execute(update(carry).where(carry.c.team_id == "t1").values(usage_micro=1))
    with pytest.raises(ConservationBroken, match=f"its events come to 65000000 usage.*billing audit rerun {FIRST}"):
        trace(closed.home, FIRST)


def test_what_was_never_issued_has_no_trace(closed: Shop) -> None:
    with pytest.raises(NotFound, match="INV-9 was never issued"):
        trace(closed.home, "INV-9")
    with pytest.raises(NotFound, match=f"{FIRST} has no line 7"):
        trace(closed.home, FIRST, 7)


def test_the_command_lists_them(closed: Shop, database_url: str | None) -> None:
    where = ["--home", str(closed.home.folder), *(["--database", database_url] if database_url else [])]
    run: Callable[..., str] = lambda *line: CliRunner().invoke(app, [*where, "audit", "trace", *line]).output  # noqa: E731
    said = run(THIRD)
    assert "render: 5 carried over, 4 events, 4 units (3 on line 1), 14 carried on" in said
    assert "render,late,2026-07-07T00:00:00Z,a1,10,,late,0,15,2,august.csv,2" in said
    assert "billed,t1,2026-08-01T00:00:00Z,2,august.csv,3,INV-2026-000003" in run("--event", "e3")
