"""Mails of what was issued: each buyer gets one, with the files that were kept, and nothing goes twice or is lost
without a word (docs/delivery.md).
"""

from __future__ import annotations

import json
import smtplib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parseaddr
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import select, update

from billing.core.errors import DataRefused, NotFound, SourceUnavailable
from billing.core.file_layout import Layout
from billing.core.mail_addresses import parse_mailbox
from billing.core.mail_kinds import MailKind
from billing.steps.audit.chain import verify_log
from billing.steps.audit.logged import disagreements
from billing.steps.credit import credit
from billing.steps.deliver_mail import RETRY_AFTER, TRIES_OF_REFUSED, deliver_mail, drop, resend, troubled
from billing.steps.mail_making import preview_mail
from billing.steps.mail_outbox import list_mails, read_mail
from billing.steps.place_files import Destination, place_files
from billing.steps.places import Place
from billing.steps.run_summary import render_summary, run_summary
from billing.store.mailings import enqueue, mailing, put
from billing.store.tables import log, mailings

from .mail_world import Post, Served, Server, Straight, attached, issue, keep_document, said, stored
from .small_world import TEMPLATES, Shop, instant

ONE, TWO = "INV-2026-000001", "INV-2026-000002"
NOW = instant("2026-08-02T01:00:00Z")
BUYERS = (
    "c1,Buyer One,1 street,,1000,Town,,FR,FR83404833048,one@example.com,fr-FR",
    "c2,Büyer „Two“ & <Söhne>,2 street,,2000,Town,,DE,DE136695976,two@example.com,de-DE",
)
"""Two buyers with an address each."""
LAYOUT = Layout.parse("{number}.{kind}")


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    serving = Served(made)
    serving.start()
    yield made
    serving.stop()


@pytest.fixture
def post(shop: Shop, server: Server) -> Post:
    """Two invoices of July with documents that were made in no time."""
    issue(shop, BUYERS)
    for number in (ONE, TWO):
        keep_document(shop, number)
    return Post(shop=shop, server=server)


@pytest.fixture
def rendered(shop: Shop, server: Server) -> Post:
    """The same with documents as they are."""
    issue(shop, BUYERS)
    shop.render()
    return Post(shop=shop, server=server)


def states(post: Post) -> dict[str, str]:
    return {one.key: one.state for one in list_mails(post.shop.home)}


def entries(post: Post, kind: str) -> list[dict[str, object]]:
    with post.shop.home.database.read() as connection:
        rows = connection.execute(select(log.c.payload).where(log.c.kind == kind).order_by(log.c.seq)).scalars()
        return [json.loads(row) for row in rows]


def write(post: Post, kind: MailKind, customer_id: str, at: datetime = NOW, **payload: object) -> str:
    """A mail as the collecting of payments writes it."""
    key = f"{kind.value}:{payload.get('number', 'x')}"
    with post.shop.home.database.exclusive("books") as connection:
        subject = str(payload.get("number", "x"))
        enqueue(connection, key, kind, subject_id=subject, customer_id=customer_id, payload=payload, due=at)
    return key


# --- what goes


def test_each_buyer_gets_one_mail_with_the_files_that_were_kept(rendered: Post) -> None:
    """Byte for byte the stored PDF and XML; a second run sends nothing."""
    assert rendered.run(NOW).sent == (f"invoice:{ONE}", f"invoice:{TWO}")
    for address, number in (("one@example.com", ONE), ("two@example.com", TWO)):
        [message] = rendered.server.to(address)
        pdf, xml = stored(rendered.shop, number, "pdf"), stored(rendered.shop, number, "cii")
        assert attached(message) == {f"{number}.pdf": pdf, f"{number}.xml": xml}
    assert rendered.run(NOW + timedelta(hours=1)).sent == ()
    assert len(rendered.server.mails) == 2
    assert disagreements_of(rendered) == []
    assert verify_log(rendered.shop.home)


