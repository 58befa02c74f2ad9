"""Where a copy of a document goes: a pattern with fields, filled in so that no id can lead out of its folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

FIELDS = ("year", "month", "customer_id", "number", "kind")
"""``year`` and ``month`` (two digits) of the issue date; ``kind`` is the suffix: pdf, xml, ubl.xml."""
_FIELD = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[A-Za-z0-9._/ -]*")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
_BYTES_MAX = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """A pattern like ``{year}/{customer_id}/{number}.{kind}``: relative, and with a place of its own for each file."""

    pattern: str

    @classmethod
    def parse(cls, pattern: str) -> Layout:
        """``ValueError`` says what is wrong with a pattern."""
        names = _FIELD.findall(pattern)
        for name in names:
            if name not in FIELDS:
                raise ValueError(f"has no field {{{name}}}; there are {', '.join(FIELDS)}")
        if not _LITERAL.fullmatch(_FIELD.sub("", pattern)):
            raise ValueError("has letters, digits, blanks and . _ - / beside its fields, nothing else")
        if any(part.strip(" .") == "" for part in pattern.split("/")):
            raise ValueError("is relative: names between slashes, none of them blank or of dots only")
        if not {"number", "kind"} <= set(names):
            raise ValueError("needs {number} and {kind}, so that each file has a place of its own")
        return cls(pattern=pattern)

    def path(self, values: Mapping[str, str]) -> str:
        """The place of one file, relative, with ``/``. ``values`` has every field."""
        return _FIELD.sub(lambda match: _safe(values[match[1]]), self.pattern)


def _safe(value: str) -> str:
    """A value as one name of a folder or a file. Other values give other names: what is not plain is escaped by its
    bytes, as in a URL; what would be too long ends in its hash.
    """
    escaped = "".join(letter if letter in _PLAIN else _bytes_of(letter) for letter in value)
    if not escaped.strip("."):
        escaped = escaped.replace(".", "%2E") or "%"
    if len(escaped) > _BYTES_MAX:
        escaped = f"{escaped[: _BYTES_MAX - 34]}--{sha256(value.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
    return escaped


def _bytes_of(letter: str) -> str:
    return "".join(f"%{byte:02X}" for byte in letter.encode("utf-8", "surrogatepass"))
