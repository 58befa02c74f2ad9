"""Alerts: each once under reruns and kills, ended when they do not hold any more, with one mail a team."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from billing.core.alert_rules import AlertKind, AlertRules
from billing.steps import commit_points
from billing.steps.alerts import ListedAlert, list_alerts
from billing.steps.open_ratings import refresh_open
from billing.steps.standings import StandingsTold, refresh_standings
from billing.store import log
from billing.store.tables import log as log_table
from billing.store.tables import mailings

from .small_world import BOUGHT, REFERENCE, Shop, instant

CARD = "pm1,c1,stripe,tok_1,visa,4242,2028-11"
CARDS = [CARD, "pm2,c2,stripe,tok_2,visa,4242,2028-11"]
PAID = [f"{row}pm{row[4]}" if row.startswith("payg") else row for row in REFERENCE["subscriptions"]]
RULES = AlertRules()


class Killed(BaseException):
    """The process ends here."""


def world(shop: Shop, **changed: Any) -> None:
    """The small world with a stored card, and a first refresh in which nothing holds."""
    given = {
        "subscriptions": PAID,
        "payment_methods": CARDS,
        "token_grants": [f"g2,flex2,100,{BOUGHT},2027-07-01T00:00:00Z"],
    }
    shop.load(**(given | changed))
    refresh(shop, "07-02")


def refresh(shop: Shop, at: str, rules: AlertRules = RULES) -> StandingsTold:
    refresh_open(shop.home)
    return refresh_standings(shop.home, instant(at), rules)


def use(shop: Shop, event: str, day: str, quantity: str, *more: str) -> None:
    shop.ingest(f"{event},2026-{day}T00:00:00Z,a2,render,{quantity},,", *more, now=f"2026-{day}T01:00:00Z")


def held(shop: Shop, *, ended: bool = False) -> dict[str, ListedAlert]:
    return {alert.key: alert for alert in list_alerts(shop.home, ended=ended)}


def mails(shop: Shop) -> list[tuple[str, str, dict[str, Any]]]:
    with shop.home.database.read() as connection:
        rows = connection.execute(select(mailings).order_by(mailings.c.due_us, mailings.c.mail_key))
        return [(row.subject_id, row.customer_id, json.loads(row.payload)) for row in rows]


def test_a_low_balance_is_told_once_a_threshold_and_again_of_a_new_grant(shop: Shop) -> None:
    world(shop)
    use(shop, "e1", "07-10", "1600")
    assert refresh(shop, "07-11").alerts.raised == 1
    assert list(held(shop)) == ["low/20%/flex/g2"]
    assert refresh(shop, "07-11").alerts.raised == refresh(shop, "07-12").alerts.raised == 0
    use(shop, "e2", "07-13", "320")
    assert refresh(shop, "07-14").alerts.raised == 1
    assert sorted(held(shop)) == ["low/20%/flex/g2", "low/5%/flex/g2"]
    assert [(team, customer, mail["subject"]) for team, customer, mail in mails(shop)] == [
        ("t2", "c2", "Team Two: 20 of 100 Flex tokens are left (20 % or less)"),
        ("t2", "c2", "Team Two: 4 of 100 Flex tokens are left (5 % or less)"),
    ]
    grants = [f"g2,flex2,100,{BOUGHT},2027-07-01T00:00:00Z", "g3,flex2,400,2026-07-14T00:00:00Z,2027-08-01T00:00:00Z"]
    shop.load(subscriptions=PAID, payment_methods=CARDS, token_grants=grants)
    assert refresh(shop, "07-15").alerts.ended == 2, "there is enough in the pool again"
    use(shop, "e3", "07-16", "6480")
    refresh(shop, "07-17")
    assert sorted(held(shop)) == ["low/20%/flex/g3"]
    assert len(mails(shop)) == 3


def test_one_that_holds_again_is_not_told_again(shop: Shop) -> None:
    world(shop)
    use(shop, "e1", "07-10", "1700")
    use(shop, "e0", "07-09", "300")
    refresh(shop, "07-11")
    grants = [f"g2,flex2,2000,{BOUGHT},2027-07-01T00:00:00Z"]
    shop.load(subscriptions=PAID, payment_methods=CARDS, token_grants=grants)
    assert refresh(shop, "07-12").alerts.ended == 2
    assert held(shop) == {}
    world_again = [f"g2,flex2,100,{BOUGHT},2027-07-01T00:00:00Z"]
    shop.load(subscriptions=PAID, payment_methods=CARDS, token_grants=world_again)
    assert refresh(shop, "07-13").alerts.mails == 0
    assert len(held(shop)) == 2
    assert len(mails(shop)) == 1
    assert len(mails(shop)[0][2]["alerts"]) == 1, "the smaller share says it all"


def test_free_balances_of_one_subscription_are_told_each(shop: Shop) -> None:
    """Each API of it is a balance of its own: where one is nearly used up, the other one is told of nevertheless."""
    rules = AlertRules(free=True)
    free = ["free1,render,20", "free1,translate,20"]
    shop.load(subscriptions=PAID, payment_methods=CARDS, free_allowances=free)
    refresh(shop, "07-02", rules)
    used = [f"{api},2026-07-10T00:00:00Z,a1,{api},{n},," for api, n in (("render", 400), ("translate", 17))]
    shop.ingest(*used, now="07-11")
    assert refresh(shop, "07-11", rules).alerts.raised == 3
    ((team, _, mail),) = mails(shop)
    said = [(one["kind"], one["detail"]["api"], one["detail"]["percent"]) for one in mail["alerts"]]
    assert (team, said) == ("t1", [("low", "translate", 20), ("low", "render", 5)])


def test_what_a_home_begins_with_is_told_to_finance_only(shop: Shop) -> None:
    """Switching it on sends no mail a team: one says how many alerts hold."""
    shop.load()
    done = refresh(shop, "07-02")
    assert (done.alerts.raised, done.alerts.mails) == (2, 1)
    ((team, customer, mail),) = mails(shop)
    assert (team, customer, mail["kind"], mail["why"]) == ("", "", "summary", "first")
    assert mail["counts"] == {"payment_missing": 2}


def test_too_many_at_once_become_one_to_finance(shop: Shop) -> None:
    world(shop)
    shop.load(payment_methods=CARDS, subscriptions=REFERENCE["subscriptions"])
    assert refresh(shop, "07-03", AlertRules(mails_at_once_max=1)).alerts.mails == 1
    assert [(team, mail["why"]) for team, _, mail in mails(shop)] == [("", "many")]


def test_what_notifiers_say_is_bounded(shop: Shop) -> None:
    """However many were raised: the most urgent first, a line each, none longer than a line."""
    long, many = "Very " * 60 + "long", [f"new{n},,flex,{BOUGHT},UTC,,," for n in range(60)]
    subscriptions = [*(row.replace("EUR,pm1", "EUR,") for row in PAID), *many]
    shop.load(teams=[f"t1,c1,{long}", "t2,c2,Team Two"], subscriptions=subscriptions, payment_methods=CARDS)
    told = refresh(shop, "07-02").alerts
    assert (told.raised, len(told.words), told.words[-1]) == (61, 51, "and 11 more")
    assert told.words[0].startswith("Very Very") and max(map(len, told.words)) == 200
    assert refresh(shop, "07-02").alerts.words == ()


def test_no_mail_where_none_is_wanted_and_no_alert_of_a_kind_that_is_off(shop: Shop) -> None:
    world(shop)
    use(shop, "e1", "07-10", "1600")
    rules = AlertRules(mail=False, off=frozenset({AlertKind.LOW}))
    assert refresh(shop, "07-11", rules).alerts.raised == 0
    shop.load(
        payment_methods=CARDS,
        subscriptions=REFERENCE["subscriptions"],
        token_grants=["g2,flex2,100,2026-07-01T00:00:00Z,2027-07-01T00:00:00Z"],
    )
    assert (refresh(shop, "07-12", rules).alerts.raised, mails(shop)) == (2, [])


def test_each_kind(shop: Shop) -> None:
    """Ends soon with something left; unfunded usage; a card that expires before the next charge; no method; bought and
    not assigned."""
    subscriptions = [
        *(row for row in PAID if not row.startswith("payg2")),
        f"new,,flex,{BOUGHT},UTC,,,",
    ]
    world(
        shop,
        subscriptions=subscriptions,
        payment_methods=[CARD.replace("2028-11", "2026-08")],
        token_grants=[f"g2,flex2,30,{BOUGHT},2026-08-20T00:00:00Z"],
    )
    assert list(held(shop)) == ["unassigned/new"]
    use(shop, "e1", "07-20", "40", "e2,2026-07-20T00:00:00Z,a2,translate,2,,")
    refresh(shop, "08-05")
    assert sorted(held(shop)) == [
        "ends/2026-08-20T00:00:00Z/flex/g2",
        "payment_expires/payg1/pm1/2026-08",
        "unassigned/new",
    ], "what nothing paid for in July is not of the running cycle"
    use(shop, "e3", "08-06", "1", "e4,2026-08-06T00:00:00Z,a2,translate,2,,")
    refresh(shop, "08-07")
    found = held(shop)
    assert found["unfunded/t2/2026-08-01T00:00:00Z"].subject == "2 units of translate were used that nothing paid for"
    assert found["ends/2026-08-20T00:00:00Z/flex/g2"].subject == "28 of 30 Flex tokens end on 2026-08-20 unused"
    refresh(shop, "09-02")
    ended = {key for key, alert in held(shop, ended=True).items() if alert.ended_at}
    assert ended == {"unfunded/t2/2026-08-01T00:00:00Z", "ends/2026-08-20T00:00:00Z/flex/g2"}


def test_one_unit_that_nothing_paid_for_is_told_as_one(shop: Shop) -> None:
    world(shop, subscriptions=[row for row in PAID if not row.startswith("payg2")])
    use(shop, "e1", "07-10", "1", "e2,2026-07-10T00:00:00Z,a2,translate,1,,")
    refresh(shop, "07-11")
    (unfunded,) = held(shop).values()
    assert unfunded.subject == "1 unit of translate was used that nothing paid for"


@pytest.mark.parametrize("written", ["2026-08", "08/26", "08/2026"])
def test_a_card_expires_however_its_month_is_written(shop: Shop, written: str) -> None:
    """As the collecting of payments reads it."""
    world(shop, payment_methods=[CARD.replace("2028-11", written), CARDS[1]])
    refresh(shop, "08-05")
    assert held(shop)["payment_expires/payg1/pm1/2026-08"].detail["expires"] == "2026-08"
    assert [mail["kind"] for _, _, mail in mails(shop)] == ["payment_expires"]


def test_what_another_mail_tells_of_is_raised_without_one(shop: Shop) -> None:
    """A card's owner is not written to twice; the alert is listed, and others of the team are mailed without it."""
    rules = AlertRules(told_otherwise=frozenset({AlertKind.PAYMENT_EXPIRES}))
    world(shop, payment_methods=[CARD.replace("2028-11", "2026-08"), CARDS[1].replace("2028-11", "2026-08")])
    use(shop, "e1", "07-10", "1600")
    told = refresh(shop, "08-05", rules).alerts
    assert (told.raised, told.mails) == (3, 1)
    assert sorted(held(shop)) == [
        "low/20%/flex/g2",
        "payment_expires/payg1/pm1/2026-08",
        "payment_expires/payg2/pm2/2026-08",
    ]
    ((team, _, mail),) = mails(shop)
    assert (team, [one["kind"] for one in mail["alerts"]]) == ("t2", ["low"])