def disagreements_of(post: Post) -> list[str]:
    with post.shop.home.database.read() as connection:
        return disagreements(connection)


def test_headers_and_both_parts_say_it_in_the_buyers_language(post: Post) -> None:
    post.set(reply_to=parse_mailbox("Help <ap-desk@example.com>"), copy_to=(parse_mailbox("archive@example.com"),))
    post.run(NOW)
    [french], [german] = post.server.to("one@example.com"), post.server.to("two@example.com")
    assert french["Subject"] == f"Facture {ONE} de Example SAS"
    assert german["Subject"] == f"Rechnung {TWO} von Example SAS"
    assert "7,20" not in said(french) and "8,64" in said(french).replace("\u202f", " ")
    assert "Leistungszeitraum: 1. Juli 2026 – 31. Juli 2026" in said(german)
    assert "Büyer „Two“ &amp; &lt;Söhne&gt;" in said(german, "html") and "Büyer „Two“ & <Söhne>" in said(german)
    assert str(french["From"]) == "Example SAS <billing@example.com>"
    assert parseaddr(str(french["Reply-To"])) == ("Help", "ap-desk@example.com")
    assert german["To"].addresses[0].display_name == "Büyer „Two“ & <Söhne>"
    assert french["Auto-Submitted"] == "auto-generated" and french["Content-Language"] == "fr"
    assert french["Date"] and french["Message-ID"] != german["Message-ID"]
    assert "archive@example.com" not in str(french) and len(post.server.to("archive@example.com")) == 2


def test_the_proof_says_what_went_when(post: Post) -> None:
    post.run(NOW)
    one = read_mail(post.shop.home, f"invoice:{ONE}")
    [(_, message, content)] = [mail for mail in post.server.mails if "one@example.com" in mail[0]]
    pdf = stored(post.shop, ONE, "pdf")
    assert one.recipient == "one@example.com" and one.message_id == message["Message-ID"]
    assert one.proof["attachments"][0] == {
        "name": f"{ONE}.pdf", "bytes": len(pdf), "sha256": sha256(pdf).hexdigest()
    }  # fmt: skip
    assert one.proof["answer"] == "250 taken" and one.proof["subject"] == message["Subject"]
    # The server keeps CR LF and strips nothing but the dot at the end.
    assert one.proof["sha256"] == sha256(content).hexdigest()
    [entry, _] = entries(post, "mail")
    assert entry["sha256"] == one.proof["sha256"] and entry["to"] == "one@example.com"


def test_the_same_mail_is_the_same_bytes_but_for_its_date(post: Post) -> None:
    made = [preview_mail(post.shop.home, ONE, post.settings, "", TEMPLATES, "default") for _ in range(2)]
    assert made[0] == made[1] and b"\r\n.\r\n" not in made[0]
    post.run(NOW)
    [(_, _, sent), _] = post.server.mails
    undated = [[line for line in mail.split(b"\r\n") if not line.startswith(b"Date:")] for mail in (made[0], sent)]
    assert undated[0] == undated[1]


def test_credit_notes_are_mailed_when_they_have_a_document(rendered: Post) -> None:
    rendered.run(NOW)
    note = credit(rendered.shop.home, ONE, reason="wrong price", as_of=NOW)
    assert rendered.outbox(NOW).without_document == (note.number,)
    assert rendered.send(NOW).sent == ()
    rendered.shop.render()
    assert rendered.run(NOW).sent == (f"credit_note:{note.number}",)
    [_, message] = rendered.server.to("one@example.com")
    assert attached(message)[f"{note.number}.pdf"] == stored(rendered.shop, note.number, "pdf")
    assert "wrong price" in said(message) and ONE in said(message)


