"""The words of mails: every kind in every language, the same in text and HTML, and nothing that a name can break."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from billing.core.alert_rules import AlertKind
from billing.core.mail_kinds import MailKind
from billing.documents.bundle import read_bundle
from billing.documents.errors import TemplateBroken
from billing.documents.mails import MailTexts
from billing.documents.texts import Catalogues

from .invoices import TEMPLATES

MAILS = TEMPLATES / "mails"
TEXTS = MailTexts.open(TEMPLATES)
CHARGED = {
    "number": "INV-1",
    "numbers": ["INV-1", "INV-2"],
    "amount": "1234.50",
    "currency": "EUR",
    "method": "Visa •••• 4242",
}
POOL = {"source": "flex", "subscription_id": "s1", "grant_id": "g1", "api": "", "granted": "1500.5", "available": "120"}
POOL |= {"left_percent": "8", "ends_at": "2026-09-01T00:00:00Z", "refreshes_at": None}
ALERTS: list[dict[str, object]] = [
    {"kind": "unfunded", "detail": {"units": 1200, "apis": ["render", "translate"], "cycle_start_on": "2026-07-01"}},
    {"kind": "payment_missing", "detail": {"subscription_id": "payg1"}},
    {"kind": "payment_expires", "detail": {"brand": "Visa", "last4": "4242", "expires": "2026-08"}},
    {"kind": "low", "detail": POOL | {"percent": 20}},
    {"kind": "low", "detail": POOL | {"source": "free", "api": "translate", "available": "0", "left_percent": "0"}},
    {
        "kind": "runs_out",
        "detail": POOL | {"source": "token_flex", "runs_out_on": "2026-08-20", "earliest_on": "2026-08-12"},
    },
    {"kind": "ends", "detail": POOL | {"source": "capacity", "api": "storage", "ends_on": "2026-08-31"}},
    {"kind": "unassigned", "detail": {"subscription_id": "new"}},
    {"kind": "of_tomorrow", "detail": {}},
]
ALERTS = [{"subject": "In <plain> English"} | one for one in ALERTS]
SUMMARY: dict[str, object] = {"team_id": "", "team_name": "", "kind": "summary", "subject": "in English", "alerts": []}
SUMMARY |= {"why": "first", "counts": {kind.value: 1234 for kind in AlertKind}}
PAYLOADS: dict[str, dict[str, object]] = {
    "invoice": CHARGED
    | {"issue_date": "2026-08-02", "due_date": "", "period_first_day": "2026-07-01", "period_last_day": "2026-07-31"},
    "credit_note": CHARGED
    | {"issue_date": "2026-08-02", "invoice": "INV-1", "invoice_date": "2026-08-01", "reason": "wrong price"},
    "payment_declined": CHARGED | {"reason": "card_declined", "attempt": 1, "next_attempt": "2026-08-05T00:00:00Z"},
    "authentication_required": CHARGED,
    "payment_final_notice": CHARGED | {"attempts": 4},
    "payment_overdue": CHARGED | {"due_date": "2026-08-01", "days": 12},
    "card_expiring": CHARGED | {"payment_method_id": "p1", "expires": "2026-09", "subscriptions": ["s1", "s2"]},
    "run_summary": {"close": 3, "invoices": 2, "lines": ["Close 3", "  2 cycles <closed>"]},
    "balance_alert": {
        "team_id": "t1",
        "team_name": "Team One",
        "kind": "low",
        "subject": "Team One: 12 of 150 flex tokens are left (20 % or less), and 8 more",
        "alerts": ALERTS,
    },
    "delivery_problem": {"count": 1, "lines": ["invoice:INV-1: failed, 550 no"]},
}
AMOUNTS = {"en-GB": "EUR 1,234.50", "de-DE": "1.234,50 EUR", "es-ES": "1.234,50 EUR", "fi-FI": "1 234,50 EUR"} | {
    "fr-FR": "1 234,50 EUR",
    "ja-JP": "EUR 1,234.50",
    "sv-SE": "EUR 1,234.50",
}
HOSTILE = 'Söhne "&" <b>Co</b>\r\nBcc: all@example.com\u2028\x00 {{ 7 * 7 }} %(number)s'


def test_every_kind_has_a_template_and_a_payload_here() -> None:
    kinds = {kind.value for kind in MailKind}
    assert kinds == set(PAYLOADS)
    assert kinds == {path.stem for path in MAILS.glob("*.j2")} - {
        "frame.subject", "frame.txt", "frame.html", "shape.txt", "shape.html"
    }  # fmt: skip


@pytest.mark.parametrize("locale", AMOUNTS)
@pytest.mark.parametrize("kind", PAYLOADS)
def test_every_kind_in_every_language(kind: str, locale: str) -> None:
    made = TEXTS.write(kind, PAYLOADS[kind], locale=locale, seller="Example SAS", buyer="Buyer")
    shown = re.sub("[\xa0\u202f]", " ", made.text)
    assert made.subject and "\n" not in made.subject
    assert "%(" not in made.text + made.html and "None" not in made.text
    assert ("amount" not in PAYLOADS[kind]) or kind == "card_expiring" or AMOUNTS[locale] in shown
    assert ("Kind regards" in made.text) == (locale[:2] in ("en", "sv")), "a language that is not there is English"
    bare = re.sub(r"\s+", " ", re.sub("<[^>]*>", " ", made.html.partition("<body")[2]))
    for paragraph in re.split(r"\n\n", made.text.strip()):
        for line in paragraph.split("\n"):
            words = re.split(": |：", line)[-1]
            words = words.strip().replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
            assert re.sub(r"\s+", " ", words) in bare, "the two parts say the same"


def plain(text: str) -> str:
    """Without the spaces that do not break."""
    return re.sub("[\xa0\u202f]", " ", text)


def items(text: str) -> list[str]:
    """The sentences of a list."""
    return [line.removeprefix("• ") for line in plain(text).split("\n") if line.startswith("• ")]


def test_an_alert_of_each_kind_is_a_sentence_that_a_buyer_understands() -> None:
    """Rules 8.1, 5.5: what is left, until when, and what nobody paid for; the most urgent one is the subject."""
    made = TEXTS.write("balance_alert", PAYLOADS["balance_alert"], locale="en-GB", seller="S", buyer="B")
    assert made.subject == "Team One: a balance is low (+8)"
    assert items(made.text) == [
        "Units used since 1 July 2026 that no balance paid for: 1,200 (render, translate). They are not charged.",
        "No payment method is stored for pay as you go (payg1).",
        "The stored payment method (Visa •••• 4242) expires at the end of August 2026.",
        "Flex tokens: 120 of 1,500.5 are left (8%).",
        "Free units of translate: all 1,500.5 are used up.",
        "Token Flex tokens: at the pace of the last weeks they are used up about 20 August 2026, at the earliest "
        "12 August 2026.",
        "Capacity of storage: 120 of 1,500.5 are unused and can be used until the end of 31 August 2026.",
        "Subscription new was bought and is assigned to no team.",
        "In <plain> English",
    ]
    assert "In &lt;plain&gt; English" in made.html and "no address" not in made.text
    german = TEXTS.write("balance_alert", PAYLOADS["balance_alert"], locale="de-DE", seller="S", buyer="")
    assert "Flex-Token: Noch 120 von 1.500,5 sind übrig (8 %)." in items(german.text)
    assert "weil der Kunde keine E-Mail-Adresse hat" in german.text


@pytest.mark.parametrize("kind", AlertKind)
@pytest.mark.parametrize("locale", ["en", "de", "es", "fi", "fr", "ja"])
def test_every_kind_of_alert_has_words_of_its_own(kind: AlertKind, locale: str) -> None:
    """A new kind without a sentence or a subject would be told in the log's English."""
    mine = [alert for alert in ALERTS if alert["kind"] == kind]
    payload = PAYLOADS["balance_alert"] | {"kind": kind.value, "alerts": mine[:1]}
    made = TEXTS.write("balance_alert", payload, locale=locale, seller="S", buyer="B")
    assert "<plain>" not in made.text and "20 % or less" not in made.subject and "+" not in made.subject


