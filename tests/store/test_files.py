"""Files that are written once: archive, documents, bundles."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest

from billing.core.errors import ConservationBroken, NotFound
from billing.store.files import WriteOnce, sweep

CONTENT = b"event_id,occurred_at\n" * 100_000


@pytest.fixture
def folder(tmp_path: Path) -> WriteOnce:
    return WriteOnce(tmp_path / "archive")


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("content", [b"", b"x", CONTENT], ids=["nothing", "a byte", "2 MB"])
def test_bytes_and_files_come_back_under_their_hash(folder: WriteOnce, tmp_path: Path, content: bytes) -> None:
    digest = sha256(content).hexdigest()
    (tmp_path / "source").write_bytes(content)
    stored = folder.put_file(tmp_path / "source", ".csv.gz")
    assert stored == folder.put_bytes(content, ".csv.gz"), "one content, one place, whichever way it came"
    assert (stored.sha256, stored.size_bytes) == (digest, len(content))
    assert stored.path.endswith(f"{digest}.csv.gz")
    assert folder.read(stored.path, digest) == content
    assert folder.locate(stored.path).read_bytes() == content
    assert files_in(folder.folder) == [stored.path]


def test_the_same_bytes_twice_are_one_file_that_is_not_written_again(folder: WriteOnce) -> None:
    first = folder.put_bytes(b"same", ".pdf")
    written = folder.locate(first.path).stat()
    assert folder.put_bytes(b"same", ".pdf") == first
    again = folder.locate(first.path).stat()
    assert (again.st_ino, again.st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_other_bytes_are_another_file(folder: WriteOnce) -> None:
    stored = [folder.put_bytes(content, ".pdf") for content in (b"a", b"b")]
    assert len(files_in(folder.folder)) == 2
    assert [folder.read(one.path, one.sha256) for one in stored] == [b"a", b"b"]


def test_a_changed_file_is_found_when_it_is_read(folder: WriteOnce) -> None:
    stored = folder.put_bytes(b"Total 10.00", ".pdf")
    path = folder.locate(stored.path)
    path.chmod(0o644)
    path.write_bytes(b"Total 90.00")
    with pytest.raises(ConservationBroken, match="was changed after it was written: restore it from a backup"):
        folder.read(stored.path, stored.sha256)


def test_a_missing_file_is_named_with_the_cure(folder: WriteOnce) -> None:
    stored = folder.put_bytes(b"x")
    folder.locate(stored.path).unlink()
    with pytest.raises(NotFound, match=f"{stored.path} is missing from archive: restore it from a backup"):
        folder.read(stored.path, stored.sha256)


def test_nothing_is_writable_and_nothing_unfinished_has_a_name_that_is_read(folder: WriteOnce, tmp_path: Path) -> None:
    stored = folder.put_bytes(b"x", ".pdf")
    assert folder.locate(stored.path).stat().st_mode & 0o222 == 0
    with pytest.raises(FileNotFoundError):
        folder.put_file(tmp_path / "there-is-no-such-file")
    assert files_in(folder.folder) == [stored.path]


def test_many_at_once_leave_one_whole_file(folder: WriteOnce) -> None:
    threads = [Thread(target=folder.put_bytes, args=(CONTENT, ".csv")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (only,) = files_in(folder.folder)
    assert folder.read(only, sha256(CONTENT).hexdigest()) == CONTENT


def test_what_a_killed_writer_left_is_swept_a_day_later(tmp_path: Path) -> None:
    """Complete files stay, and so does what may still be written."""
    folder = WriteOnce(tmp_path / "archive")
    stored = folder.put_bytes(CONTENT, ".csv")
    now = datetime(2026, 8, 2, tzinfo=UTC)
    for name, age in ((".new-old", timedelta(hours=25)), (".new-young", timedelta(hours=23))):
        path = folder.folder / name
        path.write_bytes(b"half")
        os.utime(path, ((now - age).timestamp(),) * 2)
    os.utime(folder.locate(stored.path), (0, 0))
    assert sweep(folder.folder, now) == 1
    assert sweep(tmp_path / "none", now) == 0
    assert sorted(path.name for path in folder.folder.glob(".new-*")) == [".new-young"]
    assert folder.read(stored.path, stored.sha256) == CONTENT
