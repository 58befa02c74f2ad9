"""What could not be billed: its reason and raw text, how much of what, its history, and giving it up (rule 2.4)."""

from __future__ import annotations

import pytest

from billing.core.errors import DataRefused, NotFound, UsageError
from billing.core.instants import parse_day
from billing.steps.ingest import ingest
from billing.steps.quarantine import (
    count_quarantine,
    dismiss,
    list_quarantine,
    printable,
    select_records,
    show,
)
from billing.steps.replay import replay
from billing.steps.status import status
from billing.store.quarantine import Place, Selection

from .small_world import REFERENCE, Shop, instant

GHOST = "e3,2026-07-05T00:00:00Z,ghost,render,1,,"
NOW = instant("08-02")


def test_quarantined_records_are_listed_as_they_came(shop: Shop) -> None:
    shop.load()
    shop.ingest("e1,yesterday,a1,render,1,,", '"e2\n",2026-07-05T00:00:00Z,ghost,render,1,,', now="08-02", name="a.csv")
    shop.ingest("", GHOST, now="08-02", name="b.csv")
    found = [(q.batch_no, q.file, q.line, q.reason) for q in list_quarantine(shop.home)]
    assert found == [
        (1, "a.csv", 2, "bad_occurred_at"),
        (1, "a.csv", 3, "unattributed_app"),
        (2, "b.csv", 2, "unattributed_app"),
    ]
    assert list_quarantine(shop.home)[1].raw == '"e2\n",2026-07-05T00:00:00Z,ghost,render,1,,'


def test_a_listed_record_says_what_it_is_found_by(shop: Shop) -> None:
    shop.load()
    ingest(shop.home, [shop.file([GHOST, "bad"])], NOW, source="gateway")
    known, unread = list_quarantine(shop.home)
    assert (known.source, known.event_id, known.app_id, known.api, known.day) == (
        "gateway",
        "e3",
        "ghost",
        "render",
        "2026-07-05",
    )
    assert (unread.event_id, unread.app_id, unread.day) == ("bad", "", "")
    assert (known.ending, known.ended_in, known.ended_at, str(known.place)) == ("", None, None, "1:0:2")


def test_they_can_be_bounded(shop: Shop) -> None:
    shop.load()
    shop.ingest(*["bad"] * 5, GHOST, now="08-02")
    assert len(list_quarantine(shop.home, limit=3)) == 3


FILES = {
    "gateway": [GHOST, "e4,2026-07-06T00:00:00Z,ghost,render,1,,", "e5,2026-07-05T00:00:00Z,a1,nothing,1,,"],
    "billing-db": ["e6,2026-07-05T00:00:00Z,phantom,translate,1,,", "e7,yesterday,a1,render,1,,"],
}
CHOICES = [
    ({"reasons": ["unattributed_app"]}, ["e3", "e4", "e6"]),
    ({"reasons": ["unknown_api", "bad_occurred_at"]}, ["e5", "e7"]),
    ({"batches": [2]}, ["e6", "e7"]),
    ({"batches": [3]}, []),
    ({"sources": ["gateway"]}, ["e3", "e4", "e5"]),
    ({"sources": ["nowhere"]}, []),
    ({"ids": ["e4", "e7", "e9"]}, ["e4", "e7"]),
    ({"apps": ["ghost"]}, ["e3", "e4"]),
    ({"apis": ["translate", "nothing"]}, ["e5", "e6"]),
    ({"days": [parse_day("2026-07-05")]}, ["e3", "e5", "e6"]),
    ({"places": ["1:0:3", "2:0:2"]}, ["e4", "e6"]),
    ({"sources": ["gateway"], "apps": ["ghost", "phantom"], "days": [parse_day("2026-07-05")]}, ["e3"]),
    ({"endings": ["dismissed"]}, []),
    ({"endings": ["any"]}, ["e3", "e4", "e5", "e6", "e7"]),
    ({}, ["e3", "e4", "e5", "e6", "e7"]),
]


def without_translate(shop: Shop) -> None:
    """Load the small world before it knew how to translate."""
    shop.load(apis=[api for api in REFERENCE["apis"] if not api.startswith("translate")], unit_rates=[], unit_prices=[])