@pytest.mark.parametrize("locale", ["en", "de", "es", "fi", "fr", "ja"])
@pytest.mark.parametrize("why", ["first", "many"])
def test_many_alerts_are_counted_for_finance(why: str, locale: str) -> None:
    made = TEXTS.write("balance_alert", SUMMARY | {"why": why}, locale=locale, seller="S", buyer="")
    text = plain(made.text)
    assert len(re.findall("1[,. ]?234", text)) == len(AlertKind) and "None" not in text and "_" not in text
    assert ("began" in text) == (why == "first" and locale == "en") and "`billing alerts list`" in text


def test_names_in_alerts_break_nothing() -> None:
    """Of teams, APIs, subscriptions and cards; escaped once."""
    hostile = [
        one
        | {
            "detail": {
                k: HOSTILE if k in _NAMES else [HOSTILE] if k == "apis" else v for k, v in dict(one["detail"]).items()
            }
        }  # type: ignore[call-overload]
        for one in ALERTS
    ]
    payload = PAYLOADS["balance_alert"] | {"team_name": HOSTILE, "alerts": hostile}
    made = TEXTS.write("balance_alert", payload, locale="en", seller="S", buyer="B")
    assert "<b>" not in made.html and "&amp;lt;" not in made.html and "&amp;amp;" not in made.html
    assert made.html.count("&lt;b&gt;Co&lt;/b&gt; Bcc: all@example.com {{ 7 * 7 }} %(number)s") >= 7
    assert len(items(made.text)) == len(ALERTS) and not re.search(r"^Bcc:", made.text, re.MULTILINE)


