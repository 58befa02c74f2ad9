"""Places outside of the home that files are kept at: a folder, or a prefix of object storage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import fsspec
from fsspec import AbstractFileSystem

from billing.core.errors import BillingError, DataRefused, SourceUnavailable
from billing.core.mail_addresses import one_line
from billing.intake.sources.opening import Resolver


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A folder or a URL. ``storage`` opens the file system, at each use."""

    location: str
    storage: Callable[[], AbstractFileSystem] = field(repr=False)

    @classmethod
    def at(cls, location: str, connection: str = "", resolve: Resolver | None = None) -> Self:
        """What is at a folder or below a URL, which ``connection`` opens, else this machine's environment."""
        if connection and resolve is not None:
            return cls(location=location, storage=lambda: resolve.storage(connection, location))
        return cls(location=location, storage=lambda: fsspec.url_to_fs(location)[0])

    def root(self, files: AbstractFileSystem) -> str:
        """The location as its file system names it."""
        return str(files._strip_protocol(self.location)).rstrip("/")

    @contextmanager
    def reaching(self, refused: str) -> Iterator[None]:
        """What the storage says when it fails, as ours: it is ``refused`` here, or the place cannot be reached now.

        Put it around what asks the storage, and nothing else: each file system has errors of its own without a common
        base, so that everything that is raised is taken for the storage's.
        """
        try:
            yield
        except BillingError:
            raise
        except (PermissionError, FileNotFoundError, NotADirectoryError, ImportError, ValueError) as error:
            raise DataRefused(f"{self.location}: {refused} here ({one_line(str(error))}).") from None
        except Exception as error:
            said = f"{type(error).__name__}: {one_line(str(error))}"
            raise SourceUnavailable(f"{self.location}: cannot be reached ({said}). Run again.") from None
