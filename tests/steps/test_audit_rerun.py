"""Closed cycles again: equal whatever came since, and every change of what is stored is seen (rules 7.1, 3.4, 3.5)."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pyarrow.compute as pc
import pytest
from deltalake import DeltaTable
from sqlalchemy import Table, update

from billing.core.errors import NotFound
from billing.documents.renderer import Renderer
from billing.steps.audit.choosing import Choice
from billing.steps.audit.comparing import Comparison, Verdict
from billing.steps.audit.known_now import known_now, money_by_team
from billing.steps.audit.rerun import rerun
from billing.steps.credit import credit
from billing.steps.homes import home_at
from billing.steps.reissue import reissue
from billing.steps.simulate import simulate
from billing.steps.upkeep import upkeep
from billing.store.documents import documents_of
from billing.store.tables import carry, closes, cycles, draws, invoice_lines, invoices, usage_days
from tests.slow_model import histories

from .small_world import ALWAYS, REFERENCE, Shop, instant

JULY = "2026-07-01T00:00:00Z"
MOVED = [
    f"a1,h1,{ALWAYS},2026-07-03T00:00:00Z",
    "a1,h2,2026-07-03T00:00:00Z,",
    f"a2,h2,{ALWAYS},",
]
FIRST, SECOND = "INV-2026-000001", "INV-2026-000002"


def compared(shop: Shop, documents: bool = True, **chosen: object) -> list[Comparison]:
    return list(rerun(shop.home, Choice(**chosen), documents=documents))  # type: ignore[arg-type]


def unequal(shop: Shop, documents: bool = False) -> set[tuple[str, str, str]]:
    """What differs: (what, team, field)."""
    return {(c.what, c.team_id, c.field) for c in compared(shop, documents) if c.verdict is not Verdict.EQUAL}


def two_months(shop: Shop) -> None:
    """July and August of both teams, closed and rendered: late usage and a correction are in August."""
    shop.load()
    shop.ingest("e1,2026-07-05T00:00:00Z,a1,render,65,,", "e2,2026-07-06T00:00:00Z,a2,translate,30,,", now="08-02")
    shop.close("08-02")
    shop.ingest(
        "e3,2026-08-05T00:00:00Z,a1,render,90,,",
        "e4,2026-07-07T00:00:00Z,a2,translate,3,,",
        "e5,2026-07-06T00:00:00Z,a2,translate,-2,e2,",
        now="09-02",
    )
    shop.close("09-02")
    assert not shop.render().failed


def test_what_came_since_changes_no_closed_cycle(shop: Shop) -> None:
    """Later usage of the closed months, another price, an app that moved, another theme, compaction, corrections of
    invoices: each cycle is what it was, to the last byte.
    """
    two_months(shop)
    before = compared(shop)
    prices = [line.replace("2.4", "3.1") for line in REFERENCE["unit_prices"]]
    shop.load(unit_prices=prices, app_hubs=MOVED)
    shop.ingest("e6,2026-07-05T00:00:00Z,a1,render,500,,", now="10-01")
    credit(shop.home, FIRST, reason="wrong address", as_of=instant("10-01"))
    reissue(shop.home, FIRST, as_of=instant("10-02"))
    assert not shop.render().failed
    upkeep(shop.home, 0)
    after = compared(shop)
    assert {one.verdict for one in after} == {Verdict.EQUAL}
    assert set(before) <= set(after)
    assert Counter(one.what for one in before)["pdf"] == 2 * 4
    assert Counter(one.what for one in after)["pdf"] == 2 * (4 + 2), "a credit note, and what took the invoice's place"


@pytest.mark.parametrize("seed", [33, 7, 101])
def test_random_histories_are_the_same_again(seed: int, tmp_path: Path, database_url: str | None) -> None:
    histories.write(histories.generate(random.Random(seed)), tmp_path / "scenario")
    home = home_at(tmp_path / "home", database_url)
    simulate(home, tmp_path / "scenario", tmp_path / "out")
    found = list(rerun(home, Choice(), documents=False))
    assert found
    assert [one for one in found if one.verdict is not Verdict.EQUAL] == []
    home.close()


TAMPERED = [
    (carry, {"opening_micro": 1}, {("carry", "opening_micro")}),
    (carry, {"late_usage_micro": 7}, {("carry", "late_usage_micro")}),
    (draws, {"charged_units": 9}, {("draw", "charged_units")}),
    (draws, {"unit_price_micro": 1}, {("draw", "charged_units"), ("draw", "tokens_micro")}),
    (usage_days, {"quantities": "[1]"}, {("usage by day", "quantities")}),
    (cycles, {"time_zone": "Asia/Tokyo"}, {("cycle", "time_zone")}),
    (invoices, {"total_minor": 1}, {("invoice", "total_minor")}),
    (invoices, {"customer_id": "c1"}, {("invoice", "customer_id")}),
    (invoices, {"issue_day": 1}, {("invoice", "issue_day")}),
    (invoice_lines, {"net_minor": 1}, {("line", "net_minor")}),
]


@pytest.mark.parametrize(
    ("table", "values", "seen"), TAMPERED, ids=[f"{t.name}-{next(iter(v))}" for t, v, _ in TAMPERED]
)
def test_a_changed_row_is_seen(shop: Shop, table: Table, values: dict[str, object], seen: set[tuple[str, str]]) -> None:
    """Of team t2's July, whatever is changed in the ledger or in an invoice."""
    two_months(shop)
    assert unequal(shop) == set()
    with shop.home.database.write() as connection:
        if "team_id" in table.c:
            mine = (table.c.team_id == "t2") & (table.c.cycle_start_us == us(JULY))
        else:
            mine = table.c.number == SECOND
        assert connection.execute(update(table).where(mine).values(**values)).rowcount
    assert unequal(shop) == {(what, "t2", field) for what, field in seen}


