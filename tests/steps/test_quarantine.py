"""What could not be billed: its reason and raw text (rule 2.4)."""

from __future__ import annotations

from billing.steps.quarantine import list_quarantine

from .small_world import Shop


def test_quarantined_records_are_listed_as_they_came(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,yesterday,a1,render,1,,", '"e2\n",2026-07-05T00:00:00Z,ghost,render,1,,', now="08-02", name="a.csv")
    shop.ingest("", "e3,2026-07-05T00:00:00Z,ghost,render,1,,", now="08-02", name="b.csv")
    found = [(q.batch_no, q.file, q.line, q.reason) for q in list_quarantine(shop.home)]
    assert found == [
        (1, "a.csv", 2, "bad_occurred_at"),
        (1, "a.csv", 3, "unattributed_app"),
        (2, "b.csv", 2, "unattributed_app"),
    ]
    assert list_quarantine(shop.home)[1].raw == '"e2\n",2026-07-05T00:00:00Z,ghost,render,1,,'


def test_they_can_be_chosen_and_bounded(shop: Shop) -> None:
    shop.load()
    shop.ingest(*["bad"] * 5, "e3,2026-07-05T00:00:00Z,ghost,render,1,,", now="08-02")
    assert len(list_quarantine(shop.home, limit=3)) == 3
    assert [q.line for q in list_quarantine(shop.home, reason="unattributed_app")] == [7]
    assert list_quarantine(shop.home, batch_no=2) == []
    assert list_quarantine(shop.home, reason="nothing like it") == []


def test_bytes_that_are_no_text_are_shown_escaped(shop: Shop) -> None:
    """JSON Lines of another encoding are refused; a raw zero is not text that every terminal shows."""
    shop.load()
    shop.ingest("e\x00,yesterday,a1,render,1,,", now="08-02")
    (kept,) = list_quarantine(shop.home)
    assert kept.raw == "e\x00,yesterday,a1,render,1,,"
