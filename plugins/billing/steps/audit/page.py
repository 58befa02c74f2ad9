"""A rerun as one page of HTML, for people: what was asked, by whom, with what, and what came of it.

The template is not among those of the documents, nor this file beside theirs: neither decides an invoice's bytes, and
what does is hashed. The same findings give the same page, but for who asked and when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError

from billing.core.errors import NotFound, UsageError
from billing.core.instants import format_instant
from billing.core.zones import TZDATA_VERSION
from billing.documents.renderer import Renderer
from billing.outbound.whole_files import write_whole
from billing.steps.audit.choosing import Choice
from billing.steps.audit.comparing import Comparison, Verdict
from billing.steps.audit.known_now import money_by_team
from billing.steps.audit.report import COLUMNS, Outcome, as_cells
from billing.store.home import Home

REPORTED = 200
"""How many differences are on the page at most."""
TEMPLATE = "report.html.j2"
_PACKAGE = Path(__file__).parents[2]

Versions = Mapping[str, str]
Money = Sequence[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What was asked for, by whom and when. ``by`` may be blank where nobody knows.

    Raises ``UsageError`` for what cannot be asked together.
    """

    choice: Choice
    documents: bool
    as_known_now: bool
    by: str
    at: datetime
    from_genesis: bool = False

    def __post_init__(self) -> None:
        if self.from_genesis and self.as_known_now:
            raise UsageError("Either from genesis or as known now: what was known then, or what is known now.")


class Folders(Protocol):
    """What the settings say of templates; see ``Settings`` there."""

    @property
    def templates(self) -> Path: ...
    @property
    def audit_templates(self) -> Path: ...
    @property
    def theme(self) -> str: ...


def versions_here(home: Home, templates: Path, theme: str, *, documents: bool) -> dict[str, str]:
    """What decides the outcome of a rerun on this machine, by name: ``code`` is the SHA-256 of this package's modules,
    ``tables`` the version of the database's. What makes documents is among it where they are made.

    Raises ``RendererUnavailable`` where the libraries for that are missing.
    """
    found = {
        "carryover": version("carryover"),
        "code": _code_sha256(),
        "tables": home.database.schema(),
        "tzdata": TZDATA_VERSION,
    }
    if documents:
        recorded = Renderer.open(templates, theme).recorded_versions()
        # Documents are made again with the bundle that they were made with, not with the one that lies here.
        found |= {name: said for name, said in recorded.items() if name not in {"bundle", "code", "tzdata"}}
    return found


def versions_of(several: Iterable[Versions]) -> dict[str, str]:
    """The versions of several machines: where they are not the same, all of them."""
    by_name: dict[str, set[str]] = {}
    for versions in several:
        for name, said in versions.items():
            by_name.setdefault(name, set()).add(said)
    return {name: ", ".join(sorted(said)) for name, said in by_name.items()}


def _code_sha256() -> str:
    digests = sha256()
    for path in sorted(_PACKAGE.rglob("*.py"), key=lambda path: path.relative_to(_PACKAGE).as_posix()):
        digest = sha256(path.read_bytes()).hexdigest()
        digests.update(f"{digest}  {path.relative_to(_PACKAGE).as_posix()}\n".encode())
    return digests.hexdigest()


def in_one_line(asked: Asked, found: Outcome) -> str:
    """What came of it, for a person who is no engineer."""
    total, differs = sum(found.counts.values()), found.count(Verdict.DIFFERS)
    match found.verdict, asked.as_known_now:
        case Verdict.EQUAL, True:
            return f"What is known today would change nothing: {total:,} comparisons are equal."
        case Verdict.EQUAL, False:
            of_what = "every figure and every document is" if asked.documents else "every figure is"
            return f"All is equal: {of_what} the same again ({total:,} comparisons)."
        case Verdict.RENDERER, _:
            by = found.count(Verdict.RENDERER)
            return (
                f"Only the renderer differs: every figure is the same again, and {by:,} of {total:,} comparisons "
                "differ by the versions of software alone."
            )
        case _, True:
            return f"What is known today would change {differs:,} of {total:,} figures."
        case _:
            return f"Something differs in substance: {differs:,} of {total:,} comparisons."


def html_page(templates: Path, asked: Asked, found: Outcome, versions: Versions, money: Money, csv: str) -> str:
    """The page. ``found`` has up to ``REPORTED`` differences; ``money``: (team, currency, billed, would be, difference)
    where what is known now was asked; ``csv``: where every comparison is, or blank.

    Raises ``NotFound`` where the template is missing or cannot be used.
    """
    environment = Environment(
        loader=FileSystemLoader(templates),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    unequal = found.count(Verdict.DIFFERS) + found.count(Verdict.RENDERER)
    try:
        return environment.get_template(TEMPLATE).render(
            verdict=found.verdict.value,
            verdict_line=in_one_line(asked, found),
            facts=_facts(asked),
            as_known_now=asked.as_known_now,
            verdicts=[verdict.value for verdict in Verdict],
            counts=_counts(found),
            columns=COLUMNS,
            different=[as_cells(one) for one in found.different],
            left_out=unequal - len(found.different),
            money=money,
            csv=csv,
            versions=versions,
        )
    except TemplateError as problem:
        raise NotFound(f"{templates / TEMPLATE}: {problem}; set BILLING_AUDIT_TEMPLATES to the folder of it.") from None


def leave_page(
    home: Home, page: Path, asked: Asked, found: Outcome, settings: Folders, money: Money = (), csv: str = ""
) -> None:
    """Write the page of a rerun that was made here into a file, whole or not at all."""
    versions = versions_here(home, settings.templates, settings.theme, documents=asked.documents)
    write_whole(page, html_page(settings.audit_templates, asked, found, versions, money, csv).encode())


def money_rows(comparisons: Iterable[Comparison]) -> list[tuple[str, ...]]:
    """Invoices as they are and would be, by team and currency: (team, currency, billed, would be, difference)."""
    return [
        (team_id, currency, *map(str, (billed, would_be, would_be - billed)))
        for team_id, currency, billed, would_be in money_by_team(comparisons)
    ]


def _facts(asked: Asked) -> list[tuple[str, str]]:
    what = "every closed cycle" if asked.choice == Choice() else f"closed cycles {asked.choice}"
    compared = "figures and documents" if asked.documents else "figures"
    compared += ", from the archived source bytes on" if asked.from_genesis else ""
    return [
        ("Asked for", what),
        ("Compared", "figures, with what is known today" if asked.as_known_now else compared),
        ("By", asked.by or "not known"),
        ("When", format_instant(asked.at)),
    ]


def _counts(found: Outcome) -> list[tuple[str, list[str]]]:
    """What was compared, and how many came to each verdict."""
    kinds = dict.fromkeys(what for what, _ in found.counts)
    return [(what, [f"{found.counts.get((what, one), 0):,}" for one in Verdict]) for what in kinds]
