"""What a database, a disk or a damaged file says when it fails, in words for the person who ran the command.

Libraries say it in their own errors, often inside one another; what nobody has foreseen stays the error that it is.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
from deltalake.exceptions import DeltaError
from pyarrow import ArrowException
from sqlalchemy.exc import DBAPIError

from billing.core.errors import BillingError, StoreFailed

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SAID_OF_FULL = ("no space left on device", "disk is full", "disk full", "file too large", "disk quota exceeded")
_LITTLE_BYTES = 1 << 20
_SAID_OF_GONE = ("terminating connection", "connection", "shutting down", "shut down", "starting up")


def explained(error: BaseException, home: Path) -> BillingError | None:
    """The refusal to say instead of an error; None where it is none of the store's failures."""
    chain = list(_chain(error))
    if isinstance(error, BillingError):
        return error if not any(map(_is_full, chain[1:])) else _full(error, home)
    if any(map(_is_full, chain)) or (_fails_to_write(chain) and _has_no_room(home)):
        return _full(error, home)
    for one in chain:
        if isinstance(one, DBAPIError) and (one.connection_invalidated or _says(one, _SAID_OF_GONE)):
            return StoreFailed(
                f"The billing database broke off: {_first_line(one)}. What was not committed is void. See that the "
                "database is up, and run the same again."
            )
        if isinstance(one, DBAPIError) and "malformed" in str(one):
            return StoreFailed(f"The billing database is damaged: {_first_line(one)}. Restore it from a backup.")
        if isinstance(one, DeltaError | ArrowException | duckdb.Error | FileNotFoundError) and "lake" in str(one):
            return StoreFailed(
                f"The usage table cannot be read: {_first_line(one)}. Restore the missing or damaged files of `lake` "
                "from a backup."
            )
    return None


def _full(error: BaseException, home: Path) -> StoreFailed:
    return StoreFailed(
        f"There is no room left on a disk of {home}: {_first_line(error)}. What was not committed is void. Make room, "
        "and run the same again."
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all that it came of, the newest first."""
    seen: set[int] = set()
    left: list[BaseException | None] = [error]
    while left:
        one = left.pop(0)
        if one is not None and id(one) not in seen:
            seen.add(id(one))
            yield one
            left += [one.__cause__, one.__context__]


def _is_full(error: BaseException) -> bool:
    return (isinstance(error, OSError) and error.errno in _FULL) or _says(error, _SAID_OF_FULL)


def _fails_to_write(chain: Sequence[BaseException]) -> bool:
    """SQLite says no more than this where it cannot make the file that its readers share."""
    return any(isinstance(one, DBAPIError) and _says(one, ("disk i/o error",)) for one in chain)


def _has_no_room(home: Path) -> bool:
    return home.exists() and shutil.disk_usage(home).free < _LITTLE_BYTES


def _says(error: BaseException, words: tuple[str, ...]) -> bool:
    said = str(error).lower()
    return any(word in said for word in words)


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")
