"""What can go wrong, as values (findings) and as exceptions (refusals and bugs).

A finding says what is wrong, where, and what to do. An exception is raised only where a whole input is
refused or a law of the books is broken; nothing half-done stays behind either way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One thing that is wrong with an input: where it stands, what is wrong, what to do."""

    file: str
    line: int | None = None
    column: str | None = None
    message: str

    def __str__(self) -> str:
        place = self.file
        if self.line is not None:
            place += f", line {self.line}"
        if self.column is not None:
            place += f", column {self.column}"
        return f"{place}: {self.message}"


class BillingError(Exception):
    """Base of every refusal. ``exit_status`` is what the command ends with."""

    exit_status = 1


class DataRefused(BillingError):
    """An input is refused whole; ``findings`` lists every reason found, not only the first."""

    def __init__(self, summary: str, findings: Sequence[Finding] = ()) -> None:
        self.summary = summary
        self.findings = tuple(findings)
        super().__init__("\n".join([summary, *(f"  {finding}" for finding in self.findings)]))


class AnomalyFound(DataRefused):
    """Usage is not as expected: nothing was taken. A person who knows why accepts it with a reason."""


class SourceUnavailable(BillingError):
    """A source cannot be reached, or broke off: nothing was taken, and trying again may help."""


class UsageError(BillingError):
    """The command was called with arguments that make no sense together."""

    exit_status = 2


class ApprovalAwaited(BillingError):
    """A close is rated and waits for a person: nothing of it is issued before it is approved (rule 6.7)."""

    exit_status = 4

    def __init__(self, close_no: int, why: Sequence[str]) -> None:
        self.close_no = close_no
        super().__init__(
            f"Close {close_no} is rated and waits for approval ({'; '.join(why)}): nothing of it is issued. See it by "
            f"`billing cycles approval {close_no}`, then `billing cycles approve {close_no}` or "
            f"`billing cycles reject {close_no} --reason ...`."
        )


class QuantityOverflow(BillingError):
    """An exact integer would leave the 64 bits it is kept in; the caller parks the team (rule 3.8)."""


class ConservationBroken(BillingError):
    """A law of the books does not hold. Always a bug or a tampered store; nothing was written."""


class StoreOutOfDate(BillingError):
    """The home's schema is not the one this version works with: run ``billing init``."""


class NotFound(BillingError):
    """What was asked for is not in the home."""


class StoreFailed(BillingError):
    """What is kept cannot be written or read: the disk is full, the database broke off, a file is damaged."""
