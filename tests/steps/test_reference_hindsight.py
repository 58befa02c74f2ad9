"""What is said of late rows is true: the same usage billed by books that knew the rows in time (rule 3.6)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from billing.core.instants import format_us
from billing.steps.reference_diff import diff_reference
from billing.store.home import Home
from billing.store.late_rows import Figure, LateRow

from .small_world import ALWAYS, BOUGHT, REFERENCE, Shop, write_reference

Tables = dict[str, Sequence[str]]
Cells = tuple[str, ...]
Books = dict[tuple[str, str], list[Cells]]
USAGE = [
    f"{app}{api}{day},2026-{day}T06:00:00Z,{app},{api},{quantity},,"
    for app in ("a1", "a2")
    for api, quantity in (("render", 47), ("translate", 2))
    for day in ("07-03", "07-15", "07-29", "08-04", "08-20")
]
BASE: Tables = {
    **REFERENCE,
    "token_grants": [f"g2,flex2,6,{BOUGHT},2027-07-01T00:00:00Z"],
    "customers": [REFERENCE["customers"][0], REFERENCE["customers"][1].replace(",DE136695976,", ",,")],
}

EXACT = {"unit_prices", "tax_rates", "customers", "seller", "teams"}


def line(table: str, start: str, new: str) -> list[str]:
    """The table with the line that begins so replaced."""
    found = [new if old.startswith(start) else old for old in BASE[table]]
    assert found != list(BASE[table])
    return found


CHANGES: dict[str, Tables] = {
    "a price": {"unit_prices": line("unit_prices", "render", f"render,EUR,{ALWAYS},1.337")},
    "a price from a cycle on": {"unit_prices": [*BASE["unit_prices"], "translate,EUR,2026-08-01T00:00:00Z,0.005"]},
    "a price within a cycle": {"unit_prices": [*BASE["unit_prices"], "render,EUR,2026-07-20T00:00:00Z,9"]},
    "two prices": {
        "unit_prices": [
            *line("unit_prices", "render", f"render,EUR,{ALWAYS},1.25"),
            "render,EUR,2026-08-10T00:00:00Z,7",
        ]
    },
    "a tax rate": {"tax_rates": [*BASE["tax_rates"], "FR,2026-07-31,21.3"]},
    "a tax rate for one month": {"tax_rates": [*BASE["tax_rates"], "DE,2026-07-10,16", "DE,2026-08-10,19"]},
    "a VAT id": {"customers": REFERENCE["customers"]},
    "the seller's country": {"seller": [BASE["seller"][0].replace("FR,FR40303265045,", "DE,DE136695976,")]},
    "a unit size": {"unit_rates": line("unit_rates", "render", f"render,{ALWAYS},15,1")},
    "a unit size for a while": {
        "unit_rates": [*BASE["unit_rates"], "render,2026-07-10T00:00:00Z,10,1", "render,2026-07-20T00:00:00Z,20,1"]
    },
    "tokens for an API": {"unit_rates": line("unit_rates", "translate", f"translate,{ALWAYS},1,0.5")},
    "an allowance": {"free_allowances": ["free1,render,3"]},
    "another allowance": {"free_allowances": ["free1,render,1", "free1,translate,2"]},
    "a larger grant": {"token_grants": [f"g2,flex2,8,{BOUGHT},2027-07-01T00:00:00Z"]},
    "a grant that ends": {"token_grants": [f"g2,flex2,6,{BOUGHT},2026-07-10T00:00:00Z"]},
    "an end": {
        "subscriptions": line("subscriptions", "payg1", f"payg1,t1,payg,{BOUGHT},UTC,2026-07-20T00:00:00Z,EUR,")
    },
    "an end of tokens": {
        "subscriptions": line("subscriptions", "flex2", f"flex2,t2,flex,{BOUGHT},UTC,2026-07-10T00:00:00Z,,")
    },
    "an earlier purchase": {
        "subscriptions": line("subscriptions", "payg2", "payg2,t2,payg,2026-06-20T00:00:00Z,UTC,,EUR,")
    },
    "a later purchase": {
        "subscriptions": line("subscriptions", "payg1", "payg1,t1,payg,2026-07-10T00:00:00Z,UTC,,EUR,")
    },
    "another zone": {"subscriptions": line("subscriptions", "payg2", f"payg2,t2,payg,{BOUGHT},Asia/Tokyo,,EUR,")},
    "another zone of what is free": {
        "subscriptions": line("subscriptions", "free1", f"free1,t1,free,{BOUGHT},America/Lima,,,")
    },
    "another currency": {
        "subscriptions": line("subscriptions", "payg1", f"payg1,t1,payg,{BOUGHT},UTC,,USD,"),
        "unit_prices": [*BASE["unit_prices"], f"render,USD,{ALWAYS},2", f"translate,USD,{ALWAYS},2"],
    },
    "more that pays": {
        "subscriptions": [*BASE["subscriptions"], "more,t1,flex,2026-07-12T00:00:00Z,UTC,,,"],
        "token_grants": [*BASE["token_grants"], "g1,more,2,2026-07-12T00:00:00Z,2027-01-01T00:00:00Z"],
    },
    "names and addresses": {
        "customers": [old.replace("Town", "City") for old in BASE["customers"]],
        "teams": ["t1,c1,One", "t2,c2,Two"],
    },
    "what begins later": {
        "unit_prices": [*BASE["unit_prices"], "render,EUR,2026-09-01T00:00:00Z,9"],
        "tax_rates": [*BASE["tax_rates"], "FR,2026-09-01,25"],
        "subscriptions": [*BASE["subscriptions"], "later,t1,flex,2026-09-01T00:00:00Z,UTC,,,"],
    },
}


def billed(home: Home, folder: Path, tables: Tables) -> Shop:
    """Books of two closed months, with what was known from the beginning."""
    home.create()
    shop = Shop(home=home, folder=folder)
    shop.load(**tables)
    shop.ingest(*USAGE, now="09-02")
    shop.close("09-02")
    return shop


def cells_of(shop: Shop) -> Books:
    """By team and cycle everything that the books say of it."""
    out = shop.export()
    found: Books = {}
    for name in ("cycles", "carry", "charges"):
        for row in out[name]:
            found.setdefault((row[0], row[1]), []).append((name, *row[2:]))
    place = {row[0]: (row[1], row[3]) for row in out["invoices"]}
    for row in out["invoices"]:
        found[place[row[0]]].append(("invoice", *row[2:]))
    for row in out["invoice_lines"]:
        found[place[row[0]]].append(("line", *row[1:]))
    return {key: sorted(rows) for key, rows in found.items()}


@pytest.fixture(scope="module")
def then(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """The books of those who did not know."""
    folder = tmp_path_factory.mktemp("then")
    home = Home.at(folder / "home")
    yield billed(home, folder, BASE)
    home.close()


@pytest.mark.parametrize("name", CHANGES)
def test_what_would_have_been_changed_is_told_and_every_figure_is_right(name: str, then: Shop, tmp_path: Path) -> None:
    """What hangs on prices and taxes alone is told to the cycle; balances may be told where they happen to agree."""
    home, tables = Home.at(tmp_path / "home"), {**BASE, **CHANGES[name]}
    stands, instead = cells_of(then), cells_of(billed(home, tmp_path, tables))
    home.close()
    late = diff_reference(then.home, write_reference(tmp_path / "late", tables)).late
    assert late is not None
    told = {(row.team_id, format_us(row.cycle_start_us)) for row in late.rows}
    changed = {key for key, rows in stands.items() if instead.get(key) != rows}
    assert changed <= told, "no cycle that would have been another one is left out"
    assert changed == told or not CHANGES[name].keys() <= EXACT
    for row in late.rows:
        for figure in row.figures:
            check(row, figure, stands, instead)


def check(row: LateRow, figure: Figure, stands: Books, instead: Books) -> None:
    """A figure says what the books say, and what the other books say."""
    place = (row.team_id, format_us(row.cycle_start_us))
    mine = [rows for (team, _), rows in instead.items() if team == row.team_id]
    ends = sorted(cells[1] for rows in mine for cells in of_kind(rows, "cycles"))
    if figure.what.endswith("net"):
        api = figure.what.partition("(")[2].partition(")")[0]
        assert (api, figure.stands) in [(cells[2], f"{cells[5]} EUR") for cells in of_kind(stands[place], "line")]
        assert (api, figure.would_be) in [(cells[2], f"{cells[5]} EUR") for cells in of_kind(instead[place], "line")]
    elif figure.what.endswith("tax"):
        assert figure.stands in [taxed(cells) for cells in of_kind(stands[place], "invoice")]
        assert figure.would_be in [taxed(cells) for cells in of_kind(instead[place], "invoice")]
    elif figure.what == "the cycle's end":
        assert figure.would_be == next(end for end in ends if end > place[1])
    else:
        assert figure.would_be == min(start for team, start in instead if team == row.team_id)


def of_kind(rows: list[Cells], kind: str) -> list[Cells]:
    return [cells for cells in rows if cells[0] == kind]


def taxed(invoice: Cells) -> str:
    return f"{invoice[10]} EUR ({invoice[8]} {invoice[9]} %)"