def test_a_record_keeps_its_source_where_a_replay_holds_it(shop: Shop) -> None:
    """Its batch is the replay's; its source and its file are those of the delivery, also after a second replay."""
    without_translate(shop)
    for source, app in (("gateway", "new1"), ("portal", "new2")):
        lines = ["bad", f"{source},2026-07-05T00:00:00Z,{app},translate,1,,"]
        ingest(shop.home, [shop.file(["bad"]), shop.file(lines, f"{source}.csv")], NOW, source=source)
    shop.load()
    assert replay(shop.home, Selection(), NOW).outcomes[("unknown_api", "unattributed_app")] == 2
    found = {q.source: (str(q.place), q.file) for q in list_quarantine(shop.home, select_records(batches=[3]))}
    assert found == {"gateway": ("3:0:3", "gateway.csv"), "portal": ("3:1:3", "portal.csv")}
    (mine,) = list_quarantine(shop.home, select_records(sources=["portal"], reasons=["unattributed_app"]))
    assert mine.event_id == "portal"
    assert dict(count_quarantine(shop.home, ["source"])) == {("gateway",): 3, ("portal",): 3}
    hubs = [*REFERENCE["app_hubs"], "new2,h3,2020-01-01T00:00:00Z,"]
    team = {"teams": [*REFERENCE["teams"], "t3,c1,Team Three"], "hubs": [*REFERENCE["hubs"], "h3,Hub Three"]}
    owned = {"apps": [*REFERENCE["apps"], "new2,New"], "app_hubs": hubs}
    owned["hub_teams"] = [*REFERENCE["hub_teams"], "h3,t3,2020-01-01T00:00:00Z,"]
    shop.load(**team, **owned)
    assert replay(shop.home, select_records(sources=["portal"]), NOW).quarantined == 1
    (again,) = list_quarantine(shop.home, select_records(reasons=["no_subscription"]))
    assert (again.source, again.file, str(again.place)) == ("portal", "portal.csv", "4:0:3")
    assert [q.batch_no for q in show(shop.home, again.place, NOW).history] == [2, 3, 4]
    bought = [*REFERENCE["subscriptions"], "free3,t3,free,2026-07-01T00:00:00Z,UTC,,,"]
    shop.load(**team, **owned, subscriptions=bought)
    assert replay(shop.home, select_records(sources=["portal"]), NOW).accepted == 1


@pytest.mark.parametrize(("chosen", "ids"), CHOICES, ids=str)
def test_they_are_chosen_where_they_came(shop: Shop, chosen: dict[str, list[str]], ids: list[str]) -> None:
    shop.load()
    for source, lines in FILES.items():
        ingest(shop.home, [shop.file(lines)], NOW, source=source)
    selection = select_records(**chosen)  # type: ignore[arg-type]
    assert [q.event_id for q in list_quarantine(shop.home, selection)] == ids


LONG = "x" * 500


@pytest.mark.parametrize("column", ["ids", "apps", "apis"])
@pytest.mark.parametrize("asked", ["n\0l", "n\u2400l", LONG + "1", LONG])
def test_what_the_database_cannot_tell_the_record_tells(shop: Shop, column: str, asked: str) -> None:
    """Columns for searching are cut to 500 characters, and hold no NUL; ids are compared code point by code point."""
    shop.load()
    texts = ["n\0l", "n\u2400l", LONG + "1", LONG + "2", LONG]
    place = ["ids", "apps", "apis"].index(column)
    rows = [["e", "ghost", "render"] for _ in texts]
    for row, text in zip(rows, texts, strict=True):
        row[place] = text
    shop.ingest(*(f"{event},2026-07-05T00:00:00Z,{app},{api},1,," for event, app, api in rows), now="08-02")
    (found,) = list_quarantine(shop.home, Selection(**{column: (asked,)}))
    assert found.line == 2 + texts.index(asked)
    assert dict(count_quarantine(shop.home, ["batch"], Selection(**{column: (asked,)}))) == {("1",): 1}
    assert dismiss(shop.home, Selection(**{column: (asked,)}), "test data") == 1
    (gone,) = list_quarantine(shop.home, select_records(endings=["dismissed"]))
    assert gone.line == found.line
    assert list_quarantine(shop.home, Selection(**{column: (asked,)})) == []


def test_they_are_counted(shop: Shop) -> None:
    shop.load()
    for source, lines in FILES.items():
        ingest(shop.home, [shop.file(lines, f"{source}.csv")], NOW, source=source)
    assert count_quarantine(shop.home, ["reason"]) == [
        (("unattributed_app",), 3),
        (("bad_occurred_at",), 1),
        (("unknown_api",), 1),
    ]
    assert count_quarantine(shop.home, ["source", "file"]) == [
        (("gateway", "gateway.csv"), 3),
        (("billing-db", "billing-db.csv"), 2),
    ]
    assert dict(count_quarantine(shop.home, ["app", "api", "day"])) == {
        ("ghost", "render", "2026-07-05"): 1,
        ("ghost", "render", "2026-07-06"): 1,
        ("a1", "nothing", "2026-07-05"): 1,
        ("phantom", "translate", "2026-07-05"): 1,
        ("a1", "render", ""): 1,
    }
    assert count_quarantine(shop.home, [], select_records(sources=["gateway"])) == [((), 3)]
    dismiss(shop.home, select_records(sources=["gateway"]), "a test")
    assert count_quarantine(shop.home, ["ending", "batch"], select_records(endings=["any"])) == [
        (("dismissed", "1"), 3),
        (("waiting", "2"), 2),
    ]


@pytest.mark.parametrize(
    "wrong",
    [{"reasons": ["late"]}, {"reasons": ["duplicate"]}, {"endings": ["gone"]}, {"places": ["1:2"]}],
    ids=str,
)
def test_what_there_is_not_is_refused_by_name(wrong: dict[str, list[str]]) -> None:
    with pytest.raises(UsageError, match=r"there are: |write BATCH:FILE:LINE"):
        select_records(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "1:2", "1:2:3:4", "a:b:c", "-1:0:2", "1:0:\u0662", "1:0:" + "9" * 30, "1: 0:2"])
