"""A made month of usage at scale, as a scenario: skewed as real usage is, the same for the same seed.

45 days, from 1 July to 14 August 2026, so that the cycles of every anchor day between them end. Months of history may
come before, of 30 days each, with purchases whole years earlier: the cycles, balances and events of the measured month
stay the same. A gap of 32 days lies between, so that all history is in cycles that are closed when July begins.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2026, 7, 1, tzinfo=UTC)
DAYS = 45
HISTORY_DAYS = 30
GAP = timedelta(days=32)
ALL_CLOSED = START + timedelta(days=DAYS + 32)
"""A close as of then closes every cycle that has usage."""

FIRST_START = START - timedelta(days=31)
"""Cycles that begin then or later have measured usage only, earlier ones none of it."""

# api, usage unit, unit size, tokens per unit; without a size the API is unrated.
APIS = (
    ("automation", "processing_minute", "20", "1"),
    ("model_derivative_complex", "job", "1", "0.5"),
    ("model_derivative_simple", "job", "5", "0.1"),
    ("reality_capture", "gigapixel", "1", "3"),
    ("flow_graph", "processing_minute", "10", "0.75"),
    ("data_management", "call", "", ""),
)
RATED = tuple(api for api in APIS if api[2])
PLACES = (
    ("FR", "Europe/Paris"),
    ("FI", "Europe/Helsinki"),
    ("US", "America/Los_Angeles"),
    ("JP", "Asia/Tokyo"),
    ("IN", "Asia/Kolkata"),
    ("BR", "America/Sao_Paulo"),
    ("AU", "Australia/Sydney"),
    ("DE", "UTC"),
)
PRICES = (("EUR", "2.40"), ("USD", "2.75"), ("JPY", "390"))
TAXES = (
    ("FR", "2014-01-01", "20"),
    ("FI", "2013-01-01", "24"),
    ("FI", "2024-09-01", "25.5"),
    ("DE", "2021-01-01", "19"),
)
_APPS_A_TEAM = 3
_DAY_US = 86_400_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Size:
    """How large a workload is: events of the measured month, teams, and months of history with ``history_events`` each.
    A usage file holds ``days_a_file`` of the measured days; a month of history comes in ``history_files``.
    """

    events: int
    teams: int
    months: int = 0
    history_events: int = 0
    seed: int = 1
    days_a_file: int = 1
    history_files: int = 4


def write_workload(folder: Path, size: Size) -> None:
    """A scenario (``reference``, ``usage``, ``steps.json``) with an ingest a file, and a close after each from the
    second month on. History beside it: ``history``, ``history.json``, and the carry-over that it leaves,
    ``opening.csv``: team_id, api, carry.
    """
    random = np.random.default_rng(size.seed)
    _write_reference(folder / "reference", size, random)
    stream = _Stream(size.teams, f"e{size.seed}-", random)
    steps: list[dict[str, object]] = [
        {"do": "configure", "close_lag_seconds": 3600},
        {"do": "reference", "folder": "reference"},
    ]
    for name, day, days in _files(size):
        counts = [size.events // DAYS + (each < size.events % DAYS) for each in range(day, day + days)]
        tables = [stream.span(START + timedelta(days=day + k), _DAY_US, count) for k, count in enumerate(counts)]
        _write_usage(folder / name, tables)
        through = _text(START + timedelta(days=day + days, hours=2))
        steps.append({"do": "ingest", "file": name, "now": through})
        if day + days > HISTORY_DAYS:
            steps.append({"do": "close", "as_of": through})
    _write_steps(folder / "steps.json", steps)
    _write_history(folder, size)


def _files(size: Size) -> Iterator[tuple[str, int, int]]:
    """Name, first day and days of each usage file."""
    for day in range(0, DAYS, size.days_a_file):
        yield f"usage/day-{day + 1:02d}.parquet", day, min(size.days_a_file, DAYS - day)


def _write_history(folder: Path, size: Size) -> None:
    """A close a month, and one when the measured month begins: all cycles that are over by then are closed."""
    stream = _Stream(size.teams, f"h{size.seed}-", np.random.default_rng([size.seed, size.months]))
    steps: list[dict[str, object]] = []
    span = timedelta(days=HISTORY_DAYS) / size.history_files
    for number in range(size.months * size.history_files):
        begin = _history_begin(size) + span * number
        part = number % size.history_files
        count = size.history_events // size.history_files + (part < size.history_events % size.history_files)
        name, now = f"history/part-{number + 1:03d}.parquet", _text(begin + span + timedelta(hours=2))
        _write_usage(folder / name, [stream.span(begin, span // timedelta(microseconds=1), count)])
        steps.append({"do": "ingest", "file": name, "now": now})
        if part == size.history_files - 1:
            steps.append({"do": "close", "as_of": now})
    steps.append({"do": "close", "as_of": _text(START + timedelta(hours=2))})
    _write_steps(folder / "history.json", steps)
    _table(folder, "opening", "team_id api carry", stream.carried())


def _history_begin(size: Size) -> datetime:
    return START - GAP - timedelta(days=HISTORY_DAYS * size.months)


def _years_earlier(size: Size) -> int:
    """By how many years purchases come before those of a workload without history."""
    return -((_history_begin(size) - START) // timedelta(days=365)) if size.months else 0


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")


def _write_steps(path: Path, steps: Sequence[dict[str, object]]) -> None:
    path.write_text(json.dumps(steps, indent=1) + "\n", "utf-8")


def _table(folder: Path, name: str, header: str, rows: Iterable[Sequence[object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(header.split())
        writer.writerows(rows)


def _write_reference(folder: Path, size: Size, random: np.random.Generator) -> None:
    numbers = range(size.teams)
    place = [PLACES[number] for number in random.integers(0, len(PLACES), size.teams)]
    since = f"{2025 - _years_earlier(size)}-01-01T00:00:00Z"
    header = "legal_name address_line1 postal_code city country vat_id invoice_prefix time_zone iban email"
    seller = "Example Platform SAS|1 rue Exemple|75002|Paris|FR|FR40303265045|INV|Europe/Paris||billing@example.com"
    _table(folder, "seller", header, [seller.split("|")])
    header = "customer_id legal_name address_line1 address_line2 postal_code city region country vat_id email locale"
    streets = ("1 Main Street", "", "10000", "Town", "")
    rows = [(f"c{n}", f"Customer {n} Ltd", *streets, place[n][0], "", f"ap{n}@example.com", "en-US") for n in numbers]
    _table(folder, "customers", header, rows)
    _table(folder, "teams", "team_id customer_id name", [(f"t{n}", f"c{n}", f"Team {n}") for n in numbers])
    _table(folder, "hubs", "hub_id name", [(f"h{n}", f"Hub {n}") for n in numbers])
    owners = [(f"h{n}", f"t{n}", since, "") for n in numbers]
    _table(folder, "hub_teams", "hub_id team_id valid_from valid_to", owners)
    apps = [(f"a{n}-{k}", f"h{n}", since, "") for n in numbers for k in range(_APPS_A_TEAM)]
    _table(folder, "apps", "app_id name", [(app, app) for app, *_ in apps])
    _table(folder, "app_hubs", "app_id hub_id valid_from valid_to", apps)
    _write_terms(folder, since)
    _write_subscriptions(folder, place, size, random)


def _write_terms(folder: Path, since: str) -> None:
    names = [(api, api.replace("_", " ").title(), unit, "rated" if s else "unrated") for api, unit, s, _ in APIS]
    _table(folder, "apis", "api name usage_unit billing", names)
    rates = [(api, since, unit_size, tokens) for api, _, unit_size, tokens in RATED]
    _table(folder, "unit_rates", "api valid_from unit_size tokens_per_unit", rates)
    prices = [(api, currency, since, price) for api, *_ in RATED for currency, price in PRICES]
    _table(folder, "unit_prices", "api currency valid_from unit_price", prices)
    _table(folder, "tax_rates", "country valid_from percent", TAXES)


def _write_subscriptions(
    folder: Path, place: Sequence[tuple[str, str]], size: Size, random: np.random.Generator
) -> None:
    """Every team has a free subscription, a quarter flex tokens, a twentieth an agreement too, 45 of 100 pay as they
    go. With history grants begin after it, so that it leaves them whole.
    """
    held: list[Sequence[object]] = []
    allowances: list[Sequence[object]] = []
    grants: list[Sequence[object]] = []
    for number, share in enumerate(random.random(len(place)).tolist()):
        ago = timedelta(days=int(random.integers(1, 200)), seconds=int(random.integers(0, 86_400)))
        bought = (START - ago).replace(year=(START - ago).year - _years_earlier(size))
        granted = _text(START - timedelta(days=1) if size.months else bought)
        bought_in = (_text(bought), place[number][1], "")
        held.append((f"s{number}f", f"t{number}", "free", *bought_in, "", ""))
        allowances += [(f"s{number}f", api, 10) for api, *_ in RATED]
        if share < 0.25:
            held.append((f"s{number}x", f"t{number}", "flex", *bought_in, "", ""))
            for k in range(2):
                ends = _text(START + timedelta(days=20 + 40 * k))
                grants.append((f"g{number}-{k}", f"s{number}x", int(random.integers(20, 2_000)), granted, ends))
        if share < 0.05:
            held.append((f"s{number}e", f"t{number}", "token_flex", *bought_in, "", ""))
            grants.append((f"g{number}-e", f"s{number}e", 20_000, granted, "2027-07-01T00:00:00Z"))
        if 0.15 < share < 0.6:
            currency, _ = PRICES[number % len(PRICES)]
            held.append((f"s{number}p", f"t{number}", "payg", *bought_in, currency, f"pm{number}"))
    header = "subscription_id team_id kind purchased_at time_zone ends_at currency payment_method_id"
    _table(folder, "subscriptions", header, held)
    _table(folder, "free_allowances", "subscription_id api units_per_period", allowances)
    _table(folder, "token_grants", "grant_id subscription_id tokens valid_from expires_at", grants)


class _Stream:
    """Events one span after the other: a few teams make most of them, most quantities are small."""

    def __init__(self, teams: int, prefix: str, random: np.random.Generator) -> None:
        self._teams, self._prefix, self._random = teams, prefix, random
        self._done = 0
        self._used = np.zeros(teams * len(APIS), np.int64)  # thousandths
        self._apps = pa.array([f"a{n}-{k}" for n in range(teams) for k in range(_APPS_A_TEAM)])
        self._apis = pa.array([api for api, *_ in APIS])

    def span(self, begin: datetime, span_us: int, count: int) -> pa.Table:
        """So many events from ``begin`` on, in order."""
        random, first = self._random, self._done
        team = (random.zipf(1.3, count) - 1) % self._teams
        app = team * _APPS_A_TEAM + random.integers(0, _APPS_A_TEAM, count)
        occurred = np.sort(random.integers(0, span_us, count)) + int(begin.timestamp()) * 1_000_000
        thousandths = np.minimum(random.exponential(2_000, count).astype(np.int64) + 1, 10**9)
        api = random.integers(0, len(APIS), count)
        self._done += count
        np.add.at(self._used, team * len(APIS) + api, thousandths)
        return pa.table(
            {
                "event_id": pa.array(np.char.add(self._prefix, np.arange(first, self._done).astype(str))),
                "occurred_at": pa.array(occurred, pa.timestamp("us", tz="UTC")),
                "app_id": self._apps.take(pa.array(app)),
                "api": self._apis.take(pa.array(api)),
                "quantity": _decimals(thousandths),
            }
        )

    def carried(self) -> Iterator[tuple[str, str, Decimal]]:
        """What is left of all usage so far after whole units, where it is not zero."""
        for place, used in enumerate(self._used.tolist()):
            team, api = divmod(place, len(APIS))
            name, _, unit_size, _ = APIS[api]
            if unit_size and (left := used % (int(unit_size) * 1_000)):
                yield f"t{team}", name, Decimal(left).scaleb(-3)


def _decimals(thousandths: npt.NDArray[np.int64]) -> pa.Array:
    """As decimal128(18, 3), whose bytes are integers of 16 bytes."""
    words = np.zeros((len(thousandths), 2), np.int64)
    words[:, 0] = thousandths
    return pa.Array.from_buffers(pa.decimal128(18, 3), len(thousandths), [None, pa.py_buffer(words)])


def _write_usage(path: Path, tables: Sequence[pa.Table]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables), path, compression="zstd")
