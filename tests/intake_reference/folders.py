"""A small valid reference folder, and ways to change one thing in it."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

from billing.core.errors import Finding
from billing.core.reference import TABLES
from billing.intake.reference_checks import NO_NEEDS, Needs, check_reference
from billing.intake.reference_files import ReferenceFolder, read_reference_folder

Rows = dict[str, list[list[str]]]
"""Per table its rows, cells in the order of the contract's columns."""

EARLY, LATE = "2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z"
CARD = "4111 1111-1111 1111"
"""Passes Luhn's check; the number that gateways give for tests."""

_SMALL: Rows = {
    "seller": [["Example SAS", "1 rue X", "75002", "Paris", "FR", "FR40303265045", "INV", "Europe/Paris", "", ""]],
    "customers": [
        ["c1", "Meridian", "", "", "", "", "", "FR", "FR83404833048", "", "fr-FR"],
        ["c2", "Bridges", "", "", "", "", "", "US", "", "", ""],
    ],
    "teams": [["t1", "c1", "Team 1"], ["t2", "c2", "Team 2"]],
    "hubs": [["h1", "Hub 1"], ["h2", "Hub 2"]],
    "hub_teams": [["h1", "t1", EARLY, LATE], ["h1", "t2", LATE, ""], ["h2", "t1", LATE, ""]],
    "apps": [["a1", "App 1"], ["a2", ""]],
    "app_hubs": [["a1", "h1", EARLY, LATE], ["a1", "h2", LATE, ""], ["a2", "h1", EARLY, ""]],
    "apis": [
        ["automation", "Automation", "minute", "rated"],
        ["calls", "Calls", "call", "unrated"],
        ["assets", "Assets", "asset", "capacity"],
    ],
    "unit_rates": [["automation", EARLY, "20", "0.5"], ["automation", LATE, "10", ""]],
    "unit_prices": [["automation", "EUR", EARLY, "2.40"], ["automation", "JPY", EARLY, "0"]],
    "subscriptions": [
        ["s-free", "t1", "free", EARLY, "Europe/Paris", "", "", ""],
        ["s-flex", "t1", "flex", EARLY, "Asia/Tokyo", LATE, "", ""],
        ["s-payg", "t1", "payg", EARLY, "UTC", LATE, "EUR", "pm1"],
        ["s-next", "t1", "payg", LATE, "UTC", "", "EUR", "pm1"],
        ["s-capacity", "t2", "capacity", EARLY, "UTC", "", "", ""],
        ["s-unassigned", "", "token_flex", EARLY, "UTC", "", "", ""],
    ],
    "free_allowances": [["s-free", "automation", "5"]],
    "token_grants": [["g1", "s-flex", "100", EARLY, LATE], ["g2", "s-unassigned", "0.5", EARLY, LATE]],
    "capacity_grants": [["k1", "s-capacity", "assets", "10", EARLY, LATE]],
    "payment_methods": [["pm1", "c1", "stripe", "tok_1", "visa", "4242", "2030-01"]],
    "tax_rates": [["FR", "2014-01-01", "20"], ["FI", "2024-09-01", "25.5"]],
    "exchange_rates": [["JPY", "2025-01-01", "162.5"]],
    "team_members": [["ada@example.com", "t1", "buyer"], ["ben", "t1", "developer"]],
}


def small() -> Rows:
    """A copy of the valid folder's rows."""
    return deepcopy(_SMALL)


def header(table: str) -> list[str]:
    """The names of the columns that every file has."""
    return [column.name for column in TABLES[table].columns if not column.optional]


def csv_text(table: str, rows: list[list[str]]) -> str:
    """CSV with every cell quoted where it has to be."""

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in ',"\n') else text

    return "".join(",".join(map(cell, row)) + "\n" for row in [header(table), *rows])


def write(folder: Path, rows: Rows) -> Path:
    """A CSV file for each table of ``rows``."""
    folder.mkdir(exist_ok=True, parents=True)
    for table, content in rows.items():
        (folder / f"{table}.csv").write_text(csv_text(table, content), encoding="utf-8")
    return folder


def load(folder: Path, known: ReferenceFolder | None = None, needs: Needs = NO_NEEDS) -> list[Finding]:
    """All findings of a load, as the caller puts them in one report."""
    new, findings = read_reference_folder(folder)
    return findings + check_reference(new, None if known is None else known.tables, needs)


def places(findings: list[Finding]) -> list[tuple[str, int | None, str | None]]:
    """Where the findings stand."""
    return [(finding.file, finding.line, finding.column) for finding in findings]
