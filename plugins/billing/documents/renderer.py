"""Invoices to PDF: opened once, kept warm for a batch, the same bytes for the same invoice every time (rule 7.1).

``Renderer.open(folder)`` reads the whole bundle into memory, so that what is rendered is what is hashed, whatever
happens to the folder afterwards. ``Renderer.from_bundle(files)`` does the same with an archived bundle, for a rerun.
"""

from __future__ import annotations

import platform
import zlib
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError

from billing.core.model import Invoice
from billing.documents.bundle import LOGO, STYLESHEET, TEMPLATE, bundle_sha256, check_bundle, fonts_of, read_bundle
from billing.documents.engine import Engine, Painted
from billing.documents.errors import DocumentFailed, FetchRefused, MissingGlyphs, TemplateBroken
from billing.documents.texts import Catalogues
from billing.documents.view import InvoiceView, invoice_view

_PACKAGES = ("weasyprint", "pydyf", "tinycss2", "tinyhtml5", "cssselect2", "jinja2", "babel")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """One invoice of a batch: its ``pdf``, or the ``problem`` that kept it from having one."""

    number: str
    pdf: bytes | None
    problem: DocumentFailed | None


class Renderer:
    """Renders invoices one after the other. For one thread at a time; open one in each worker process."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(sorted(files.items()))
        self._catalogues = Catalogues(self._files)
        sources = {path: _text(path, content) for path, content in self._files.items() if path.endswith(".j2")}
        environment = Environment(
            loader=DictLoader(sources),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        try:
            self._template = environment.get_template(TEMPLATE)
        except TemplateError as error:
            raise TemplateBroken(f"{TEMPLATE}: {error}") from error
        self._logo = f"data:image/svg+xml;base64,{b64encode(self._files[LOGO]).decode()}"
        self._engine = Engine(_text(STYLESHEET, self._files[STYLESHEET]), fonts_of(self._files))

    @classmethod
    def open(cls, templates: Path) -> Renderer:
        """A renderer of the bundle in a folder, warm.

        Raises ``TemplateBroken`` where the bundle cannot be used, ``RendererUnavailable`` where the libraries that
        it needs are not on this machine.
        """
        return cls(read_bundle(templates))

    @classmethod
    def from_bundle(cls, files: Mapping[str, bytes]) -> Renderer:
        """A renderer of an archived bundle: what ``bundle_files`` gave."""
        check_bundle(files, "the bundle")
        return cls(files)

    def html(self, invoice: Invoice) -> str:
        """The page before it is laid out."""
        return self._html(self._view(invoice))

    def render(self, invoice: Invoice) -> bytes:
        """The PDF of an invoice, dated by its issue instant. ``DocumentFailed`` says why there is none."""
        view = self._view(invoice)
        painted = self._engine.paint(self._html(view))
        _check(view, painted)
        return painted.pdf

    def render_each(self, invoices: Iterable[Invoice]) -> Iterator[Rendered]:
        """A batch, lazily and in its order. One that fails does not stop the others."""
        for invoice in invoices:
            try:
                yield Rendered(number=invoice.number, pdf=self.render(invoice), problem=None)
            except DocumentFailed as problem:
                yield Rendered(number=invoice.number, pdf=None, problem=problem)

    def recorded_versions(self) -> dict[str, str]:
        """All that decides the bytes beside the invoice. ``bundle`` and ``code`` are SHA-256."""
        versions = {name: version(name) for name in _PACKAGES} | self._engine.versions()
        versions |= {"python": platform.python_version(), "zlib": zlib.ZLIB_RUNTIME_VERSION}
        return dict(sorted(versions.items())) | {"bundle": bundle_sha256(self._files), "code": _code_sha256()}

    def bundle_files(self) -> dict[str, bytes]:
        """The bundle, to be archived under its hash."""
        return dict(self._files)

    def _view(self, invoice: Invoice) -> InvoiceView:
        return invoice_view(invoice, self._catalogues.texts(invoice.customer.locale))

    def _html(self, view: InvoiceView) -> str:
        texts = self._catalogues.texts(view.lang)
        try:
            return self._template.render(invoice=view, logo=self._logo, _=texts)
        except TemplateError as error:
            raise TemplateBroken(f"{TEMPLATE}: {error}") from error


def _check(view: InvoiceView, painted: Painted) -> None:
    if painted.missing:
        text = next((text for text in _texts_of(asdict(view)) if painted.missing & set(text)), "")
        raise MissingGlyphs(view.number, painted.missing, text)
    if painted.refused:
        raise FetchRefused(view.number, painted.refused)
    if painted.complaints:
        raise DocumentFailed(view.number, "; ".join(painted.complaints))


def _texts_of(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for part in value.values():
                yield from _texts_of(part)
        case tuple() | list():
            for part in value:
                yield from _texts_of(part)


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TemplateBroken(f"{path} is not UTF-8: {error}") from error


def _code_sha256() -> str:
    """The modules of this package format the texts: they decide the bytes as much as the template does."""
    folder = Path(__file__).parent
    return bundle_sha256({path.name: path.read_bytes() for path in folder.glob("*.py")})
