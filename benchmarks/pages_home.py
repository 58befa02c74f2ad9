"""A home of many teams and 24 months, for ``pages.py``: the last weeks by the real steps, what came before straight
into the tables that the pages read.

    python -m benchmarks.pages_home make | ten_minutes  HOME TEAMS

The real part is ``workload.py``'s: reference data, 45 days of usage, one close with its invoices, standings, alerts,
usage by day. Before it lie batches of ten minutes each, and of every month usage by day, invoices with their cycles,
charges and payments; of the last month one for each team.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sqlalchemy import Table

from benchmarks.measuring import measuring, tell
from benchmarks.workload import DAYS, START, Size, write_workload
from billing.core.instants import day_number, to_us
from billing.core.months import Month
from billing.steps.close import close
from billing.steps.homes import configure, home_at
from billing.steps.ingest import ingest, local_files
from billing.steps.open_ratings import refresh_open
from billing.steps.reference import load_reference
from billing.steps.standings import refresh_standings
from billing.steps.usage_views import refresh_views
from billing.store.database import insert_columns
from billing.store.home import Home
from billing.store.tables import (
    batches,
    charge_invoices,
    charges,
    credit_notes,
    cycles,
    documents,
    invoice_lines,
    invoices,
    payment_events,
    quarantine,
    usage_months,
)

AT = START + timedelta(days=DAYS, hours=3)
"""The instant at which the pages are looked at."""
FULL = Month(2026, 7)
"""In this month every team got an invoice; in those before, every seventh."""
MONTHS = 24
EVENTS_A_TEAM = 20
TEN_MINUTES_EVENTS = 7_000
"""A million a day."""
_SERIES = (("automation", 0), ("reality_capture", 1), ("data_management", 2))
_BATCHES = 100_000
_WAITING = 5_000
_STATES = ("paid",) * 94 + ("declined", "declined", "processing", "authentication_required", "uncollected", "waiting")


def make(home: Home, teams: int) -> None:
    """All of it, in a new home."""
    folder = home.folder / "workload"
    write_workload(folder, Size(events=EVENTS_A_TEAM * teams, teams=teams, days_a_file=DAYS))
    home.create()
    configure(home, "close_lag_seconds", 3600)
    load_reference(home, folder / "reference")
    _batches_before(home)
    [file] = (folder / "usage").iterdir()
    _take(home, file, AT - timedelta(minutes=30))
    close(home, AT - timedelta(minutes=20), assume_complete=True, e_invoices=False)
    refresh_views(home, AT)  # the first one begins anew: what is put beside it must come later
    for month in _months():
        _usage_before(home, month, teams)
        _invoices_before(home, month, range(0, teams, 1 if month == FULL else 7))
    _quarantined(home, teams)
    _refresh(home, AT)
    shutil.rmtree(folder)


def ten_minutes(home: Home, teams: int) -> None:
    """The refresh after ten minutes' usage: rating, standings, alerts, usage by day."""
    folder = home.folder / "more"
    size = Size(events=DAYS * TEN_MINUTES_EVENTS, teams=teams, seed=int(datetime.now(UTC).timestamp()))
    write_workload(folder, size)
    events = pq.read_table(folder / "usage" / f"day-{DAYS:02d}.parquet")
    pq.write_table(events, folder / "ten.parquet")
    _take(home, folder / "ten.parquet", AT)
    with measuring() as figures:
        _refresh(home, AT + timedelta(minutes=4))
    shutil.rmtree(folder)
    tell(refresh=figures)


def _refresh(home: Home, at: datetime) -> None:
    refresh_open(home)
    refresh_standings(home, at)
    refresh_views(home, at)


def _take(home: Home, file: Path, now: datetime) -> None:
    found = ingest(home, local_files([file]), now)
    if found.accepted != found.records:
        raise SystemExit(f"{file}: {found.accepted:,} of {found.records:,} were accepted: {found.reasons}")


def _months() -> Iterator[Month]:
    """The month of the invoices for each team, and those before it."""
    month = FULL
    for _ in range(MONTHS):
        yield month
        month = month.before


def _batches_before(home: Home) -> None:
    step = 600_000_000
    first = to_us(START) - _BATCHES * step
    numbers = list(range(1, _BATCHES + 1))
    ends = [first + number * step for number in numbers]
    columns = {
        "batch_no": numbers,
        "state": ["committed"] * _BATCHES,
        "kind": ["usage"] * _BATCHES,
        "source": ["files"] * _BATCHES,
        "request": [f"before {number}" for number in numbers],
        "window_start_us": [end - step for end in ends],
        "window_end_us": ends,
        "load_no": [1] * _BATCHES,
        "opened_at_us": ends,
        "committed_at_us": ends,
        **{name: [0] * _BATCHES for name in ("records", "accepted", "duplicates", "quarantined")},
    }
    _insert(home, batches, columns)


def _usage_before(home: Home, month: Month, teams: int) -> None:
    """Three pairs of API and app a team; days that few teams use alike."""
    if month >= Month.of(START.date()):
        return
    days, random = (month.next.first_day - month.first_day).days, np.random.default_rng(month.year * 12 + month.month)
    kinds = [json.dumps(row, separators=(",", ":")) for row in (random.integers(0, 90, (500, days)) * 250_000).tolist()]
    rows = teams * len(_SERIES)
    chosen = random.integers(0, len(kinds), rows).tolist()
    columns = {
        "team_id": [f"t{number}" for number in range(teams) for _ in _SERIES],
        "first_day": [day_number(month.first_day)] * rows,
        "api": [api for api, _ in _SERIES] * teams,
        "app_id": [f"a{number}-{app}" for number in range(teams) for _, app in _SERIES],
        "quantities": [kinds[one] for one in chosen],
    }
    _insert(home, usage_months, columns)


