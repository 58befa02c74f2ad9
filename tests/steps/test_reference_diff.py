"""What a load would do, shown and not done (data contract, "Reference data"; rule 3.6)."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from threading import Thread

import pytest
from sqlalchemy import select, text
from typer.testing import CliRunner

from billing.cli import app
from billing.core.errors import DataRefused
from billing.steps.reference import load_reference
from billing.steps.reference_diff import Diff, diff_reference
from billing.store.tables import metadata

from .small_world import ALWAYS, BOUGHT, REFERENCE, Shop, write_reference

LONG_S = 30


def folder_of(shop: Shop, **changed: Sequence[str] | None) -> Path:
    return write_reference(shop.fresh("reference"), {**REFERENCE, **changed})


def diff(shop: Shop, *, allow_removals: bool = False, **changed: Sequence[str] | None) -> Diff:
    """What a load of the small world with some tables changed would do."""
    return diff_reference(shop.home, folder_of(shop, **changed), allow_removals=allow_removals)


def said(found: Diff) -> list[str]:
    return [f"{row.what} {row.table} ({row.key}): {'; '.join(map(str, row.cells))}" for row in found.rows]


CHANGED = {
    "apps": ["a1,Application", "a2,App Two", "a3,"],
    "unit_prices": [REFERENCE["unit_prices"][0], "translate,EUR,2026-07-02T02:00:00+02:00,2.500"],
    "unit_rates": [f"render,{ALWAYS},20.0,", REFERENCE["unit_rates"][1]],
    "subscriptions": [
        *(line for line in REFERENCE["subscriptions"] if not line.startswith("payg2")),
        f"payg2,t2,payg,{BOUGHT},UTC,2026-12-31T23:59:59.5-01:00,EUR,",
    ],
    "tax_rates": [*REFERENCE["tax_rates"], "IT,2026-07-01,22.50"],
}


# --- what it says ----------------------------------------------------------------------------------------------------


def test_rows_are_told_by_table_and_key_in_the_writing_of_the_contract(shop: Shop) -> None:
    """Instants RFC 3339 in UTC, decimals without trailing zeros, days as dates; blank where open or not payable."""
    shop.load()
    found = diff(shop, allow_removals=True, **CHANGED)
    assert (found.load_no, found.findings, found.rows_total) == (1, (), 7)
    assert said(found) == [
        "changed apps (a1): name App One -> Application",
        "added apps (a3): ",
        f"changed unit_rates (render, {ALWAYS}): tokens_per_unit 1 -> (blank)",
        f"removed unit_prices (translate, EUR, {ALWAYS}): unit_price 2.4 -> (blank)",
        "added unit_prices (translate, EUR, 2026-07-02T00:00:00Z): unit_price (blank) -> 2.5",
        "changed subscriptions (payg2): ends_at (blank) -> 2027-01-01T00:59:59.500000Z",
        "added tax_rates (IT, 2026-07-01): percent (blank) -> 22.5",
    ]
    counts = {one.table: (one.added, one.changed, one.removed) for one in found.tables if "same" not in str(one)}
    assert counts == {
        "apps": (1, 1, 0),
        "unit_rates": (0, 1, 0),
        "unit_prices": (1, 0, 1),
        "subscriptions": (0, 1, 0),
        "tax_rates": (1, 0, 0),
    }


def test_a_load_does_what_was_shown(shop: Shop) -> None:
    shop.load()
    folder = folder_of(shop, **CHANGED)
    shown = diff_reference(shop.home, folder, allow_removals=True)
    done = load_reference(shop.home, folder, allow_removals=True)
    assert (done.tables, done.late, done.warnings) == (shown.tables, (), shown.warnings)
    again = diff_reference(shop.home, folder)
    assert (again.load_no, again.rows, {str(one).split(": ")[1] for one in again.tables}) == (2, (), {"the same"})


def test_the_first_load_is_all_added_and_the_listing_bounded(shop: Shop) -> None:
    found = diff_reference(shop.home, folder_of(shop), limit=5)
    assert (found.load_no, len(found.rows), found.rows_total) == (0, 5, sum(map(len, REFERENCE.values())))
    assert found.late is not None
    assert {row.what for row in found.rows} == {"added"}


def test_one_table_alone_is_listed_while_everything_is_checked(shop: Shop) -> None:
    shop.load()
    wrong = folder_of(shop, **{**CHANGED, "teams": ["t1,nobody,Team One", "t2,c2,Team Two"]})
    found = diff_reference(shop.home, wrong, allow_removals=True, table="apps")
    assert {row.table for row in found.rows} == {one.table for one in found.tables} == {"apps"}
    assert ["teams.csv" in str(finding) for finding in found.findings] == [True]


def test_an_absent_optional_file_is_no_difference(shop: Shop) -> None:
    shop.load()
    assert "capacity_grants" not in {one.table for one in diff(shop, capacity_grants=None).tables}


def test_the_seller_has_no_key(shop: Shop) -> None:
    shop.load()
    found = diff(shop, seller=[REFERENCE["seller"][0].replace("75002", "75003")])
    assert said(found) == ["changed seller (): postal_code 75002 -> 75003"]


def test_tokens_of_gateways_and_card_numbers_are_not_shown(shop: Shop) -> None:
    shop.load(payment_methods=["m1,c1,stripe,tok_1,visa,4242,12/29"])
    found = diff(shop, payment_methods=["m1,c1,stripe,tok_2,4242 4242 4242 4242,4242,12/29"])
    assert "full card number" in str(found.findings[0])
    text_of_all = repr(found)
    assert "tok_" not in text_of_all
    assert "4242 4242" not in text_of_all
    assert said(found)[0].startswith("changed payment_methods (m1): token (hidden) -> (hidden); brand visa -> ")


# --- what is refused -------------------------------------------------------------------------------------------------


WRONG = {
    "teams": ["t1,nobody,Team One", "t2,c2,Team Two"],
    "unit_rates": [f"render,{ALWAYS},zero,1", REFERENCE["unit_rates"][1]],
    "apps": ["a1,App One"],
}


def test_every_refusal_of_a_load_is_shown_with_the_differences(shop: Shop) -> None:
    shop.load()
    folder = folder_of(shop, **WRONG)
    found = diff_reference(shop.home, folder)
    with pytest.raises(DataRefused) as refused:
        load_reference(shop.home, folder)
    assert found.findings == refused.value.findings
    assert len(found.findings) >= 3
    assert "changed teams (t1): customer_id c1 -> nobody" in said(found)
    assert f"changed unit_rates (render, {ALWAYS}): unit_size 20 -> (unreadable)" in said(found)
    assert found.late is None, "nothing can be said of what is wrong"


def test_a_removal_that_was_not_allowed_is_shown_with_what_would_be_late(shop: Shop) -> None:
    shop.load(unit_prices=[*REFERENCE["unit_prices"], f"translate,EUR,{BOUGHT},3"])
    shop.ingest("e1,2026-07-05T00:00:00Z,a2,translate,1,,", now="08-02")
    shop.close("08-02")
    found = diff(shop)
    assert ["--allow-removals" in str(finding) for finding in found.findings] == [True]
    assert found.late is not None
    assert [(row.key, [f.would_be for f in row.figures]) for row in found.late.rows] == [
        (f"translate, EUR, {BOUGHT}", ["2.40 EUR"])
    ]
    assert diff(shop, allow_removals=True).late == found.late


def test_a_file_that_was_not_read_whole_removes_nothing(shop: Shop) -> None:
    shop.load()
    found = diff(shop, apps=["a1,App One", 'a"2,App Two'])
    assert [row for row in found.rows if row.table == "apps"] == []
    assert "apps: the same" in map(str, found.tables)
    assert all("cannot be read" in str(finding) or "not in apps" in str(finding) for finding in found.findings)


# --- it changes nothing, and waits for nobody ------------------------------------------------------------------------


def everything(shop: Shop) -> tuple[dict[str, list[tuple[object, ...]]], dict[str, str]]:
    """Every row of every table (the log among them), and every file of the home but SQLite's shared memory."""
    with shop.home.database.read() as connection:
        rows = {
            name: sorted(map(tuple, connection.execute(select(table))), key=repr)
            for name, table in metadata.tables.items()
        }
    files = {
        str(path.relative_to(shop.home.folder)): sha256(path.read_bytes()).hexdigest()
        for path in shop.home.folder.rglob("*")
        if path.is_file() and not path.name.endswith("-shm")
    }
    return rows, files


