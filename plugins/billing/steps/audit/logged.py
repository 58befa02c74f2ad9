"""What the log says beside what is kept: whoever changes a row must write the log anew, and a head kept elsewhere
finds that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from sqlalchemy import Connection, func, select

from billing.core.errors import BillingError, ConservationBroken
from billing.core.instants import format_us
from billing.intake.usage_files import raw_records
from billing.store.batches import COMMITTED, DELIVERY
from billing.store.files import WriteOnce, archive_suffix
from billing.store.home import Home
from billing.store.invoices import from_minor
from billing.store.ledger import ISSUED
from billing.store.log import canonical
from billing.store.mailings import SENT
from billing.store.payments import event_name, logged, logged_event, read_charges, read_events
from billing.store.tables import (
    approvals,
    batch_files,
    batches,
    closes,
    credit_notes,
    cycles,
    documents,
    invoices,
    log,
    mailings,
    placed_files,
    quarantine,
    reference_loads,
    rejections,
)

Facts: TypeAlias = Iterator[tuple[str, str]]
"""What things are called, each with what is said of it, as canonical JSON."""

_APPROVAL = ("approved_at", "approved_by", "asked_why", "seen_sha256", "comment")
_DOCUMENT = ("number", "kind", "sha256", "bundle")
_MAIL = ("kind", "about", "to", "subject", "message_id", "at", "answer", "sha256", "attachments")
_FILE = ("destination", "path", "number", "kind", "sha256", "bytes")
_KINDS = (
    *("reference", "batch", "close", "approval", "credit_note", "reissue", "document"),
    *("payment", "mail", "file"),
)


def disagreements(connection: Connection) -> list[str]:
    """Loads, batches with their files, closes with their approvals and invoices, credit notes, corrected invoices,
    documents, charges, payment events, mails that were sent and copies of documents, of which the log says another
    thing than the rows, or that only one of them
    knows. In the order of their names.

    Held at once are names and hashes; what is said in full, of what differs.
    """
    left = {name: _hash(value) for name, value in _said(connection)}  # of what is said twice, the last
    differing = {name for name, value in _kept(connection) if left.pop(name, None) != _hash(value)} | left.keys()
    if not differing:
        return []
    said, kept = ({name: value for name, value in facts(connection) if name in differing} for facts in (_said, _kept))
    return [
        f"{name}: the log says {said.get(name, 'nothing')}, kept is {kept.get(name, 'nothing')}"
        for name in sorted(differing)
    ]


def _hash(value: str) -> bytes:
    return sha256(value.encode()).digest()


def demand_files(home: Home) -> None:
    """Read every archived file that the log names: usage files of batches, and files of reference data; quarantined
    records must be in them as they are kept. Raises ``BillingError`` for the first that is missing or was changed.
    """
    with home.database.read() as connection:
        for kind, payload in list(_rows(connection, "batch", "reference")):
            files = payload.get("files", {})
            if kind == "batch":
                _demand_batch(home, connection, payload["batch_no"], files)
                continue
            for one in files.values():
                _read(home.reference_archive, one["file"], one["sha256"])


def _demand_batch(home: Home, connection: Connection, batch_no: int, files: Sequence[Mapping[str, str]]) -> None:
    for file_no, one in enumerate(files):
        path = _read(home.archive, one["name"], one["sha256"])
        held = _quarantined(connection, batch_no, file_no)
        if held and raw_records(path, one["name"], held.keys()) != held:
            raise ConservationBroken(
                f"Quarantined records of batch {batch_no}, file {one['name']}, were changed after they were written: "
                "they are not as in the archived file. Restore the database from a backup."
            )


def _read(archive: WriteOnce, name: str, digest: str) -> Path:
    """Where a file is, after its bytes were compared with their hash."""
    stored = archive.stored(digest, 0, archive_suffix(name))
    try:
        archive.demand(stored)
    except BillingError as problem:
        raise type(problem)(f"{Path(name).name}, as the log names it: {problem}") from problem
    return archive.locate(stored.path)


def _quarantined(connection: Connection, batch_no: int, file_no: int) -> dict[int, bytes]:
    mine = quarantine.c.batch_no == batch_no, quarantine.c.file_no == file_no
    return {row.line: row.raw for row in connection.execute(select(quarantine.c.line, quarantine.c.raw).where(*mine))}


def _rows(connection: Connection, *kinds: str) -> Iterator[tuple[str, dict[str, Any]]]:
    query = select(log.c.kind, log.c.payload).where(log.c.kind.in_(kinds)).order_by(log.c.seq)
    for kind, payload in connection.execute(query):
        yield kind, json.loads(payload)


def _said(connection: Connection) -> Facts:
    """What the log says."""
    for kind, payload in _rows(connection, *_KINDS):
        for name, value in _said_of(kind, payload).items():
            yield f"{kind} {name}", canonical(value)


def _payments_said(payload: Mapping[str, Any]) -> dict[str, object]:
    """Of a charge the last that was said counts; an event is said once."""
    found = {f"charge {key}": value for key, value in payload.get("charge", {}).items()}
    return found | {f"event {name}": value for name, value in payload.get("events", ())}


def _payments(connection: Connection) -> Facts:
    for charge in read_charges(connection):
        yield f"payment charge {charge.charge_key}", canonical(logged(charge))
    for event in read_events(connection):
        yield f"payment event {event_name(event.identity)}", canonical(logged_event(event))


def _said_of(kind: str, payload: Mapping[str, Any]) -> dict[str, object]:
    def given(*names: str) -> list[object]:
        return [payload.get(name) for name in names]

    match kind:
        case "reference":
            return {str(payload.get("load_no")): payload.get("files")}
        case "batch":
            return {str(payload.get("batch_no")): given("accepted", "rejected", "files", "complete_through")}
        case "close":
            return {
                str(payload.get("close_no")): given(*("as_of", "pinned_batch", "pinned_load", "cycles", "invoices"))
            }
        case "approval":
            rejected = {team_id: one["reason"] for team_id, one in (payload.get("rejected") or {}).items()}
            return {str(payload.get("close_no")): [*given(*_APPROVAL), rejected]}
        case "credit_note":
            return {str(payload.get("number")): given("invoice", "reason", "net", "tax", "total", "currency")}
        case "reissue":
            return {str(payload.get("number")): given("replaces", "net", "tax", "total", "currency")}
        case "payment":
            return _payments_said(payload)
        case "mail":
            return {str(payload.get("key")): given(*_MAIL)}
        case "file":
            return {f"{payload.get('destination')} {payload.get('path')}": given(*_FILE)}
        case _:
            return {f"{payload.get('number')} {payload.get('kind')}": given(*_DOCUMENT)}


def _kept(connection: Connection) -> Facts:
    """What the rows say."""
    for load in connection.execute(select(reference_loads.c.load_no, reference_loads.c.files)):
        yield f"reference {load.load_no}", canonical(json.loads(load.files))
    for name, value in (
        _batches(connection) | _closes(connection) | _approvals(connection) | _by_hand(connection)
    ).items():
        yield name, canonical(value)
    for row in connection.execute(select(*(documents.c[name] for name in _DOCUMENT))):
        yield f"document {row.number} {row.kind}", canonical(list(row))
    yield from _payments(connection)
    for row in connection.execute(select(*(placed_files.c[name] for name in _FILE))):
        yield f"file {row.destination} {row.path}", canonical(list(row))
    yield from _mails(connection)


def _mails(connection: Connection) -> Facts:
    """What was sent last under each key, also where a person has had it sent again."""
    for row in connection.execute(select(mailings).where(mailings.c.proof != "")):
        proof = json.loads(row.proof)
        last = proof | {"to": row.recipient, "message_id": row.message_id} if row.state == SENT else None
        for sent in [last] if last else proof.get("earlier", [])[-1:]:
            told = {"kind": row.kind, "about": row.subject_id, **sent}
            yield f"mail {row.mail_key}", canonical([told.get(name) for name in _MAIL])


def _batches(connection: Connection) -> dict[str, object]:
    files: dict[int, list[object]] = {}
    for row in connection.execute(select(batch_files).order_by(batch_files.c.batch_no, batch_files.c.file_no)):
        files.setdefault(row.batch_no, []).append({"name": row.name, "sha256": row.sha256, "records": row.records})
    reasons: dict[int, dict[str, int]] = {}
    count = select(quarantine.c.batch_no, quarantine.c.reason, func.count())
    for batch_no, reason, rows in connection.execute(count.group_by(quarantine.c.batch_no, quarantine.c.reason)):
        reasons.setdefault(batch_no, {})[reason] = rows
    done = connection.execute(select(batches).where(batches.c.state == COMMITTED))
    return {
        f"batch {row.batch_no}": [
            row.accepted,
            reasons.get(row.batch_no, {}) | ({"duplicate": row.duplicates} if row.duplicates else {}),
            files.get(row.batch_no, []),
            format_us(row.window_end_us) if row.kind == DELIVERY else None,
        ]
        for row in done
    }


def _closes(connection: Connection) -> dict[str, object]:
    numbers: dict[int, list[str]] = {}
    own = select(invoices.c.close_no, invoices.c.number).where(invoices.c.revision == 1)
    for close_no, number in connection.execute(own.order_by(invoices.c.year, invoices.c.sequence)):
        numbers.setdefault(close_no, []).append(number)
    closed = select(cycles.c.close_no, func.count()).group_by(cycles.c.close_no)
    counts = {close_no: int(count) for close_no, count in connection.execute(closed)}
    return {
        f"close {row.close_no}": [
            *(format_us(row.as_of_us), row.pinned_batch, row.pinned_load),
            *(counts.get(row.close_no, 0), numbers.get(row.close_no, [])),
        ]
        for row in connection.execute(select(closes).where(closes.c.state == ISSUED))
    }


def _approvals(connection: Connection) -> dict[str, object]:
    rejected: dict[int, dict[str, str]] = {}
    for row in connection.execute(select(rejections)):
        rejected.setdefault(row.close_no, {})[row.team_id] = row.reason
    return {
        f"approval {row.close_no}": [
            *(format_us(row.approved_at_us), row.approved_by, json.loads(row.asked_why), row.seen_sha256, row.comment),
            rejected.get(row.close_no, {}),
        ]
        for row in connection.execute(select(approvals))
    }


def _by_hand(connection: Connection) -> dict[str, object]:
    """Credit notes and corrected invoices."""
    own = select(credit_notes, invoices.c.currency).join(invoices, invoices.c.number == credit_notes.c.invoice_number)
    found: dict[str, object] = {
        f"credit_note {row.number}": [row.invoice_number, row.reason, *_money(row), row.currency]
        for row in connection.execute(own)
    }
    for row in connection.execute(select(invoices).where(invoices.c.revision > 1)):
        found[f"reissue {row.number}"] = [row.replaces, *_money(row), row.currency]
    return found


def _money(row: Any) -> list[str]:
    amounts = (row.net_minor, row.tax_minor, row.total_minor)
    return [str(from_minor(minor, row.currency)) for minor in amounts]
