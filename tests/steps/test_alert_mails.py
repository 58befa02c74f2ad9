"""From how teams stand to what their buyers read: alerts as mails, over a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .mail_world import Post, Served, Server, said
from .small_world import BOUGHT, Shop, instant
from .test_alerts import CARDS, PAID, refresh, use

BUYERS = [
    "c1,Buyer One,1 street,,1000,Town,,FR,FR83404833048,,fr-FR",
    "c2,Büyer „Two“ & <Söhne>,2 street,,2000,Town,,DE,DE136695976,two@example.com,de-DE",
]


@pytest.fixture
def post(shop: Shop) -> Iterator[Post]:
    """Teams with stored cards of which nothing holds yet; the first buyer has no address."""
    server = Server()
    serving = Served(server)
    serving.start()
    made = Post(shop=shop, server=server)
    made.finance("finance@example.com")
    load(shop)
    refresh(shop, "07-02")
    yield made
    serving.stop()


def load(shop: Shop, subscriptions: list[str] = PAID, grant: str = "100") -> None:
    shop.load(
        customers=BUYERS,
        teams=["t1,c1,Team One", "t2,c2,Team <Two> & Söhne"],
        subscriptions=subscriptions,
        payment_methods=CARDS,
        token_grants=[f"g2,flex2,{grant},{BOUGHT},2027-07-01T00:00:00Z"],
    )


def test_a_low_balance_reaches_its_buyer_once(post: Post) -> None:
    """Rules 8.1, 5.5: one mail in the buyer's words; another refresh and another delivery send nothing."""
    shop, at = post.shop, instant("2026-07-11T01:00:00Z")
    use(shop, "e1", "07-10", "1840", "e2,2026-07-10T00:00:00Z,a2,translate,2,,")
    assert refresh(shop, "07-11").alerts.mails == 1
    assert len(post.send(at).sent) == 1
    [mail] = post.server.to("two@example.com")
    assert mail["Subject"] == "Team <Two> & Söhne: Ein Guthaben ist niedrig"
    text = said(mail).replace("\xa0", " ")
    assert "• Flex-Token: Noch 8 von 100 sind übrig (8 %)." in text
    assert "Ihr Konto zeigt alle Guthaben" in text and "Team: Team <Two> & Söhne" in text
    assert "Team &lt;Two&gt; &amp; Söhne" in said(mail, "html")
    assert (refresh(shop, "07-11").alerts.mails, refresh(shop, "07-12").alerts.mails) == (0, 0)
    assert (post.send(at).sent, post.send(instant("07-12")).sent) == ((), ())
    assert len(post.server.mails) == 1


def test_a_buyer_without_an_address_is_told_by_finance(post: Post) -> None:
    load(post.shop, subscriptions=[row.replace("EUR,pm1", "EUR,") for row in PAID])
    assert refresh(post.shop, "07-03").alerts.mails == 1
    assert len(post.send(instant("07-04")).sent) == 1
    [mail] = post.server.to("finance@example.com")
    assert mail["Subject"] == "Team One: no payment method is stored"
    assert "• No payment method is stored for pay as you go (payg1)." in said(mail)
    assert "the customer has no address of mail" in said(mail)


def test_what_a_home_begins_with_is_one_mail_to_finance(shop: Shop) -> None:
    """Alerts that held before anybody asked for them are counted, and buyers are not written to."""
    server = Server()
    serving = Served(server)
    serving.start()
    post = Post(shop=shop, server=server)
    post.finance("finance@example.com")
    load(shop, subscriptions=[row.replace("EUR,pm1", "EUR,") for row in PAID])
    assert refresh(shop, "07-02").alerts.mails == len(post.send(instant("07-03")).sent) == 1
    serving.stop()
    [(to, mail, _)] = server.mails
    assert (to, mail["Subject"]) == (["finance@example.com"], "Alerts that hold now")
    assert "Payment methods that are missing: 1" in said(mail) and "held already when alerts began" in said(mail)
