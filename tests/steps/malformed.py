"""Records as no source should send them, by the thousand: each is what one attacker or one bug would write."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path

COLUMNS = ("event_id", "occurred_at", "app_id", "api", "quantity", "corrects", "team_id")
GOOD = ("2026-07-10T10:00:00Z", "a1", "render", "1", "", "")

HOSTILE: Sequence[str] = (
    "",
    " ",
    "\x00",
    "a\x00b",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "@SUM(A1:A9)",
    "-2+3+cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "{{ 7 * 7 }}",
    "'; drop table batches; --",
    "../../../etc/passwd",
    "\u202eevil\u202c",
    "\ufeff",
    "\U0001f4a9" * 50,
    "é" * 300,
    "x" * 5_000,
    "\x1b[2J\x1b[1;31m",
    "null",
    "None",
    "NaN",
    "Infinity",
    "-0",
    "0x10",
    "1e5",
    "1" * 400,
    "0." + "0" * 50 + "1",
    "-1",
    "१२३",
    "1,5",
    " 1",
    "1_000",
    "9" * 13,
    "2026-02-30T00:00:00Z",
    "2026-07-10 10:00:00",
    "2026-07-10T10:00:00",
    "2026-07-10T25:00:00Z",
    "2026-07-10T10:00:60Z",
    "20260710T100000Z",
    "9999-12-31T23:59:59Z",
    "0000-00-00T00:00:00Z",
    "2026-07-10T10:00:00+99:99",
    "1783677600",
    "true",
)


def row(dice: random.Random, number: int) -> list[str]:
    """A record with something wrong in some of its cells; every tenth is right, every twentieth comes again."""
    cells = [f"e{number if number % 20 else number - 1}", *GOOD]
    if number % 10:
        for place in dice.sample(range(7), dice.choice((1, 1, 1, 2, 7))):
            cells[place] = dice.choice(HOSTILE)
    return cells


def csv_record(dice: random.Random, cells: list[str]) -> bytes:
    """One line of CSV, quoted by rule or not at all, with too few cells or too many, or with quotes astray."""
    kind = dice.randrange(8)
    quoted = [f'"{cell.replace(chr(34), chr(34) * 2)}"' if set(cell) & set('",\r\n') else cell for cell in cells]
    line = ",".join(quoted)
    if kind == 0:
        line = ",".join(quoted[: dice.randrange(1, 7)])
    elif kind == 1:
        line += ",more" * dice.randrange(1, 9)
    elif kind == 2:
        line = line.replace(",", ',astray"', 1)
    elif kind == 3:
        line = '"closed"early' + line
    return line.encode() or b","


def json_record(dice: random.Random, cells: list[str]) -> bytes:
    """One line of JSON Lines: of other types, nested, doubled, cut off, or no JSON at all."""
    record: dict[str, object] = dict(zip(COLUMNS, cells, strict=True))
    text = json.dumps(record, ensure_ascii=bool(dice.randrange(2)))
    name = dice.choice(COLUMNS)
    broken: Sequence[Callable[[], str]] = (
        lambda: text,
        lambda: text[: dice.randrange(1, len(text))],
        lambda: json.dumps({**record, name: {"a": [1]}}),
        lambda: json.dumps({**record, name: [cells]}),
        lambda: json.dumps({**record, name: dice.choice((True, None, 0.1, 10**40))}),
        lambda: text[:-1] + f', "{name}": "again"}}',
        lambda: text.replace('"', "'"),
        lambda: '{"event_id": "\\ud800", "quantity": NaN}',
        lambda: "[" * 2_000,
        lambda: json.dumps(cells),
        lambda: "<xml/>",
    )
    return dice.choice(broken)().encode()


def write_csv(path: Path, dice: random.Random, records: int, first: int) -> None:
    """A file of so many records; its header is right."""
    lines = [csv_record(dice, row(dice, first + n)) for n in range(records)]
    path.write_bytes(b"\n".join([",".join(COLUMNS).encode(), *lines, b""]))


def write_jsonl(path: Path, dice: random.Random, records: int, first: int) -> None:
    """A file of so many records, gzipped where its name says so."""
    content = b"\n".join([*(json_record(dice, row(dice, first + n)) for n in range(records)), b""])
    path.write_bytes(gzip.compress(content, 1) if path.name.endswith(".gz") else content)


def refused_files(folder: Path) -> dict[str, bytes]:
    """Files that are not what they should be, by name: each is refused whole."""
    header = ",".join(COLUMNS).encode()
    good = b"e1," + ",".join(GOOD).encode()
    zipped = gzip.compress(header + b"\n" + good + b"\n")
    return {
        "empty.csv": b"",
        "latin-1.csv": header + b"\n" + good.replace(b"a1", b"caf\xe9") + b"\n",
        "utf-16.csv": (header + b"\n" + good).decode().encode("utf-16"),
        "open-quote.csv": header + b'\n"e1,' + good,
        "no-quantity.csv": header.replace(b"quantity", b"amount") + b"\n" + good,
        "doubled.csv": header + b",api\n" + good + b",render",
        "cut-off.csv.gz": zipped[: len(zipped) // 2],
        "not-gzip.csv.gz": header + b"\n" + good,
        "gzip.csv": zipped,
        "parquet.csv": b"PAR1" + b"\0" * 20 + b"PAR1",
        "cut-off.parquet": b"PAR1" + b"\0" * 20,
        "spreadsheet.csv": b"PK\x03\x04" + b"\0" * 40,
        "bomb.csv.gz": gzip.compress(header + b"\n" + b"a\n" * (64 << 20), 9),
        "what.txt": good,
    }
