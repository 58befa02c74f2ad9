"""WeasyPrint, kept warm and shut in: our own fonts only, nothing fetched. All contact with it is here.

An issued document is PDF/A-3a and PDF/UA-1, and Factur-X too where its XML is attached; what the page must hold for
that is in docs/decisions/documents-pdf.md. WeasyPrint and the libraries under it are loaded when the first engine is
opened, not before. One engine is for one thread at a time, as Pango's font maps are.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import shutil
import threading
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import Any
from xml.sax.saxutils import escape

from billing.documents.errors import RendererUnavailable, TemplateBroken
from billing.documents.warm import Warm
from billing.documents.xmp import FACTUR_X_FILE, xmp_packet

DEBIAN_PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 libfontconfig1"
_INSTALL = f"  install the libraries it needs; on Debian and Ubuntu: apt-get install {DEBIAN_PACKAGES}"
# Relative references get this scheme, so that they reach the fetcher, which refuses them by name.
_NOWHERE = "refused:/"
_ENVIRONMENT = threading.Lock()
# A logo is parsed once for many documents. More images than this are charts, each of one document only, and each
# holds the styles of its document: then all are forgotten.
_IMAGES_MAX = 4
_ISSUED = {"pdf_variant": "pdf/a-3a"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Attached:
    """A file to put into a document.

    ``relationship`` says what it is to the document, in the words of PDF 2.0 (7.11.3): the XML of an e-invoice is an
    ``Alternative``, figures behind the page are ``Data``, what it was made from is a ``Source``.
    """

    name: str
    content: bytes
    relationship: str = "Alternative"
    description: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Painted:
    """A document and what was wrong with it: characters without a glyph, references refused, further complaints."""

    pdf: bytes
    pages: int
    missing: frozenset[str]
    refused: tuple[str, ...]
    complaints: tuple[str, ...]


class Engine:
    """WeasyPrint with one font configuration, one parsed stylesheet and one fetcher for all documents."""

    def __init__(self, stylesheet: str, fonts: Mapping[str, bytes]) -> None:
        """Load the libraries, the fonts and the stylesheet.

        ``RendererUnavailable`` where the libraries are missing, ``TemplateBroken`` where the stylesheet has
        something that WeasyPrint does not know.
        """
        folder = _private_folder(fonts)
        weakref.finalize(self, _remove, folder, os.getpid())
        with _only_fonts_of(folder):
            self._weasyprint = _load()
            # Pango asks once in a process.
            _library("pango-1.0", 0).pango_language_get_preferred()
            from weasyprint.text.fonts import FontConfiguration  # type: ignore[import-untyped]

            self._fonts = FontConfiguration()
            self._fetcher = _data_fetcher()
            self._images: dict[str, Any] = {}
            self._warm = Warm.of(stylesheet)
            with _complaints() as complaints:
                self._stylesheet = self._weasyprint.CSS(
                    string=stylesheet, url_fetcher=self._fetcher, base_url=_NOWHERE, font_config=self._fonts
                )
            wrong = [*complaints, *(f"refers to {url!r}" for url in self._fetcher.refused)]
            if wrong:
                raise TemplateBroken(f"the stylesheet cannot be used: {'; '.join(wrong)}")
            # The first layout makes Pango read its configuration, which must happen inside this block.
            self.paint("<p>0 <b>0</b>")

    def paint(self, html: str, *, issued_at: datetime | None = None, attachments: Sequence[Attached] = ()) -> Painted:
        """Lay out and write one document.

        With ``issued_at``, an aware instant, it is issued: PDF/A-3a and PDF/UA-1, all its dates are that instant, and
        an XML attached as ``factur-x.xml`` makes it Factur-X. Without, it is a plain PDF with no files in it.
        ``ValueError`` where files are to be attached to a document without a date, or the date has no zone.
        """
        _check_stamp(issued_at, attachments)
        options = _ISSUED if issued_at else {}
        self._fetcher.refused.clear()
        with _complaints() as complaints:
            with self._warm.used() if self._warm else nullcontext():
                page = self._warm.page if self._warm else self._weasyprint.HTML
                source = page(string=html, url_fetcher=self._fetcher, base_url=_NOWHERE)
                document = source.render(
                    font_config=self._fonts, stylesheets=[self._stylesheet], cache=self._images, **options
                )
            pdf = self._issue(document, issued_at.astimezone(UTC), attachments) if issued_at else document.write_pdf()
            if issued_at and not document.metadata.title:
                complaints.append("the page has no title")
        self._forget_images()
        return Painted(
            pdf=pdf,
            pages=len(document.pages),
            missing=frozenset(chr(point) for font in document.fonts.values() for point in font.missing),
            refused=tuple(self._fetcher.refused),
            complaints=tuple(complaints),
        )

    def _issue(self, document: Any, issued_at: datetime, attachments: Sequence[Attached]) -> bytes:
        """Write a document that was laid out, by the standards that an issued one keeps."""
        metadata = document.metadata
        metadata.created = metadata.modified = f"{issued_at:%Y-%m-%dT%H:%M:%SZ}"
        packet = xmp_packet(
            title=metadata.title or "",
            authors=metadata.authors,
            producer=f"WeasyPrint {self._weasyprint.VERSION}",
            stamped_at=metadata.created,
            factur_x=any(_is_factur_x(attached) for attached in attachments),
        )
        files = [
            self._weasyprint.Attachment(
                file_obj=io.BytesIO(attached.content),
                name=attached.name,
                description=attached.description,
                relationship=attached.relationship,
                created=issued_at,
                modified=issued_at,
                url_fetcher=self._fetcher,
            )
            for attached in attachments
        ]

        def finish(_document: Any, pdf: Any) -> None:
            _describe(pdf, packet)
            _margins_as_artifacts(pdf)
            _write_once(pdf)

        written: bytes = document.write_pdf(attachments=files, finisher=finish, **_ISSUED)
        return written

    def _forget_images(self) -> None:
        # An image that could not be had is remembered as None, and would be missing without a complaint from then on.
        if len(self._images) > _IMAGES_MAX or None in self._images.values():
            self._images.clear()

    def versions(self) -> dict[str, str]:
        """The versions of the system's libraries under WeasyPrint."""
        from weasyprint.text.ffi import pango  # type: ignore[import-untyped]

        return {
            "pango": _dotted(pango.pango_version()),
            "harfbuzz": _harfbuzz_version(),
            "fontconfig": _dotted(_library("fontconfig", 1).FcGetVersion()),
        }