def us(text: str) -> int:
    from billing.core.instants import parse_instant_us

    return parse_instant_us(text)


def test_a_row_too_many_and_a_row_too_few_are_seen(shop: Shop) -> None:
    two_months(shop)
    with shop.home.database.write() as connection:
        connection.execute(invoice_lines.delete().where(invoice_lines.c.number == FIRST))
        connection.execute(carry.insert().values({**_carry_row(), "api": "browse"}))
    assert {(what, team) for what, team, _ in unequal(shop)} == {("line", "t1"), ("carry", "t1")}


def _carry_row() -> dict[str, object]:
    amounts = dict.fromkeys(("opening_micro", "usage_micro", "late_usage_micro", "charged_units", "closing_micro"), 0)
    return {"team_id": "t1", "cycle_start_us": us(JULY), "billing": "rated", **amounts}


def test_usage_that_was_changed_in_the_lake_is_seen(shop: Shop) -> None:
    two_months(shop)
    DeltaTable(str(shop.home.folder / "lake" / "usage")).update(
        updates={"quantity_micro": "quantity_micro + 20000000"}, predicate="event_id = 'e1'"
    )
    fresh = Shop(home=home_at(shop.home.folder, shop.home.database.url), folder=shop.folder)
    changed = fresh.home.usage.lake.dataset().to_table(filter=pc.field("event_id") == "e1")
    assert changed["quantity_micro"].to_pylist() == [85_000_000]
    assert {("carry", "t1", "usage_micro"), ("line", "t1", "charged_units")} <= unequal(fresh)
    fresh.home.close()


@pytest.mark.parametrize("kind", ["pdf", "cii"])
def test_a_changed_file_is_seen(shop: Shop, kind: str) -> None:
    two_months(shop)
    with shop.home.database.read() as connection:
        [path] = [d.path for d in documents_of(connection, FIRST) if d.kind == kind]
    file = shop.home.documents.locate(path)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"\n")
    [one] = [c for c in compared(shop) if c.verdict is not Verdict.EQUAL]
    assert (one.what, one.key, one.field) == (kind, FIRST, "file")
    assert "was changed after it was written" in one.again