def test_finance_gets_the_summary_of_a_close_once(rendered: Post) -> None:
    rendered.finance("finance@example.com", "cfo@example.com")
    home = rendered.shop.home
    assert rendered.outbox(NOW).without_document == ("close-1",)
    kept = render_summary(home, run_summary(home, 1), TEMPLATES)
    rendered.run(NOW)
    rendered.run(NOW)
    [message] = rendered.server.to("finance@example.com")
    assert attached(message) == {"close-1.pdf": kept.pdf}
    assert "2 invoices" in message["Subject"] and "  issued 2026-08-02" in said(message)
    assert len(rendered.server.to("cfo@example.com")) == 1


def test_nothing_from_before_it_was_switched_on(post: Post) -> None:
    """Switching mail on does not mail years of invoices, nor reminders that had piled up."""
    write(post, MailKind.PAYMENT_OVERDUE, "c1", number=ONE, amount="1", currency="EUR", due_date="2026-08-01", days=9)
    post.set(since=NOW + timedelta(days=1))
    done = post.run(NOW + timedelta(days=2))
    assert (done.sent, done.dropped) == ((), 1)
    assert states(post) == {f"payment_overdue:{ONE}": "dropped"} and post.server.mails == []


def test_kinds_that_are_off_are_not_sent(post: Post) -> None:
    post.set(off=("invoice", "card_expiring"))
    key = write(
        post, MailKind.CARD_EXPIRING, "c1", payment_method_id="p", method="V", expires="2026-09", subscriptions=["s"]
    )
    assert post.run(NOW).sent == () and states(post) == {key: "dropped"}


def test_reminders_of_payments_go_without_files(post: Post) -> None:
    """A buyer's machine would take the XML of a reminder for a second invoice."""
    post.set(off=("invoice",))
    told = {"number": ONE, "amount": "1234.50", "currency": "EUR", "due_date": "2026-08-01", "days": 12}
    key = write(post, MailKind.PAYMENT_OVERDUE, "c2", **told)
    assert post.run(NOW).sent == (key,)
    [message] = post.server.to("two@example.com")
    assert attached(message) == {} and "1.234,50 EUR" in said(message).replace("\xa0", " ")


# --- what does not


def test_nobody_to_write_to_is_told_and_goes_by_itself_once_there_is(post: Post) -> None:
    post.finance("finance@example.com")
    post.shop.load(customers=[BUYERS[0].replace("one@example.com", ""), BUYERS[1]])
    post.run(NOW)
    [waiting] = troubled(post.shop.home)
    assert (waiting.key, waiting.state, waiting.problem) == (
        f"invoice:{ONE}",
        "undeliverable",
        "customer c1: no address",
    )
    [told] = post.server.to("finance@example.com")
    assert f"invoice:{ONE}: undeliverable, customer c1: no address" in said(told)
    post.run(NOW + timedelta(hours=1))
    assert len(post.server.mails) == 2 and len(entries(post, "mail_trouble")) == 1, "it is told once"
    post.shop.load(customers=BUYERS)
    assert post.run(NOW + timedelta(hours=2)).sent == (f"invoice:{ONE}",)
    assert troubled(post.shop.home) == []


@pytest.mark.parametrize(
    "address",
    ["a@b@example.com", "one@example.com\r\nBcc: all@example.com", "no address", "a b@example.com", "a@-x-.com"],
)
def test_an_address_that_mail_cannot_carry_is_undeliverable(post: Post, address: str) -> None:
    """Whatever the reference data hold: nothing is slipped into headers or the envelope."""
    post.shop.load(customers=[BUYERS[0].replace("one@example.com", f'"{address}"'), BUYERS[1]])
    assert post.run(NOW).sent == (f"invoice:{TWO}",)
    [waiting] = troubled(post.shop.home)
    assert waiting.state == "undeliverable" and "c1: " in waiting.problem
    assert [to for to, *_ in post.server.mails] == [["two@example.com"]]


