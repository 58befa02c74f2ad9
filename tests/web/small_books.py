"""The small world as the pages see it: July is invoiced, August runs; what other steps derive is written by hand."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from billing.core.instants import DAY_US, day_number, parse_instant_us
from billing.core.reference import FOREVER_US
from billing.steps.credit import credit
from billing.store.documents import write_document
from billing.store.home import Home
from billing.store.tables import (
    alerts,
    charge_invoices,
    charges,
    parked,
    payment_events,
    standing_apis,
    standing_balances,
    standings,
    usage_months,
    usage_views,
)
from tests.steps.small_world import ALWAYS, BOUGHT, REFERENCE, Shop

NOW = datetime(2026, 8, 11, 12, tzinfo=UTC)
NOW_US = parse_instant_us("2026-08-11T12:00:00Z")
JULY_US, AUGUST_US, SEPTEMBER_US = (parse_instant_us(f"2026-{month}-01T00:00:00Z") for month in ("07", "08", "09"))
FIRST, SECOND, NOTE = "INV-2026-000001", "INV-2026-000002", "CN-2026-000001"
ODD = "../t 3/ä?#"
"""A team's id that no path would survive."""
PDF = b"%PDF-1.7 of the first invoice"

MEMBERS = (
    "ada,t1,buyer",
    "sso,t1,sso_admin",
    "dev,t1,developer",
    "hub,t1,hub_admin",
    "ben,t2,primary_admin",
    "cleo,t1,secondary_admin",
    "cleo,t2,developer",
)
_M = 1_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Books:
    """A home that nobody writes to any more."""

    home: Home


def make(home: Home, folder: Path) -> Books:
    """Load, ingest and close by the real steps; then what is derived from that, by hand."""
    shop = Shop(home=home, folder=folder)
    seller = REFERENCE["seller"][0] + "," * 14 + "CN"
    shop.load(
        seller=[seller],
        customers=[*REFERENCE["customers"], "c3,ÄRGER & Söhne,3 street,,3000,Town,,DE,,ap@example.com,de-DE"],
        teams=[*REFERENCE["teams"], f'"{ODD}",c3,Straße 100%'],
        hubs=[*REFERENCE["hubs"], "h0,Hub before"],
        hub_teams=[
            f"h1,t1,{BOUGHT},",
            f"h0,t1,{ALWAYS},{BOUGHT}",
            f"h2,t2,{ALWAYS},",
        ],
        apps=[*REFERENCE["apps"], "a0,App before"],
        app_hubs=[*REFERENCE["app_hubs"], f"a0,h0,{ALWAYS},"],
        team_members=MEMBERS,
    )
    shop.ingest(
        "e2,2026-07-06T00:00:00Z,a1,render,30,,",
        "e1,2026-07-05T00:00:00Z,a1,render,35.5,,",
        "s1,2026-07-07T00:00:00Z,,seats,2,,t1",
        "b1,2026-07-08T00:00:00Z,a1,browse,7,,",
        "bad,2026-07-05T00:00:00Z,a1,nothing,1,,",
        "ghost,2026-07-05T00:00:00Z,nobody,render,1,,",
        "x1,2026-07-05T00:00:00Z,a2,translate,2,,",
        now="08-02",
        name="july.csv",
    )
    shop.close("08-02")
    credit(home, SECOND, reason="a mistake of ours", as_of=datetime(2026, 8, 3, tzinfo=UTC))
    _derived(home)
    return Books(home=home)


def _derived(home: Home) -> None:
    pdf = home.documents.put_bytes(PDF, ".pdf")
    with home.database.write() as connection:
        write_document(connection, FIRST, "pdf", pdf, "", {})
        for table, rows in ROWS.items():
            connection.execute(insert(table), rows)


def _balance(
    source: str, subscription: str, grant: str, api: str, numbers: tuple[int, int], **more: object
) -> dict[str, object]:
    granted, used = numbers
    row: dict[str, object] = {
        "team_id": "t1",
        "source": source,
        "subscription_id": subscription,
        "grant_id": grant,
        "api": api,
        "state": "valid",
        "begins_at_us": JULY_US,
        "granted_micro": granted * _M,
        "used_micro": used * _M,
        "available_micro": (granted - used) * _M,
        "ends_at_us": FOREVER_US,
        "refreshes_at_us": FOREVER_US,
        "per_day_micro": None,
        "runs_out_low_us": None,
        "runs_out_us": None,
        "runs_out_high_us": None,
        "forecast": "too few days of usage",
    }
    return row | more


