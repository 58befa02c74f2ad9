"""Usage records as files: CSV, gzipped CSV, JSON Lines and Parquet, the same bytes on every machine.

A Parquet file names the pyarrow that wrote it, so its bytes are those of one version of pyarrow (``uv.lock``).
"""

from __future__ import annotations

import csv
import io
import json
import zlib
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq


class Record(NamedTuple):
    """A usage record as it is delivered: every cell as text, blank where it does not apply."""

    event_id: str
    occurred_at: str
    app_id: str
    api: str
    quantity: str
    corrects: str = ""
    team_id: str = ""


def file_bytes(name: str, records: Sequence[Record], broken_lines: Sequence[str] = ()) -> bytes:
    """The file of these records, in the format that its name says; in text ``broken_lines`` follow as they are."""
    if name.endswith(".parquet"):
        return _parquet(records)
    text = (_jsonl if name.endswith(".jsonl") else _csv)(records) + "".join(f"{line}\n" for line in broken_lines)
    return _gzip(text.encode()) if PurePath(name).suffix == ".gz" else text.encode()


def _csv(records: Sequence[Record]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(Record._fields)
    writer.writerows(records)
    return out.getvalue()


def _jsonl(records: Sequence[Record]) -> str:
    """Cells that do not apply are left out."""
    filled = ({name: cell for name, cell in record._asdict().items() if cell} for record in records)
    return "".join(f"{json.dumps(cells, ensure_ascii=False)}\n" for cells in filled)


def _parquet(records: Sequence[Record]) -> bytes:
    out = io.BytesIO()
    columns = {
        name: pa.array([record[at] for record in records], pa.string()) for at, name in enumerate(Record._fields)
    }
    pq.write_table(pa.table(columns), out, compression="none", store_schema=False)
    return out.getvalue()


def _gzip(content: bytes) -> bytes:
    """A gzip file (RFC 1952) of stored blocks: compressed bytes would differ from one zlib to another."""
    blocks = [content[at : at + 0xFFFF] for at in range(0, len(content), 0xFFFF)] or [b""]
    parts = [b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"]  # no name, no time, system unknown
    for number, block in enumerate(blocks, start=1):
        size = len(block)
        parts += [
            bytes([number == len(blocks)]),
            size.to_bytes(2, "little"),
            (size ^ 0xFFFF).to_bytes(2, "little"),
            block,
        ]
    return b"".join([*parts, zlib.crc32(content).to_bytes(4, "little"), len(content).to_bytes(4, "little")])
