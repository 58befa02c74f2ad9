"""What comes in: instants, decimals, reference tables, usage records; and which records are accepted.

Rules 1.2, 1.3 and 2.1-2.4, and the conventions of the data contract. Quantities, tokens, sizes, prices and
percentages are integers of 10**-6 (`_micro`); instants are aware datetimes in UTC.
"""

import csv
import gzip
import io
import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path

MICRO = 10**6
FOREVER = datetime.max.replace(tzinfo=UTC)
QUANTITY_MAX_MICRO = 10**12 * MICRO
USAGE_COLUMNS = ("event_id", "occurred_at", "app_id", "api", "quantity", "corrects", "team_id")
REQUIRED_USAGE_COLUMNS = USAGE_COLUMNS[:5]
REFERENCE_TABLES = (
    "seller", "customers", "teams", "hubs", "hub_teams", "apps", "app_hubs", "apis", "unit_rates", "unit_prices",
    "subscriptions", "free_allowances", "token_grants", "capacity_grants", "payment_methods", "tax_rates",
)  # fmt: skip
TABLES_THAT_MAY_BE_ABSENT = ("capacity_grants", "payment_methods")
ENDINGS = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz")

INSTANT = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)
DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{1,6}))?")


class Refused(Exception):
    """A whole input that cannot be taken."""


# Values


