"""What somebody may do to a home behind the product's back, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from sqlalchemy import Table, delete, select, update

from billing.store import log as chain
from billing.store import tables
from billing.store.documents import documents_of
from billing.store.home import Home
from billing.store.log import GENESIS
from billing.store.tables import reference_history

Tamper = Callable[[Home], None]


def tamper(home: Home, name: str) -> None:
    """Do it."""
    TAMPERS[name](home)


def _data_file(home: Home) -> Path:
    """The largest data file of the usage table."""
    lake = home.folder / "lake" / "usage"
    return max((lake / unquote(p) for p in home.usage.lake.files()["path"].to_pylist()), key=lambda p: p.stat().st_size)


def _flip(path: Path, part: float) -> None:
    """Change one bit, so far into a file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * part)] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def _lake_bit(column: str) -> Tamper:
    """The first bit from the middle of a column's pages on with which it reads otherwise, or cannot be read."""

    def change(home: Home) -> None:
        path = _data_file(home)
        before, content = _column(path, column), path.read_bytes()
        group = pq.ParquetFile(path).metadata.row_group(0)
        columns = (group.column(number) for number in range(group.num_columns))
        [mine] = [one for one in columns if one.path_in_schema == column]
        start = mine.dictionary_page_offset if mine.has_dictionary_page else mine.data_page_offset
        for place in range(start + mine.total_compressed_size // 2, start + mine.total_compressed_size):
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            if _column(path, column) != before:
                return
        raise AssertionError(f"no bit of {column} matters")

    return change


def _column(path: Path, column: str) -> list[object] | None:
    """What a data file has in a column; None where it cannot be read."""
    try:
        return list(pq.read_table(path, columns=[column], partitioning=None)[column].to_pylist())
    except (pa.ArrowException, OSError):
        return None


def _lake_row(home: Home) -> None:
    path = _data_file(home)
    rows = pq.read_table(path, partitioning=None)
    more = pc.add(rows["quantity_micro"], pa.scalar(1_000_000, pa.int64()))
    changed = rows.set_column(rows.schema.get_field_index("quantity_micro"), rows.schema.field("quantity_micro"), more)
    pq.write_table(changed, path)


def _lake_gone(home: Home) -> None:
    _data_file(home).unlink()


def _delta(home: Home) -> DeltaTable:
    return DeltaTable(str(home.folder / "lake" / "usage"))


def _lake_update(home: Home) -> None:
    _delta(home).update(updates={"quantity_micro": "quantity_micro + 1000000"}, predicate="event_id = 'august-3'")


def _lake_delete(home: Home) -> None:
    _delta(home).delete("event_id = 'august-3'")


def _lake_commit(home: Home) -> None:
    """The newest commit, so that the last batch is in no version of the table."""
    sorted((home.folder / "lake" / "usage" / "_delta_log").glob("*.json"))[-1].unlink()


def _document(home: Home, kind: str) -> Path:
    with home.database.read() as connection:
        path = next(d.path for d in documents_of(connection, "INV-2026-000005") if d.kind == kind)
    return home.documents.locate(path)


def _document_byte(kind: str) -> Tamper:
    return lambda home: _flip(_document(home, kind), 0.5)


def _document_gone(kind: str) -> Tamper:
    return lambda home: _document(home, kind).unlink()


def _templates(home: Home) -> list[Path]:
    return [path for path in home.bundles.folder.rglob("*.*") if path.suffix in (".html", ".j2", ".css", ".jinja")]


def _bundle(home: Home) -> None:
    _flip(max(_templates(home), key=lambda path: path.stat().st_size), 0.5)


def _archived(home: Home) -> Path:
    with home.database.read() as connection:
        digest = connection.execute(select(tables.batch_files.c.sha256).where(tables.batch_files.c.batch_no == 2))
        return next(home.archive.folder.rglob(f"{digest.scalars().first()}*"))


def _archive_byte(home: Home) -> None:
    _flip(_archived(home), 0.5)


def _archive_gone(home: Home) -> None:
    _archived(home).unlink()


def _reference_byte(home: Home) -> None:
    _flip(next(path for path in home.reference_archive.folder.rglob("*.csv")), 0.5)


def _row(table: Table, **values: object) -> Tamper:
    """Change one row."""

    def change(home: Home) -> None:
        keys = list(table.primary_key.columns)
        with home.database.write() as connection:
            first = connection.execute(select(*keys).order_by(*keys).limit(1)).one()
            mine = [key == value for key, value in zip(keys, first, strict=True)]
            assert connection.execute(update(table).where(*mine).values(**values)).rowcount == 1

    return change


def _row_gone(table: Table) -> Tamper:
    """Delete the last row of a table."""

    def change(home: Home) -> None:
        keys = list(table.primary_key.columns)
        with home.database.write() as connection:
            last = connection.execute(select(*keys).order_by(*(key.desc() for key in keys)).limit(1)).one()
            mine = [key == value for key, value in zip(keys, last, strict=True)]
            assert connection.execute(delete(table).where(*mine)).rowcount == 1

    return change


def _price(home: Home) -> None:
    prices = reference_history["unit_prices"]
    with home.database.write() as connection:
        connection.execute(update(prices).values(unit_price=prices.c.unit_price + 10_000))


def _name(home: Home) -> None:
    with home.database.write() as connection:
        connection.execute(update(reference_history["customers"]).values(legal_name="Somebody Else"))


def _rechained(home: Home) -> None:
    """A row of the log changed, and every hash from there on made again."""
    with home.database.write() as connection:
        previous = GENESIS
        for row in connection.execute(select(tables.log).order_by(tables.log.c.seq)).all():
            # Another instant: what the rows say is as before, and only the hashes tell.
            at_us = row.at_us + (1 if row.seq == 2 else 0)
            digest = chain._hash(row.seq, at_us, row.kind, row.payload, previous)
            changed = {"at_us": at_us, "previous_hash": previous, "hash": digest}
            connection.execute(update(tables.log).where(tables.log.c.seq == row.seq).values(**changed))
            previous = digest


TAMPERS: Mapping[str, Tamper] = {
    "usage table: a bit of a quantity": _lake_bit("quantity_micro"),
    "usage table: a bit of an instant": _lake_bit("occurred_at"),
    "usage table: a bit of a team": _lake_bit("team_id"),
    "usage table: a bit of an id": _lake_bit("event_id"),
    "usage table: a bit of a record's place": _lake_bit("line"),
    "usage table: a row, in its file": _lake_row,
    "usage table: a data file deleted": _lake_gone,
    "usage table: a row, by a commit": _lake_update,
    "usage table: a row deleted, by a commit": _lake_delete,
    "usage table: the newest commit deleted": _lake_commit,
    "document: a bit of a PDF": _document_byte("pdf"),
    "document: a bit of an XML": _document_byte("cii"),
    "document: a PDF deleted": _document_gone("pdf"),
    "document: an XML deleted": _document_gone("cii"),
    "bundle: a bit of a template": _bundle,
    "archive: a bit of a usage file": _archive_byte,
    "archive: a usage file deleted": _archive_gone,
    "archive: a bit of a reference file": _reference_byte,
    "row: cycles": _row(tables.cycles, time_zone="Asia/Tokyo"),
    "row: carry": _row(tables.carry, closing_micro=7),
    "row: draws": _row(tables.draws, charged_units=9),
    "row: usage_days": _row(tables.usage_days, quantities="[1]"),
    "row: invoices": _row(tables.invoices, total_minor=1),
    "row: invoices, its date": _row(tables.invoices, issue_day=1),
    "row: invoice_lines": _row(tables.invoice_lines, net_minor=1),
    "row: credit_notes": _row(tables.credit_notes, net_minor=1),
    "row: credit_notes, its reason": _row(tables.credit_notes, reason="another"),
    "row: credit_note_lines": _row(tables.credit_note_lines, charged_units=1),
    "row: closes": _row(tables.closes, pinned_batch=2),
    "row: batches": _row(tables.batches, accepted=1),
    "row: batches, its window": _row(tables.batches, window_end_us=1),
    "row: batch_files": _row(tables.batch_files, records=1),
    "row: batch_files, its hash": _row(tables.batch_files, sha256="0" * 64),
    "row: quarantine, its raw bytes": _row(tables.quarantine, raw=b"nothing"),
    "row: quarantine, its reason": _row(tables.quarantine, reason="duplicate"),
    "row: duplicate_ranges": _row(tables.duplicate_ranges, last_line=9_999),
    "row: documents": _row(tables.documents, sha256="0" * 64),
    "row: reference data, prices": _price,
    "row: reference data, a buyer": _name,
    "row deleted: invoice_lines": _row_gone(tables.invoice_lines),
    "row deleted: credit_note_lines": _row_gone(tables.credit_note_lines),
    "row deleted: carry": _row_gone(tables.carry),
    "row deleted: draws": _row_gone(tables.draws),
    "row deleted: usage_days": _row_gone(tables.usage_days),
    "row deleted: quarantine": _row_gone(tables.quarantine),
    "row deleted: batch_files": _row_gone(tables.batch_files),
    "row deleted: documents": _row_gone(tables.documents),
    "log: a row": _row(tables.log, payload="{}"),
    "log: a row deleted": lambda home: _log_gone(home, 3),
    "log: the last row deleted": _row_gone(tables.log),
    "log: rows written anew with their hashes": _rechained,
}


def _log_gone(home: Home, seq: int) -> None:
    with home.database.write() as connection:
        connection.execute(delete(tables.log).where(tables.log.c.seq == seq))
