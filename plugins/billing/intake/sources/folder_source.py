"""Usage files in a folder of this machine; they are read where they lie. A file's arrival is its modification time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from billing.core.errors import DataRefused, SourceUnavailable
from billing.intake.sources.arrivals import Arrival, due, is_usage, spoken
from billing.intake.sources.seam import SourceFile, Taken, Window


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderSource:
    """A folder, with the folders in it."""

    name: str
    folder: Path

    @property
    def kind(self) -> str:
        """What kind of source it is."""
        return "files"

    @property
    def location(self) -> str:
        """The folder."""
        return spoken(str(self.folder))

    def extract(self, window: Window, taken: Taken, staging: Path) -> list[SourceFile]:
        """The files that are due; ``staging`` is not needed. See the seam."""
        if not self.folder.is_dir():
            raise DataRefused(f"{self.location}: there is no such folder; usage files are expected there.")
        return [
            SourceFile(path=Path(one.place), name=one.name, arrived_at=one.arrived_at)
            for one in due(self._found(), window, taken)
        ]

    def _found(self) -> Iterator[Arrival]:
        for parent, folders, names in os.walk(self.folder, onerror=_unreadable):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in names:
                path = Path(parent, name)
                inside = path.relative_to(self.folder).as_posix()
                if is_usage(inside) and (state := _state(path)):
                    yield Arrival(
                        name=spoken(inside),
                        size_bytes=state.st_size,
                        arrived_us=state.st_mtime_ns // 1_000,
                        place=str(path),
                    )


def _state(path: Path) -> os.stat_result | None:
    """Of a file; None where it is something else, or was taken away since it was listed."""
    try:
        state = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        _unreadable(error)
    return state if stat.S_ISREG(state.st_mode) else None


def _unreadable(error: OSError) -> NoReturn:
    """A folder that cannot be listed is never taken for an empty one."""
    place = spoken(str(error.filename))
    if isinstance(error, PermissionError):
        raise DataRefused(f"{place}: may not be read; give the user that runs this the right to.") from None
    raise SourceUnavailable(f"{place}: cannot be read ({error.strerror}). Nothing was taken; run again.") from None
