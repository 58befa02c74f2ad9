"""Usage files in object storage, or wherever fsspec reaches: what is due is fetched. Arrival is the last modification.

Storage that gives no modification times in its listings is asked for each file's.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from billing.core.errors import BillingError, DataRefused, SourceUnavailable
from billing.core.instants import to_us
from billing.intake.sources.arrivals import Arrival, due, is_usage, spoken
from billing.intake.sources.seam import SourceFile, Taken, Window

_BLOCK_BYTES = 8 << 20
# As s3fs and ossfs, adlfs, gcsfs, sftp and local files, memory call it.
_TIMES = ("LastModified", "last_modified", "mtime", "updated", "modified", "created")
_TAGS = ("ETag", "etag", "md5Hash", "generation", "VersionId")


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectSource:
    """Objects below ``url``, ``scheme://bucket/prefix``. ``storage`` opens the file system, at each extract."""

    name: str
    url: str
    storage: Callable[[], AbstractFileSystem] = field(repr=False)

    @property
    def kind(self) -> str:
        """What kind of source it is."""
        return "files"

    @property
    def location(self) -> str:
        """The URL, without user and password."""
        scheme, _, rest = self.url.partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    def extract(self, window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        """Fetch what is due; see the seam. An object that changes meanwhile is ``SourceUnavailable``."""
        with _reaching(self.location):
            files = self.storage()
            found = due(self._found(files), window, taken)
        return [self._fetched(files, one, staging / f"{number:06}") for number, one in enumerate(found)]

    def _found(self, files: AbstractFileSystem) -> Iterator[Arrival]:
        files.invalidate_cache()
        root = str(files._strip_protocol(self.url)).rstrip("/")
        for place, info in files.find(root, detail=True).items():
            if place == root:
                raise DataRefused(f"{self.location}: is a file; give the folder, or the prefix, that it lies in.")
            name = place.removeprefix(root).removeprefix("/")
            if info["type"] == "file" and is_usage(name):
                yield _arrival(files, spoken(name), place, info)

    def _fetched(self, files: AbstractFileSystem, wanted: Arrival, path: Path) -> SourceFile:
        """Copied piece by piece, and whole: what changed since it was listed is noticed."""
        part = path.with_suffix(".part")
        try:
            if not self._copied(files, wanted, part):
                raise SourceUnavailable(
                    f"{self.location}: {wanted.name} was changed while it was fetched. Nothing was taken; run again. "
                    "Whoever delivers writes an object once, under a name of its own."
                )
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        return SourceFile(path=path, name=wanted.name, arrived_at=wanted.arrived_at)

    def _copied(self, files: AbstractFileSystem, wanted: Arrival, part: Path) -> bool:
        """Whether the copy is of what was listed."""
        with _reaching(f"{self.location}, {wanted.name}"):
            try:
                # Not get_file: for S3 it holds the whole object in memory.
                with files.open(wanted.place, "rb", block_size=_BLOCK_BYTES) as reader, part.open("wb") as writer:
                    shutil.copyfileobj(reader, writer, _BLOCK_BYTES)
                files.invalidate_cache()
                there = _arrival(files, wanted.name, wanted.place, files.info(wanted.place))
            except FileNotFoundError:
                return False
        return there == wanted and part.stat().st_size == wanted.size_bytes


def _arrival(files: AbstractFileSystem, name: str, place: str, info: Mapping[str, Any]) -> Arrival:
    times = (info[key] for key in _TIMES if info.get(key) is not None)
    return Arrival(
        name=name,
        size_bytes=int(info["size"]),
        arrived_us=_us(next(times, None) or files.modified(place)),
        place=place,
        mark="".join(str(info[key]) for key in _TAGS if info.get(key)),
    )


def _us(time: datetime | str | float) -> int:
    """Microseconds since the epoch; storage that gives no zone means UTC."""
    if isinstance(time, int | float):
        return round(time * 1_000_000)
    instant = datetime.fromisoformat(time) if isinstance(time, str) else time
    return to_us(instant if instant.tzinfo else instant.replace(tzinfo=UTC))


@contextmanager
def _reaching(place: str) -> Iterator[None]:
    """Errors of the storage as ours. Each file system has its own, and no base of them all."""
    try:
        yield
    except BillingError:
        raise
    except PermissionError as error:
        raise DataRefused(f"{place}: may not be read ({_cause(error)}); give the connection the right to.") from None
    except FileNotFoundError as error:
        raise DataRefused(
            f"{place}: there is no such place ({_cause(error)}); mend the location, or make it."
        ) from None
    except Exception as error:
        raise SourceUnavailable(f"{place}: cannot be read ({_cause(error)}). Nothing was taken; run again.") from None


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
