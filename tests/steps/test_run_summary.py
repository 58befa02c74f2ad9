"""A close on one page: counts, totals, comparison, what waits and who is parked (rules 3.4, 3.8, 6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from hashlib import sha256

import pytest

from billing.core.errors import DataRefused, NotFound
from billing.core.model import ParkedReason
from billing.core.run_summary import RunSummary
from billing.steps.close import open_close
from billing.steps.credit import credit
from billing.steps.reissue import reissue
from billing.steps.run_summary import in_words, keep_summary, run_summary
from billing.store import log
from billing.store.documents import documents_of

from .small_world import REFERENCE, Shop, instant

FREE_OF_CHARGE = [*REFERENCE["unit_prices"], "translate,EUR,2026-08-01T00:00:00Z,0"]


def closed(shop: Shop, **changed: list[str]) -> None:
    """July on 2 August, August on 2 September: then translate costs nothing."""
    shop.load(**{"unit_prices": FREE_OF_CHARGE, **changed})
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,",
        "e2,2026-07-06T00:00:00Z,a2,translate,3,,",
        "e3,2026-08-05T00:00:00Z,a1,render,2300,,",
        "e4,2026-08-06T00:00:00Z,a2,translate,3,,",
        now="2026-09-02T00:00:00Z",
    )
    shop.close("08-02")
    shop.close("2026-09-02T00:00:00Z")


def totals(summary: RunSummary) -> list[tuple[str, ...]]:
    return [
        (one.currency, one.tax_treatment.category.value, f"{one.tax_treatment.percent:f}", str(one.invoices))
        + (str(one.net), str(one.tax), str(one.total))
        for one in summary.totals
    ]


def test_a_close_is_told_with_its_numbers_and_totals(shop: Shop) -> None:
    closed(shop)
    first = run_summary(shop.home, 1)
    assert (first.close_no, first.cycles, first.invoices, first.zero_total, first.credit_notes) == (1, 2, 2, 0, 0)
    assert (first.as_of, first.issue_date) == (instant("08-02"), date(2026, 8, 2))
    assert (first.first_number, first.last_number) == ("INV-2026-000001", "INV-2026-000002")
    assert (first.seller.legal_name, first.pinned_batch, first.pinned_load) == ("Example SAS", 1, 1)
    assert totals(first) == [
        ("EUR", "AE", "0", "1", "7.20", "0.00", "7.20"),
        ("EUR", "S", "20", "1", "2.30", "0.46", "2.76"),
    ]
    assert [(one.number, one.customer, str(one.total)) for one in first.largest] == [
        ("INV-2026-000002", "Buyer Two", "7.20"),
        ("INV-2026-000001", "Buyer One", "2.76"),
    ]
    assert (first.compared_with, first.changes) == (None, ())


def test_it_is_compared_with_the_close_before_it_that_issued(shop: Shop) -> None:
    closed(shop)
    shop.close("2026-09-02T00:00:00Z")
    second = run_summary(shop.home, 2)
    assert (second.invoices, second.zero_total) == (2, 1), "an invoice of 0 is issued (rule 6.5)"
    assert second.compared_with == 1
    (change,) = second.changes
    assert (change.currency, str(change.net), str(change.before), str(change.change)) == (
        "EUR",
        "131.10",
        "9.50",
        "121.60",
    )
    third = run_summary(shop.home, 3)
    assert (third.invoices, third.first_number, third.largest, third.totals) == (0, "", (), ())
    assert (third.compared_with, str(third.changes[0].net), str(third.changes[0].change)) == (2, "0.00", "-131.10")


def test_the_five_largest_of_a_currency_are_told(shop: Shop) -> None:
    """At equal totals the smaller number comes first."""
    teams = [f"x{k}" for k in range(7)]
    tables = {
        "teams": [f"{team},c1," for team in teams],
        "hubs": [f"h{team}," for team in teams],
        "hub_teams": [f"h{team},{team},2020-01-01T00:00:00Z," for team in teams],
        "apps": [f"a{team}," for team in teams],
        "app_hubs": [f"a{team},h{team},2020-01-01T00:00:00Z," for team in teams],
        "subscriptions": [f"p{team},{team},payg,2026-07-01T00:00:00Z,UTC,,EUR," for team in teams],
    }
    shop.load(**{table: [*REFERENCE[table], *lines] for table, lines in tables.items()})
    units = [1, 9, 5, 9, 7, 3, 2]
    shop.ingest(
        *(f"e{k},2026-07-05T00:00:00Z,a{team},translate,{units[k]},," for k, team in enumerate(teams)), now="08-02"
    )
    shop.close("08-02")
    largest = run_summary(shop.home, 1).largest
    assert [one.number[-1] for one in largest] == ["2", "4", "5", "3", "6"]


def test_credit_notes_since_are_counted(shop: Shop) -> None:
    closed(shop)
    at = datetime(2026, 9, 3, tzinfo=UTC)
    credit(shop.home, "INV-2026-000001", reason="x", as_of=at)
    assert [run_summary(shop.home, close_no).credit_notes for close_no in (1, 2)] == [1, 0]
    assert run_summary(shop.home, 1).totals[-1].net == Decimal("2.30"), "the invoice stands"


def test_an_invoice_that_replaces_one_of_a_close_later_is_not_its_own(shop: Shop) -> None:
    closed(shop)
    at = datetime(2026, 9, 3, tzinfo=UTC)
    credit(shop.home, "INV-2026-000001", reason="x", as_of=at)
    reissue(shop.home, "INV-2026-000001", as_of=at)
    first = run_summary(shop.home, 1)
    assert (first.invoices, first.credit_notes, first.last_number) == (2, 1, "INV-2026-000002")


def test_who_is_parked_is_told_with_the_reason(shop: Shop) -> None:
    closed(shop, tax_rates=["DE,2000-01-01,19"])
    second = run_summary(shop.home, 2)
    assert [(one.team_id, one.reason) for one in second.parked] == [("t1", ParkedReason.NO_TAX_RATE)]
    assert second.parked_reasons == ((ParkedReason.NO_TAX_RATE, 1),)
    assert run_summary(shop.home, 1).parked == (), "as it is told now: the second close parked it again"
    assert "  parked: team t1, cycle of 2026-07-01T00:00:00Z: no_tax_rate" in in_words(second)


def test_cycles_that_wait_are_counted_as_they_were_then(shop: Shop) -> None:
    """Rule 3.4: over, but usage is not complete through their end and the lag."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    done = shop.close("2026-09-02T00:00:00Z")
    shop.ingest(now="2026-09-02T00:00:00Z")
    shop.close("2026-09-02T00:00:00Z")
    first, second = (run_summary(shop.home, close_no) for close_no in (1, 2))
    assert (first.cycles, first.waiting, first.complete_through) == (2, done.waiting.cycles, instant("08-02"))
    assert done.waiting.cycles == 2
    assert (second.cycles, second.waiting) == (2, 0)
    assert "  2 cycles wait: usage is complete through 2026-08-02T00:00:00Z" in in_words(first)


