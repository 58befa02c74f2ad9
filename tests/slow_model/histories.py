"""Random small scenarios that sit on edges.

`generate(rng)` gives one in memory, drawn from nothing but `rng` (a random.Random or its like, seeded):

    steps       the list that steps.json holds
    references  folder -> table -> rows (dicts of text); later folders are full pictures that grew from the first
    usage       file -> records: dicts of text cells, or text lines that are written as they are

`write(scenario, folder)` makes it a scenario folder. The reference data are valid by the data contract.
"""

import copy
import csv
import gzip
import io
import json
from datetime import timedelta
from pathlib import Path

from . import cycles, intake
from .outputs import decimal_text, instant_text
from .worlds import (
    ASSETS,
    CHANGES,
    DAY,
    LATE_KNOWN,
    LATE_SIZED,
    NUDGES,
    RATED,
    REFERENCE_COLUMNS,
    SHOWN,
    edges,
    first_world,
    near_edge,
)

EVENT_COLUMNS = list(intake.USAGE_COLUMNS)


# Usage


def spelled_instant(world, instant):
    """One of the ways in which the contract lets an instant be written."""
    text = instant_text(instant)
    if world.chance(85):
        return text
    if world.chance(50):
        return (instant + timedelta(hours=5, minutes=45)).replace(tzinfo=None).isoformat() + "+05:45"
    return text[:-1] + ("0Z" if "." in text else ".000Z")


def spelled_decimal(world, text):
    """One of the ways in which the contract lets a decimal be written."""
    if world.chance(85):
        return text
    sign, digits = ("-", text[1:]) if text.startswith("-") else ("", text)
    return f"{sign}0{digits}" if world.chance(50) else f"{sign}{digits}" + ("" if "." in digits else ".00")


def event_id_of(world):
    """Ids that do not sort as they occur, in ASCII, beyond it, and beyond 16 bits."""
    prefix = world.rng.choice(("e", "e", "e", "E", "z", "é", "\ufffd", "\ufffd", "\U0001f600", "\U0001f600", " "))
    return world.rng.choice((prefix, prefix + str(world.rng.randrange(10)))) + world.next_id("-")


def quantity_of(world, api):
    """About a unit, a few units, or a millionth from one, as text."""
    size_micro = intake.micro_of(RATED.get(api, ("1.5", ""))[0])
    units = world.rng.choice((1, 1, 1, 2, 3, 5, 12))
    micro = world.rng.choice((
        units * size_micro, units * size_micro, size_micro // 2, size_micro // 4 * units, size_micro - 1,
        size_micro + 1, 1, world.rng.randrange(1, 6 * size_micro),
    ))  # fmt: skip
    return decimal_text(max(1, micro))


def teams_for(world, api):
    """All teams; for a capacity resource those that hold some, if any do."""
    holders = [row["team_id"] for row in world.tables["subscriptions"] if row["kind"] == "capacity" and row["team_id"]]
    return holders if api == ASSETS and holders else [row["team_id"] for row in world.tables["teams"]]


def usage_record(world, start, end):
    """A record of usage in (start, end], by an app or by a team itself."""
    rated = [row["api"] for row in world.tables["apis"] if row["billing"] == "rated" and row["api"] != LATE_SIZED]
    others = [row["api"] for row in world.tables["apis"] if row["api"] not in rated]
    api = world.rng.choice(rated if world.chance(75) else others)
    if api in (LATE_SIZED, SHOWN) and world.chance(60):
        api = ASSETS
    app_id, team_id = world.rng.choice(world.tables["apps"])["app_id"], ""
    if world.chance(85 if api == ASSETS else 15):
        app_id, team_id = "", world.rng.choice(teams_for(world, api))
    instant = near_edge(world, start, end)
    if world.events and world.chance(20):
        # At the very instant of another event, so that the order of rule 4.2 decides.
        instant = intake.instant_of(world.rng.choice(world.events)["occurred_at"])
    cells = (event_id_of(world), spelled_instant(world, instant), app_id, api, quantity_of(world, api), "", team_id)
    record = dict(zip(EVENT_COLUMNS, cells, strict=True))
    world.events.append(record)
    return record | {"quantity": spelled_decimal(world, record["quantity"])}