def test_another_renderer_is_told_apart_from_a_difference(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that differ, by versions that differ: the text decides (rule 7.1)."""
    two_months(shop)
    render, versions = Renderer.render, Renderer.recorded_versions
    monkeypatch.setattr(Renderer, "render", lambda self, *given: render(self, *given) + b"\n%")
    assert {c.verdict for c in compared(shop) if c.what == "pdf" and c.field == "sha256"} == {Verdict.DIFFERS}
    monkeypatch.setattr(Renderer, "recorded_versions", lambda self: {**versions(self), "weasyprint": "71.0"})
    found = [c for c in compared(shop) if c.verdict is not Verdict.EQUAL]
    assert {(c.what, c.verdict) for c in found} == {("pdf", Verdict.RENDERER)}
    assert "weasyprint: 70.0 -> 71.0" in found[0].again
    other = render(Renderer.open(Path("templates/invoices"), "default"), *_another(shop))
    monkeypatch.setattr(Renderer, "render", lambda self, *given: other)
    assert {c.verdict for c in compared(shop, name=SECOND) if c.what == "pdf" and c.field == "sha256"} == {
        Verdict.DIFFERS
    }


def _another(shop: Shop) -> tuple[object, bytes | None]:
    from billing.steps.e_invoices import xml_of
    from billing.steps.render import read_issued

    [invoice] = read_issued(shop.home, [FIRST])
    return invoice, xml_of(invoice)


def test_one_invoice_one_team_one_month(shop: Shop) -> None:
    two_months(shop)

    def asked(**chosen: object) -> set[tuple[str, int]]:
        return {(c.team_id, c.cycle_start_us) for c in compared(shop, documents=False, **chosen)}

    july, august = us(JULY), us("2026-08-01T00:00:00Z")
    assert asked() == {("t1", july), ("t1", august), ("t2", july), ("t2", august)}
    assert asked(name=SECOND) == {("t2", july)}
    assert asked(name="t1") == {("t1", july), ("t1", august)}
    assert asked(name="t1", cycle_start=instant("08-01")) == {("t1", august)}
    assert asked(ended_from=instant("08-15")) == {("t1", august), ("t2", august)}
    assert asked(ended_before=instant("08-15")) == {("t1", july), ("t2", july)}
    with pytest.raises(NotFound, match="There is no closed cycle of an invoice or a team INV-9"):
        asked(name="INV-9")


def test_the_command_says_so_and_by_its_exit_status(
    shop: Shop, tmp_path: Path, run_billing: Callable[..., tuple[int, str]]
) -> None:
    two_months(shop)
    out = tmp_path / "all.csv"
    status, said = run_billing(shop, "audit", "rerun", "--all", "--csv", str(out))
    assert status == 0, said
    assert "pdf,8,0,0" in said
    assert out.read_text().count("equal") == len(compared(shop))
    with shop.home.database.write() as connection:
        connection.execute(update(closes).values(tzdata="2020.1"))
    assert run_billing(shop, "audit", "rerun", "--all", "--no-documents")[0] == 3, "other zones, the same figures"
    with shop.home.database.write() as connection:
        connection.execute(update(invoices).where(invoices.c.number == SECOND).values(tax_minor=1))
    status, said = run_billing(shop, "audit", "rerun", SECOND, "--no-documents")
    assert status == 1
    assert f"differs: invoice {SECOND} of team t2, cycle of {JULY}, tax_minor: stored 1, again" in said
    assert run_billing(shop, "audit", "rerun", "--all", "t1")[0] == 2, "one way to choose at a time"


def test_as_known_now_bills_late_usage_where_it_occurred(
    shop: Shop, run_billing: Callable[..., tuple[int, str]]
) -> None:
    """Rule 7.2. July of t2: 30 translations, 3 that came late, 2 taken back; t1 has 65 and 90 minutes of rendering."""
    two_months(shop)
    before = shop.export()
    found = known_now(shop.home, Choice())
    changed = {
        (c.what, c.team_id, c.cycle_start_us, c.field): (c.stored, c.again) for c in found if c.stored != c.again
    }
    july, august = us(JULY), us("2026-08-01T00:00:00Z")
    assert changed["carry", "t2", july, "charged_units"] == ("30", "31")
    assert changed["carry", "t2", august, "charged_units"] == ("1", "")
    assert {team for _, team, _, _ in changed} == {"t2"}
    status, said = run_billing(shop, "audit", "rerun", "--all", "--as-known-now")
    assert status == 1
    assert "t2,EUR," in said
    assert shop.export() == before, "nothing is changed"
    assert {c.verdict for c in compared(shop, documents=False)} == {Verdict.EQUAL}


def test_as_known_now_takes_todays_prices(shop: Shop) -> None:
    two_months(shop)
    prices = [line.replace("1.15", "2.30") for line in REFERENCE["unit_prices"]]
    shop.load(unit_prices=prices)
    # 155 minutes are 7 units of 20, one free in each month; 5 at 1.15, with a fifth of tax.
    assert money_by_team(known_now(shop.home, Choice(name="t1"))) == [("t1", "EUR", Decimal("6.90"), Decimal("13.80"))]
