"""What was expected of usage and of the books, what was found, and who let it pass: a row and a page each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Row, insert, select

from billing.core.errors import NotFound
from billing.core.instants import to_us
from billing.store.files import Stored, WriteOnce
from billing.store.log import canonical
from billing.store.tables import batches, validations

_PAGE_SUFFIX = ".html.gz"


@dataclass(frozen=True, kw_only=True, slots=True)
class NewValidation:
    """What came of a suite, as it is kept.

    ``run`` is ``dag_id/run_id``, or ``command``. ``failed`` has for each expectation that does not hold its name,
    severity, expected, observed and advice, all text. ``page`` is what ``keep_page`` kept.
    """

    suite: str
    subject: str
    run: str
    at: datetime
    expectations: int
    failed: Sequence[Mapping[str, str]]
    page: Stored
    close_no: int | None = None
    accepted_why: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """A kept validation. ``batch_no`` is None where nothing was taken, or where it is of the books."""

    validation_no: int
    suite: str
    subject: str
    run: str
    batch_no: int | None
    close_no: int | None
    at_us: int
    expectations: int
    failed: tuple[Mapping[str, str], ...]
    accepted_why: str
    page_sha256: str = field(repr=False)
    page_path: str = field(repr=False)

    @property
    def outcome(self) -> str:
        """In a word: ``passed``, ``warned``, ``accepted`` (by a person) or ``stopped``."""
        if not self.failed:
            return "passed"
        if all(failure["severity"] != "critical" for failure in self.failed):
            return "warned"
        return "accepted" if self.accepted_why else "stopped"


def keep_page(checks: WriteOnce, page: bytes) -> Stored:
    """Keep a page (HTML) in ``Home.checks``, a fifth of its size. The same page twice is one file."""
    return checks.put_bytes(gzip.compress(page, mtime=0), _PAGE_SUFFIX)


def read_page(checks: WriteOnce, validation: Validation) -> bytes:
    """The page of a validation, HTML. Raises ``ConservationBroken`` where it was changed, ``NotFound`` where it is
    missing.
    """
    return gzip.decompress(checks.read(validation.page_path, validation.page_sha256))


def write(connection: Connection, new: NewValidation, batch_no: int | None = None) -> None:
    """Keep one. ``batch_no`` is the batch that the same transaction commits; None where nothing was taken."""
    connection.execute(
        insert(validations).values(
            suite=new.suite,
            subject=new.subject,
            run=new.run,
            batch_no=batch_no,
            close_no=new.close_no,
            at_us=to_us(new.at),
            expectations=new.expectations,
            failed=canonical([dict(failure) for failure in new.failed]),
            accepted_why=new.accepted_why,
            page_sha256=new.page.sha256,
            page_path=new.page.path,
        )
    )


def newest(connection: Connection, limit: int, before: int | None = None) -> list[Validation]:
    """The last ones, newest first; those numbered below ``before`` where it is given."""
    query = select(validations).order_by(validations.c.validation_no.desc()).limit(limit)
    if before is not None:
        query = query.where(validations.c.validation_no < before)
    return [_validation(row) for row in connection.execute(query)]


def of_run(connection: Connection, run: str) -> list[Validation]:
    """Those of one run (``dag_id/run_id``), in their order."""
    query = select(validations).where(validations.c.run == run).order_by(validations.c.validation_no)
    return [_validation(row) for row in connection.execute(query)]


def read(connection: Connection, validation_no: int) -> Validation:
    """One by its number. Raises ``NotFound``."""
    row = connection.execute(select(validations).where(validations.c.validation_no == validation_no)).first()
    if row is None:
        raise NotFound(f"There is no check {validation_no}: see `billing checks list`.")
    return _validation(row)


def accepted_pauses(connection: Connection, source: str, name: str, since_us: int) -> list[int]:
    """The ends of windows of a source that failed expectation ``name`` and that a person accepted, in microseconds."""
    joined = select(batches.c.window_end_us, validations.c.failed).join(
        validations, validations.c.batch_no == batches.c.batch_no
    )
    query = joined.where(batches.c.source == source, batches.c.state == "committed", validations.c.accepted_why != "")
    rows = connection.execute(query.where(batches.c.window_end_us >= since_us).order_by(batches.c.batch_no))
    return [row.window_end_us for row in rows if any(each["name"] == name for each in json.loads(row.failed))]


def _validation(row: Row) -> Validation:  # type: ignore[type-arg]
    fields = dict(row._mapping)
    return Validation(**{**fields, "failed": tuple(json.loads(row.failed))})
