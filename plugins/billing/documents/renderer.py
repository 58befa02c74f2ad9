"""Documents to PDF: opened once, kept warm for a batch, the same bytes for the same invoice every time (rule 7.1).

``Renderer.open(folder, theme)`` reads the whole bundle into memory, so that what is rendered is what is hashed,
whatever happens to the folder afterwards. ``Renderer.from_bundle(files)`` does the same with an archived bundle, for a
rerun.
"""

from __future__ import annotations

import platform
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from babel.core import get_cldr_version
from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError
from markupsafe import Markup

from billing.core.customer_statement import CustomerStatement
from billing.core.model import Invoice
from billing.core.run_summary import RunSummary
from billing.core.zones import TZDATA_VERSION
from billing.documents.bundle import (
    CUSTOMER_STATEMENT,
    CUSTOMER_STATEMENT_PAGE,
    DEFAULT_THEME,
    RUN_SUMMARY,
    STYLESHEET,
    TEMPLATE,
    bundle_sha256,
    check_bundle,
    fonts_of,
    read_bundle,
)
from billing.documents.charts.colours import coloured, dark, fixed, variables
from billing.documents.charts.fonts import make_known
from billing.documents.charts.usage import UsageChart, draw
from billing.documents.customer_statement_view import (
    CustomerStatementView,
    customer_statement_view,
    usage_chart,
)
from billing.documents.engine import Attached, Engine, Painted
from billing.documents.errors import DocumentFailed, FetchRefused, MissingGlyphs, TemplateBroken
from billing.documents.run_summary_view import run_summary_view
from billing.documents.statement_view import statement_view
from billing.documents.texts import Catalogues, Texts
from billing.documents.theme import read_theme, themes_of
from billing.documents.view import invoice_view
from billing.documents.xmp import FACTUR_X_FILE

CHART_PX, NARROW_CHART_PX = 660, 340
"""How wide charts are drawn: for paper and desks, and for phones."""
_CHARTS_KEPT = 4
_PACKAGES = (
    "weasyprint",
    "pydyf",
    "tinycss2",
    "tinyhtml5",
    "cssselect2",
    "jinja2",
    "babel",
    "factur-x",
    "altair",
    "vl-convert-python",
)