@pytest.mark.parametrize("changed", [{}, CHANGED, WRONG], ids=["the same", "changed", "wrong"])
def test_nothing_is_changed_by_looking(shop: Shop, changed: dict[str, Sequence[str]]) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("08-02")
    folder = folder_of(shop, **{**changed, "token_grants": [f"g2,flex2,9,{BOUGHT},2027-07-01T00:00:00Z"]})
    before = everything(shop)
    diff_reference(shop.home, folder, allow_removals=True)
    assert everything(shop) == before
    assert set(before[1]) > {"billing.db"} or not shop.home.database.is_sqlite


def test_it_waits_neither_for_an_ingest_nor_for_a_close(shop: Shop) -> None:
    """An ingest holds its lock throughout, and both write the books; a snapshot needs neither."""
    shop.load()
    folder, found = folder_of(shop, **CHANGED), list[Diff]()
    looking = Thread(target=lambda: found.append(diff_reference(shop.home, folder, allow_removals=True)), daemon=True)
    with shop.home.database.holding("ingest"), shop.home.database.exclusive("books") as connection:
        connection.execute(text("update used_apis set first_batch_no = 1"))
        looking.start()
        looking.join(LONG_S)
        assert [one.rows_total for one in found] == [7]


# --- the command -----------------------------------------------------------------------------------------------------