def _load() -> ModuleType:
    """Import WeasyPrint, or say what is missing and how to get it."""
    try:
        # Where a library is missing WeasyPrint prints a banner; the error below says it better.
        with redirect_stdout(io.StringIO()):
            import weasyprint  # type: ignore[import-untyped]
            from weasyprint.text.ffi import harfbuzz_subset
    except (ImportError, OSError) as error:
        raise RendererUnavailable(f"invoices cannot be rendered: {error}\n{_INSTALL}") from error
    # Without it fonts are subset in Python: five times slower, and other bytes.
    if harfbuzz_subset is None:
        raise RendererUnavailable(f"invoices cannot be rendered: no library libharfbuzz-subset\n{_INSTALL}")
    return weasyprint  # type: ignore[no-any-return]


def _check_stamp(issued_at: datetime | None, attachments: Sequence[Attached]) -> None:
    if issued_at is None and attachments:
        raise ValueError("files are attached to an issued document only: give issued_at")
    if issued_at is not None and issued_at.utcoffset() is None:
        raise ValueError(f"issued_at has no time zone: {issued_at}")


def _is_factur_x(attached: Attached) -> bool:
    return attached.name == FACTUR_X_FILE and attached.relationship == "Alternative"


def _describe(pdf: Any, packet: bytes) -> None:
    """Give a PDF its XMP packet, readable without inflating, and name each attached file once."""
    metadata = _object(pdf, pdf.catalog["Metadata"])
    metadata.stream = [packet]
    metadata.compress = False
    # WeasyPrint names each twice: as a file of the document, and as an object that is a file.
    if "AF" in pdf.catalog:
        pdf.catalog["AF"][:] = dict.fromkeys(pdf.catalog["AF"])


def _margins_as_artifacts(pdf: Any) -> None:
    """Mark what stands in the margins as pagination, which PDF/UA wants and a screen reader then skips (7.8).

    WeasyPrint marks it as text, with elements that have the document as parent but are none of its children.
    """
    tree = _object(pdf, pdf.catalog["StructTreeRoot"])
    document = _object(pdf, tree["K"][0])
    numbers = _object(pdf, tree["ParentTree"])["Nums"]
    elements_of = dict(zip(numbers[::2], numbers[1::2], strict=True))
    children = set(document["K"])
    dictionaries = (object_ for object_ in pdf.objects if hasattr(object_, "get"))
    tops = (element for element in dictionaries if element.get("P") == document.reference)
    for orphan in [element for element in tops if element.reference not in children]:
        page = _object(pdf, orphan["Pg"])
        marks = set(_unlink(pdf, orphan))
        for mark in marks:
            elements_of[page["StructParents"]][mark] = b"null"
        content = _object(pdf, page["Contents"]).stream
        for place, item in enumerate(content):
            if isinstance(item, dict) and item.get("MCID") in marks:
                content[place - 1 : place + 1] = b"/Artifact", b"<</Type /Pagination>>"