@pytest.mark.parametrize("utf8", [True, False])
def test_addresses_beyond_ascii(post: Post, utf8: bool) -> None:
    """A domain goes as IDNA; a name before the @ only by a server that carries it."""
    changed = [
        BUYERS[0].replace("one@example.com", "rené@example.com"),
        BUYERS[1].replace("example.com", "büro.example"),
    ]
    post.shop.load(customers=changed)
    serving = Served(post.server, utf8=utf8)
    serving.start()
    try:
        done = post.run(NOW)
    finally:
        serving.stop()
    assert len(post.server.to("two@xn--bro-hoa.example")) == 1
    assert len(post.server.to("rené@example.com")) == utf8
    assert (f"invoice:{ONE}" in done.sent) == utf8
    assert [one.state for one in troubled(post.shop.home)] == ([] if utf8 else ["undeliverable"])


def test_refusals_are_tried_again_with_back_off_and_given_up(post: Post) -> None:
    """4xx and 5xx, of a recipient and of the message: due again later, in the end failed; the other buyer has his."""
    post.finance("finance@example.com")
    post.server.rcpt["one@example.com"] = "450 come back later"
    now, tries = NOW, 0
    while states(post).get(f"invoice:{ONE}", "due") == "due":
        done = post.run(now)
        tries += 1
        assert post.send(now).put_off == 0, "not before its time"
        now += RETRY_AFTER[min(tries - 1, len(RETRY_AFTER) - 1)]
        assert f"invoice:{TWO}" in done.sent or tries > 1
    assert tries == len(RETRY_AFTER) + 1
    [waiting] = troubled(post.shop.home)
    assert (waiting.state, waiting.problem) == ("failed", f"450 come back later; given up after {tries} tries")
    assert len(post.server.to("two@example.com")) == 1 and len(post.server.to("finance@example.com")) == 1


@pytest.mark.parametrize("where", ["rcpt", "data"])
def test_what_the_server_never_takes_is_given_up_sooner(post: Post, where: str) -> None:
    getattr(post.server, where)["one@example.com"] = "550 no such user"
    now = NOW
    for tries in range(TRIES_OF_REFUSED):
        post.run(now)
        now += RETRY_AFTER[tries]
    [waiting] = troubled(post.shop.home)
    assert waiting.state == "failed" and waiting.problem.startswith("550 no such user; given up")
    post.server.rcpt.clear(), post.server.data.clear()
    assert post.run(now).sent == (), "not by itself"
    resend(post.shop.home, waiting.key, reason="they made the mailbox", now=now)
    assert post.run(now).sent == (waiting.key,)


@pytest.mark.parametrize(
    ("where", "state", "got"), [("rcpt", "due", 0), ("data", "unknown", 0), ("answer", "unknown", 1)]
)
def test_a_connection_that_breaks(post: Post, where: str, state: str, got: int) -> None:
    """Before the message: surely not sent, and tried again. After it: not known, and never tried again by itself."""
    post.server.drop["one@example.com"] = where
    assert post.run(NOW).sent == (f"invoice:{TWO}",), "the next mail has a connection of its own"
    assert states(post)[f"invoice:{ONE}"] == state and len(post.server.to("one@example.com")) == got
    post.server.drop.clear()
    later = NOW + timedelta(days=3)
    assert post.run(later).sent == ((f"invoice:{ONE}",) if state == "due" else ())
    if state == "unknown":
        before = read_mail(post.shop.home, f"invoice:{ONE}")
        with pytest.raises(DataRefused, match="Say why"):
            resend(post.shop.home, before.key, reason=" ", now=later)
        resend(post.shop.home, before.key, reason="the buyer has nothing", now=later)
        assert post.run(later).sent == (before.key,)
        assert read_mail(post.shop.home, before.key).message_id == before.message_id, "a mail program knows it again"
        assert entries(post, "mail_resend")[0]["reason"] == "the buyer has nothing"
    assert disagreements_of(post) == []


