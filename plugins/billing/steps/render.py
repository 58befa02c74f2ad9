"""Render issued invoices as documents: write-once, with the hash-named bundle that they were made with (rule 7.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert, select

from billing.documents.renderer import Renderer
from billing.steps import commit_points
from billing.steps.invoices import read_invoices
from billing.steps.progress import Progress, silent
from billing.store import log
from billing.store.files import Stored
from billing.store.home import Home
from billing.store.tables import documents, invoices

PDF = "pdf"


@dataclass(frozen=True, kw_only=True, slots=True)
class RenderSummary:
    """What was rendered; ``failed`` are numbers with what kept them from having a document. They keep their number."""

    rendered: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def unrendered(home: Home, close_no: int | None = None) -> list[str]:
    """Numbers of issued invoices that have no document yet, in order (of one close, or of all)."""
    with home.database.read() as connection:
        query = select(invoices.c.number).outerjoin(documents, documents.c.number == invoices.c.number)
        query = query.where(documents.c.number.is_(None)).order_by(
            invoices.c.year, invoices.c.prefix, invoices.c.sequence
        )
        return list(
            connection.execute(query if close_no is None else query.where(invoices.c.close_no == close_no)).scalars()
        )


def render(home: Home, numbers: Sequence[str], templates: Path, progress: Progress = silent) -> RenderSummary:
    """Render a batch in one warm renderer. One document that fails stops no other; what has a document keeps it."""
    if not numbers:
        return RenderSummary(rendered=(), failed=())
    renderer = Renderer.open(templates)
    _keep_bundle(home, renderer)
    rendered: list[str] = []
    failed: list[tuple[str, str]] = []
    for done, one in enumerate(renderer.render_each(read_invoices(home, numbers))):
        progress("rendering invoices", done, len(numbers))
        if one.pdf is None:
            failed.append((one.number, str(one.problem)))
            continue
        stored = home.documents.put_bytes(one.pdf, ".pdf")
        commit_points.reached(commit_points.RENDER_WRITTEN)
        _record(home, one.number, stored, renderer)
        commit_points.reached(commit_points.RENDER_RECORDED)
        rendered.append(one.number)
    progress("rendering invoices", len(numbers), len(numbers))
    return RenderSummary(rendered=tuple(rendered), failed=tuple(failed))


def render_close(home: Home, close_no: int, templates: Path, progress: Progress = silent) -> RenderSummary:
    """Render every invoice of a close that has no document yet."""
    return render(home, unrendered(home, close_no), templates, progress)


def copy_documents(home: Home, folder: Path) -> int:
    """Copy every document into a folder under its invoice's number; returns how many."""
    with home.database.read() as connection:
        rows = connection.execute(select(documents.c.number, documents.c.path, documents.c.sha256)).all()
    folder.mkdir(parents=True, exist_ok=True)
    for row in rows:
        (folder / f"{row.number.replace('/', '_')}.pdf").write_bytes(home.documents.read(row.path, row.sha256))
    return len(rows)


def _keep_bundle(home: Home, renderer: Renderer) -> None:
    """Every file under its hash, and the list of them, whose own hash is the bundle's (rule 7.1)."""
    lines = []
    for path, content in sorted(renderer.bundle_files().items()):
        stored = home.bundles.put_bytes(content, Path(path).suffix)
        lines.append(f"{stored.sha256}  {path}\n")
    home.bundles.put_bytes("".join(lines).encode(), ".sha256")


def _record(home: Home, number: str, stored: Stored, renderer: Renderer) -> None:
    versions = renderer.recorded_versions()
    with home.database.exclusive("books") as connection:
        known = connection.execute(
            select(documents.c.sha256).where(documents.c.number == number, documents.c.kind == PDF)
        ).scalar()
        if known is not None:
            return
        row = {"number": number, "kind": PDF, "sha256": stored.sha256, "bytes": stored.size_bytes, "path": stored.path}
        connection.execute(insert(documents).values(**row, bundle=versions["bundle"], versions=log.canonical(versions)))
        payload = {"number": number, "kind": PDF, "sha256": stored.sha256, "bundle": versions["bundle"]}
        log.append(connection, datetime.now(UTC), "document", payload)
