"""A theme: what finance may change of a document without Python, read from ``themes/NAME/`` of the bundle.

``theme.toml`` holds colours, the height of the logo, which parts are shown, and texts per language; ``logo.svg`` is the
logo; ``theme.css.j2``, where there is one, comes after the common stylesheet.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from billing.documents.errors import TemplateBroken

COLOURS = ("ink", "muted", "accent", "rule", "band", "chart")
PARTS = ("seller_name", "team", "subscription", "legal_information", "statement", "equation", "chart", "balances")
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_PATH = re.compile(r"themes/([^/]+)/theme\.toml")
_LOGO_MM = (4, 40)


@dataclass(frozen=True, kw_only=True, slots=True)
class ThemeTexts:
    """A seller's own words in one language; what is blank is not shown. Lines are kept."""

    terms: str = ""
    legal: str = ""
    footer: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """One theme. ``colours`` has every name of ``COLOURS``, ``shown`` those of ``PARTS`` that are wanted."""

    name: str
    colours: Mapping[str, str]
    logo_height_mm: float
    shown: frozenset[str]
    logo: bytes
    by_language: Mapping[str, ThemeTexts] = field(default_factory=dict)

    def texts(self, language: str) -> ThemeTexts:
        """The seller's words in a language; each that is missing there is the English one."""
        mine, english = self.by_language.get(language, ThemeTexts()), self.by_language.get("en", ThemeTexts())
        return ThemeTexts(
            terms=mine.terms or english.terms, legal=mine.legal or english.legal, footer=mine.footer or english.footer
        )


def themes_of(files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The names of the themes among files, sorted."""
    return tuple(sorted(match[1] for path in files if (match := _PATH.fullmatch(path))))


def read_theme(files: Mapping[str, bytes], name: str) -> Theme:
    """The theme of a bundle. ``TemplateBroken`` names the file, the key and what is wrong with it."""
    folder = f"themes/{name}"
    table = _Table(f"{folder}/theme.toml", _parsed(f"{folder}/theme.toml", files))
    if f"{folder}/logo.svg" not in files:
        raise TemplateBroken(f"{folder}: no logo.svg; a theme needs one")
    table.only("colours", "logo", "show", "texts")
    return Theme(
        name=name,
        colours=_colours(table.table("colours")),
        logo_height_mm=_logo_height(table.table("logo")),
        shown=_shown(table.table("show")),
        logo=files[f"{folder}/logo.svg"],
        by_language=_texts(table.table("texts")),
    )


@dataclass(frozen=True, slots=True)
class _Table:
    """A table of a TOML file; ``key`` is the way to it."""

    path: str
    values: Mapping[str, Any]
    key: str = ""

    def wrong(self, name: str, what: str) -> TemplateBroken:
        return TemplateBroken(f"{self.path}: {self.key}{name} {what}")

    def only(self, *names: str) -> None:
        for name in self.values:
            if name not in names:
                raise self.wrong(name, f"is not known; there are {', '.join(names)}")

    def table(self, name: str) -> _Table:
        value = self.values.get(name, {})
        if not isinstance(value, dict):
            raise self.wrong(name, f"must be a table [{self.key}{name}]")
        return _Table(self.path, value, f"{self.key}{name}.")


def _parsed(path: str, files: Mapping[str, bytes]) -> Mapping[str, Any]:
    try:
        return tomllib.loads(files[path].decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TemplateBroken(f"{path} is not TOML: {error}") from error


def _colours(table: _Table) -> dict[str, str]:
    table.only(*COLOURS)
    for name in COLOURS:
        value = table.values.get(name)
        if value is None:
            raise table.wrong(name, "is missing")
        if not isinstance(value, str) or not _COLOUR.fullmatch(value):
            raise table.wrong(name, f'is {value!r}; a colour is written "#17404d"')
    return dict(table.values)


def _logo_height(table: _Table) -> float:
    table.only("height_mm")
    height = table.values.get("height_mm", 11)
    low, high = _LOGO_MM
    if isinstance(height, bool) or not isinstance(height, int | float) or not low <= height <= high:
        raise table.wrong("height_mm", f"is {height!r}; it is a number from {low} to {high}")
    return height


def _shown(table: _Table) -> frozenset[str]:
    table.only(*PARTS)
    for name, value in table.values.items():
        if not isinstance(value, bool):
            raise table.wrong(name, f"is {value!r}; it is true or false")
    return frozenset(name for name in PARTS if table.values.get(name, True))


def _texts(table: _Table) -> dict[str, ThemeTexts]:
    found = {}
    for language in table.values:
        if not _LANGUAGE.fullmatch(language):
            raise table.wrong(language, "is not a language; write its code in small letters, like en")
        words = table.table(language)
        words.only("terms", "legal", "footer")
        for name, value in words.values.items():
            if not isinstance(value, str):
                raise words.wrong(name, f"is {value!r}; it is a text")
        found[language] = ThemeTexts(**{name: value.strip() for name, value in words.values.items()})
    return found