@lru_cache(maxsize=65536)
def instant_of(text):
    """The UTC datetime that `text` says, or None where it is not an instant of the contract."""
    found = INSTANT.fullmatch(text)
    if not found:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    fraction, sign, offset_hours, offset_minutes = found.groups()[6:]
    fraction = (fraction or "").ljust(6, "0")
    if fraction[6:].strip("0") or int(offset_hours or 0) > 23 or int(offset_minutes or 0) > 59:
        return None
    offset = timedelta(hours=int(offset_hours or 0), minutes=int(offset_minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        local = datetime(year, month, day, hour, minute, second, int(fraction[:6]), tzinfo=zone)
        return local.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def micro_of(text):
    """The decimal that `text` says, in 10**-6, or None where it is not a decimal of the contract."""
    found = DECIMAL.fullmatch(text)
    if not found:
        return None
    sign, whole, fraction = found.groups()
    micro = int(whole) * MICRO + int((fraction or "").ljust(6, "0"))
    return -micro if sign else micro


def known_instant(text, where):
    """An instant of the reference data or of a step; anything else refuses the input."""
    instant = instant_of(text)
    if instant is None:
        raise Refused(f"{where}: {text!r} is not an instant")
    return instant


def known_micro(text, where):
    """A decimal of the reference data; anything else refuses the input."""
    micro = micro_of(text)
    if micro is None:
        raise Refused(f"{where}: {text!r} is not a decimal")
    return micro


# Files


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One record of a file: its number as the contract counts, and its cells; None where it is unreadable."""

    line: int
    cells: dict | None


def text_of(path):
    """The text of a file, unpacked, without its byte order mark."""
    data = gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()
    try:
        return data.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise Refused(f"{path}: not UTF-8: {error}") from error


def records_of(path, required):
    """All records of a CSV or JSON Lines file, gzipped or not."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        return csv_records(text_of(path), required, path)
    if name.endswith(".jsonl"):
        return json_records(text_of(path))
    raise Refused(f"{path}: neither CSV nor JSON Lines by its name")


def csv_records(text, required, path):
    """Header is line 1; short records end in blanks, long ones are unreadable, empty lines are no records."""
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    header = rows[0] if rows else []
    if len(set(header)) < len(header) or not set(required) <= set(header):
        raise Refused(f"{path}: a column is missing or doubled in {header}")
    records = []
    for line, row in enumerate(rows[1:], start=2):
        cells = dict(zip(header, row + [""] * (len(header) - len(row)), strict=False))
        records.append(Record(line=line, cells=cells if len(row) <= len(header) else None))
    return records


def json_records(text):
    """The first record is line 1; blank lines are no records."""
    lines = [line for line in text.split("\n") if line.strip(" \t\r")]
    return [Record(line=line, cells=json_cells(raw)) for line, raw in enumerate(lines, start=1)]


def json_cells(raw):
    """One flat JSON object as cells of text; None where it is doubled, nested, or no JSON object."""
    try:
        value = json.loads(raw, parse_int=str, parse_float=str, parse_constant=no_json, object_pairs_hook=pairs_once)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict) or any(isinstance(cell, dict | list) for cell in value.values()):
        return None
    return {key: json_text(cell) for key, cell in value.items()}


def no_json(text):
    """NaN and Infinity are not JSON."""
    raise ValueError(text)


def pairs_once(pairs):
    """An object's pairs as a dict, unless a key is doubled."""
    if len(dict(pairs)) < len(pairs):
        raise ValueError("doubled key")
    return dict(pairs)


def json_text(cell):
    """Null is blank; numbers and booleans are read by their text."""
    if cell is None:
        return ""
    return {True: "true", False: "false"}[cell] if isinstance(cell, bool) else cell


# Reference data


@dataclass(frozen=True, kw_only=True, slots=True)
class Subscription:
    """Rule 1.3. `team_id` is blank until it is assigned; `ends_at` is FOREVER where it is open."""

    subscription_id: str
    team_id: str
    kind: str
    purchased_at: datetime
    ends_at: datetime
    time_zone: str
    currency: str

    def is_active(self, instant):
        """Rule 5.1: half-open."""
        return self.purchased_at <= instant < self.ends_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Ownership:
    """Rule 1.2: `owned` belongs to `owner` in [valid_from, valid_to)."""

    owned: str
    owner: str
    valid_from: datetime
    valid_to: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitRate:
    """Rule 4.1; `tokens_per_unit_micro` is None where the API cannot be paid in tokens (rule 5.3)."""

    api: str
    valid_from: datetime
    unit_size_micro: int
    tokens_per_unit_micro: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class UnitPrice:
    """Rule 5.4."""

    api: str
    currency: str
    valid_from: datetime
    unit_price_micro: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """Rules 5.3 and 5.6: tokens (`api` blank) or a number of a capacity resource."""

    grant_id: str
    subscription_id: str
    api: str
    amount_micro: int
    valid_from: datetime
    expires_at: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class TaxRate:
    """Rule 6.2: in force from a day on."""

    country: str
    valid_from: date
    percent_micro: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """Everything that one load leaves known."""

    seller: dict
    customers: dict  # customer_id -> cells
    teams: dict  # team_id -> customer_id
    hub_teams: list
    app_hubs: list
    apis: dict  # api -> billing
    unit_rates: list
    unit_prices: list
    subscriptions: dict  # subscription_id -> Subscription
    free_allowances: list  # (subscription_id, api, units)
    token_grants: list
    capacity_grants: list
    tax_rates: list

    def of_team(self, team_id):
        """The team's subscriptions, in the order of their ids."""
        mine = [one for one in self.subscriptions.values() if one.team_id == team_id]
        return sorted(mine, key=lambda one: one.subscription_id)


def read_tables(folder):
    """The tables of a reference folder as lists of cells; absent files are left out."""
    tables = {}
    for table in REFERENCE_TABLES:
        paths = [path for path in (Path(folder) / (table + ending) for ending in ENDINGS) if path.exists()]
        if paths:
            tables[table] = [record.cells for record in records_of(paths[0], required=())]
    return tables


def reference_of(tables):
    """One load's tables as values."""
    missing = set(REFERENCE_TABLES) - set(TABLES_THAT_MAY_BE_ABSENT) - set(tables)
    if missing:
        raise Refused(f"reference data without {sorted(missing)}")
    return Reference(
        seller=tables["seller"][0],
        customers={row["customer_id"]: row for row in tables["customers"]},
        teams={row["team_id"]: row["customer_id"] for row in tables["teams"]},
        hub_teams=[ownership_of(row, "hub_id", "team_id") for row in tables["hub_teams"]],
        app_hubs=[ownership_of(row, "app_id", "hub_id") for row in tables["app_hubs"]],
        apis={row["api"]: row["billing"] for row in tables["apis"]},
        unit_rates=[unit_rate_of(row) for row in tables["unit_rates"]],
        unit_prices=[unit_price_of(row) for row in tables["unit_prices"]],
        subscriptions={row["subscription_id"]: subscription_of(row) for row in tables["subscriptions"]},
        free_allowances=[
            (row["subscription_id"], row["api"], int(row["units_per_period"])) for row in tables["free_allowances"]
        ],
        token_grants=[grant_of(row, "tokens") for row in tables["token_grants"]],
        capacity_grants=[grant_of(row, "quantity") for row in tables.get("capacity_grants", [])],
        tax_rates=[tax_rate_of(row) for row in tables["tax_rates"]],
    )


def ends(text, where):
    """An instant, or FOREVER where the cell is blank."""
    return known_instant(text, where) if text else FOREVER


def ownership_of(row, owned, owner):
    """A row of `hub_teams` or `app_hubs`."""
    return Ownership(
        owned=row[owned],
        owner=row[owner],
        valid_from=known_instant(row["valid_from"], "valid_from"),
        valid_to=ends(row["valid_to"], "valid_to"),
    )


def subscription_of(row):
    """A row of `subscriptions`."""
    return Subscription(
        subscription_id=row["subscription_id"],
        team_id=row["team_id"],
        kind=row["kind"],
        purchased_at=known_instant(row["purchased_at"], "purchased_at"),
        ends_at=ends(row["ends_at"], "ends_at"),
        time_zone=row["time_zone"],
        currency=row["currency"],
    )


def unit_rate_of(row):
    """A row of `unit_rates`."""
    tokens = row["tokens_per_unit"]
    return UnitRate(
        api=row["api"],
        valid_from=known_instant(row["valid_from"], "valid_from"),
        unit_size_micro=known_micro(row["unit_size"], "unit_size"),
        tokens_per_unit_micro=known_micro(tokens, "tokens_per_unit") if tokens else None,
    )


def unit_price_of(row):
    """A row of `unit_prices`."""
    return UnitPrice(
        api=row["api"],
        currency=row["currency"],
        valid_from=known_instant(row["valid_from"], "valid_from"),
        unit_price_micro=known_micro(row["unit_price"], "unit_price"),
    )


def grant_of(row, amount):
    """A row of `token_grants` or `capacity_grants`."""
    return Grant(
        grant_id=row["grant_id"],
        subscription_id=row["subscription_id"],
        api=row.get("api", ""),
        amount_micro=known_micro(row[amount], amount),
        valid_from=known_instant(row["valid_from"], "valid_from"),
        expires_at=known_instant(row["expires_at"], "expires_at"),
    )


def tax_rate_of(row):
    """A row of `tax_rates`."""
    return TaxRate(
        country=row["country"],
        valid_from=date.fromisoformat(row["valid_from"]),
        percent_micro=known_micro(row["percent"], "percent"),
    )


# Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """An accepted usage event (rule 2.1) and the team it belongs to (rule 1.2).

    `named_team_id` is what the record said, blank where it named an app.
    """

    event_id: str
    occurred_at: datetime
    app_id: str
    api: str
    quantity_micro: int
    corrects: str
    named_team_id: str
    team_id: str

    def content(self):
        """Rule 2.2: what a second delivery is compared by. The attribution is ours, not content."""
        return (self.occurred_at, self.app_id, self.api, self.quantity_micro, self.corrects, self.named_team_id)


def ingest(path, now, reference, accepted):
    """Rule 2.4: take one file's records; `accepted` (event_id -> Event) grows. Returns rejected (line, reason)."""
    records = records_of(Path(path), REQUIRED_USAGE_COLUMNS)
    first = [record for record in records if not (record.cells and record.cells.get("corrects"))]
    last = [record for record in records if record.cells and record.cells.get("corrects")]
    rejected = []
    for record in first + last:
        answer = judge(record.cells, now, reference, accepted)
        if isinstance(answer, Event):
            accepted[answer.event_id] = answer
        else:
            rejected.append((record.line, answer))
    return rejected


def judge(cells, now, reference, accepted):
    """Rule 2.4: the accepted event, or the first reason that the contract lists."""
    if cells is None:
        return "unreadable"
    cells = {column: cells.get(column, "") for column in USAGE_COLUMNS}
    occurred_at, quantity_micro = instant_of(cells["occurred_at"]), micro_of(cells["quantity"])
    if not cells["event_id"]:
        return "missing_event_id"
    if occurred_at is None:
        return "bad_occurred_at"
    if cells["api"] not in reference.apis:
        return "unknown_api"
    if is_bad_quantity(quantity_micro, cells["corrects"]):
        return "bad_quantity"
    if occurred_at > now:
        return "occurred_in_future"
    event = Event(
        event_id=cells["event_id"],
        occurred_at=occurred_at,
        app_id=cells["app_id"],
        api=cells["api"],
        quantity_micro=quantity_micro,
        corrects=cells["corrects"],
        named_team_id="" if cells["app_id"] else cells["team_id"],
        team_id="",
    )
    return judge_known(event, reference, accepted)


def judge_known(event, reference, accepted):
    """Rules 2.2-2.4: a well-formed event against what has been accepted and what is known."""
    if event.event_id in accepted:
        same = accepted[event.event_id].content() == event.content()
        return "duplicate" if same else "conflicting_duplicate"
    if event.corrects:
        corrected = accepted.get(event.corrects)
        if corrected is None or not is_correction_of(event, corrected, accepted.values()):
            return "bad_correction"
        return replace(event, team_id=corrected.team_id)
    team_id = team_of(event, reference)
    if team_id is None:
        return "unattributed_app"
    if not any(one.purchased_at <= event.occurred_at for one in reference.of_team(team_id)):
        return "no_subscription"
    return replace(event, team_id=team_id)


def is_bad_quantity(quantity_micro, corrects):
    """Contract: not a decimal, zero, negative without `corrects`, or more than 10**12 either way."""
    if quantity_micro is None or quantity_micro == 0:
        return True
    return abs(quantity_micro) > QUANTITY_MAX_MICRO or (quantity_micro < 0 and not corrects)


def is_correction_of(correction, corrected, accepted):
    """Rule 2.3: same owner, API and instant, and together no more than was used."""
    if correction.quantity_micro > 0 or corrected.corrects:
        return False
    owners = {(corrected.app_id, corrected.named_team_id)}
    if not corrected.app_id:
        owners.add(("", ""))
    if (correction.app_id, correction.named_team_id) not in owners:
        return False
    if (correction.api, correction.occurred_at) != (corrected.api, corrected.occurred_at):
        return False
    before_micro = sum(one.quantity_micro for one in accepted if one.corrects == corrected.event_id)
    return corrected.quantity_micro + before_micro + correction.quantity_micro >= 0


def team_of(event, reference):
    """Rule 1.2: the team that owned the app when the usage occurred, or the team that the event names."""
    if not event.app_id:
        return event.named_team_id if event.named_team_id in reference.teams else None
    hub_id = owner_at(reference.app_hubs, event.app_id, event.occurred_at)
    return None if hub_id is None else owner_at(reference.hub_teams, hub_id, event.occurred_at)


def owner_at(ownerships, owned, instant):
    """Rule 1.2: who owned it at that instant; None where nobody did."""
    for one in ownerships:
        if one.owned == owned and one.valid_from <= instant < one.valid_to:
            return one.owner
    return None
