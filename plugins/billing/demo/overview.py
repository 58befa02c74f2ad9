"""What the demo shows at its end: teams, cycles, units by balance, invoices, rejects, and where to look next."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from billing.core.model import SOURCES
from billing.demo.money import STORY
from billing.steps.homes import home_at
from billing.steps.invoices import list_invoices
from billing.steps.status import status


def show_overview(folder: Path, outputs: Path, stories: Mapping[str, str], console: Console) -> None:
    """Print the tables of a demo in ``folder`` whose outputs were exported to ``outputs``."""
    _show_teams(outputs, stories, console)
    _show_invoices(folder, console)
    _show_rejects(outputs, console)
    _show_next(folder, console)


def _rows(outputs: Path, name: str) -> list[dict[str, str]]:
    with (outputs / f"{name}.csv").open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def _show_teams(outputs: Path, stories: Mapping[str, str], console: Console) -> None:
    cycles = Counter(row["team_id"] for row in _rows(outputs, "cycles"))
    late = {row["team_id"] for row in _rows(outputs, "carry") if row["late_usage"] != "0"}
    parked = {row["team_id"]: row["reason"] for row in _rows(outputs, "parked")}
    units: dict[str, Counter[str]] = defaultdict(Counter)
    for row in _rows(outputs, "charges"):
        units[row["team_id"]][row["source"]] += int(row["charged_units"])
    table = Table(title="Teams: closed cycles and charged units by the balance that paid", title_justify="left")
    for name in ("team", "cycles", *SOURCES):
        table.add_column(name, justify="left" if name == "team" else "right", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for team in sorted(stories):
        state = f"parked: {parked[team]}" if team in parked else ("late usage" if team in late else "")
        table.add_row(team, str(cycles[team]), *(str(units[team][s] or "") for s in SOURCES), state)
    console.print(table)
    for team, story in sorted(stories.items()):
        console.print(f"  {team}: {story}", markup=False, soft_wrap=True)
    console.print()


def _show_invoices(folder: Path, console: Console) -> None:
    home = home_at(folder / "home")
    try:
        found = list_invoices(home)
    finally:
        home.close()
    table = Table(title="Invoices", title_justify="left")
    for name in ("number", "customer", "period", "total", "PDF"):
        table.add_column(name, justify="right" if name == "total" else "left", no_wrap=name != "PDF", overflow="fold")
    documents = folder / "invoices"
    documents.mkdir(exist_ok=True)
    for invoice in found:
        shown = documents / f"{invoice.number}.pdf"
        if invoice.document and not shown.exists():
            shown.symlink_to(invoice.document)
        place = shown.relative_to(folder.parent) if invoice.document else "not rendered"
        table.add_row(
            invoice.number, invoice.customer, invoice.period, f"{invoice.total} {invoice.currency}", str(place)
        )
    console.print(table)
    console.print(f"  {STORY}\n", markup=False, soft_wrap=True)


def _show_rejects(outputs: Path, console: Console) -> None:
    counts = Counter(row["reason"] for row in _rows(outputs, "rejected"))
    table = Table(title="Records that are not billed, by reason", title_justify="left")
    table.add_column("reason")
    table.add_column("records", justify="right")
    for reason, count in sorted(counts.items()):
        table.add_row(reason, str(count))
    console.print(table)


def _show_next(folder: Path, console: Console) -> None:
    home = home_at(folder / "home")
    try:
        found = status(home)
    finally:
        home.close()
    place = folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder
    billing = f".venv/bin/billing --home {place / 'home'}"
    lines = [
        f"{found.accepted} events accepted, {found.duplicates} duplicates dropped; "
        f"the log's chain of {found.log_rows} rows holds.",
        "",
        "What to look at next:",
        f"  open {place / 'invoices'}",
        f"  {billing} usage quarantine list",
        f"  {billing} balances --at {found.last_close}",
        f"  {billing} status",
        *(_mending(billing, place) if found.parked else ()),
        "Balances, usage, why an invoice has its amount, and the DAGs, in Airflow: make ui",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def _mending(billing: str, place: Path) -> list[str]:
    return [
        "Łódź is parked: no tax rate of Poland was known. Mend it, and its invoice is issued"
        " (make ui shows it when it is started again):",
        f"  {billing} reference load {place / 'data' / 'reference-mended'}",
        f"  {billing} usage ingest --now 2024-04-03T02:00:00Z",
        f"  {billing} cycles close --as-of 2024-04-03T02:00:00Z",
    ]