def test_a_server_that_is_not_there_costs_no_try(post: Post) -> None:
    class Nowhere:
        def smtp(self, conn_id: str, /) -> object:
            raise SourceUnavailable("cannot be reached")

        def smtp_sender(self, conn_id: str, /) -> str:
            return ""

    post.outbox(NOW)
    with pytest.raises(SourceUnavailable):
        deliver_mail(post.shop.home, post.settings, Nowhere(), TEMPLATES, "default", NOW)  # type: ignore[arg-type]
    assert {(one.state, one.attempts) for one in list_mails(post.shop.home)} == {("due", 0)}


def test_sent_again_by_a_person_is_another_mail_and_both_are_kept(post: Post) -> None:
    post.run(NOW)
    resend(post.shop.home, f"invoice:{ONE}", reason="lost at the buyer's", now=NOW)
    assert disagreements_of(post) == [], "what was sent stays known while it is due again"
    assert post.run(NOW).sent == (f"invoice:{ONE}",)
    first, second = post.server.to("one@example.com")
    assert first["Message-ID"] != second["Message-ID"], "else a mail program throws the second one away"
    kept = read_mail(post.shop.home, f"invoice:{ONE}")
    assert [one["message_id"] for one in kept.earlier] == [first["Message-ID"]]
    assert disagreements_of(post) == []


def test_the_status_counts_what_is_not_through(
    post: Post, tmp_path: Path, run_billing: Callable[..., tuple[int, str]]
) -> None:
    post.server.rcpt["two@example.com"] = "550 unknown user"
    now = NOW
    while states(post).get(f"invoice:{TWO}", "due") == "due":
        post.run(now)
        now += timedelta(days=1)
    write(post, MailKind.PAYMENT_OVERDUE, "c1", at=now, number=ONE, amount="1.00", currency="EUR")
    said = run_billing(post.shop, "status")[1].splitlines()
    assert [line for line in said if line.startswith(("mails", "files"))] == [
        "mails             1 due, 1 failed: billing mail list"
    ]
    drop(post.shop.home, f"invoice:{TWO}", reason="told by phone")
    (post.shop.home.folder / "billing.toml").write_text(f'[files]\nlocation = "{tmp_path}/copies"\n')
    said = run_billing(post.shop, "status")[1].splitlines()
    assert [line for line in said if line.startswith(("mails", "files"))] == [
        "mails             1 due: billing mail list",
        f"files             4 without a copy in {tmp_path}/copies: billing files place",
    ]
    place_files(post.shop.home, Destination(place=Place.at(f"{tmp_path}/copies"), layout=LAYOUT, summaries=LAYOUT))
    assert not [line for line in run_billing(post.shop, "status")[1].splitlines() if line.startswith("files")]


def test_dropped_by_a_person_with_a_reason(post: Post) -> None:
    post.outbox(NOW)
    drop(post.shop.home, f"invoice:{ONE}", reason="told by phone")
    assert post.send(NOW).sent == (f"invoice:{TWO}",)
    with pytest.raises(DataRefused, match="is sent: there is nothing to drop"):
        drop(post.shop.home, f"invoice:{TWO}", reason="no")
    with pytest.raises(NotFound, match="There is no mail 'x'"):
        drop(post.shop.home, "x", reason="no")


