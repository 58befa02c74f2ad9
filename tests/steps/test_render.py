"""Documents: written once, each by itself, never changed (rules 6.4, 7.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import select, update

from billing.core.errors import ConservationBroken, NotFound
from billing.core.model import InvoiceType
from billing.documents.errors import TemplateBroken
from billing.documents.renderer import Renderer
from billing.steps.credit import credit
from billing.steps.e_invoices import xml_of
from billing.steps.invoices import list_invoices, read_invoices
from billing.steps.render import (
    copy_documents,
    preview,
    read_issued,
    render,
    render_again,
    render_close,
    stored_document,
    ubl_of,
    unrendered,
)
from billing.steps.status import status
from billing.store.tables import documents

from .small_world import REFERENCE, TEMPLATES, Shop, instant


def used(shop: Shop, *, first_buyer: str = "Buyer One") -> None:
    """Usage of two teams, t1 and t2, for an invoice each."""
    shop.load(customers=[REFERENCE["customers"][0].replace("Buyer One", first_buyer), REFERENCE["customers"][1]])
    usage = ("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,")
    shop.ingest(*usage, now="08-02")


def invoiced(shop: Shop, *, first_buyer: str = "Buyer One") -> None:
    """Two invoices, for t1 and t2."""
    used(shop, first_buyer=first_buyer)
    shop.close("08-02")


def pdfs(shop: Shop) -> dict[str, bytes]:
    """The documents by number, read without the code that wrote them."""
    found = {row.number: Path(row.document) for row in list_invoices(shop.home) if row.document}
    return {number: path.read_bytes() for number, path in found.items()}


def test_every_invoice_gets_a_document_that_is_recorded(shop: Shop) -> None:
    invoiced(shop)
    assert shop.render().rendered == ("INV-2026-000001", "INV-2026-000002")
    found = pdfs(shop)
    assert all(content.startswith(b"%PDF-") for content in found.values())
    with shop.home.database.read() as connection:
        rows = connection.execute(select(documents).order_by(documents.c.number, documents.c.kind)).all()
    assert [(row.number, row.kind) for row in rows] == [(number, kind) for number in found for kind in ("cii", "pdf")]
    for row in rows:
        kept = shop.home.documents.read(row.path, row.sha256)
        assert kept == found[row.number] if row.kind == "pdf" else kept.startswith(b"<?xml")
        assert stored_document(shop.home, row.number, row.kind) == kept
    versions = json.loads(rows[0].versions)
    assert versions["weasyprint"] and versions["factur-x"]
    assert versions["bundle"] == rows[0].bundle
    assert status(shop.home).documents == 2


def test_a_second_render_changes_nothing(shop: Shop) -> None:
    invoiced(shop)
    shop.render()
    before, seen = pdfs(shop), status(shop.home)
    again = render(shop.home, list(before), TEMPLATES)
    assert pdfs(shop) == before
    assert status(shop.home) == seen
    assert again.failed == ()
    assert unrendered(shop.home) == []


def test_the_same_invoice_is_the_same_bytes_wherever_it_is_rendered(shop: Shop, tmp_path: Path) -> None:
    invoiced(shop)
    shop.render()
    other = Shop(home=type(shop.home).at(tmp_path / "other"), folder=tmp_path / "other-files")
    other.home.create()
    invoiced(other)
    other.render()
    assert pdfs(other) == pdfs(shop)
    other.home.close()


def copy_of_templates(folder: Path, *, without: str = "nothing") -> Path:
    """The bundle of the repository, without the files whose name begins so."""
    for path in TEMPLATES.rglob("*"):
        if path.is_file() and not path.name.startswith(without):
            target = folder / path.relative_to(TEMPLATES)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return folder


def test_one_document_that_fails_stops_no_other_keeps_its_number_and_is_tried_again(shop: Shop, tmp_path: Path) -> None:
    """lago-api #4426: a retry does not renumber."""
    invoiced(shop, first_buyer="東京販売")
    poor = copy_of_templates(tmp_path / "invoices", without="InvoiceCJK")
    done = render(shop.home, unrendered(shop.home), poor)
    assert done.rendered == ("INV-2026-000002",)
    ((number, problem),) = done.failed
    assert number == "INV-2026-000001"
    assert "no font has" in problem
    assert "東京販売" in problem
    assert unrendered(shop.home) == ["INV-2026-000001"]
    assert [row.document == "" for row in list_invoices(shop.home)] == [True, False]
    before = pdfs(shop)
    assert render(shop.home, unrendered(shop.home), poor).failed == done.failed, "tried again; the cause is still there"
    assert shop.render().rendered == ("INV-2026-000001",), "the cause is mended"
    after = pdfs(shop)
    assert sorted(after) == ["INV-2026-000001", "INV-2026-000002"]
    assert after["INV-2026-000002"] == before["INV-2026-000002"]


