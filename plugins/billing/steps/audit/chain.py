"""The log, proved: its rows hang together, still hold a head that somebody has kept elsewhere, and what they name is
there.
"""

from __future__ import annotations

from dataclasses import dataclass

from billing.core.errors import ConservationBroken, UsageError
from billing.steps.audit.logged import demand_files
from billing.store import log
from billing.store.home import Home


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """The last row of the log: its number and its hash. Written ``12:9f86...``."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what ``str`` writes. Raises ``UsageError`` for anything else."""
        seq, colon, digest = text.strip().partition(":")
        if not (seq.isascii() and seq.isdigit() and colon and len(digest) == 64 and set(digest) <= set(_HEX)):
            raise UsageError(f"{text!r} is no head of the log: it is a row number, a colon, 64 hex digits.")
        return cls(seq=int(seq), hash=digest)

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


_HEX = "0123456789abcdef"


def verify_log(home: Home, against: Head | None = None) -> Head:
    """Walk the whole log and return its head. Raises ``ConservationBroken`` at the first row that does not fit, where
    the log does not hold the head ``against`` any more (it was written anew, or an older one was restored), and where
    an archived file that it names was changed; ``NotFound`` where one is missing.
    """
    with home.database.read() as connection:
        seq, digest = log.verify(connection)
        held = log.hash_of(connection, against.seq) if against else None
    if against is not None and held != against.hash:
        has = f"its row {against.seq} has the hash {held}" if held else f"it ends at row {seq}"
        raise ConservationBroken(
            f"The log does not hold the head {against}: {has}. Its rows were written anew, or an older database was "
            "restored: compare it with the backup of the day on which the head was kept."
        )
    with home.database.read() as connection:
        demand_files(home, connection)
    return Head(seq=seq, hash=digest)