def test_a_place_is_read_strictly(text: str) -> None:
    with pytest.raises(UsageError, match="write BATCH:FILE:LINE"):
        Place.parse(text)


def test_nothing_is_counted_by_what_there_is_not(shop: Shop) -> None:
    with pytest.raises(UsageError, match="there are: reason, source, app"):
        count_quarantine(shop.home, ["colour"])


# --- one record ------------------------------------------------------------------------------------------------------


def test_a_record_is_shown_with_its_history_and_its_prospect(shop: Shop) -> None:
    """From the delivery on across replays: unknown API, then an app that nobody has, then accepted."""
    without_translate(shop)
    shop.ingest("good,2026-07-05T00:00:00Z,a1,browse,1,,", "e1,2026-07-05T00:00:00Z,new,translate,1,,", now="08-02")
    place = Place(batch_no=1, file_no=0, line=3)
    shown = show(shop.home, place, NOW)
    assert (shown.outcome, len(shown.history), shown.record.reason) == ("unknown_api", 1, "unknown_api")
    shop.load()
    assert show(shop.home, place, NOW).outcome == "unattributed_app"
    assert replay(shop.home, Selection(), NOW).batch_no == 2
    shop.load(apps=[*REFERENCE["apps"], "new,New"], app_hubs=[*REFERENCE["app_hubs"], "new,h1,2020-01-01T00:00:00Z,"])
    again = Place(batch_no=2, file_no=0, line=3)
    assert show(shop.home, again, NOW).outcome == "accepted"
    assert replay(shop.home, Selection(), NOW).batch_no == 3
    for where in (place, again):
        shown = show(shop.home, where, NOW)
        assert shown.outcome == ""
        assert [(q.batch_no, q.reason, q.ending, q.ended_in) for q in shown.history] == [
            (1, "unknown_api", "quarantined", 2),
            (2, "unattributed_app", "accepted", 3),
        ]


def test_a_record_that_is_not_there_is_said_not_to_be(shop: Shop) -> None:
    shop.load()
    shop.ingest(GHOST, now="08-02")
    with pytest.raises(NotFound, match="no quarantined record 1:0:3: "):
        show(shop.home, Place(batch_no=1, file_no=0, line=3), NOW)


def test_raw_text_keeps_what_no_terminal_shows(shop: Shop) -> None:
    shop.load()
    shop.ingest("e\x00,yesterday,a1,render,1,,", now="08-02")
    (kept,) = list_quarantine(shop.home)
    assert kept.raw == "e\x00,yesterday,a1,render,1,,"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("a\tb\r\nc\x00\x7f\x9b", "a\\tb\\r\\nc\\x00\\x7f\\x9b"),
        ("fdp\u202eexe", "fdp\\u202eexe"),
        ("\u2028\u200b\ufeff\xa0", "\\u2028\\u200b\\ufeff\\xa0"),
        ("dossier d'été \U0001f600 漢字 [bold]", "dossier d'été \U0001f600 漢字 [bold]"),
    ],
    ids=ascii,
)
def test_nothing_that_is_printed_acts_on_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown


# --- given up --------------------------------------------------------------------------------------------------------


def test_what_is_given_up_stays_rejected_and_says_why(shop: Shop) -> None:
    shop.load()
    shop.ingest(GHOST, "bad", now="08-02", name="july.csv")
    rejected = shop.export()["rejected"]
    assert dismiss(shop.home, select_records(apps=["ghost"]), "load test of 5 July") == 1
    (gone,) = list_quarantine(shop.home, select_records(endings=["dismissed"]))
    assert (gone.reason, gone.ended_why, gone.ended_in) == ("unattributed_app", "load test of 5 July", None)
    assert gone.ended_at is not None
    assert shop.export()["rejected"] == rejected
    assert status(shop.home).quarantined == {"bad_occurred_at": 1}
    assert dismiss(shop.home, select_records(apps=["ghost"]), "again") == 0, "it waits no more"
    assert (gone,) == tuple(list_quarantine(shop.home, select_records(endings=["dismissed"])))


@pytest.mark.parametrize("why", ["", " \n"])
def test_nothing_is_given_up_without_a_reason(shop: Shop, why: str) -> None:
    with pytest.raises(DataRefused, match="Say why"):
        dismiss(shop.home, Selection(), why)


def test_what_was_given_up_is_taken_up_again_where_it_is_named(shop: Shop) -> None:
    shop.load(app_hubs=REFERENCE["app_hubs"][1:])
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,60,,", now="08-02")
    dismiss(shop.home, Selection(), "a mistake")
    shop.load()
    assert replay(shop.home, Selection(), NOW).selected == 0
    assert replay(shop.home, select_records(ids=["e1"]), NOW).selected == 0
    assert show(shop.home, Place.parse("1:0:2"), NOW).outcome == "accepted"
    assert replay(shop.home, select_records(places=["1:0:2"]), NOW).accepted == 1
    (row,) = list_quarantine(shop.home, select_records(endings=["any"]))
    assert (row.ending, row.ended_in, row.ended_why) == ("accepted", 2, "a mistake")
