"""Where a lake's table lies: in a folder, or below a URL of an S3 API."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs as pa_fs

_NUMBERS = count(1)
_ALWAYS = pc.scalar(True)

Credentials = Callable[[], Mapping[str, str]]
"""What opens an S3 API, asked for each time anew: ``aws_access_key_id``, ``aws_secret_access_key``,
``aws_session_token``, ``aws_region`` and ``aws_endpoint_url``, those that there are.
"""


class Storage(Protocol):
    """What a table needs of the place that it lies in."""

    @property
    def name(self) -> str:
        """The last part of its place."""
        ...

    @property
    def uri(self) -> str:
        """Its place, as Delta takes it."""
        ...

    def prepare(self) -> None:
        """Make what a new table needs."""
        ...

    def options(self) -> dict[str, str] | None:
        """What opens it now; it may be other options later."""
        ...

    def files(self) -> pa_fs.FileSystem:
        """What the data files lie in, with their paths below the table."""
        ...

    def read_in(self, engine: duckdb.DuckDBPyConnection, sizes: Mapping[str, int | None], schema: pa.Schema) -> str:
        """SQL for a table expression that reads data files in a DuckDB connection.

        ``sizes``: their bytes by their paths, None where they are not known. ``schema``: their columns.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderStorage:
    """A folder."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def uri(self) -> str:
        return str(self.folder)

    def prepare(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)

    def options(self) -> None:
        return None

    def files(self) -> pa_fs.FileSystem:
        return pa_fs.SubTreeFileSystem(str(self.folder), pa_fs.LocalFileSystem())

    def read_in(self, engine: duckdb.DuckDBPyConnection, sizes: Mapping[str, int | None], schema: pa.Schema) -> str:
        named = [str(self.folder / path).replace("'", "''") for path in sizes]
        return "read_parquet([" + ", ".join(f"'{path}'" for path in named) + "], hive_partitioning = false)"


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectStorage:
    """Objects below ``url``, ``s3://bucket/prefix``. What is there already is replaced by nobody: a commit is an object
    that must not be there yet (``If-None-Match``), which the S3 API has to know.
    """

    url: str
    credentials: Credentials = field(repr=False)

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def uri(self) -> str:
        return self.url

    def below(self, name: str) -> ObjectStorage:
        """A place in this one."""
        return ObjectStorage(url=f"{self.url.rstrip('/')}/{name}", credentials=self.credentials)

    def prepare(self) -> None:
        """Nothing: there are no folders."""

    def options(self) -> dict[str, str]:
        given = self.credentials()
        plain = {"aws_allow_http": "true"} if given.get("aws_endpoint_url", "").startswith("http://") else {}
        return {**given, **plain, "aws_conditional_put": "etag"}

    def files(self) -> pa_fs.FileSystem:
        given = self.credentials()
        scheme, _, host = given.get("aws_endpoint_url", "").rpartition("://")
        named = {
            "access_key": given.get("aws_access_key_id"),
            "secret_key": given.get("aws_secret_access_key"),
            "session_token": given.get("aws_session_token"),
            "region": given.get("aws_region"),
            "endpoint_override": host.rstrip("/"),
            "scheme": scheme,
        }
        storage = pa_fs.S3FileSystem(**{name: value for name, value in named.items() if value})
        return pa_fs.SubTreeFileSystem(self.url.removeprefix("s3://"), storage)

    def read_in(self, engine: duckdb.DuckDBPyConnection, sizes: Mapping[str, int | None], schema: pa.Schema) -> str:
        # By Arrow's readers, which ask for many pieces at once: DuckDB's own need an extension that is fetched from the
        # internet, and by a file system of Python's they take three to ten times as long.
        storage, name = self.files(), f"lake_{next(_NUMBERS)}"
        engine.register(name, dataset_of(storage, sizes, schema))
        return name


def dataset_of(
    storage: pa_fs.FileSystem, sizes: Mapping[str, int | None], schema: pa.Schema, holds: pc.Expression = _ALWAYS
) -> ds.Dataset:
    """These data files, in their order; ``holds`` is true of all their rows. Reading it is the first that asks the
    storage.
    """
    parquet = ds.ParquetFileFormat()
    files = [
        parquet.make_fragment(
            path, filesystem=storage, partition_expression=holds, **({} if size is None else {"file_size": size})
        )
        for path, size in sizes.items()
    ]
    return ds.FileSystemDataset(files, schema, parquet, storage)


def storage_at(location: Path | ObjectStorage) -> Storage:
    """A folder as a storage."""
    return FolderStorage(folder=location) if isinstance(location, Path) else location
