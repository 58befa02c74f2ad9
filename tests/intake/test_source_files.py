"""Usage files in a folder and in object storage: the same rules, whatever they lie on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import IO

import fsspec
import pytest
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from billing.core.errors import DataRefused, SourceUnavailable
from billing.core.instants import to_us
from billing.intake.sources.folder_source import FolderSource
from billing.intake.sources.object_source import ObjectSource
from billing.intake.sources.seam import Source, SourceFile, Taken, Window

NOON = datetime(2026, 7, 10, 12, tzinfo=UTC)
TEN = Window(start=NOON, end=NOON + timedelta(minutes=10))
Bucket = Callable[[], tuple[AbstractFileSystem, str]]


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@dataclass(frozen=True, kw_only=True)
class Drop:
    """A folder that files arrive in, and a source that reads it."""

    folder: Path
    staging: Path
    source: Source

    def arrive(self, name: str | bytes, at: float = 0, content: bytes = b"x") -> Path:
        path = self.folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(0, to_us(minutes(at)) * 1_000))
        return path

    def extract(self, *taken: tuple[str, int, int]) -> list[SourceFile]:
        return self.source.extract(TEN, Taken(files=frozenset(taken)), self.staging)

    def names(self, *taken: tuple[str, int, int]) -> list[str]:
        return [file.name for file in self.extract(*taken)]


@pytest.fixture(params=["folder", "objects"])
def drop(request: pytest.FixtureRequest, tmp_path: Path) -> Drop:
    folder, staging = tmp_path / "drop", tmp_path / "staging"
    folder.mkdir()
    staging.mkdir()
    source: Source = FolderSource(name="drop", folder=folder)
    if request.param == "objects":
        source = ObjectSource(name="drop", url=f"file://{folder}", storage=LocalFileSystem)
    return Drop(folder=folder, staging=staging, source=source)


# --- the rules of both


@pytest.mark.parametrize(
    "name",
    ["a.csv", "a.csv.gz", "a.jsonl", "a.jsonl.gz", "a.parquet", "2026/07/a.csv", "a b ü.csv", "a.v2.csv"],
)
def test_files_of_every_format_are_taken_by_their_path_in_the_folder(drop: Drop, name: str) -> None:
    drop.arrive(name, 3.5, b"content")
    (file,) = drop.extract()
    assert (file.name, file.arrived_at) == (name, minutes(3.5))
    assert file.path.read_bytes() == b"content"


@pytest.mark.parametrize(
    "name",
    ["a.csv.part", "a.csv.tmp", ".a.csv", ".hidden/a.csv", "x/.hidden/y/a.csv", "a.txt", "a.CSV", "csv", "a.csv/.keep"],
)
def test_what_is_not_delivered_is_left_alone(drop: Drop, name: str) -> None:
    drop.arrive(name)
    assert drop.names() == []


def test_a_window_takes_what_arrived_before_its_end(drop: Drop) -> None:
    for name, at in {"old": -1e6, "before": -1, "in": 5, "last": 10 - 1e-6, "end": 10, "later": 11}.items():
        drop.arrive(f"{name}.csv", at)
    assert drop.names() == ["old.csv", "before.csv", "in.csv", "last.csv"]


def test_order_is_by_arrival_then_by_name(drop: Drop) -> None:
    for name, at in [("b.csv", 2), ("c.csv", 1), ("a.csv", 2), ("B.csv", 2), ("d/a.csv", 1)]:
        drop.arrive(name, at)
    assert drop.names() == ["c.csv", "d/a.csv", "B.csv", "a.csv", "b.csv"]


def test_a_file_is_taken_once_and_again_where_it_is_another(drop: Drop) -> None:
    drop.arrive("a.csv", 1, b"12345")
    at_us = to_us(minutes(1))
    assert drop.names(("a.csv", 5, at_us)) == []
    assert drop.names(("a.csv", 4, at_us)) == ["a.csv"]
    assert drop.names(("a.csv", 5, at_us + 1)) == ["a.csv"]
    assert drop.names(("b.csv", 5, at_us)) == ["a.csv"]


def test_a_name_that_is_no_text_is_told_by_its_bytes(drop: Drop) -> None:
    drop.arrive(b"caf\xe9/\xff.csv", 1)
    (file,) = drop.extract()
    assert file.name == r"caf\xe9/\xff.csv"
    assert file.path.read_bytes() == b"x"
    assert drop.names((file.name, 1, to_us(minutes(1)))) == []


def test_an_empty_place_has_nothing(drop: Drop) -> None:
    assert drop.extract() == []


def test_the_source_stays_as_it_was(drop: Drop) -> None:
    drop.arrive("a.csv", 1)
    drop.arrive("b/c.csv", 2)
    before = sorted((path, path.stat().st_mtime_ns) for path in drop.folder.rglob("*"))
    drop.extract()
    assert sorted((path, path.stat().st_mtime_ns) for path in drop.folder.rglob("*")) == before


def test_a_place_that_is_a_file_is_refused(drop: Drop) -> None:
    drop.folder.rmdir()
    drop.folder.write_bytes(b"x")
    with pytest.raises(DataRefused, match="there is no such folder|is a file; give the folder"):
        drop.extract()


# --- a folder


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataRefused, match="there is no such folder; usage files are expected there"):
        FolderSource(name="drop", folder=tmp_path / "drop").extract(TEN, Taken(), tmp_path)


def test_a_folder_that_may_not_be_read_is_not_an_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "inside").mkdir()
    real = os.scandir

    def denied(path: str) -> object:
        if str(path).endswith("inside"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(DataRefused, match="inside: may not be read"):
        FolderSource(name="drop", folder=tmp_path).extract(TEN, Taken(), tmp_path)


def test_links_count_where_they_lead_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"12")
    os.utime(tmp_path / "there", ns=(0, to_us(minutes(1)) * 1_000))
    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "a.csv").symlink_to(tmp_path / "there")
    (tmp_path / "drop" / "b.csv").symlink_to(tmp_path / "nowhere")
    (file,) = FolderSource(name="drop", folder=tmp_path / "drop").extract(TEN, Taken(), tmp_path)
    assert (file.name, file.arrived_at) == ("a.csv", minutes(1))


# --- object storage


def s3_source(bucket: tuple[AbstractFileSystem, str], prefix: str = "/usage") -> ObjectSource:
    return ObjectSource(name="s3", url=bucket[1] + prefix, storage=lambda: bucket[0])


def another(files: AbstractFileSystem) -> AbstractFileSystem:
    """The same storage as another process sees it, with nothing of ours remembered."""
    return fsspec.filesystem("s3", skip_instance_cache=True, **files.storage_options)


class Interrupted:
    """A file system where something happens after the bytes of an object were read."""

    def __init__(self, files: AbstractFileSystem, *, after: Callable[[], None]) -> None:
        self.files = files
        self.after = after

    def __getattr__(self, name: str) -> object:
        return getattr(self.files, name)

    @contextmanager
    def open(self, *place: str, **options: object) -> Iterator[IO[bytes]]:
        with self.files.open(*place, **options) as reader:
            yield reader
        self.after()


def soon() -> Window:
    """Past any arrival of this test: S3 keeps whole seconds of the clock."""
    now = datetime.now(UTC)
    return Window(start=now - timedelta(days=1), end=now + timedelta(days=1))


def test_objects_below_the_prefix_are_fetched(tmp_path: Path, s3_bucket: Bucket) -> None:
    files, url = bucket = s3_bucket()
    content = os.urandom(3 << 20)
    for name in (
        "usage/a.csv",
        "usage/2026/b ü+%.csv",
        "usage/.hidden/c.csv",
        "usage.csv",
        "usages/d.csv",
        "usage/e.tmp",
    ):
        files.pipe(f"{url}/{name}", content + name.encode())
    found = s3_source(bucket).extract(soon(), Taken(), tmp_path)
    assert sorted(file.name for file in found) == ["2026/b ü+%.csv", "a.csv"]
    for file in found:
        assert file.path.read_bytes() == content + f"usage/{file.name}".encode()
        assert file.arrived_at == files.info(f"{url}/usage/{file.name}")["LastModified"]
    assert sorted(tmp_path.iterdir()) == sorted(file.path for file in found)


def test_a_listing_is_never_an_old_one(tmp_path: Path, s3_bucket: Bucket) -> None:
    files, url = bucket = s3_bucket()
    source = s3_source(bucket)
    another(files).pipe(f"{url}/usage/b.txt", b"x")
    assert source.extract(soon(), Taken(), tmp_path) == []
    another(files).pipe(f"{url}/usage/a.csv", b"x")
    (file,) = source.extract(soon(), Taken(), tmp_path)
    taken = Taken(files=frozenset({("a.csv", 1, to_us(file.arrived_at or NOON))}))
    assert source.extract(soon(), taken, tmp_path) == []


def test_the_whole_bucket_is_a_prefix_too(tmp_path: Path, s3_bucket: Bucket) -> None:
    files, url = bucket = s3_bucket()
    files.pipe(f"{url}/x/a.csv", b"x")
    for prefix in ("", "/"):
        assert [file.name for file in s3_source(bucket, prefix).extract(soon(), Taken(), tmp_path)] == ["x/a.csv"]


@pytest.mark.parametrize(
    "after", [b"other", b"same!", b"", None], ids=["size", "same size and second", "empty", "gone"]
)
def test_an_object_that_changes_while_it_is_fetched_is_noticed(
    tmp_path: Path, s3_bucket: Bucket, after: bytes | None
) -> None:
    files, url = s3_bucket()
    files.pipe(f"{url}/usage/a.csv", b"first")

    def meanwhile() -> None:
        another(files).rm_file(f"{url}/usage/a.csv") if after is None else another(files).pipe(
            f"{url}/usage/a.csv", after
        )

    source = ObjectSource(name="s3", url=f"{url}/usage", storage=lambda: Interrupted(files, after=meanwhile))
    with pytest.raises(SourceUnavailable, match=r"a\.csv was changed while it was fetched"):
        source.extract(soon(), Taken(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_fetch_that_breaks_off_leaves_no_half_file(tmp_path: Path, s3_bucket: Bucket) -> None:
    files, url = s3_bucket()
    files.pipe(f"{url}/usage/a.csv", b"first")

    def broken() -> None:
        raise ConnectionResetError("reset by peer")

    source = ObjectSource(name="s3", url=f"{url}/usage", storage=lambda: Interrupted(files, after=broken))
    with pytest.raises(SourceUnavailable, match="reset by peer"):
        source.extract(soon(), Taken(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_bucket_that_is_not_there_is_refused(tmp_path: Path, s3_bucket: Bucket) -> None:
    files, _ = s3_bucket()
    source = ObjectSource(name="s3", url="s3://nowhere/usage", storage=lambda: files)
    with pytest.raises(DataRefused, match="s3://nowhere/usage: there is no such place"):
        source.extract(soon(), Taken(), tmp_path)


def test_storage_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    client = {"endpoint_url": "http://127.0.0.1:1", "config": None}
    config = {"connect_timeout": 1, "retries": {"max_attempts": 0}}
    files = fsspec.filesystem("s3", key="k", secret="hush-hush", client_kwargs=client, config_kwargs=config)
    source = ObjectSource(name="s3", url="s3://bucket/usage", storage=lambda: files)
    with pytest.raises(SourceUnavailable, match="s3://bucket/usage: cannot be read") as caught:
        source.extract(soon(), Taken(), tmp_path)
    assert "hush" not in str(caught.value) + repr(source)


def test_a_file_system_that_remembers_its_listing_is_made_to_forget_it(tmp_path: Path) -> None:
    class Remembering(LocalFileSystem):
        """Lists once, as some file systems do, until it is told otherwise."""

        remembered: dict[str, dict[str, object]] | None = None

        def find(self, path: str, **options: object) -> dict[str, dict[str, object]]:
            self.remembered = super().find(path, **options) if self.remembered is None else self.remembered
            return self.remembered

        def invalidate_cache(self, path: str | None = None) -> None:
            self.remembered = None

    (tmp_path / "drop").mkdir()
    (tmp_path / "staging").mkdir()
    source = ObjectSource(name="slow", url=f"file://{tmp_path}/drop", storage=Remembering)
    assert source.extract(soon(), Taken(), tmp_path / "staging") == []
    (tmp_path / "drop" / "a.csv").write_bytes(b"x")
    assert [file.name for file in source.extract(soon(), Taken(), tmp_path / "staging")] == ["a.csv"]


def test_an_object_is_fetched_piece_by_piece(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Measured(LocalFileSystem):
        """Notes how much is read at a time; gives nothing at once."""

        get_file = None

        def open(self, path: str, mode: str = "rb", **options: object) -> IO[bytes]:
            class Reader(FileIO):
                def read(self, size: int = -1) -> bytes:
                    sizes.append(size)
                    return super().read(size)

            return Reader(path)  # type: ignore[return-value]

    content = os.urandom(20 << 20)
    for folder in ("drop", "staging"):
        (tmp_path / folder).mkdir()
    (tmp_path / "drop" / "a.csv").write_bytes(content)
    source = ObjectSource(name="big", url=f"file://{tmp_path}/drop", storage=Measured)
    (file,) = source.extract(soon(), Taken(), tmp_path / "staging")
    assert file.path.read_bytes() == content
    assert len(sizes) >= 3 and all(0 < size <= 8 << 20 for size in sizes)


def test_storage_without_times_in_its_listing_is_asked_for_them(tmp_path: Path) -> None:
    class Bare(LocalFileSystem):
        """Lists names and sizes only."""

        def info(self, path: str, **options: object) -> dict[str, object]:
            return {
                key: value for key, value in super().info(path, **options).items() if key not in ("mtime", "created")
            }

        def modified(self, path: str) -> datetime:
            return datetime.fromtimestamp(super().info(path)["mtime"], UTC)

    (tmp_path / "drop").mkdir()
    (tmp_path / "drop" / "a.csv").write_bytes(b"x")
    os.utime(tmp_path / "drop" / "a.csv", (0, minutes(1).timestamp()))
    (tmp_path / "staging").mkdir()
    source = ObjectSource(name="bare", url=f"file://{tmp_path}/drop", storage=Bare)
    (file,) = source.extract(TEN, Taken(), tmp_path / "staging")
    assert file.arrived_at == minutes(1)


def test_a_location_has_no_credentials() -> None:
    source = ObjectSource(name="f", url="sftp://me:p@ss@host/drop", storage=LocalFileSystem)
    assert source.location == "sftp://host/drop"
