"""From the archived bytes: equal, whatever a home has been through; what a rerun must trust is not (rules 7.1, 7.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text, update

from billing.core.errors import ConservationBroken, NotFound
from billing.steps.audit.batches import usage_beside_the_log
from billing.steps.audit.choosing import Choice
from billing.steps.audit.comparing import Comparison, Verdict
from billing.steps.audit.genesis import genesis
from billing.steps.audit.rerun import rerun
from billing.steps.close import close
from billing.steps.credit import credit
from billing.steps.digests import Digest, stored_digests
from billing.steps.homes import home_at
from billing.steps.quarantine import select_records
from billing.steps.reissue import reissue
from billing.steps.replacement import replace_file
from billing.steps.replay import replay
from billing.steps.upkeep import upkeep
from billing.store.batches import committed
from billing.store.lake import CommittedBatches
from billing.store.tables import batches, metadata, quarantine
from billing.store.usage_table import UsageTable

from .small_world import ALWAYS, REFERENCE, Shop, instant


def unequal(found: Sequence[Comparison]) -> set[tuple[str, str, str, str]]:
    """What differs: (what, team, key, field)."""
    return {(c.what, c.team_id, c.key, c.field) for c in found if c.verdict is not Verdict.EQUAL}


def from_genesis(shop: Shop, documents: bool = False, **chosen: object) -> list[Comparison]:
    return list(genesis(shop.home, Choice(**chosen), documents=documents))  # type: ignore[arg-type]


def tampered(shop: Shop, predicate: str, **updates: str) -> Shop:
    """The shop with events changed in the lake, opened anew."""
    DeltaTable(str(shop.home.folder / "lake" / "usage")).update(updates=updates, predicate=predicate)
    return Shop(home=home_at(shop.home.folder, shop.home.database.url), folder=shop.folder, serial=shop.serial)


def eventful(shop: Shop, documents: bool = False) -> None:
    """Two months with all that happens to usage: unknown apps that are registered and replayed, a file that is
    delivered twice, one that is corrected, late usage, a correction, another price, an app that moves, a crashed batch,
    compaction; with ``documents`` a credit note and a corrected invoice, too.
    """
    shop.load()
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,",
        "e2,2026-07-06T00:00:00Z,a2,translate,30,,",
        "n1,2026-07-07T00:00:00Z,a9,render,41,,",
        "n2,2026-07-07T00:00:00Z,a8,render,7,,",
        "bad,2026-07-07T00:00:00Z,a1,render,x,,",
        now="08-02",
        name="july.csv",
    )
    close(shop.home, instant("08-02"), e_invoices=documents)
    _a_batch_that_died(shop)
    apps = [*REFERENCE["apps"], "a9,App Nine"]
    hubs = [
        f"a1,h1,{ALWAYS},2026-08-03T00:00:00Z",
        "a1,h2,2026-08-03T00:00:00Z,",
        f"a2,h2,{ALWAYS},",
        f"a9,h1,{ALWAYS},",
    ]
    prices = [line.replace("2.4", "3.1") for line in REFERENCE["unit_prices"]]
    shop.load(apps=apps, app_hubs=hubs, unit_prices=prices)
    replay(shop.home, select_records(reasons=["unattributed_app"]), instant("08-20"))
    shop.ingest(
        "e1,2026-07-05T00:00:00Z,a1,render,65,,",
        "e3,2026-08-05T00:00:00Z,a1,render,90,,",
        "e4,2026-07-07T00:00:00Z,a2,translate,3,,",
        "e5,2026-07-06T00:00:00Z,a2,translate,-2,e2,",
        "e6,2026-08-06T00:00:00Z,a2,translate,11,,",
        now="09-02",
        name="august.csv",
    )
    corrected = shop.file(
        ["e3,2026-08-05T00:00:00Z,a1,render,95,,", "e4,2026-07-07T00:00:00Z,a2,translate,3,,"], name="august-2.csv"
    )
    replace_file(shop.home, corrected, instant("08-31"), "august.csv", correct=True)
    upkeep(shop.home, 0)
    close(shop.home, instant("09-02"), e_invoices=documents)
    if documents:
        _issued_by_hand(shop)


def _issued_by_hand(shop: Shop) -> None:
    assert not shop.render().failed
    credit(shop.home, "INV-2026-000001", reason="wrong address", as_of=instant("10-01"))
    reissue(shop.home, "INV-2026-000001", as_of=instant("10-02"))
    assert not shop.render().failed


def _a_batch_that_died(shop: Shop) -> None:
    """Rows in the lake under a number that the database never commits."""
    from billing.steps import commit_points

    def die(point: str) -> None:
        if point == commit_points.INGEST_IDS_APPENDED:
            raise InterruptedError(point)

    commit_points.listen(die)
    try:
        with pytest.raises(InterruptedError):
            shop.ingest("d1,2026-08-02T00:00:00Z,a1,render,500,,", now="08-03")
    finally:
        commit_points._listeners.remove(die)


def test_all_that_happens_to_usage_comes_again_from_the_archive(shop: Shop) -> None:
    eventful(shop, documents=True)
    found = from_genesis(shop, documents=True)
    assert unequal(found) == set()
    assert {c.what for c in found} == {
        *("batch", "cycle", "carry", "draw", "usage by day", "invoice", "line", "pdf", "cii"),
    }
    with shop.home.database.read() as connection:
        kinds = connection.execute(text("select state, kind from batches order by batch_no")).all()
    assert [tuple(kind) for kind in kinds] == [
        ("committed", "delivery"),
        ("void", "delivery"),
        ("committed", "replay"),
        ("committed", "delivery"),
        ("committed", "replacement"),
    ]
    assert {c.key for c in found if c.what == "batch"} == {"1", "3", "4", "5"}
    assert unequal(usage_beside_the_log(shop.home)) == set()


def test_only_the_chosen_cycles_are_compared_but_every_batch_is(shop: Shop) -> None:
    eventful(shop)
    found = from_genesis(shop, name="t2", cycle_start=instant("07-01"))
    assert {(c.team_id, c.cycle_start_us) for c in found if c.what != "batch"} == {
        ("t2", int(instant("07-01").timestamp()) * 10**6)
    }
    assert len({c.key for c in found if c.what == "batch"}) == 4
    with pytest.raises(NotFound):
        from_genesis(shop, name="nobody")


CHANGED = [
    ("quantity_micro", "quantity_micro + 40000000", {"e1"}),
    ("team_id", "'t2'", {"e1"}),
    ("app_id", "'a2'", set()),
    ("event_id", "'other'", set()),
    ("occurred_at", "occurred_at + interval '1' second", set()),
]


@pytest.mark.parametrize(("column", "value", "billed"), CHANGED, ids=[column for column, _, _ in CHANGED])
def test_usage_that_was_changed_before_it_was_billed_is_seen(
    shop: Shop, column: str, value: str, billed: set[str]
) -> None:
    """The close rated what lay there: it agrees with itself, and with nothing else."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    changed = tampered(shop, "event_id = 'e1'", **{column: value})
    close(changed.home, instant("08-02"), e_invoices=False)
    assert unequal(list(rerun(changed.home, Choice(), documents=False))) == set()
    found = unequal(from_genesis(changed))
    assert ("batch", "", "1", "usage") in found
    assert bool(billed) == bool({what for what, *_ in found} - {"batch", "usage by day"})
    assert unequal(usage_beside_the_log(changed.home)) == {("batch", "", "1", "usage")}
    changed.home.close()


