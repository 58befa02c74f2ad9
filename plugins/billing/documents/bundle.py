"""The bundle: all files that decide how an invoice looks, known by one hash (rule 7.1).

Paths are relative, with ``/``. The hash can be made by hand, in the folder of templates::

    find * -type f | grep -E '[.](css|j2|otf|po|svg|ttc|ttf)$' | LC_ALL=C sort | xargs sha256sum | sha256sum
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

from billing.documents.errors import TemplateBroken

TEMPLATE = "invoice.html.j2"
STYLESHEET = "invoice.css"
LOGO = "logo.svg"
FONT_SUFFIXES = frozenset({".otf", ".ttc", ".ttf"})
_SUFFIXES = FONT_SUFFIXES | {".css", ".j2", ".po", ".svg"}


def read_bundle(folder: Path) -> dict[str, bytes]:
    """The bundle's files by relative path, sorted. ``TemplateBroken`` where one that every document needs is absent."""
    paths = [path for path in folder.rglob("*") if path.suffix in _SUFFIXES and path.is_file()]
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    check_bundle(files, str(folder))
    return dict(sorted(files.items()))


def check_bundle(files: Mapping[str, bytes], place: str) -> None:
    """Refuse a bundle without template, stylesheet, logo or fonts."""
    missing = [name for name in (TEMPLATE, STYLESHEET, LOGO) if name not in files]
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