def invoke(shop: Shop, *arguments: str) -> tuple[int, str, str]:
    """Status, standard output and standard error; a refusal as ``main`` says it."""
    where = [] if shop.home.database.is_sqlite else ["--database", shop.home.database.url]
    result = CliRunner().invoke(app, ["--home", str(shop.home.folder), *where, "reference", *arguments])
    if isinstance(result.exception, DataRefused):
        return 1, result.stdout, result.stderr + str(result.exception)
    return result.exit_code, result.stdout, result.stderr


def test_the_command_writes_csv_and_sums_up_on_standard_error(shop: Shop) -> None:
    shop.load()
    status, out, err = invoke(shop, "diff", str(folder_of(shop, **CHANGED)), "--allow-removals")
    records = list(csv.reader(io.StringIO(out)))
    assert status == 0
    assert records[0] == ["table", "difference", "key", "column", "before", "after"]
    assert ["unit_rates", "changed", f"render, {ALWAYS}", "tokens_per_unit", "1", ""] in records
    assert ["apps", "added", "a3", "", "", ""] in records
    assert "unit_prices: 1 added, 0 changed, 1 removed\n" in err
    assert "customers: the same\n" in err


def test_the_command_ends_with_1_where_a_load_would_be_refused(shop: Shop) -> None:
    shop.load()
    status, out, err = invoke(shop, "diff", str(folder_of(shop, **CHANGED)), "--limit", "1", "--table", "unit_prices")
    assert (status, len(out.splitlines())) == (1, 2)
    assert "and 1 more rows: raise --limit" in err
    assert "a load of this would be refused" in err
    assert "--allow-removals" in err
    assert invoke(shop, "diff", str(folder_of(shop)), "--table", "prices")[0] == 2


def test_the_command_lists_late_rows_of_a_load(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    shop.close("08-02")
    folder = str(folder_of(shop, tax_rates=[*REFERENCE["tax_rates"], "FR,2026-07-31,21"]))
    late = "late: tax_rates (FR, 2026-07-31), percent (blank) -> 21, came after team t1's cycle of 2026-07-01T00:00:00Z"
    for command in ("diff", "load"):
        status, _, err = invoke(shop, command, folder)
        assert (status, late in err) == (0, True)
    status, out, _ = invoke(shop, "late", "--load", "2")
    (record,) = csv.DictReader(io.StringIO(out))
    assert (status, record["load"], record["team"], record["invoices"]) == (0, "2", "t1", "INV-2026-000001")
    assert record["figures"] == "INV-2026-000001: tax is 0.46 EUR (S 20 %) and would have been 0.48 EUR (S 21 %)"
    assert invoke(shop, "late", "--load", "1")[1].splitlines() == [",".join(record)]