def test_a_pool_that_will_not_last_is_told(shop: Shop) -> None:
    world(shop, token_grants=[f"g2,flex2,50,{BOUGHT},2027-07-01T00:00:00Z"])
    shop.ingest(*(f"d{day},2026-07-{day:02d}T06:00:00Z,a2,render,20,," for day in range(2, 25)), now="07-25")
    refresh(shop, "07-25")
    alert = held(shop)["runs_out/flex/g2"]
    assert str(alert.detail["runs_out_at"])[:7] == "2026-08"
    assert str(alert.detail["earliest"]) <= str(alert.detail["runs_out_at"]) <= str(alert.detail["latest"])


@pytest.mark.parametrize("point", commit_points.STANDINGS)
def test_killed_anywhere_each_is_told_once(shop: Shop, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world(shop)
    use(shop, "e1", "07-10", "1600")

    def die(reached: str) -> None:
        if reached == point:
            raise Killed

    monkeypatch.setattr(commit_points, "_listeners", [die])
    with pytest.raises(Killed):
        refresh(shop, "07-11")
    monkeypatch.setattr(commit_points, "_listeners", [])
    refresh(shop, "07-11")
    refresh(shop, "07-11")
    assert list(held(shop)) == ["low/20%/flex/g2"]
    assert len(mails(shop)) == 1
    with shop.home.database.read() as connection:
        log.verify(connection)
        written = select(log_table.c.payload).where(log_table.c.kind == "alerts")
        (entry,) = [json.loads(row.payload) for row in connection.execute(written)]
    assert (entry["raised"]["keys"], entry["mails"]) == (["low/20%/flex/g2"], 1)


def test_nothing_secret_is_told(shop: Shop, run_billing: Callable[..., tuple[int, str]]) -> None:
    """No token of a payment method in any alert, mail or list."""
    world(shop, payment_methods=[CARD.replace("2028-11", "2026-08").replace("tok_1", "tok_hush"), CARDS[1]])
    refresh(shop, "08-05")
    status, said = run_billing(shop, "alerts", "list", "--all")
    assert status == 0
    assert "The stored payment method expires at the end of 2026-08" in said
    assert "hush" not in said + repr(held(shop)) + repr(mails(shop))