def test_a_document_that_fails_is_said_alike_by_a_close_and_by_an_approval(
    shop: Shop, tmp_path: Path, run_billing: Callable[..., tuple[int, str]]
) -> None:
    """The invoice is issued: what is left to do is said too."""
    poor = copy_of_templates(tmp_path / "invoices", without="InvoiceCJK")
    (shop.home.folder / "billing.toml").write_text(f'templates = "{poor}"\n', "utf-8")
    used(shop, first_buyer="東京販売")
    asked = run_billing(shop, "cycles", "close", "--as-of", "2026-08-02T00:00:00Z", "--ask")
    assert "waits for approval" in asked[1]
    approved = run_billing(shop, "cycles", "approve", "1", "--as-of", "2026-08-03T00:00:00Z")
    closed = run_billing(shop, "cycles", "close", "--as-of", "2026-08-04T00:00:00Z")
    for ended, said in (approved, closed):
        assert ended == 0
        (line,) = [line for line in said.splitlines() if line.startswith("no document for INV-2026-000001: ")]
        assert line.endswith(". The invoice stands; mend the cause, then `billing invoices render`.")


def test_a_template_change_never_alters_an_old_document(shop: Shop, tmp_path: Path) -> None:
    """lago-api #5898."""
    invoiced(shop)
    render(shop.home, ["INV-2026-000001"], TEMPLATES)
    before = pdfs(shop)
    restyled = copy_of_templates(tmp_path / "invoices")
    for style in restyled.glob("*.css.j2"):
        style.write_text(style.read_text("utf-8") + "\nbody { letter-spacing: 0.2pt }\n", "utf-8")
    render(shop.home, ["INV-2026-000001", "INV-2026-000002"], restyled)
    after = pdfs(shop)
    assert after["INV-2026-000001"] == before["INV-2026-000001"]
    for number in after:
        again = render_again(shop.home, number)
        assert (again.same, again.pdf == after[number], again.differing) == (True, True, ()), "from its own bundle"
    with shop.home.database.read() as connection:
        bundles = set(connection.execute(select(documents.c.bundle)).scalars())
    assert len(bundles) == 2


def test_the_bundle_of_a_document_can_be_put_together_again(shop: Shop, tmp_path: Path) -> None:
    """Rule 7.1: the same PDF byte for byte, of what is kept alone, whatever became of the folder of templates."""
    invoiced(shop)
    render(shop.home, unrendered(shop.home), copy_of_templates(tmp_path / "invoices"))
    with shop.home.database.read() as connection:
        pdf = documents.c.kind == "pdf"
        row = connection.execute(select(documents).where(pdf).order_by(documents.c.number)).first()
    assert row
    kept = shop.home.bundles
    listed = kept.read(f"{row.bundle[:2]}/{row.bundle}.sha256", row.bundle).decode().splitlines()
    files = {}
    for digest, path in (line.split("  ", 1) for line in listed):
        files[path] = kept.read(f"{digest[:2]}/{digest}{Path(path).suffix}", digest)
    renderer = Renderer.from_bundle(files)
    (invoice,) = read_invoices(shop.home, [row.number])
    assert renderer.render(invoice, xml_of(invoice)) == pdfs(shop)[row.number]
    assert renderer.recorded_versions() == json.loads(row.versions)


def test_a_tampered_document_is_found_when_it_is_read(shop: Shop, tmp_path: Path) -> None:
    invoiced(shop)
    shop.render()
    path = Path(list_invoices(shop.home)[1].document)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"%PDF-1", b"%PDF-2", 1))
    with pytest.raises(ConservationBroken, match="was changed after it was written"):
        copy_documents(shop.home, tmp_path / "out")


def test_documents_are_copied_under_their_numbers(shop: Shop, tmp_path: Path) -> None:
    seller = [REFERENCE["seller"][0].replace("INV", "A/B")]
    shop.load(seller=seller)
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    close_no = shop.close("08-02").close_no
    assert render_close(shop.home, close_no, TEMPLATES).rendered == ("A/B-2026-000001",)
    assert copy_documents(shop.home, tmp_path / "out") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["A_B-2026-000001.pdf", "A_B-2026-000001.xml"]