def _invoices_before(home: Home, month: Month, teams: Sequence[int]) -> None:
    """Issued on the second of the month for the month before; most are paid, one of a hundred was given back."""
    count, random = len(teams), np.random.default_rng(month.year * 12 + month.month)
    number = [f"OLD-{month.year}-{month.month:02d}{n:05d}" for n in range(1, count + 1)]
    team = [f"t{n}" for n in teams]
    net = random.integers(100, 1_000_000, count).tolist()
    tax = [minor // 5 for minor in net]
    total = [a + b for a, b in zip(net, tax, strict=True)]
    currency = [("EUR", "USD", "JPY")[n % 3] for n in teams]
    start, end = to_us_of(month.before) + 7_000_000, to_us_of(month)  # no real cycle begins then
    issued, day = end + 90_000_000_000, day_number(month.first_day) + 1
    state = [_STATES[place] for place in random.integers(0, len(_STATES), count).tolist()]
    _insert(
        home,
        cycles,
        {
            "team_id": team,
            **_same(count, cycle_start_us=start, cycle_end_us=end),
            **_same(count, period_first_day=day_number(month.before.first_day), period_last_day=day - 2),
            **_same(count, time_zone="UTC", payg_subscription_id="old", close_no=0, state="issued", shard=0),
            **_same(count, pinned_batch=1, pinned_load=1),
        },
    )
    _insert(
        home,
        invoices,
        {
            "number": number,
            **_same(count, prefix="OLD", year=month.year),
            "sequence": [month.month * 100_000 + n for n in range(1, count + 1)],
            "team_id": team,
            "customer_id": [f"c{n}" for n in teams],
            **_same(count, subscription_id="old", cycle_start_us=start),
            "currency": currency,
            "net_minor": net,
            **_same(count, tax_category="S", tax_percent_micro=20_000_000),
            "tax_minor": tax,
            "total_minor": total,
            **_same(count, issued_at_us=issued, issue_day=day, close_no=0, pinned_load=1, revision=1, replaces=""),
        },
    )
    lines = {"number": number, **_same(count, line_no=1, api="automation", charged_units=1, unit_price_micro=10**6)}
    _insert(home, invoice_lines, {**lines, "net_minor": net})
    pdf = {"number": number, **_same(count, kind="pdf", sha256="0" * 64, bytes=60_000, path="00/0.pdf", bundle="")}
    _insert(home, documents, {**pdf, **_same(count, versions="{}")})
    _money_before(home, number, total, state, currency, issued)
    given = [place for place in range(count) if place % 100 == 0]
    _insert(
        home,
        credit_notes,
        {
            "number": [number[place].replace("OLD", "OCN") for place in given],
            **_same(len(given), prefix="OCN", year=month.year),
            "sequence": [month.month * 100_000 + place + 1 for place in given],
            "invoice_number": [number[place] for place in given],
            **_same(len(given), reason="a mistake of ours"),
            "net_minor": [net[place] for place in given],
            "tax_minor": [tax[place] for place in given],
            "total_minor": [total[place] for place in given],
            **_same(len(given), issued_at_us=issued, issue_day=day),
        },
    )


def _money_before(
    home: Home, number: Sequence[str], total: Sequence[int], state: Sequence[str], currency: Sequence[str], at_us: int
) -> None:
    count = len(number)
    _insert(
        home,
        charges,
        {
            "charge_key": number,
            **_same(count, customer_id="c", gateway="stripe", payment_method_id="pm"),
            "currency": currency,
            "amount_minor": total,
            "state": state,
            **_same(count, opened_at_us=at_us),
        },
    )
    _insert(home, charge_invoices, {"number": number, "charge_key": number, "amount_minor": total})
    kinds = {"paid": "received", "declined": "declined"}
    happened = [place for place in range(count) if state[place] in kinds]
    _insert(
        home,
        payment_events,
        {
            "number": [number[place] for place in happened],
            "kind": [kinds[state[place]] for place in happened],
            "amount_minor": [total[place] if state[place] == "paid" else 0 for place in happened],
            **_same(len(happened), gateway="stripe"),
            "reference": [f"ch_{number[place]}" for place in happened],
            **_same(len(happened), at_us=at_us, recorded_at_us=at_us),
        },
    )


def _quarantined(home: Home, teams: int) -> None:
    day = day_number(START.date())
    columns = {
        **_same(_WAITING, batch_no=1, file_no=1),
        "line": list(range(2, _WAITING + 2)),
        **_same(_WAITING, reason="unknown_api", raw=b"x,2026-07-01T00:00:00Z,a,nothing,1"),
        "event_id": [f"q{n}" for n in range(_WAITING)],
        "app_id": [f"a{n % teams}-0" for n in range(_WAITING)],
        **_same(_WAITING, api="nothing", occurred_day=day, ending="", ended_why=""),
    }
    _insert(home, quarantine, columns)


def to_us_of(month: Month) -> int:
    """The month's first instant in UTC."""
    return to_us(datetime(month.year, month.month, 1, tzinfo=UTC))


def _same(count: int, **values: object) -> dict[str, list[object]]:
    return {name: [value] * count for name, value in values.items()}


def _insert(home: Home, table: Table, columns: dict[str, Sequence[object]]) -> None:
    with home.database.write() as connection:
        insert_columns(connection, table, columns)


def main() -> None:
    """One step."""
    step, home, teams = sys.argv[1], home_at(Path(sys.argv[2])), int(sys.argv[3])
    {"make": make, "ten_minutes": ten_minutes}[step](home, teams)
    home.close()


if __name__ == "__main__":
    main()
