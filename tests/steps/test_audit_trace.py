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
from billing.store.tables import carry

from .small_world import Shop

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
