"""Saxon, in a process of its own: one for each Python process that asks, started at the first question.

Saxon/C brings a Java runtime with its threads and hundreds of megabytes: it must not be in a process that forks, as
Airflow's do. The child is spawned, not forked, and ends with its parent, however that ends. A forked child of a parent
that has one starts its own and leaves the parent's alone.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

from billing.documents.e_invoice.errors import ValidatorUnavailable

_CHILD = Path(__file__).with_name("saxon_child.py")
_BATCH_CHARACTERS_MAX = 2_000_000
_SECONDS_MAX = 300
"""For a batch; 2,000,000 characters took 4 on a loaded machine."""


class SaxonProcess:
    """The child, its pipes and who owns it. One batch at a time; threads wait for each other."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None
        self._complaints: IO[bytes] | None = None
        atexit.register(self.close)

    def reports(self, rules: Path, documents: Sequence[str]) -> list[str | dict[str, str]]:
        """The SVRL report of each XML by an XSLT, or ``{"error": ...}`` of one that stopped it; in the same order.

        A child that died is started again, once. ``ValidatorUnavailable`` where that does not help.
        """
        found: list[str | dict[str, str]] = []
        with self._lock:
            for batch in _batches(documents):
                found += self._answer({"rules": str(rules), "documents": batch})
        return found

    def process_id(self) -> int | None:
        """The child's, where it is running."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    def is_mine(self) -> bool:
        """Whether this Python process made it, not one that this was forked from."""
        return self._owner == os.getpid()

    def close(self) -> None:
        """End the child. The next question starts another."""
        if not self.is_mine():
            return
        with self._lock:
            self._end()

    def _answer(self, request: dict[str, Any]) -> list[Any]:
        line = json.dumps(request)
        for _ in range(2):
            child = self._running()
            answer = _ask(child, line)
            if answer is not None:
                return list(answer)
            why = self._last_words()
            self._end()
        raise ValidatorUnavailable(f"the rules for e-invoices could not be run: Saxon's process ended twice: {why}")

    def _running(self) -> subprocess.Popen[str]:
        if self.process_id() is None:
            self._end()
            self._start()
        assert self._child is not None
        return self._child

    def _start(self) -> None:
        self._complaints = TemporaryFile()  # noqa: SIM115  # closed by _end
        # -P: the folder of the child's file is not a place to import from.
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            encoding="utf-8",
        )
        first = _read(self._child) or {"error": self._last_words()}
        if "error" in first:
            self._end()
            raise ValidatorUnavailable(
                f"the rules for e-invoices cannot be run: {first['error']}\n  install the package saxonche"
            )

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            # Leaves the pipes closed and no zombie behind.
            child.communicate()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None

    def _last_words(self) -> str:
        if self._complaints is None:
            return ""
        self._complaints.seek(0)
        return self._complaints.read().decode(errors="replace").strip()[-500:]


def _batches(documents: Sequence[str]) -> Iterator[list[str]]:
    """In order, each of some size but at least one document."""
    batch: list[str] = []
    characters = 0
    for document in documents:
        if batch and characters + len(document) > _BATCH_CHARACTERS_MAX:
            yield batch
            batch, characters = [], 0
        batch.append(document)
        characters += len(document)
    if batch:
        yield batch


def _ask(child: subprocess.Popen[str], line: str) -> Any:
    """The answer; None where the child ended, or took too long and was ended."""
    assert child.stdin is not None
    alarm = threading.Timer(_SECONDS_MAX, child.kill)
    alarm.daemon = True
    alarm.start()
    try:
        child.stdin.write(line + "\n")
        child.stdin.flush()
        return _read(child)
    except BrokenPipeError:
        return None
    finally:
        alarm.cancel()


def _read(child: subprocess.Popen[str]) -> Any:
    assert child.stdout is not None
    line = child.stdout.readline()
    return json.loads(line) if line.endswith("\n") else None


_shared = SaxonProcess()


def shared() -> SaxonProcess:
    """This Python process's. A forked child's is not its parent's."""
    global _shared
    if not _shared.is_mine():
        _shared = SaxonProcess()
    return _shared