def test_two_senders_at_once_send_nothing_twice(post: Post) -> None:
    post.outbox(NOW)
    for _ in range(6):
        write(
            post,
            MailKind.PAYMENT_OVERDUE,
            "c1",
            number=f"n{_}",
            amount="1",
            currency="EUR",
            due_date="2026-08-01",
            days=1,
        )
    senders = [threading.Thread(target=post.send, args=(NOW,)) for _ in range(3)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    ids = [message["Message-ID"] for _, message, _ in post.server.mails]
    assert len(ids) == len(set(ids)) == 8
    assert set(states(post).values()) == {"sent"}


@dataclass(frozen=True)
class Meanwhile(Straight):
    """Something happens while the sender asks for a connection, or for the sender's address."""

    connecting: Callable[[], None] = lambda: None
    addressing: Callable[[], None] = lambda: None

    def smtp(self, conn_id: str, /) -> smtplib.SMTP:
        """To the server, after what happens."""
        self.connecting()
        return Straight.smtp(self, conn_id)

    def smtp_sender(self, conn_id: str, /) -> str:
        """As a connection has it, after what happens."""
        self.addressing()
        return Straight.smtp_sender(self, conn_id)


def send_by(post: Post, resolve: Straight) -> tuple[str, ...]:
    return deliver_mail(post.shop.home, post.settings, resolve, TEMPLATES, "default", NOW).sent


def test_a_mail_is_not_claimed_while_a_person_decides_about_it(post: Post) -> None:
    """A person's transaction has read that it is due, and drops it: the sender comes after."""
    post.outbox(NOW)
    at_the_claim, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        at_the_claim.set()
        go_on.wait(20)

    sender = threading.Thread(target=send_by, args=(post, Meanwhile(post.server, connecting=wait)))
    sender.start()
    assert at_the_claim.wait(20)
    with post.shop.home.database.exclusive("books") as connection:
        assert mailing(connection, f"invoice:{ONE}").state == "due"
        go_on.set()
        sender.join(1)
        put(connection, f"invoice:{ONE}", "dropped", {"problem": "dropped: told by phone"})
    sender.join()
    assert states(post) == {f"invoice:{ONE}": "dropped", f"invoice:{TWO}": "sent"}
    assert [to for to, *_ in post.server.mails] == [["two@example.com"]]


def test_what_a_person_drops_meanwhile_waits_for_nobody_more(post: Post) -> None:
    """Not even where the sender finds that it has nobody to go to."""
    post.shop.load(customers=[BUYERS[0].replace("one@example.com", ""), BUYERS[1]])
    post.outbox(NOW)
    by_phone = partial(drop, post.shop.home, f"invoice:{ONE}", reason="told by phone")
    assert send_by(post, Meanwhile(post.server, addressing=by_phone)) == (f"invoice:{TWO}",)
    assert states(post) == {f"invoice:{ONE}": "dropped", f"invoice:{TWO}": "sent"}
    assert disagreements_of(post) == []


def test_words_that_cannot_be_written_stop_no_other_mail(post: Post) -> None:
    write(post, MailKind.PAYMENT_OVERDUE, "c1", number=ONE)
    done = post.run(NOW)
    assert len(done.sent) == 2
    assert [problem.split(":")[0] for problem in done.problems] == ["payment_overdue"]
    assert states(post)[f"payment_overdue:{ONE}"] == "due"


def test_a_run_that_tells_finance_says_each_problem_once_and_keeps_its_connection(post: Post) -> None:
    post.finance("finance@example.com")
    post.shop.load(customers=[BUYERS[0].replace("one@example.com", ""), BUYERS[1]])
    write(post, MailKind.PAYMENT_OVERDUE, "c2", number=ONE)
    post.outbox(NOW)
    opened: list[str] = []
    resolve = Meanwhile(
        post.server, connecting=partial(opened.append, "smtp"), addressing=partial(opened.append, "from")
    )
    done = deliver_mail(post.shop.home, post.settings, resolve, TEMPLATES, "default", NOW)
    assert len(post.server.to("finance@example.com")) == 1
    assert [problem.split(":")[0] for problem in done.problems] == ["payment_overdue"]
    assert opened == ["from", "smtp"]


def test_what_was_sent_and_changed_afterwards_is_found(post: Post) -> None:
    """The log's row and the outbox must say the same."""
    post.run(NOW)
    with post.shop.home.database.write() as connection:
        changed = update(mailings).where(mailings.c.mail_key == f"invoice:{ONE}")
        connection.execute(changed.values(recipient="other@example.com"))
        connection.execute(update(mailings).where(mailings.c.mail_key == f"invoice:{TWO}").values(state="due"))
    assert [line.split(": ")[0] for line in disagreements_of(post)] == [f"mail invoice:{ONE}", f"mail invoice:{TWO}"]