@pytest.mark.parametrize(
    ("statement", "seen"),
    [
        (update(batches).where(batches.c.batch_no == 1).values(accepted=3, duplicates=0, quarantined=2), "accepted"),
        (update(quarantine).where(quarantine.c.event_id == "bad").values(reason="unknown_api"), "rejected"),
        (update(quarantine).where(quarantine.c.event_id == "bad").values(raw=b"x"), "rejected"),
    ],
    ids=["counts", "reason", "raw record"],
)
def test_changed_books_of_a_batch_are_seen(shop: Shop, statement: object, seen: str) -> None:
    eventful(shop)
    with shop.home.database.write() as connection:
        connection.execute(statement)  # type: ignore[call-overload]
    assert ("batch", "", "1", seen) in unequal(from_genesis(shop))


def test_an_archive_that_was_changed_or_is_gone_says_so(shop: Shop) -> None:
    eventful(shop)
    [july, *_] = sorted(p for p in shop.home.archive.folder.rglob("*.csv") if b"n2,2026" in p.read_bytes())
    whole = july.read_bytes()
    july.chmod(0o644)
    july.write_bytes(whole.replace(b"65", b"66"))
    with pytest.raises(ConservationBroken, match=r"july\.csv: .* in archive was changed after it was written"):
        from_genesis(shop)
    july.unlink()
    with pytest.raises(NotFound, match=r"july\.csv: .* is missing from archive"):
        from_genesis(shop)


def test_nothing_of_the_home_is_changed(shop: Shop) -> None:
    eventful(shop)

    def everything() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in sorted(shop.home.folder.rglob("*")) if p.is_file() and p.suffix == ""}

    def tables() -> list[str]:
        with shop.home.database.read() as connection:
            return [str(connection.execute(select(table)).all()) for table in metadata.sorted_tables]

    before = everything(), tables(), shop.home.usage.lake.last_batch()
    from_genesis(shop)
    assert (everything(), tables(), shop.home.usage.lake.last_batch()) == before


