"""Files that are written once: the archive of sources, documents and the bundles they were made with."""

from __future__ import annotations

import os
import tempfile
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import file_digest, sha256
from pathlib import Path
from typing import IO, BinaryIO

from billing.core.errors import ConservationBroken, NotFound

_CHUNK_BYTES = 1 << 20
_UNFINISHED = ".new-"
UNFINISHED_KEPT = timedelta(days=1)
"""Nobody takes longer to write a file: what is unfinished after that was left by a writer that was killed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A stored file: its SHA-256, size and place below the folder; ``is_new`` where it was not there."""

    sha256: str
    size_bytes: int
    path: str
    is_new: bool = True


class WriteOnce:
    """A folder of files named by their SHA-256. Writing the same bytes again changes nothing; nothing is ever
    replaced.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_bytes(self, content: bytes, suffix: str = "") -> Stored:
        """Keep these bytes."""
        digest = sha256(content).hexdigest()
        path = self._path(digest, suffix)
        if not (self.folder / path).exists():
            self._write(path, content)
        return Stored(sha256=digest, size_bytes=len(content), path=path)

    def put_file(self, source: Path, suffix: str = "") -> Stored:
        """Keep a copy of a file, read once, in bounded memory."""
        with source.open("rb") as reader, new_file(self.folder) as writer:
            try:
                digest, size = _copy(reader, writer)
                _flush(writer)
                path = self._path(digest, suffix)
                is_new = not (self.folder / path).exists()
                self._move(Path(writer.name), path)
            finally:
                Path(writer.name).unlink(missing_ok=True)
        return Stored(sha256=digest, size_bytes=size, path=path, is_new=is_new)

    def take_back(self, stored: Stored) -> None:
        """Remove a file that turned out not to be wanted; one that was there before stays."""
        if stored.is_new:
            (self.folder / stored.path).unlink(missing_ok=True)

    def read(self, path: str, digest: str) -> bytes:
        """The bytes of a stored file, checked against their hash."""
        try:
            content = (self.folder / path).read_bytes()
        except FileNotFoundError:
            raise self._missing(path) from None
        if sha256(content).hexdigest() != digest:
            raise self._changed(path)
        return content

    def demand(self, stored: Stored) -> None:
        """Raise ``NotFound`` or ``ConservationBroken`` where a file is not what was written; in bounded memory."""
        try:
            with (self.folder / stored.path).open("rb") as handle:
                digest = file_digest(handle, "sha256").hexdigest()
        except FileNotFoundError:
            raise self._missing(stored.path) from None
        if digest != stored.sha256:
            raise self._changed(stored.path)

    def _missing(self, path: str) -> NotFound:
        return NotFound(f"{path} is missing from {self.folder.name}: restore it from a backup.")

    def _changed(self, path: str) -> ConservationBroken:
        return ConservationBroken(
            f"{path} in {self.folder.name} was changed after it was written: restore it from a backup."
        )

    def stored(self, digest: str, size_bytes: int, suffix: str = "") -> Stored:
        """A file that was kept under this hash."""
        return Stored(sha256=digest, size_bytes=size_bytes, path=self._path(digest, suffix), is_new=False)

    def locate(self, path: str) -> Path:
        """Where a stored file is."""
        return self.folder / path

    def _path(self, digest: str, suffix: str) -> str:
        return f"{digest[:2]}/{digest}{suffix}"

    def _write(self, path: str, content: bytes) -> None:
        with new_file(self.folder) as writer:
            try:
                writer.write(content)
                _flush(writer)
                self._move(Path(writer.name), path)
            finally:
                Path(writer.name).unlink(missing_ok=True)

    def _move(self, temporary: Path, path: str) -> None:
        """Give a complete file its name: a reader sees all of it or nothing."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary.chmod(0o444)
        temporary.replace(target)


def new_file(folder: Path) -> AbstractContextManager[IO[bytes]]:
    """A file without a name yet: whoever writes it gives it one when it is complete, or deletes it."""
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.NamedTemporaryFile(dir=folder, prefix=_UNFINISHED, delete=False)


def sweep(folder: Path, now: datetime) -> int:
    """Delete what writers that were killed left unfinished in a folder; how many files."""
    found = [path for path in folder.glob(f"{_UNFINISHED}*") if _is_old(path, now)]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def _is_old(path: Path, now: datetime) -> bool:
    try:
        return path.stat().st_mtime < (now - UNFINISHED_KEPT).timestamp()
    except FileNotFoundError:  # finished, or swept by somebody else
        return False


def archive_suffix(name: str) -> str:
    """What a file's name says of its format, kept in the archive."""
    return "".join(f".{part}" for part in Path(name).name.split(".")[1:] if part in ("csv", "jsonl", "parquet", "gz"))


def _copy(reader: BinaryIO, writer: object) -> tuple[str, int]:
    digest, size = sha256(), 0
    while chunk := reader.read(_CHUNK_BYTES):
        digest.update(chunk)
        size += len(chunk)
        writer.write(chunk)  # type: ignore[attr-defined]
    return digest.hexdigest(), size


def _flush(writer: object) -> None:
    writer.flush()  # type: ignore[attr-defined]
    os.fsync(writer.fileno())  # type: ignore[attr-defined]