_NAMES = ("api", "brand", "last4", "subscription_id", "grant_id")


@pytest.mark.parametrize("kind", PAYLOADS)
def test_names_break_neither_headers_nor_pages(kind: str) -> None:
    payload = {
        name: HOSTILE if isinstance(value, str) and name not in _FIXED else value
        for name, value in PAYLOADS[kind].items()
    }
    made = TEXTS.write(kind, payload, locale="en", seller=HOSTILE, buyer=HOSTILE)
    assert not re.search(r"[\r\n\x00\u2028]", made.subject) and len(made.subject) <= 200
    assert "<b>" not in made.html and "&lt;b&gt;Co&lt;/b&gt; Bcc: all@example.com {{ 7 * 7 }} %(number)s" in made.html
    assert not re.search(r"^Bcc:", made.text, re.MULTILINE)


_FIXED = (
    "amount",
    "currency",
    "issue_date",
    "due_date",
    "invoice_date",
    "period_first_day",
    "period_last_day",
    "next_attempt",
)


@pytest.mark.parametrize("language", ["de", "es", "fi", "fr", "ja"])
def test_every_message_has_a_translation_and_none_is_left_over(language: str) -> None:
    asked = set()
    for path in MAILS.glob("*.j2"):
        asked |= set(re.findall(r'\b_\("([^"]+)"', path.read_text("utf-8")))
    files = {path.relative_to(MAILS).as_posix(): path.read_bytes() for path in MAILS.rglob("*.po")}
    assert set(Catalogues(files).texts(language).messages) == asked


def test_restyling_a_mail_changes_no_document(tmp_path: Path) -> None:
    """What a document was made with is known by the hash of its bundle (rule 7.1)."""
    folder = tmp_path / "templates"
    shutil.copytree(TEMPLATES, folder, ignore=shutil.ignore_patterns("fonts"))
    (folder / "fonts").mkdir()
    (folder / "fonts" / "a.ttf").write_bytes(b"")
    before = read_bundle(folder)
    (folder / "mails" / "invoice.j2").write_text("{% extends frame %}{% block subject %}Hello{% endblock %}")
    english = folder / "mails" / "locales" / "en"
    english.mkdir()
    (english / "messages.po").write_text('msgid "Kind regards"\nmsgstr "Yours"\n')
    assert read_bundle(folder) == before
    made = MailTexts.open(folder).write("invoice", PAYLOADS["invoice"], locale="en", seller="S", buyer="B")
    assert made.subject == "Hello" and "Yours" in made.text


def test_what_is_wrong_with_a_template_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(MAILS, folder / "mails")
    shutil.copytree(TEMPLATES / "themes", folder / "themes")
    (folder / "mails" / "invoice.j2").write_text("{% extends frame %}{% block body %}{{ mail.nothing }}{% endblock %}")
    texts = MailTexts.open(folder)
    with pytest.raises(TemplateBroken, match=r"mails/invoice\.j2: .*nothing"):
        texts.write("invoice", PAYLOADS["invoice"], locale="en", seller="S", buyer="B")
    with pytest.raises(TemplateBroken, match=r"no themes/none/theme\.toml"):
        MailTexts.open(folder, "none")
