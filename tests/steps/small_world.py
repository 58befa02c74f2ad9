"""A small world for the steps: two teams that pay as they go, one with tokens, one with a free balance and seats.

Reference rows are lines of CSV, as a person would write them; ``Shop`` drives the steps over one home.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from billing.core.instants import from_us, parse_instant_us
from billing.core.reference import TABLES
from billing.steps.balances import balances
from billing.steps.close import CloseSummary, close
from billing.steps.export import export, export_balances
from billing.steps.ingest import IngestSummary, SourceFile, ingest
from billing.steps.reference import LoadSummary, load_reference
from billing.steps.render import RenderSummary, render, unrendered
from billing.store.home import Home

TEMPLATES = Path(__file__).parents[2] / "templates" / "invoices"
USAGE_HEADER = "event_id,occurred_at,app_id,api,quantity,corrects,team_id"
ALWAYS = "2020-01-01T00:00:00Z"
BOUGHT = "2026-07-01T00:00:00Z"
"""Every subscription of the small world is bought then, in UTC: cycles are the months of the calendar."""

REFERENCE: Mapping[str, Sequence[str]] = {
    "seller": ["Example SAS,1 rue Exemple,75002,Paris,FR,FR40303265045,INV,Europe/Paris,,billing@example.com"],
    "customers": [
        "c1,Buyer One,1 street,,1000,Town,,FR,FR83404833048,ap@example.com,en-GB",
        "c2,Buyer Two,2 street,,2000,Town,,DE,DE136695976,ap@example.com,en-GB",
    ],
    "teams": ["t1,c1,Team One", "t2,c2,Team Two"],
    "hubs": ["h1,Hub One", "h2,Hub Two"],
    "hub_teams": [f"h1,t1,{ALWAYS},", f"h2,t2,{ALWAYS},"],
    "apps": ["a1,App One", "a2,App Two"],
    "app_hubs": [f"a1,h1,{ALWAYS},", f"a2,h2,{ALWAYS},"],
    "apis": [
        "render,Rendering,minute,rated",
        "translate,Translation,job,rated",
        "browse,,call,unrated",
        "seats,,seat,capacity",
    ],
    "unit_rates": [f"render,{ALWAYS},20,1", f"translate,{ALWAYS},1,"],
    "unit_prices": [f"render,EUR,{ALWAYS},1.15", f"translate,EUR,{ALWAYS},2.4"],
    "subscriptions": [
        f"free1,t1,free,{BOUGHT},UTC,,,",
        f"payg1,t1,payg,{BOUGHT},UTC,,EUR,",
        f"seats1,t1,capacity,{BOUGHT},UTC,,,",
        f"flex2,t2,flex,{BOUGHT},UTC,,,",
        f"payg2,t2,payg,{BOUGHT},UTC,,EUR,",
    ],
    "free_allowances": ["free1,render,1"],
    "token_grants": [f"g2,flex2,10,{BOUGHT},2027-07-01T00:00:00Z"],
    "capacity_grants": [f"s1,seats1,seats,5,{BOUGHT},2027-07-01T00:00:00Z"],
    "payment_methods": [],
    "tax_rates": ["FR,2000-01-01,20", "DE,2000-01-01,19"],
}


def write_reference(folder: Path, tables: Mapping[str, Sequence[str] | None]) -> Path:
    """Write a folder of reference files; a table that is None has no file."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in tables.items():
        if lines is not None:
            header = ",".join(column.name for column in TABLES[name].columns)
            (folder / f"{name}.csv").write_text("\n".join([header, *lines, ""]), "utf-8")
    return folder


def rows_of(path: Path) -> list[tuple[str, ...]]:
    """The rows of an output table, without its header."""
    with path.open(newline="", encoding="utf-8") as handle:
        return [tuple(row) for row in csv.reader(handle)][1:]


def instant(text: str) -> datetime:
    """An instant as it is written; ``08-01`` is short for midnight of that day in 2026."""
    return from_us(parse_instant_us(f"2026-{text}T00:00:00Z" if len(text) == 5 else text))


@dataclass(kw_only=True)
class Shop:
    """One home, and a folder for what goes in and comes out."""

    home: Home
    folder: Path
    serial: int = 0

    def fresh(self, name: str) -> Path:
        """A place that nothing was written to yet."""
        self.serial += 1
        return self.folder / f"{self.serial:03d}-{name}"

    def load(self, *, allow_removals: bool = False, **changed: Sequence[str] | None) -> LoadSummary:
        """Load the small world's reference data with some tables changed."""
        folder = write_reference(self.fresh("reference"), {**REFERENCE, **changed})
        return load_reference(self.home, folder, allow_removals=allow_removals)

    def file(self, lines: Sequence[str], name: str | None = None) -> SourceFile:
        """A usage file of these records."""
        path = self.fresh("usage.csv")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\r\n".join([USAGE_HEADER, *lines, ""]).encode())
        return SourceFile(path=path, name=name or path.name)

    def ingest(self, *lines: str, now: str, name: str | None = None) -> IngestSummary:
        """Ingest one file; it says that usage is complete through ``now``."""
        return ingest(self.home, [self.file(lines, name)], instant(now))

    def close(self, as_of: str) -> CloseSummary:
        """Close what is due."""
        return close(self.home, instant(as_of))

    def render(self) -> RenderSummary:
        """Render what has no document yet."""
        return render(self.home, unrendered(self.home), TEMPLATES)

    def export(self) -> dict[str, list[tuple[str, ...]]]:
        """Every output table."""
        folder = self.fresh("out")
        export(self.home, folder)
        return {path.stem: rows_of(path) for path in folder.glob("*.csv")}

    def balances(self, at: str) -> dict[str, str]:
        """What is available, by grant id, or by subscription and API."""
        path = self.fresh("balances.csv")
        export_balances(balances(self.home, instant(at)), path)
        return {row[3] or f"{row[2]} {row[4]}": row[7] for row in rows_of(path)}