class Renderer:
    """Renders documents one after the other. For one thread at a time; open one in each worker process."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self._files = dict(sorted(files.items()))
        self._catalogues = Catalogues(self._files)
        self._theme = read_theme(self._files, themes_of(self._files)[0])
        sources = {path: _text(path, content) for path, content in self._files.items() if path.endswith(".j2")}
        self._environment = Environment(
            loader=DictLoader(sources),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals |= {
            "logo": f"data:image/svg+xml;base64,{b64encode(self._theme.logo).decode()}",
            "theme": self._theme,
        }
        self._charts: dict[str, str] = {}
        self._checked(TEMPLATE)
        self._engine = Engine(self.stylesheet(), fonts_of(self._files))

    @classmethod
    def open(cls, templates: Path, theme: str = DEFAULT_THEME) -> Renderer:
        """A renderer of the bundle in a folder, warm.

        Raises ``TemplateBroken`` where the bundle cannot be used, ``RendererUnavailable`` where the libraries that
        it needs are not on this machine.
        """
        return cls(read_bundle(templates, theme))

    @classmethod
    def from_bundle(cls, files: Mapping[str, bytes]) -> Renderer:
        """A renderer of an archived bundle: what ``bundle_files`` gave."""
        check_bundle(files, "the bundle")
        return cls(files)

    def html(self, invoice: Invoice) -> str:
        """The page before it is laid out."""
        return self._invoice(invoice).html

    def render(self, invoice: Invoice, xml: bytes | None = None) -> bytes:
        """The PDF of an invoice, dated by its issue instant, with its XML in it where there is one.

        ``DocumentFailed`` says why there is none.
        """
        attachments = () if xml is None else (Attached(name=FACTUR_X_FILE, content=xml),)
        return self._painted(self._invoice(invoice), attachments)

    def render_run_summary(self, summary: RunSummary, locale: str = "en") -> bytes:
        """The PDF of what a close did, dated by its issue instant. ``DocumentFailed`` says why there is none."""
        texts = self._catalogues.texts(locale)
        view = run_summary_view(summary, texts, self._theme)
        return self._painted(self._page(RUN_SUMMARY, texts, name=view.title, at=summary.issued_at, view=view))

    def render_customer_statement(self, statement: CustomerStatement) -> bytes:
        """The PDF of a team's month, in the customer's language, dated by its instant. ``DocumentFailed`` says why
        there is none.
        """
        texts, view, chart = self._customer_statement(statement)
        drawn = coloured(self._drawn(chart, CHART_PX), fixed(self._theme.colours)) if chart else ""
        html = self._filled(CUSTOMER_STATEMENT, _=texts, view=view, chart=Markup(drawn))
        return self._painted(_Page(name=view.title, at=statement.until, html=html, views=(view,)))

    def customer_statement_html(self, statement: CustomerStatement) -> str:
        """The same as one HTML file that needs no other: light and dark, on a desk, a phone and paper."""
        texts, view, chart = self._customer_statement(statement)
        drawn = {"wide": CHART_PX, "narrow": NARROW_CHART_PX}
        charts = {name: self._drawn(chart, width) if chart else "" for name, width in drawn.items()}
        return self._filled(
            CUSTOMER_STATEMENT_PAGE,
            _=texts,
            view=view,
            charts={name: Markup(coloured(svg, variables())) for name, svg in charts.items()},
            light=fixed(self._theme.colours),
            dark=dark(self._theme.colours),
            is_rtl=texts.locale.text_direction == "rtl",
        )

    def recorded_versions(self) -> dict[str, str]:
        """All that decides the bytes beside the invoice. ``bundle`` and ``code`` are SHA-256."""
        versions = {name: found for name in _PACKAGES if (found := _version(name))} | self._engine.versions()
        versions |= {
            "cldr": get_cldr_version(),
            "python": platform.python_version(),
            "tzdata": TZDATA_VERSION,
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        }
        return dict(sorted(versions.items())) | {"bundle": bundle_sha256(self._files), "code": _code_sha256()}

    def bundle_files(self) -> dict[str, bytes]:
        """The bundle, to be archived under its hash."""
        return dict(self._files)

    def stylesheet(self) -> str:
        """The common stylesheet in the theme's colours, and the theme's own behind it."""
        own = f"themes/{self._theme.name}/theme.css.j2"
        return self._filled(STYLESHEET) + (self._filled(own) if own in self._files else "")

    def _invoice(self, invoice: Invoice) -> _Page:
        texts = self._catalogues.texts(invoice.customer.locale)
        return self._page(
            TEMPLATE,
            texts,
            name=invoice.number,
            at=invoice.issued_at,
            view=invoice_view(invoice, texts, self._theme),
            statement=statement_view(invoice, texts, self._theme),
        )

    def _customer_statement(
        self, statement: CustomerStatement
    ) -> tuple[Texts, CustomerStatementView, UsageChart | None]:
        texts = self._catalogues.texts(statement.customer.locale)
        return texts, customer_statement_view(statement, texts, self._theme), usage_chart(statement, texts)

    def _drawn(self, chart: UsageChart, width_px: int) -> str:
        """Drawn once for paper and page: the last few are kept."""
        make_known(fonts_of(self._files))
        key = sha256(repr((chart, width_px)).encode()).hexdigest()
        if key not in self._charts:
            while len(self._charts) >= _CHARTS_KEPT:
                del self._charts[next(iter(self._charts))]
            self._charts[key] = draw(chart, width_px=width_px, element_id=f"usage-{width_px}")
        return self._charts[key]

    def _page(self, template: str, texts: Texts, *, name: str, at: datetime, **views: object) -> _Page:
        """A document of any template of the bundle, in the theme and one language; ``views`` are dataclasses."""
        return _Page(name=name, at=at, html=self._filled(template, _=texts, **views), views=tuple(views.values()))

    def _painted(self, page: _Page, attachments: tuple[Attached, ...] = ()) -> bytes:
        painted = self._engine.paint(page.html, issued_at=page.at, attachments=attachments)
        _check(page, painted)
        return painted.pdf

    def _filled(self, template: str, **values: object) -> str:
        try:
            return self._environment.get_template(template).render(**values)
        except TemplateError as error:
            raise TemplateBroken(f"{template}: {error}") from error

    def _checked(self, template: str) -> None:
        try:
            self._environment.get_template(template)
        except TemplateError as error:
            raise TemplateBroken(f"{template}: {error}") from error


@dataclass(frozen=True, kw_only=True, slots=True)
class _Page:
    """A document before it is laid out: what it is known by, its date, its HTML, and what that was filled with."""

    name: str
    at: datetime
    html: str
    views: tuple[object, ...]


def _check(page: _Page, painted: Painted) -> None:
    if painted.missing:
        texts = (text for view in page.views if view is not None for text in _texts_of(asdict(view)))  # type: ignore[call-overload]
        raise MissingGlyphs(
            page.name, painted.missing, next((text for text in texts if painted.missing & set(text)), "")
        )
    if painted.refused:
        raise FetchRefused(page.name, painted.refused)
    if painted.complaints:
        raise DocumentFailed(page.name, "; ".join(painted.complaints))


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


def _version(package: str) -> str:
    """The version of a package; blank where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _code_sha256() -> str:
    """The modules of this package format the texts and write the XML: they decide the bytes as much as the template
    does.
    """
    folder = Path(__file__).parent
    return bundle_sha256({path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.py")})
