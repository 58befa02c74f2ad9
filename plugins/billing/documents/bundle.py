"""The bundle: all files that decide how a document looks, known by one hash (rule 7.1).

They are the files of the folder of templates, and of its themes the chosen one's. Paths are relative, with ``/``. The
hash can be made by hand, in the folder of templates, here for the theme ``default``::

    find * -type f -not -path 'themes/*' -o -type f -path 'themes/default/*' |
    grep -E '[.](css|j2|otf|po|svg|toml|ttc|ttf)$' | LC_ALL=C sort | xargs sha256sum | sha256sum
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from billing.documents.errors import TemplateBroken
from billing.documents.theme import themes_of

TEMPLATE = "invoice.html.j2"
RUN_SUMMARY = "run_summary.html.j2"
CUSTOMER_STATEMENT = "customer_statement.html.j2"
CUSTOMER_STATEMENT_PAGE = "customer_statement_page.html.j2"
STYLESHEET = "invoice.css.j2"
DEFAULT_THEME = "default"
FONT_SUFFIXES = frozenset({".otf", ".ttc", ".ttf"})
_SUFFIXES = FONT_SUFFIXES | {".css", ".j2", ".po", ".svg", ".toml"}


def read_bundle(folder: Path, theme: str = DEFAULT_THEME) -> dict[str, bytes]:
    """The bundle's files by relative path, sorted. ``TemplateBroken`` where one that every document needs is absent."""
    paths = [path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file()]
    files = {path.relative_to(folder).as_posix(): path for path in paths}
    chosen = {path: files[path].read_bytes() for path in sorted(files) if _is_of(path, theme)}
    check_bundle(chosen, str(folder), theme)
    return chosen


def check_bundle(files: Mapping[str, bytes], place: str, theme: str = "NAME") -> None:
    """Refuse a bundle without template, stylesheet or fonts, or without exactly one theme."""
    missing = [name for name in (TEMPLATE, RUN_SUMMARY, STYLESHEET) if name not in files]
    if len(themes_of(files)) != 1:
        missing.append(f"themes/{theme}/theme.toml")
    if not fonts_of(files):
        missing.append("fonts/*.ttf")
    if missing:
        raise TemplateBroken(f"{place}: no {', '.join(missing)}; invoices need them")


def fonts_of(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The fonts of a bundle by path."""
    return {path: content for path, content in files.items() if Path(path).suffix in FONT_SUFFIXES}


def bundle_sha256(files: Mapping[str, bytes]) -> str:
    """The SHA-256 of a bundle: of one line a file, in order of path, as ``sha256sum`` writes them."""
    lines = (f"{sha256(files[path]).hexdigest()}  {path}\n" for path in sorted(files))
    return sha256("".join(lines).encode()).hexdigest()


def _is_of(path: str, theme: str) -> bool:
    return not path.startswith("themes/") or path.startswith(f"themes/{theme}/")