def _unlink(pdf: Any, element: Any) -> Iterator[int]:
    """Empty an element and all below it. Yields the numbers of the marked content that they stood for."""
    for child in element.get("K", ()):
        if isinstance(child, int):
            yield child
        else:
            yield from _unlink(pdf, _object(pdf, child))
    element.clear()


def _object(pdf: Any, reference: bytes) -> Any:
    """The object that ``b"12 0 R"`` refers to."""
    return pdf.objects[int(reference.split()[0])]


def _write_once(pdf: Any) -> None:
    """Replace the objects of a PDF by their bytes: they are asked for twice, for the file and for its identifier.

    Streams are deflated by zlib's usual level rather than its highest: half the time for one byte more in a hundred.
    """
    import pydyf  # type: ignore[import-untyped]

    class Written(pydyf.Object):  # type: ignore[misc]
        data = b""
        compressible = False

        def __init__(self, written: Any) -> None:
            super().__init__()
            self.number = written.number
            self.data = _deflated(written) if getattr(written, "compress", False) else written.data
            self.compressible = written.compressible

    def _deflated(stream: Any) -> bytes:
        _, _, rest = pydyf.Stream(stream.stream).data.partition(b"stream\n")
        content = zlib.compress(rest.removesuffix(b"\nendstream"))
        return bytes(pydyf.Stream([content], stream.extra | {"Filter": "/FlateDecode"}).data)

    pdf.objects[:] = [object_ if object_.free == "f" else Written(object_) for object_ in pdf.objects]


def _data_fetcher() -> Any:
    """A fetcher that reads ``data:`` URLs, refuses all others and remembers which."""
    from weasyprint.urls import URLFetcher  # type: ignore[import-untyped]

    class DataFetcher(URLFetcher):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(allowed_protocols={"data"})
            self.refused: list[str] = []

        def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> Any:
            if not url.lower().startswith("data:"):
                self.refused.append(url)
            return super().fetch(url, headers)

    return DataFetcher()


def _private_folder(fonts: Mapping[str, bytes]) -> Path:
    """A folder of our own with the fonts and a fontconfig configuration that knows no others."""
    folder = Path(mkdtemp(prefix="billing-fonts-"))
    (folder / "fonts").mkdir()
    for path, content in fonts.items():
        (folder / "fonts" / path.replace("/", "-")).write_bytes(content)
    place = escape(str(folder))
    (folder / "fonts.conf").write_text(
        '<?xml version="1.0"?>\n<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">\n'
        f"<fontconfig><dir>{place}/fonts</dir><cachedir>{place}/cache</cachedir></fontconfig>\n",
        encoding="utf-8",
    )
    return folder


def _remove(folder: Path, owner: int) -> None:
    # A forked worker has the parent's engine too, but not the right to clear its folder away.
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _only_fonts_of(folder: Path) -> Iterator[None]:
    """Fontconfig reads its configuration from ``folder`` while the block runs, and Pango takes nobody's language.

    Pango shapes Han and Arabic text without a language as the worker's ``LANGUAGE`` would have it, unless told.
    """
    ours = {"FONTCONFIG_FILE": str(folder / "fonts.conf"), "PANGO_LANGUAGE": "en"}
    with _ENVIRONMENT:
        before = {name: os.environ.get(name) for name in ours}
        os.environ.update(ours)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name)
                if value is not None:
                    os.environ[name] = value


class _Collector(logging.Handler):
    """What is logged by this thread, as text."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.messages.append(record.getMessage())


@contextmanager
def _complaints() -> Iterator[list[str]]:
    """The warnings and errors of WeasyPrint in this block: it reports a broken image or rule in no other way."""
    collector = _Collector()
    logger = logging.getLogger("weasyprint")
    # Seven lines a document at INFO would bury what a run has to say.
    logging.getLogger("weasyprint.progress").setLevel(logging.WARNING)
    logger.addHandler(collector)
    try:
        yield collector.messages
    finally:
        logger.removeHandler(collector)


def _dotted(version: int) -> str:
    """``15012`` is ``1.50.12``: how both Pango and fontconfig write their versions."""
    return f"{version // 10_000}.{version // 100 % 100}.{version % 100}"


def _harfbuzz_version() -> str:
    function = _library("harfbuzz", 0).hb_version_string
    function.restype = ctypes.c_char_p
    return str(function().decode())


def _library(name: str, major: int) -> ctypes.CDLL:
    """The library that WeasyPrint has loaded already."""
    for file in (f"lib{name}.so.{major}", f"lib{name}.{major}.dylib", f"lib{name}-{major}.dll"):
        try:
            return ctypes.CDLL(file)
        except OSError:
            continue
    raise RendererUnavailable(f"invoices cannot be rendered: no library {name}\n{_INSTALL}")
