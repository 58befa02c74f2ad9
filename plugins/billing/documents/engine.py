"""WeasyPrint, kept warm and shut in: our own fonts only, nothing fetched. All contact with it is here.

WeasyPrint and the libraries under it are loaded when the first engine is opened, not before. One engine is for one
thread at a time, as Pango's font maps are.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import shutil
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from types import ModuleType
from typing import Any
from xml.sax.saxutils import escape

from billing.documents.errors import RendererUnavailable, TemplateBroken

DEBIAN_PACKAGES = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0 libfontconfig1"
_INSTALL = f"  install the libraries it needs; on Debian and Ubuntu: apt-get install {DEBIAN_PACKAGES}"
# Relative references get this scheme, so that they reach the fetcher, which refuses them by name.
_NOWHERE = "refused:/"
_ENVIRONMENT = threading.Lock()


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
            from weasyprint.text.fonts import FontConfiguration  # type: ignore[import-untyped]

            self._fonts = FontConfiguration()
            self._fetcher = _data_fetcher()
            self._images: dict[str, Any] = {}
            with _complaints() as complaints:
                self._stylesheet = self._weasyprint.CSS(
                    string=stylesheet, url_fetcher=self._fetcher, base_url=_NOWHERE, font_config=self._fonts
                )
            wrong = [*complaints, *(f"refers to {url!r}" for url in self._fetcher.refused)]
            if wrong:
                raise TemplateBroken(f"the stylesheet cannot be used: {'; '.join(wrong)}")
            # The first layout makes Pango read its configuration, which must happen inside this block.
            self.paint("<p>0 <b>0</b>")

    def paint(self, html: str) -> Painted:
        """Lay out and write one document."""
        self._fetcher.refused.clear()
        with _complaints() as complaints:
            source = self._weasyprint.HTML(string=html, url_fetcher=self._fetcher, base_url=_NOWHERE)
            document = source.render(font_config=self._fonts, stylesheets=[self._stylesheet], cache=self._images)
            pdf = document.write_pdf()
        missing = frozenset(chr(point) for font in document.fonts.values() for point in font.missing)
        return Painted(
            pdf=pdf,
            pages=len(document.pages),
            missing=missing,
            refused=tuple(self._fetcher.refused),
            complaints=tuple(complaints),
        )

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
    """Fontconfig reads its configuration from ``folder`` while the block runs."""
    with _ENVIRONMENT:
        before = os.environ.get("FONTCONFIG_FILE")
        os.environ["FONTCONFIG_FILE"] = str(folder / "fonts.conf")
        try:
            yield
        finally:
            if before is None:
                del os.environ["FONTCONFIG_FILE"]
            else:
                os.environ["FONTCONFIG_FILE"] = before


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
