"""A made month of usage at scale, as a scenario: skewed as real usage is, the same bytes for the same seed."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

START = datetime(2026, 7, 1, tzinfo=UTC)
DAYS = 45
LONG_AGO = "2025-01-01T00:00:00Z"
# api, usage unit, unit size, tokens per unit; without a size the API is unrated.
APIS = (
    ("automation", "processing_minute", "20", "1"),
    ("model_complex", "job", "1", "0.5"),
    ("model_simple", "job", "5", "0.1"),
    ("reality", "gigapixel", "1", "3"),
    ("flow", "processing_minute", "10", "0.75"),
    ("data", "call", "", ""),
)
RATED = tuple(api for api in APIS if api[2])
PLACES = (("FR", "Europe/Paris"), ("FI", "Europe/Helsinki"), ("US", "America/Los_Angeles"), ("JP", "Asia/Tokyo"))
PRICES = (("EUR", "2.40"), ("USD", "2.75"), ("JPY", "390"))


def write_workload(folder: Path, events: int, teams: int, seed: int) -> None:
    """A scenario: reference data, a Parquet file and an ingest a day, a close a day from the second month on."""
    random = np.random.default_rng(seed)
    (folder / "usage").mkdir(parents=True)
    _write_reference(folder / "reference", teams, random)
    steps: list[dict[str, object]] = [{"do": "reference", "folder": "reference"}]
    for day in range(DAYS):
        name = f"usage/day-{day + 1:02d}.parquet"
        first, last = events * day // DAYS, events * (day + 1) // DAYS
        pq.write_table(_day(day, first, last, teams, random), folder / name)
        through = _text(START + timedelta(days=day + 1, hours=2))
        steps.append({"do": "ingest", "file": name, "now": through})
        if day >= 30:
            steps.append({"do": "close", "as_of": through})
    (folder / "steps.json").write_text(json.dumps(steps, indent=1) + "\n", "utf-8")


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _table(folder: Path, name: str, header: str, rows: Iterable[Sequence[object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(header.split())
        writer.writerows(rows)


def _write_reference(folder: Path, teams: int, random: np.random.Generator) -> None:
    numbers = range(teams)
    place = [PLACES[number % len(PLACES)] for number in numbers]
    seller = (
        "Example Platform SAS",
        "1 rue Exemple",
        "75002",
        "Paris",
        "FR",
        "FR40303265045",
        "INV",
        "Europe/Paris",
        "",
        "",
    )
    header = "legal_name address_line1 postal_code city country vat_id invoice_prefix time_zone iban email"
    _table(folder, "seller", header, [seller])
    header = "customer_id legal_name address_line1 address_line2 postal_code city region country vat_id email locale"
    rows = [(f"c{n}", f"Customer {n}", "1 Main St", "", "1000", "Town", "", place[n][0], "", "", "en") for n in numbers]
    _table(folder, "customers", header, rows)
    _table(folder, "teams", "team_id customer_id name", [(f"t{n}", f"c{n}", f"Team {n}") for n in numbers])
    _table(folder, "hubs", "hub_id name", [(f"h{n}", f"Hub {n}") for n in numbers])
    _table(
        folder, "hub_teams", "hub_id team_id valid_from valid_to", [(f"h{n}", f"t{n}", LONG_AGO, "") for n in numbers]
    )
    apps = [(f"a{n}-{k}", n) for n in numbers for k in range(3)]
    _table(folder, "apps", "app_id name", [(app, app) for app, _ in apps])
    _table(folder, "app_hubs", "app_id hub_id valid_from valid_to", [(app, f"h{n}", LONG_AGO, "") for app, n in apps])
    _table(
        folder, "apis", "api name usage_unit billing", [(a, a, u, "rated" if s else "unrated") for a, u, s, _ in APIS]
    )
    _table(
        folder, "unit_rates", "api valid_from unit_size tokens_per_unit", [(a, LONG_AGO, s, t) for a, _, s, t in RATED]
    )
    prices = [(a, currency, LONG_AGO, price) for a, *_ in RATED for currency, price in PRICES]
    _table(folder, "unit_prices", "api currency valid_from unit_price", prices)
    _table(
        folder, "tax_rates", "country valid_from percent", [("FR", "2014-01-01", "20"), ("FI", "2024-09-01", "25.5")]
    )
    _write_subscriptions(folder, place, random)


def _write_subscriptions(folder: Path, place: Sequence[tuple[str, str]], random: np.random.Generator) -> None:
    """Every team has a free subscription, a quarter tokens, 45 of 100 pay as they go."""
    subscriptions: list[Sequence[object]] = []
    allowances: list[Sequence[object]] = []
    grants: list[Sequence[object]] = []
    for number, (share, (_, zone)) in enumerate(zip(random.random(len(place)), place, strict=True)):
        bought = _text(START - timedelta(seconds=int(random.integers(86_400, 200 * 86_400))))

        def held(
            kind: str, number: int = number, bought: str = bought, zone: str = zone, currency: str = ""
        ) -> list[object]:
            return [f"s{number}-{kind}", f"t{number}", kind, bought, zone, "", currency, ""]

        subscriptions.append(held("free"))
        allowances += [(f"s{number}-free", api, 10) for api, *_ in RATED]
        if share < 0.25:
            subscriptions.append(held("flex"))
            ends = [_text(START + timedelta(days=20 + 40 * k)) for k in range(2)]
            tokens = random.integers(20, 2_000, 2)
            grants += [(f"g{number}-{k}", f"s{number}-flex", tokens[k], bought, ends[k]) for k in range(2)]
        if 0.15 < share < 0.6:
            subscriptions.append(held("payg", currency=PRICES[number % 3][0]))
    header = "subscription_id team_id kind purchased_at time_zone ends_at currency payment_method_id"
    _table(folder, "subscriptions", header, subscriptions)
    _table(folder, "free_allowances", "subscription_id api units_per_period", allowances)
    _table(folder, "token_grants", "grant_id subscription_id tokens valid_from expires_at", grants)


def _day(day: int, first: int, last: int, teams: int, random: np.random.Generator) -> pa.Table:
    """A day's events, in order: a few teams make most of them, most quantities are small."""
    count = last - first
    team = (random.zipf(1.3, count) - 1) % teams
    begin_us = int((START + timedelta(days=day)).timestamp()) * 1_000_000
    thousandths = np.minimum(random.exponential(2_000, count).astype(np.int64) + 1, 10**9)
    api = pa.array([name for name, *_ in APIS]).take(pa.array(random.integers(0, len(APIS), count)))
    apps = np.char.add(np.char.add("a", team.astype(str)), np.char.add("-", random.integers(0, 3, count).astype(str)))
    occurred = begin_us + np.sort(random.integers(0, 86_400_000_000, count))
    return pa.table(
        {
            "event_id": pa.array(np.char.add(f"e{day}-", np.arange(first, last).astype(str))),
            "occurred_at": pa.array(occurred, pa.timestamp("us", tz="UTC")),
            "app_id": pa.array(apps),
            "api": api,
            "quantity": pc.multiply(pa.array(thousandths).cast(pa.decimal128(19, 0)), Decimal("0.001")),
        }
    )