def test_a_credit_note_has_a_document_of_its_own(shop: Shop) -> None:
    """Rule 6.4."""
    invoiced(shop)
    shop.render()
    note = credit(shop.home, "INV-2026-000001", reason="wrong project", wanted=[], as_of=instant("08-03")).number
    assert unrendered(shop.home) == [note]
    assert shop.render().rendered == (note,)
    (read,) = read_issued(shop.home, [note])
    assert (read.type, read.preceding and read.preceding.number) == (InvoiceType.CREDIT_NOTE, "INV-2026-000001")
    assert b"<ram:TypeCode>381</ram:TypeCode>" in stored_document(shop.home, note, "cii")
    assert render_again(shop.home, note).same


def test_invoices_and_credit_notes_are_read_in_the_order_asked_for(shop: Shop) -> None:
    invoiced(shop)
    note = credit(shop.home, "INV-2026-000002", reason="x", wanted=[], as_of=instant("08-03")).number
    for numbers in (["INV-2026-000001", note, "INV-2026-000002"], [note, "INV-2026-000001"], []):
        assert [one.number for one in read_issued(shop.home, numbers)] == numbers


def test_ubl_is_made_at_the_first_request_and_kept(shop: Shop) -> None:
    invoiced(shop)
    shop.render()
    ubl = ubl_of(shop.home, "INV-2026-000001")
    assert b"urn:oasis:names:specification:ubl:schema:xsd:Invoice-2" in ubl
    seen = status(shop.home).log_rows
    assert ubl_of(shop.home, "INV-2026-000001") == ubl == stored_document(shop.home, "INV-2026-000001", "ubl")
    assert status(shop.home).log_rows == seen, "nothing was written the second time"


def test_another_renderer_is_named(shop: Shop) -> None:
    """Rule 7.1: where the renderer differs the rerun says so."""
    invoiced(shop)
    shop.render()
    with shop.home.database.write() as connection:
        row = connection.execute(select(documents).where(documents.c.kind == "pdf")).first()
        assert row
        versions = json.loads(row.versions) | {"weasyprint": "1.0"}
        mine = (documents.c.number == row.number) & (documents.c.kind == "pdf")
        connection.execute(update(documents).where(mine).values(versions=json.dumps(versions)))
    again = render_again(shop.home, row.number)
    assert again.same and again.differing == (f"weasyprint: 1.0 -> {version('weasyprint')}",)


def test_there_is_no_document_of_another_kind(shop: Shop) -> None:
    invoiced(shop)
    with pytest.raises(NotFound, match="has no document pdf; `billing invoices render`"):
        stored_document(shop.home, "INV-2026-000001")


@pytest.mark.parametrize("theme", ["default", "ledger"])
def test_a_theme_is_looked_at_without_a_home(theme: str) -> None:
    assert preview(TEMPLATES, theme, "ja").startswith(b"%PDF-")


def test_what_was_never_issued_cannot_be_rendered(shop: Shop) -> None:
    invoiced(shop)
    with pytest.raises(NotFound, match="No invoice INV-2026-000009 was ever issued; `billing invoices list`"):
        render(shop.home, ["INV-2026-000009"], TEMPLATES)
    many = [f"NONE-2026-{number:06d}" for number in range(70_000)]
    with pytest.raises(NotFound):
        read_invoices(shop.home, many)


def test_nothing_to_render_needs_no_templates(shop: Shop, tmp_path: Path) -> None:
    shop.load()
    assert render(shop.home, [], tmp_path / "nowhere").rendered == ()


def test_a_broken_bundle_is_said_and_no_number_is_lost(shop: Shop, tmp_path: Path) -> None:
    invoiced(shop)
    with pytest.raises(TemplateBroken):
        render(shop.home, unrendered(shop.home), tmp_path / "nowhere")
    assert len(shop.render().rendered) == 2


def test_an_invoice_says_what_was_known_when_its_cycle_was_closed(shop: Shop) -> None:
    """Names and addresses of the pinned load, whatever is loaded before it is rendered."""
    invoiced(shop)
    shop.load(customers=[line.replace("Buyer", "Renamed") for line in REFERENCE["customers"]])
    (one, two) = read_invoices(shop.home, ["INV-2026-000002", "INV-2026-000001"])
    assert [one.customer.legal_name, two.customer.legal_name] == ["Buyer Two", "Buyer One"]
    assert [row.customer for row in list_invoices(shop.home)] == ["Buyer One", "Buyer Two"]
    assert sum(line.net for line in one.lines) == one.net
    assert one.net + one.tax == one.total