def test_a_close_that_never_was_or_is_not_issued_is_not_told(shop: Shop) -> None:
    with pytest.raises(NotFound, match="There is no close 1"):
        run_summary(shop.home, 1)
    shop.close("08-02")
    with pytest.raises(DataRefused, match="had seen no reference data"):
        run_summary(shop.home, 1)
    shop.load()
    open_close(shop.home, instant("08-03"))
    with pytest.raises(DataRefused, match="Close 2 is not issued yet"):
        run_summary(shop.home, 2)


def test_in_words(shop: Shop) -> None:
    closed(shop)
    assert in_words(run_summary(shop.home, 2)) == [
        "Close 2 of Example SAS, as of 2026-09-02T00:00:00Z",
        "  issued 2026-09-02; usage up to batch 1, reference data of load 1",
        "  2 cycles closed, 2 invoices (1 with a total of 0), 0 credit notes since",
        "  numbers INV-2026-000003 to INV-2026-000004",
        "  EUR AE 0 %: 1 invoices, net 0.00, tax 0.00, total 0.00",
        "  EUR S 20 %: 1 invoices, net 131.10, tax 26.22, total 157.32",
        "  EUR net 131.10 against 9.50 of close 1: +121.60",
        "  large: INV-2026-000003 Buyer One, 157.32 EUR",
        "  large: INV-2026-000004 Buyer Two, 0.00 EUR",
    ]


class Pages:
    """A renderer by hand: its page is what it was given."""

    def render_run_summary(self, summary: RunSummary, locale: str) -> bytes:
        return f"{locale} {summary.close_no} {summary.credit_notes}".encode()

    def recorded_versions(self) -> Mapping[str, str]:
        return {"bundle": "b" * 64}

    def bundle_files(self) -> Mapping[str, bytes]:
        return {"summary.html.j2": b"page"}


def test_the_first_page_is_kept_under_the_closes_name(shop: Shop) -> None:
    closed(shop)
    summary = run_summary(shop.home, 1)
    first = keep_summary(shop.home, summary, Pages(), "fr-FR")
    again = keep_summary(shop.home, replace(summary, credit_notes=3), Pages(), "fr-FR")
    assert (first.is_new, again.is_new, again.pdf) == (True, False, b"fr-FR 1 3")
    assert first.sha256 == again.sha256 == sha256(b"fr-FR 1 0").hexdigest()
    with shop.home.database.read() as connection:
        (kept,) = documents_of(connection, "close-1")
        log.verify(connection)
    assert (kept.kind, kept.sha256) == ("summary", first.sha256)
    assert shop.home.documents.read(kept.path, kept.sha256) == b"fr-FR 1 0"