def size_change_records(world, start, end):
    """Rule 4.2: what waits when a size changes completes at the API's next event, here a correction."""
    rows = [(intake.instant_of(row["valid_from"]), row["api"]) for row in world.tables["unit_rates"]]
    rows = [(instant, api) for instant, api in rows if start < instant <= end]
    if not rows:
        return []
    (instant, api), app = world.rng.choice(rows), world.rng.choice(world.tables["apps"])["app_id"]
    before, after = instant_text(instant - cycles.MICROSECOND), instant_text(instant)
    waiting, small, event_id = world.rng.choice(("19.5", "0.999999", "6", "2")), "0.4", event_id_of(world)
    records = [(event_id_of(world), before, app, api, waiting, "", ""), (event_id, after, app, api, small, "", "")]
    records = [dict(zip(EVENT_COLUMNS, cells, strict=True)) for cells in records]
    world.events += records
    return [*records, records[1] | {"event_id": event_id_of(world), "quantity": "-0.4", "corrects": event_id}]


def correction_record(world):
    """Rule 2.3: takes back all, half, a millionth, or too much; now and then it does not match its event."""
    assets = [event for event in world.events if event["api"] == ASSETS]
    event = world.rng.choice(assets if assets and world.chance(30) else world.events)
    micro = intake.micro_of(event["quantity"])
    micro = world.rng.choice((micro, micro, max(1, micro // 2), 1, max(1, micro - 1), micro + 1))
    record = event | {"event_id": event_id_of(world), "corrects": event["event_id"]}
    record["quantity"] = spelled_decimal(world, decimal_text(-micro))
    if not event["app_id"] and world.chance(50):
        record["team_id"] = ""
    if world.chance(8):
        wrong = {"app_id": "a0-t0", "api": SHOWN, "corrects": "nothing", "team_id": "T-spare", "quantity": "1"}
        column = world.rng.choice(sorted(wrong))
        record[column] = wrong[column]
    return record


def bad_record(world, now):
    """A record that is rejected, or a second delivery."""
    record = dict(world.rng.choice(world.events))
    if world.chance(50):
        conflict = {"quantity": "77", "api": SHOWN, "app_id": "a0-t0", "corrects": record["event_id"]}
        column = world.rng.choice(sorted(conflict))
        again = {"occurred_at": spelled_instant(world, intake.instant_of(record["occurred_at"]))}
        return record | (again if world.chance(70) else {column: conflict[column]})
    record["event_id"] = event_id_of(world)
    return record | world.rng.choice((
        {"event_id": ""},
        {"occurred_at": "2024-02-30T00:00:00Z"},
        {"occurred_at": record["occurred_at"].replace("T", " ")},
        {"occurred_at": instant_text(now + cycles.MICROSECOND)},
        {"occurred_at": "2009-12-31T23:59:59.999999Z"},
        {"occurred_at": instant_text(world.epoch - cycles.MICROSECOND)},
        {"api": "nothing"},
        {"api": LATE_KNOWN},
        {"quantity": world.rng.choice(("0", "-0", "-1", "1e2", "0.0000001", "1000000000000.000001", "", "true"))},
        {"app_id": "ghost"},
        {"app_id": "", "team_id": world.rng.choice(("", "nobody"))},
        {"app_id": "", "team_id": "T-spare"},
    ))  # fmt: skip


def records_between(world, start, now, count):
    """One ingest's records: new, late, corrections, bad ones, in any order."""
    records = size_change_records(world, start, now) if world.chance(30) else []
    while len(records) < count:
        if world.events and world.chance(10):
            records.append(correction_record(world))
        elif world.events and world.chance(8):
            records.append(bad_record(world, now))
        elif start > world.epoch and world.chance(20):
            records.append(usage_record(world, world.epoch, start))
        else:
            records.append(usage_record(world, start, now))
    world.rng.shuffle(records)
    return records


def as_lines(world, records, ending):
    """Some records as the very lines of their file: JSON numbers, nulls and absent keys, what cannot be read."""
    is_json = "json" in ending
    lines = []
    for record in records:
        plain = all(cell.isascii() and not set(cell) & set('",\n\r') for cell in record.values())
        if is_json and world.chance(30) and intake.micro_of(record["quantity"]) is not None:
            cells = {column: cell or None for column, cell in record.items() if cell or world.chance(50)}
            number = decimal_text(intake.micro_of(record["quantity"]))
            text = json.dumps(cells | {"quantity": "@"}, ensure_ascii=world.chance(50))
            lines.append(text.replace('"@"', number))
        elif world.chance(1):
            lines.append('{"event_id": "x", "event_id": "x"}' if is_json else ",".join(EVENT_COLUMNS) + ",more")
        elif not is_json and plain and world.chance(10):
            lines.append(",".join(record.values()).rstrip(",") or ",")
        else:
            lines.append(record)
    return lines


# The history


def generate(rng):
    """One scenario: {"steps": [...], "references": {...}, "usage": {...}}."""
    world = first_world(rng)
    scenario = {"steps": [], "references": {}, "usage": {}}
    lag_seconds = rng.choice((None, 3600, 3600, 0, 7200))
    if lag_seconds is not None:
        scenario["steps"].append({"do": "configure", "close_lag_seconds": lag_seconds})
    add_reference(world, scenario)
    lag = timedelta(seconds=3600 if lag_seconds is None else lag_seconds)
    closes = rng.randrange(2, 7)
    count = rng.randrange(16, 121) // closes
    start = world.epoch
    for number in range(closes):
        start = add_round(world, scenario, start, lag, count, is_first=number == 0)
    return scenario


def add_reference(world, scenario):
    """A load of all that is known now."""
    folder = f"reference-{len(scenario['references']) + 1}"
    tables = copy.deepcopy(world.tables)
    if world.chance(10):
        # An absent file says nothing: what was known of its table stays known.
        del tables["capacity_grants"]
    scenario["references"][folder] = tables
    scenario["steps"].append({"do": "reference", "folder": folder})


def add_round(world, scenario, start, lag, count, is_first):
    """Perhaps a load, an ingest or two, a close, and balances around it. Returns the close's `as_of`."""
    as_of = next_as_of(world, start, lag)
    loads_at = world.rng.choice((None, None, "before", "between")) if not is_first else None
    if loads_at == "before":
        change_reference(world, scenario)
    for now in sorted({as_of, max(start, as_of - world.rng.choice((0, 0, 2)) * DAY)}):
        add_ingest(world, scenario, start, now, count)
    if world.chance(20):
        add_balances(world, scenario, start, as_of)
    if loads_at == "between":
        change_reference(world, scenario)
    scenario["steps"].append({"do": "close", "as_of": instant_text(as_of)})
    for _ in range(world.rng.randrange(3)):
        add_balances(world, scenario, as_of, as_of + world.rng.choice((1, 40)) * DAY)
    return as_of


def next_as_of(world, start, lag):
    """At, just before, or some days after the instant at which a cycle is due."""
    low, high = start + world.rng.choice((1, 20, 35)) * DAY, start + 75 * DAY
    due = [instant + lag for instant in edges(world, low, high)] or [start + 33 * DAY]
    chosen = world.rng.choice(due)
    return max(start, chosen + world.rng.choice((*NUDGES, 2 * DAY, 9 * DAY)))


def change_reference(world, scenario):
    """A later load: a few changes, then the full picture."""
    for change in world.rng.sample(CHANGES, world.rng.randrange(1, 6)):
        change(world)
    add_reference(world, scenario)


def add_ingest(world, scenario, start, now, count):
    """One file of usage; `count` is what a close may have."""
    ending = world.rng.choice((".csv", ".csv", ".csv.gz", ".jsonl", ".jsonl.gz"))
    file = f"usage/{len(scenario['usage']) + 1:03d}{ending}"
    wanted = world.rng.randrange(count * 3 // 4, count + 1)
    records = records_between(world, start, now, wanted) if start < now else []
    scenario["usage"][file] = as_lines(world, records, ending)
    scenario["steps"].append({"do": "ingest", "file": file, "now": instant_text(now)})


def add_balances(world, scenario, start, end):
    """Balances at an instant in [start, end], never before a close that has been."""
    at = near_edge(world, start, end) if start < end and world.chance(70) else start
    number = sum(step["do"] == "balances" for step in scenario["steps"]) + 1
    scenario["steps"].append({"do": "balances", "at": instant_text(at), "out": f"balances-{number}"})


# Files


def write(scenario, folder):
    """Write a scenario as a folder that `billing simulate` and the slow model can run."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "steps.json").write_text(json.dumps(scenario["steps"], indent=1), encoding="utf-8")
    for name, tables in scenario["references"].items():
        for table, rows in tables.items():
            write_text(folder / name / f"{table}.csv", csv_text(REFERENCE_COLUMNS[table].split(), rows))
    for file, records in scenario["usage"].items():
        text = json_text(records) if ".jsonl" in file else csv_text(EVENT_COLUMNS, records)
        write_text(folder / file, text)


def write_text(path, text):
    """Plain, or gzipped without a time stamp where the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = text.encode("utf-8")
    path.write_bytes(gzip.compress(data, mtime=0) if path.name.endswith(".gz") else data)


def csv_text(columns, records):
    """A header row and a line per record."""
    handle = io.StringIO()
    writer = csv.writer(handle, lineterminator="\n")
    writer.writerow(columns)
    for record in records:
        if isinstance(record, str):
            handle.write(record + "\n")
        else:
            writer.writerow([record[column] for column in columns])
    return handle.getvalue()


def json_text(records):
    """A line per record."""
    lines = [record if isinstance(record, str) else json.dumps(record, ensure_ascii=False) for record in records]
    return "".join(line + "\n" for line in lines)