def test_the_commands_say_so(shop: Shop, tmp_path: Path, run_billing: Callable[..., tuple[int, str]]) -> None:
    eventful(shop)
    out = tmp_path / "all.csv"
    status, said = run_billing(shop, "audit", "rerun", "--all", "--from-genesis", "--no-documents", "--csv", str(out))
    assert status == 0, said
    assert "batch,24,0,0" in said
    assert out.read_text().count("batch,,,") == 24
    assert run_billing(shop, "audit", "usage") == (0, "what,equal,differs,renderer\nbatch,4,0,0\n")
    changed = tampered(shop, "event_id = 'e6'", quantity_micro="quantity_micro + 1000000")
    status, said = run_billing(changed, "audit", "rerun", "t1", "--from-genesis", "--no-documents")
    assert status == 1
    assert "differs: batch 4, usage: stored " in said
    status, said = run_billing(changed, "audit", "usage")
    assert status == 1
    assert "differs: batch 4, usage: stored 4-" in said
    assert run_billing(changed, "audit", "rerun", "t1", "--from-genesis", "--as-known-now")[0] == 2
    changed.home.close()


def test_a_batch_of_an_earlier_version_has_no_digest_in_the_log(shop: Shop) -> None:
    """Nothing is said of it: only the archive proves it."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", now="08-02")
    with shop.home.database.write() as connection:
        connection.execute(text("update log set payload = replace(payload, 'digest', 'formerly')"))
    assert usage_beside_the_log(shop.home) == []
    with shop.home.database.write() as connection:
        connection.execute(text("delete from log where kind = 'batch'"))
    assert unequal(usage_beside_the_log(shop.home)) == {("batch", "", "1", "usage")}


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
EVENT = st.tuples(TEXT, st.integers(0, 10**12), TEXT, st.integers(-(10**15), 10**15), st.sampled_from(["t1", "t2"]))


@settings(max_examples=25, deadline=None)
@given(events=st.lists(EVENT, min_size=1, max_size=12, unique_by=lambda e: e[0]), data=st.data())
def test_a_digest_knows_the_events_and_not_their_order(
    events: list[tuple[str, int, str, int, str]], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever the order, the slices and the files; and any change of any column is another digest."""
    first = _stored(tmp_path_factory, list(enumerate(events)), [len(events)])
    shuffled = data.draw(st.permutations(list(enumerate(events))))
    assert _stored(tmp_path_factory, shuffled, [1] * len(events)) == first
    place = data.draw(st.integers(0, len(events) - 1))
    column = data.draw(st.integers(0, 4))
    other: list[Any] = list(events[place])
    other[column] += 1 if column in (1, 3) else "#"
    changed = [*events[:place], tuple(other), *events[place + 1 :]]
    assert _stored(tmp_path_factory, list(enumerate(changed)), [len(events)]) != first


def _stored(
    folders: pytest.TempPathFactory, events: Sequence[tuple[int, tuple[str, int, str, int, str]]], slices: list[int]
) -> dict[int, Digest]:
    table = UsageTable(folders.mktemp("usage"))
    table.lake.create()
    lines, said = zip(*events, strict=True)
    ids, at, app, quantity, team = zip(*said, strict=True)
    rows = pa.table(
        {
            "file_no": pa.array([0] * len(ids), pa.int32()),
            "line": pa.array(lines, pa.int64()),
            "event_id": pa.array(ids, pa.string()),
            "occurred_at": pa.array(at, pa.int64()).cast(pa.timestamp("us", tz="UTC")),
            "app_id": pa.array(app, pa.string()),
            "api": pa.array(["render"] * len(ids), pa.string()),
            "quantity_micro": pa.array(quantity, pa.int64()),
            "corrects": pa.array([""] * len(ids), pa.string()),
            "team_id": pa.array(team, pa.string()),
            "content_hash": pa.array([0] * len(ids), pa.int64()),
        }
    )
    starts = [sum(slices[:n]) for n in range(len(slices))]
    table.append_slices(1, lambda: [rows.slice(low, many) for low, many in zip(starts, slices, strict=True)])
    return stored_digests(table, CommittedBatches(through=1, void=()))


def test_digests_are_pinned(shop: Shop) -> None:
    """The same on every machine and in every version: the log of years ago holds them."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "é-2,2026-07-05T00:00:00Z,,render,1,,t2", now="08-02")
    with shop.home.database.read() as connection:
        [one] = stored_digests(shop.home.usage, committed(connection)).values()
    assert str(one) == "2-9b1da229d8b4805d7eaae93171349ce7"
