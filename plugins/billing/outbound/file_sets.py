"""Sets of files that belong together: a reader who finds ``manifest.json`` finds exactly the files that it names.

Files are made beside their place first, so that what fails leaves the old set. Then the manifest is taken away, the
files take their places, and the manifest comes last. Whoever is killed in between leaves a folder without a manifest;
the next run makes it whole. Files of an older set that the new one does not have are removed.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

from fsspec import AbstractFileSystem

from billing.core.errors import DataRefused, UsageError
from billing.outbound.whole_files import write_whole

MANIFEST = "manifest.json"
_STAGING = ".new-"


@dataclass(kw_only=True, slots=True)
class Staged:
    """Files that are being made in ``folder``; ``rows`` are told in the manifest, by the name of the file. ``facts``
    are what else the manifest says.
    """

    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    facts: dict[str, object] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where a file of the set is made; its folder is there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def names(self) -> list[str]:
        """The files that were made, in order."""
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())

    def manifest(self) -> bytes:
        """What the set is: every file with its SHA-256, size and rows. No clock is in it."""
        files = [self._told(name) for name in self.names()]
        return (json.dumps({**self.facts, "files": files}, indent=2, ensure_ascii=False) + "\n").encode()

    def _told(self, name: str) -> dict[str, object]:
        path = self.folder / name
        with path.open("rb") as handle:
            digest = file_digest(handle, "sha256").hexdigest()
        told: dict[str, object] = {"name": name, "sha256": digest, "bytes": path.stat().st_size}
        return told | ({"rows": self.rows[name]} if name in self.rows else {})


Reaching = Callable[[], AbstractContextManager[None]]
"""What is put around what asks the place, to say in words what it says when it fails; never around the block."""


@contextmanager
def placed_in(folder: Path, reaching: Reaching = nullcontext) -> Iterator[Staged]:
    """A set of files for a folder. It takes its place when the block ends; where the block fails, nothing changes."""
    with reaching():
        if folder.is_file():
            raise UsageError(f"{folder} is a file; give a folder.")
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=folder, prefix=_STAGING))
    try:
        staged = Staged(folder=staging)
        yield staged
        manifest = staged.manifest()
        with reaching():
            _place(staged, manifest, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def placed_at(files: AbstractFileSystem, root: str, reaching: Reaching = nullcontext) -> Iterator[Staged]:
    """The same below a prefix of object storage, where a file appears whole."""
    with tempfile.TemporaryDirectory(prefix="billing-export-") as folder:
        staged = Staged(folder=Path(folder))
        yield staged
        manifest = staged.manifest()
        with reaching():
            _put(staged, manifest, files, root)


def _put(staged: Staged, manifest: bytes, files: AbstractFileSystem, root: str) -> None:
    names = staged.names()
    before = _names_of(files.cat_file(f"{root}/{MANIFEST}")) if files.exists(f"{root}/{MANIFEST}") else []
    if before:
        files.rm_file(f"{root}/{MANIFEST}")
    for name in names:
        files.put_file(str(staged.folder / name), f"{root}/{name}")
    for name in set(before) - set(names):
        files.rm_file(f"{root}/{name}")
    files.pipe_file(f"{root}/{MANIFEST}", manifest)


def _place(staged: Staged, manifest: bytes, folder: Path) -> None:
    names, path = staged.names(), folder / MANIFEST
    before = _names_of(path.read_bytes()) if path.exists() else []
    path.unlink(missing_ok=True)
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (staged.folder / name).replace(target)
        target.chmod(0o644)
    for name in set(before) - set(names):
        (folder / name).unlink(missing_ok=True)
    write_whole(path, manifest)


def _names_of(manifest: bytes) -> list[str]:
    """The files that a manifest names: none that would lie outside of its folder."""
    try:
        found = [str(one["name"]) for one in json.loads(manifest)["files"]]
    except (ValueError, KeyError, TypeError):
        raise DataRefused(f"{MANIFEST} there is none of an export; give another folder, or remove it.") from None
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in found):
        raise DataRefused(f"{MANIFEST} there names files outside of its folder; remove it.")
    return found


def schema_told(columns: Mapping[str, str]) -> list[dict[str, str]]:
    """Columns and their types, in order, as a manifest tells them."""
    return [{"name": name, "type": kind} for name, kind in columns.items()]
