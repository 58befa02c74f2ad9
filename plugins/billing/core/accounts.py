"""The accounts of the journal: what is booked where, under names that beancount takes.

A name is a pattern that may hold ``{api}``, ``{country}``, ``{gateway}``, ``{customer}`` or ``{kind}``. What an id
gives is made a component of a name so that no two ids give the same one: an id of small letters, digits and single
underscores keeps its letters (``flow_graph`` is ``Flow-graph``), any other has a mark of its own at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from string import Formatter
from types import MappingProxyType

from billing.core.errors import UsageError

_PLAIN = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_COUNTRY = re.compile(r"[A-Z]{2}")
_ACCOUNT = re.compile(r"(?:Assets|Liabilities|Equity|Income|Expenses)(?::[A-Z0-9][A-Za-z0-9-]*)+")
_READABLE_MAX = 40
_MARK_DIGITS = 16

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "receivable": "Assets:Receivable",
        "accrued": "Assets:Accrued",
        "bank": "Assets:Bank",
        "gateway": "Assets:Gateway:{gateway}",
        "tokens_sold": "Assets:Clearing:Tokens",
        "vat": "Liabilities:VAT:{country}",
        "deferred_tokens": "Liabilities:Deferred:Tokens",
        "usage": "Income:Usage:{api}",
        "tokens": "Income:Tokens",
        "breakage": "Income:Breakage",
        "bad_debt": "Expenses:BadDebt",
        "opening": "Equity:Opening-Balances",
    }
)
"""Where each kind of posting is booked, unless ``[accounts]`` of ``billing.toml`` says otherwise."""

PLACES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "receivable": ("customer",),
        "accrued": (),
        "bank": (),
        "gateway": ("gateway",),
        "tokens_sold": ("kind",),
        "vat": ("country",),
        "deferred_tokens": ("kind",),
        "usage": ("api", "country"),
        "tokens": ("kind",),
        "breakage": ("kind",),
        "bad_debt": ("customer",),
        "opening": (),
    }
)
"""What the pattern of each may name."""

OVERRIDDEN_BY: Mapping[str, str] = MappingProxyType(
    {
        "usage": "api",
        "vat": "country",
        "gateway": "gateway",
        "tokens": "kind",
        "tokens_sold": "kind",
        "deferred_tokens": "kind",
        "breakage": "kind",
    }
)
"""By what a whole name may be given instead of the pattern's: ``[accounts.usage]`` by API, and so on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Accounts:
    """Patterns by kind of posting, and whole names by kind and by the id that ``OVERRIDDEN_BY`` says."""

    patterns: Mapping[str, str] = field(default_factory=lambda: DEFAULTS)
    overrides: Mapping[tuple[str, str], str] = field(default_factory=lambda: MappingProxyType({}))

    def of(self, role: str, **ids: str) -> str:
        """The account of a posting. ``ids`` are those that the pattern may name."""
        by = OVERRIDDEN_BY.get(role)
        if by is not None and (role, ids[by]) in self.overrides:
            return self.overrides[role, ids[by]]
        pattern = self.patterns.get(role, DEFAULTS[role])
        return pattern.format_map({name: component(ids[name]) for name in PLACES[role] if f"{{{name}}}" in pattern})


def component(text: str) -> str:
    """An id as one component of an account's name: letters, digits and dashes, a capital or a digit first."""
    if _PLAIN.fullmatch(text) and len(text) <= _READABLE_MAX:
        return text[0].upper() + text[1:].replace("_", "-")
    if _COUNTRY.fullmatch(text):
        return text
    readable = re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")[:_READABLE_MAX].rstrip("-") or "Id"
    mark = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_MARK_DIGITS].upper()
    return f"{readable[0].upper()}{readable[1:]}-X{mark}"


def demand_pattern(role: str, pattern: str) -> None:
    """Raise ``ValueError``, saying what is expected, for what is no pattern of an account of this kind."""
    names = _names(pattern)
    allowed = PLACES[role]
    if names is None or not set(names) <= set(allowed):
        raise ValueError(
            "may name " + (", ".join(f"{{{name}}}" for name in allowed) if allowed else "nothing in {}") + " only"
        )
    if not _ACCOUNT.fullmatch(pattern.format_map(dict.fromkeys(names, "X"))):
        raise ValueError(
            'is an account like "Assets:Receivable": Assets, Liabilities, Equity, Income or Expenses, then parts of '
            "letters, digits and dashes that begin with a capital or a digit"
        )


def demand_distinct(accounts: Accounts) -> None:
    """Raise ``UsageError`` where two kinds whose balances are told apart are booked in one account."""
    seen: dict[str, str] = {}
    for role in ("receivable", "accrued", "bank", "tokens_sold", "deferred_tokens", "opening"):
        pattern = accounts.patterns.get(role, DEFAULTS[role])
        if pattern in seen:
            raise UsageError(f"[accounts]: {seen[pattern]!r} and {role!r} are both {pattern}; give each its own.")
        seen[pattern] = role


def _names(pattern: str) -> list[str] | None:
    try:
        parts = list(Formatter().parse(pattern))
    except ValueError:
        return None
    if any(spec or conversion for _, _, spec, conversion in parts):
        return None
    return [name for _, name, _, _ in parts if name is not None]
