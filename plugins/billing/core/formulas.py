"""Texts in spreadsheets: what one of them could be taken for."""

from __future__ import annotations

# What a spreadsheet takes for the beginning of a formula (OWASP, "CSV Injection"), full width as well.
_FORMULA = frozenset("=+-@\t\r\n" + "\uff1d\uff0b\uff0d\uff20")


def is_formula(text: str) -> bool:
    """Whether a spreadsheet could take a text for a formula: by its first character, or by the first that is seen."""
    seen = next((one for one in text if one.isprintable() and not one.isspace()), "\0")
    return seen in _FORMULA or (text[:1] or "\0") in _FORMULA


def harmless(text: str) -> str:
    """A text as CSV has it for spreadsheets: what could be a formula begins with an apostrophe."""
    return f"'{text}" if is_formula(text) else text
