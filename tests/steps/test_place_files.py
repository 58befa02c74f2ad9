"""Copies of documents in a folder and on an S3 API: each once, whole, compared, and never over one that is there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from sqlalchemy import update

from billing.core.errors import BillingError
from billing.core.file_layout import Layout
from billing.steps.audit.logged import disagreements
from billing.steps.credit import credit
from billing.steps.place_files import Destination, list_placed, place_files
from billing.steps.places import Place
from billing.steps.run_summary import SUMMARY
from billing.store import log
from billing.store.documents import write_document
from billing.store.tables import placed_files

from .mail_world import issue, keep_document
from .small_world import REFERENCE, Shop, instant

ONE, TWO = "INV-2026-000001", "INV-2026-000002"
LAYOUT = Layout.parse("{year}/{customer_id}/{number}.{kind}")
SUMMARIES = Layout.parse("{year}/summaries/{number}.{kind}")


@pytest.fixture(params=["folder", "s3"])
def destination(request: pytest.FixtureRequest, tmp_path: Path) -> Destination:
    """A place that holds nothing yet."""
    if request.param == "folder":
        location, storage = str(tmp_path / "out"), fsspec.filesystem("file")
    else:
        make: Callable[[], tuple[str, dict[str, str]]] = request.getfixturevalue("s3_bucket")
        url, given = make()
        location = f"{url}/invoices"
        storage = fsspec.filesystem(
            "s3",
            key=given["aws_access_key_id"],
            secret=given["aws_secret_access_key"],
            endpoint_url=given["aws_endpoint_url"],
            client_kwargs={"region_name": given["aws_region"]},
        )
    return Destination(place=Place(location=location, storage=lambda: storage), layout=LAYOUT, summaries=SUMMARIES)


@pytest.fixture
def issued(shop: Shop) -> Shop:
    """Two invoices with documents, and a customer whose id is a path."""
    teams = ["t1,../../c1,Team One", "t2,c2,Team Two"]
    customers = [REFERENCE["customers"][0].replace("c1,", "../../c1,", 1), REFERENCE["customers"][1]]
    shop.load(customers=customers, teams=teams)
    usage = ("e1,2026-07-05T00:00:00Z,a1,translate,3,,", "e2,2026-07-06T00:00:00Z,a2,translate,3,,")
    shop.ingest(*usage, now="08-02")
    shop.close("08-02")
    for number in (ONE, TWO):
        keep_document(shop, number)
    return shop


def there(destination: Destination) -> dict[str, bytes]:
    files = destination.place.storage()
    files.invalidate_cache()
    root = str(files._strip_protocol(destination.location)).rstrip("/")
    return {place.removeprefix(root + "/"): files.cat_file(place) for place in files.find(root)}


def expected(number: str, customer: str) -> dict[str, bytes]:
    return {
        f"2026/{customer}/{number}.{suffix}": f"{number} as {kind}\r\n.\r\n".encode()
        for kind, suffix in (("pdf", "pdf"), ("cii", "xml"))
    }


def test_every_document_is_copied_once_byte_for_byte(issued: Shop, destination: Destination) -> None:
    done = place_files(issued.home, destination)
    assert (done.placed, done.problems) == (4, ())
    assert there(destination) == expected(ONE, "..%2F..%2Fc1") | expected(TWO, "c2")
    assert place_files(issued.home, destination).placed == 0
    assert [one.path for one in list_placed(issued.home, TWO)] == [f"2026/c2/{TWO}.pdf", f"2026/c2/{TWO}.xml"]
    with issued.home.database.read() as connection:
        assert disagreements(connection) == []


def test_one_that_is_there_is_found_and_one_that_differs_is_not_replaced(
    issued: Shop, destination: Destination
) -> None:
    """The first is what a run leaves that was killed before its row was written."""
    files = destination.place.storage()
    for number, content in ((ONE, None), (TWO, b"somebody's own")):
        customer = "..%2F..%2Fc1" if number == ONE else "c2"
        path = f"2026/{customer}/{number}.pdf"
        place = f"{files._strip_protocol(destination.location)!s}/{path}"
        files.makedirs(place.rpartition("/")[0], exist_ok=True)
        files.pipe_file(place, content or expected(number, customer)[path])
    done = place_files(issued.home, destination)
    assert done.placed == 3 and len(done.problems) == 1
    assert done.problems[0].startswith(f"2026/c2/{TWO}.pdf: another file is there; it is not replaced")
    assert there(destination)[f"2026/c2/{TWO}.pdf"] == b"somebody's own"
    assert len(place_files(issued.home, destination).problems) == 1, "it is told until it is mended"


def test_credit_notes_and_summaries_have_their_places(shop: Shop, tmp_path: Path) -> None:
    issue(shop, tuple(REFERENCE["customers"]))
    note = credit(shop.home, ONE, reason="wrong", as_of=instant("08-02")).number
    keep_document(shop, note)
    kept = shop.home.documents.put_bytes(b"page", ".pdf")
    with shop.home.database.exclusive("books") as connection:
        write_document(connection, "close-1", SUMMARY, kept, "", {})
        told = {"number": "close-1", "kind": SUMMARY, "sha256": kept.sha256, "bundle": ""}
        log.append(connection, instant("08-02"), "document", told)
    place = Destination(place=Place.at(str(tmp_path / "out")), layout=LAYOUT, summaries=SUMMARIES)
    assert place_files(shop.home, place).placed == 3
    assert there(place) == expected(note, "c1") | {"2026/summaries/close-1.pdf": b"page"}


def test_a_copy_that_cannot_be_made_stops_no_other(issued: Shop, tmp_path: Path) -> None:
    place = Destination(place=Place.at(str(tmp_path / "out")), layout=LAYOUT, summaries=SUMMARIES)
    damaged = next(issued.home.documents.folder.rglob("*.pdf"))
    damaged.chmod(0o644)
    damaged.write_bytes(b"changed")
    done = place_files(issued.home, place)
    assert done.placed == 3 and "was changed after it was written" in done.problems[0]
    (tmp_path / "file").write_text("")
    nowhere = Destination(place=Place.at(str(tmp_path / "file")), layout=LAYOUT, summaries=SUMMARIES)
    with pytest.raises(BillingError, match="files cannot be placed here|cannot be reached"):
        place_files(issued.home, nowhere)


def test_a_row_that_was_changed_is_found(issued: Shop, tmp_path: Path) -> None:
    place = Destination(place=Place.at(str(tmp_path / "out")), layout=LAYOUT, summaries=SUMMARIES)
    place_files(issued.home, place)
    with issued.home.database.write() as connection:
        connection.execute(update(placed_files).where(placed_files.c.number == ONE).values(sha256="0" * 64))
    with issued.home.database.read() as connection:
        assert len(disagreements(connection)) == 2


def test_by_the_command(issued: Shop, tmp_path: Path, run_billing: Callable[..., tuple[int, str]]) -> None:
    assert "has no [files]" in run_billing(issued, "files", "place")[1]
    settings = f'[files]\nlocation = "{tmp_path / "out"}"\nlayout = "{{customer_id}}-{{number}}.{{kind}}"\n'
    (issued.home.folder / "billing.toml").write_text(settings)
    status, told = run_billing(issued, "files", "place")
    assert (status, told) == (0, f"4 files placed in {tmp_path / 'out'}.\n")
    assert (tmp_path / "out" / f"c2-{TWO}.pdf").read_bytes() == expected(TWO, "c2")[f"2026/c2/{TWO}.pdf"]
    status, told = run_billing(issued, "files", "list", "--number", TWO)
    assert status == 0 and told.count(f"c2-{TWO}") == 2
