"""Files that are made in a folder or in object storage, whole or not at all, and never over one that is there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from fsspec import AbstractFileSystem

_THERE_ALREADY = ("file exists", "precondition", "at least one of the pre-conditions")


def create(files: AbstractFileSystem, place: str, content: bytes) -> bool:
    """Make a file that is not there yet; False where it is."""
    if "file" in files.protocol:
        return _create_here(Path(place), content)
    if files.exists(place):
        return False
    try:
        files.pipe_file(place, content, mode="create")
    except OSError as error:  # somebody was faster: a storage that knows conditions says so
        if isinstance(error, FileExistsError) or any(word in str(error).lower() for word in _THERE_ALREADY):
            return False
        raise
    return True


def _create_here(path: Path, content: bytes) -> bool:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-") as writer:
        writer.write(content)
        writer.flush()
        os.fsync(writer.fileno())
        Path(writer.name).chmod(0o444)
        try:
            os.link(writer.name, path)
        except FileExistsError:
            return False
    return True
