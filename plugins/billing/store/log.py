"""The log: every load, batch, close and issue is a row that carries the hash of the row before it.

A row's hash is SHA-256 over the JSON array ``[seq, at, kind, payload, previous hash]`` in UTF-8, without blanks:
whoever has the rows can check the chain with nothing but a JSON and a SHA-256 implementation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256

from sqlalchemy import Connection, desc, insert, select

from billing.core.errors import ConservationBroken
from billing.core.instants import format_us, to_us
from billing.store.tables import log

GENESIS = "0" * 64


def canonical(value: object) -> str:
    """JSON with sorted keys and no blanks: one spelling for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def append(connection: Connection, at: datetime, kind: str, payload: Mapping[str, object]) -> None:
    """Add a row. The caller's transaction must be one that excludes other writers of the log
    (``Database.exclusive("books")``
    or a lock that contains it), so that the chain never forks; the primary key refuses a twin."""
    last = connection.execute(select(log.c.seq, log.c.hash).order_by(desc(log.c.seq)).limit(1)).first()
    seq, previous = (last.seq + 1, last.hash) if last else (1, GENESIS)
    text, at_us = canonical(payload), to_us(at)
    row = {"seq": seq, "at_us": at_us, "kind": kind, "payload": text, "previous_hash": previous}
    connection.execute(insert(log).values(**row, hash=_hash(seq, at_us, kind, text, previous)))


def verify(connection: Connection) -> tuple[int, str]:
    """Walk the whole chain; returns the number of rows and the head. Raises ``ConservationBroken`` at the first row
    that does not fit.
    """
    expected, seq = GENESIS, 0
    for row in connection.execute(select(log).order_by(log.c.seq)):
        seq += 1
        if row.seq != seq or row.previous_hash != expected:
            raise ConservationBroken(f"The log breaks at row {row.seq}: a row before it is missing or was changed.")
        try:
            expected = _hash(row.seq, row.at_us, row.kind, row.payload, row.previous_hash)
        except (OverflowError, ValueError):
            expected = ""  # an instant that cannot be written was never appended
        if row.hash != expected:
            raise ConservationBroken(f"The log breaks at row {row.seq}: it was changed after it was written.")
    return seq, expected


def hash_of(connection: Connection, seq: int) -> str | None:
    """The hash of a row; None where there is no such row."""
    return connection.execute(select(log.c.hash).where(log.c.seq == seq)).scalar()


def _hash(seq: int, at_us: int, kind: str, payload: str, previous: str) -> str:
    return sha256(canonical([seq, format_us(at_us), kind, payload, previous]).encode()).hexdigest()
