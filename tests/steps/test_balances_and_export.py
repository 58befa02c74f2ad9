"""What is shown: balances at an instant, and the outputs (rule 8.1; data contract, "Outputs")."""

from __future__ import annotations

import csv

import pytest

from billing.core.errors import DataRefused
from billing.outbound.output_tables import COLUMNS
from billing.steps.balances import balances
from billing.steps.close import issue, open_close, rate_shards
from billing.steps.export import export
from billing.store.shards import SHARDS

from .small_world import BOUGHT, REFERENCE, Shop, instant

JULY = [
    "e1,2026-07-05T00:00:00Z,a1,render,65,,",
    "e2,2026-07-06T00:00:00Z,a2,render,65,,",
    "e3,2026-07-06T00:00:00Z,,seats,4,,t1",
]


def opened(shop: Shop) -> None:
    shop.load()
    shop.ingest(*JULY, now="08-02")


def test_balances_count_open_cycles_up_to_the_instant(shop: Shop) -> None:
    opened(shop)
    assert shop.balances("2026-07-01T00:00:00Z") == {"free1 render": "1", "g2": "10", "s1": "5"}
    assert shop.balances("2026-07-05T00:00:00Z")["free1 render"] == "1", "what is effective before it, not at it"
    assert shop.balances("2026-07-05T00:00:00.000001Z")["free1 render"] == "0"
    assert shop.balances("08-01") == {"free1 render": "1", "g2": "7", "s1": "1"}, "and the free balance is fresh"


def test_closed_and_open_cycles_are_counted_once(shop: Shop) -> None:
    opened(shop)
    before = shop.balances("08-01")
    shop.close("08-02")
    assert shop.balances("08-01") == before
    shop.ingest("e4,2026-08-01T00:00:00Z,a2,render,15,,", now="08-03")
    assert shop.balances("08-02")["g2"] == "6", "with the carry-over of July"


@pytest.mark.parametrize("rated", [1, 4, SHARDS])
def test_a_close_that_is_under_way_counts_nothing_twice(shop: Shop, rated: int) -> None:
    """Rated is not closed: what its draws say is told from the events until it is issued."""
    opened(shop)
    before = shop.balances("08-01")
    close_no, _ = open_close(shop.home, instant("08-02"))
    rate_shards(shop.home, close_no, list(range(rated)))
    assert shop.balances("08-01") == before
    smaller = [f"g2,flex2,3,{BOUGHT},2027-07-01T00:00:00Z"]
    assert shop.load(token_grants=smaller).changed == 1, "3 of it are used, not 6"
    rate_shards(shop.home, close_no, list(range(SHARDS)))
    issue(shop.home, close_no)
    assert shop.balances("08-01") == before | {"g2": "0"}


def test_balances_before_the_last_close_are_refused(shop: Shop) -> None:
    opened(shop)
    shop.close("08-02")
    with pytest.raises(DataRefused, match="the last closed cycle ends at 2026-08-01T00:00:00Z"):
        balances(shop.home, instant("2026-07-31T23:59:59.999999Z"))
    assert shop.balances("08-01")["g2"] == "7"


def test_balances_of_an_empty_home_are_none(shop: Shop) -> None:
    assert shop.balances("08-01") == {}


def test_a_parked_team_keeps_its_balances(shop: Shop) -> None:
    """A debit is never stranded by a failed invoice (flexprice #2390)."""
    shop.load(
        tax_rates=["FR,2000-01-01,20"],
        customers=[REFERENCE["customers"][0], REFERENCE["customers"][1].replace("DE136695976", "")],
    )
    shop.ingest(*JULY, "e5,2026-07-07T00:00:00Z,a2,translate,1,,", now="08-02")
    before = shop.balances("08-01")
    assert [p.team_id for p in shop.close("08-02").parked] == ["t2"]
    assert shop.balances("08-01") == before


# --- outputs ---------------------------------------------------------------------------------------------------------


def test_every_table_is_written_with_its_header_also_where_it_is_empty(shop: Shop) -> None:
    folder = shop.fresh("out")
    counts = export(shop.home, folder)
    names = ("cycles", "carry", "charges", "invoices", "invoice_lines", "rejected", "parked")
    assert counts == dict.fromkeys((*names, "credit_notes", "credit_note_lines", "payments", "payment_events"), 0)
    assert {path.name for path in folder.iterdir()} == {f"{name}.csv" for name in counts}
    for name in counts:
        assert (folder / f"{name}.csv").read_bytes() == (",".join(COLUMNS[name]) + "\r\n").encode()


def test_outputs_are_sorted_by_code_point_as_text(shop: Shop) -> None:
    teams = ["Z", "a", "é", "z", "e\u0301", "\U0001f600", "\ufffd", "10", "9"]
    tables = {
        "teams": [f"{team},c1," for team in teams],
        "hubs": [f"h{team}," for team in teams],
        "hub_teams": [f"h{team},{team},2020-01-01T00:00:00Z," for team in teams],
        "apps": [f"a{team}," for team in teams],
        "app_hubs": [f"a{team},h{team},2020-01-01T00:00:00Z," for team in teams],
        "subscriptions": [f"p{team},{team},payg,2026-07-01T00:00:00Z,UTC,,EUR," for team in teams],
    }
    shop.load(**{table: [*REFERENCE[table], *lines] for table, lines in tables.items()})
    shop.ingest(*(f"e{team},2026-07-05T00:00:00Z,a{team},render,{k}5,," for k, team in enumerate(teams)), now="08-02")
    shop.ingest("", ",", *["bad"] * 12, now="08-02", name="bad.csv")
    shop.close("08-02")
    for name, rows in shop.export().items():
        assert rows == sorted(rows), name
    lines = [row[1] for row in shop.export()["rejected"]]
    assert lines[:4] == ["10", "11", "12", "13"], "as text"


def test_an_export_replaces_the_one_before_and_leaves_nothing_else(shop: Shop) -> None:
    opened(shop)
    folder = shop.fresh("out")
    export(shop.home, folder)
    (folder / "mine.txt").write_text("kept")
    shop.close("08-02")
    export(shop.home, folder)
    assert len(list(folder.iterdir())) == 12
    with (folder / "cycles.csv").open(newline="") as handle:
        assert len(list(csv.reader(handle))) == 3


def test_only_what_is_closed_is_exported(shop: Shop) -> None:
    opened(shop)
    close_no, _ = open_close(shop.home, instant("08-02"))
    rate_shards(shop.home, close_no, list(range(SHARDS)))
    exported = shop.export()
    assert [len(exported[name]) for name in ("cycles", "carry", "charges", "invoices", "invoice_lines")] == [0] * 5
    issue(shop.home, close_no)
    exported = shop.export()
    assert [len(exported[name]) for name in ("cycles", "carry", "charges", "invoices", "invoice_lines")] == [
        2,
        2,
        3,
        1,
        1,
    ]