def _standing(team_id: str, spend: int, least: int | None, first_end: int | None, unfunded: int) -> dict[str, object]:
    return {
        "team_id": team_id,
        "as_of_us": NOW_US,
        "through_batch": 1,
        "load_no": 1,
        "cycle_start_us": AUGUST_US,
        "cycle_end_us": SEPTEMBER_US,
        "time_zone": "UTC",
        "subscription_id": team_id.replace("t", "payg"),
        "currency": "EUR",
        "spend_minor": spend,
        "projected_low_minor": spend,
        "projected_minor": spend * 2,
        "projected_high_minor": spend * 3,
        "unfunded_units": unfunded,
        "least_left_micro": least,
        "first_end_us": first_end,
        "changes_at_us": FOREVER_US,
    }


def _month(first_day: str, api: str, app_id: str, *days: int) -> dict[str, object]:
    first = datetime.fromisoformat(first_day).date()
    quantities = [quantity * _M for quantity in days] + [0] * (31 - len(days))
    return {
        "team_id": "t1",
        "first_day": day_number(first),
        "api": api,
        "app_id": app_id,
        "quantities": json.dumps(quantities),
    }


ROWS = {
    standings: [
        _standing("t1", 230, 50_000, NOW_US + 12 * DAY_US, 0),
        _standing("t2", 1_000, 500_000, None, 3),
    ],
    standing_balances: [
        _balance("free", "free1", "", "render", (150, 10), refreshes_at_us=NOW_US + 12 * DAY_US),
        _balance("capacity", "seats1", "s1", "seats", (5, 2), ends_at_us=NOW_US + 30 * DAY_US - 1),
        _balance("capacity", "seats1", "old", "seats", (9, 4), state="expired", ends_at_us=NOW_US - DAY_US),
        _balance("capacity", "seats1", "next", "seats", (7, 0), state="coming", begins_at_us=NOW_US + DAY_US),
    ],
    standing_apis: [
        {
            "team_id": "t1",
            "api": "render",
            "unit_size_micro": 20 * _M,
            "opening_micro": 5 * _M,
            "usage_micro": 25 * _M,
            "carry_micro": 10 * _M,
            "free_units": 1,
            "token_flex_units": 0,
            "flex_units": 0,
            "payg_units": 0,
            "unfunded_units": 0,
            "spend_minor": 230,
        }
    ],
    alerts: [
        {
            "alert_key": f"low {number}",
            "kind": "balance_low",
            "team_id": team_id,
            "subject_id": "free1",
            "raised_at_us": NOW_US - number,
            "ended_at_us": ended,
            "detail": json.dumps({"left": "5", "of": "150"}),
        }
        for number, team_id, ended in ((1, "t1", None), (2, "t1", NOW_US), (3, "t2", None), (4, "t2", None))
    ],
    parked: [
        {
            "team_id": "t2",
            "cycle_start_us": AUGUST_US,
            "reason": "no_unit_size",
            "close_no": 1,
            "shard": 0,
            "detail": "",
        }
    ],
    usage_months: [
        _month("2026-07-01", "render", "a1", 0, 0, 0, 0, 35, 30),
        _month("2026-08-01", "render", "a1", 1, 2, 3),
        _month("2026-08-01", "render", "a0", 0, 10),
        _month("2026-08-01", "seats", "", 4),
        _month("2024-08-01", "render", "a1", *([9] * 31)),
    ],
    usage_views: [{"view_no": 1, "through_batch": 1, "at_us": NOW_US}],
    charges: [
        {
            "charge_key": FIRST,
            "customer_id": "c1",
            "gateway": "stripe",
            "payment_method_id": "pm",
            "currency": "EUR",
            "amount_minor": 276,
            "state": "declined",
            "opened_at_us": AUGUST_US,
            "next_attempt_us": NOW_US,
            "problem": "card_declined",
            "detail": "no funds",
        }
    ],
    charge_invoices: [{"number": FIRST, "charge_key": FIRST, "amount_minor": 276}],
    payment_events: [
        {
            "number": FIRST,
            "kind": kind,
            "amount_minor": minor,
            "gateway": "stripe",
            "reference": f"re_{kind}",
            "at_us": NOW_US,
            "recorded_at_us": NOW_US,
            "detail": detail,
        }
        for kind, minor, detail in (("declined", 0, "card_declined: no funds"), ("received", 100, ""))
    ],
}
