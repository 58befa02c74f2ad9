"""The words of mails: a subject, a text and a simple page of HTML, in the reader's language.

Each kind is one template, ``mails/KIND.j2``, that is filled twice: into ``frame.txt.j2`` and, escaped, into
``frame.html.j2``; so the two parts of a mail never say different things. A template says what it has to say by the
macros of ``shape``: paragraphs, a table of facts, lines as they are. Nothing here asks a clock or reads an address.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateError

from billing.core.mail_addresses import one_line
from billing.documents.bundle import DEFAULT_THEME, MAILS
from billing.documents.errors import TemplateBroken
from billing.documents.texts import Catalogues, Texts, isolated
from billing.documents.theme import Theme, read_theme

_SUFFIXES = frozenset({".j2", ".po"})
_AMOUNTS = ("amount",)
_DAYS = ("issue_date", "due_date", "period_first_day", "period_last_day", "invoice_date", "next_attempt")
_SUBJECT_MAX = 200
_ALERT_QUANTITIES = ("granted", "available", "units")
_ALERT_DAYS = ("ends_on", "runs_out_on", "earliest_on", "cycle_start_on")
_MONTH = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")


@dataclass(frozen=True, kw_only=True, slots=True)
class MailText:
    """What a mail says: ``subject`` is one line; ``text`` has lines that end in a line feed."""

    language: str
    subject: str
    text: str
    html: str


class MailTexts:
    """The mails of a folder of templates. ``TemplateBroken`` names what cannot be used."""

    def __init__(self, files: Mapping[str, bytes], theme: Theme) -> None:
        self._catalogues = Catalogues(files)
        sources = {path: _decoded(path, content) for path, content in files.items() if path.endswith(".j2")}
        self._text, self._html = (_environment(sources, theme, is_html=is_html) for is_html in (False, True))

    @classmethod
    def open(cls, templates: Path, theme: str = DEFAULT_THEME) -> MailTexts:
        """Those in ``mails/`` of the folder of templates, in the colours of a theme."""
        folder = templates / MAILS
        paths = sorted(path for path in folder.rglob("*") if path.suffix in _SUFFIXES)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        own = sorted(path for path in (templates / "themes" / theme).rglob("*") if path.is_file())
        themed = {path.relative_to(templates).as_posix(): path.read_bytes() for path in own}
        if f"themes/{theme}/theme.toml" not in themed:
            raise TemplateBroken(f"{templates}: no themes/{theme}/theme.toml; mails need it for their colours")
        return cls(files, read_theme(themed, theme))

    def write(self, kind: str, payload: Mapping[str, object], *, locale: str, seller: str, buyer: str) -> MailText:
        """The mail of a kind about ``payload``, as the data contract of the outbox has it. ``seller`` and ``buyer`` are
        names; ``buyer`` is blank where it goes to finance.
        """
        texts = self._catalogues.texts(locale)
        shown = {name: _shown(name, value, payload, texts) for name, value in payload.items()}
        values = {"_": texts, "mail": shown, "seller": _name(seller), "buyer": _name(buyer), "lang": texts.language}
        subject = one_line(self._filled(self._text, kind, frame="frame.subject.j2", shape="shape.txt.j2", **values))
        text = self._filled(self._text, kind, frame="frame.txt.j2", shape="shape.txt.j2", **values)
        html = self._filled(self._html, kind, frame="frame.html.j2", shape="shape.html.j2", subject=subject, **values)
        return MailText(
            language=texts.language,
            subject=subject if len(subject) <= _SUBJECT_MAX else subject[: _SUBJECT_MAX - 1] + "…",
            text=re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip() + "\n",
            html=html.strip() + "\n",
        )

    def _filled(self, environment: Environment, kind: str, **values: object) -> str:
        try:
            return environment.get_template(f"{kind}.j2").render(**values)
        except TemplateError as error:
            raise TemplateBroken(f"{MAILS}{kind}.j2: {error}") from error


def _environment(sources: Mapping[str, str], theme: Theme, *, is_html: bool) -> Environment:
    made = Environment(
        loader=DictLoader(sources),
        autoescape=is_html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals |= {"theme": theme}
    return made


def _shown(name: str, value: object, payload: Mapping[str, object], texts: Texts) -> object:
    """A value of the payload as its reader writes it."""
    if value in (None, ""):
        return ""
    if name in _AMOUNTS:
        return texts.money(Decimal(str(value)), str(payload["currency"]))
    if name in _DAYS:
        return texts.day(date.fromisoformat(str(value)[:10]))
    if isinstance(value, str):
        return _name(value)
    if name == "lines":  # they stand as they are, indented
        return [str(one)[: len(str(one)) - len(str(one).lstrip(" "))] + _name(str(one)) for one in list(value)]  # type: ignore[call-overload]
    if name == "alerts":
        return [_alert(one, texts) for one in list(value)]  # type: ignore[call-overload]
    if name == "counts":
        return [(str(kind), texts.decimal(count)) for kind, count in dict(value).items()]  # type: ignore[call-overload]
    if isinstance(value, Sequence):
        return [_name(str(one)) for one in value]
    return value


def _alert(alert: Mapping[str, Any], texts: Texts) -> dict[str, Any]:
    """An alert as ``core.alerting`` has it, with what its ``detail`` says as its reader writes it."""
    detail = {name: _said(name, value, texts) for name, value in alert["detail"].items()}
    return {"kind": str(alert["kind"]), "subject": _name(str(alert["subject"])), "detail": detail}


def _said(name: str, value: object, texts: Texts) -> str:
    if value is None:
        return ""
    if name in _ALERT_QUANTITIES:
        return texts.decimal(Decimal(str(value)))
    if name == "left_percent":
        return texts.percent(Decimal(str(value)))
    if name in _ALERT_DAYS:
        return texts.day(date.fromisoformat(str(value)))
    if name == "expires" and _MONTH.fullmatch(str(value)):
        return texts.month(date.fromisoformat(f"{value}-01"))
    if isinstance(value, list):
        return ", ".join(_name(str(one)) for one in value)
    return _name(str(value))


def _name(text: str) -> str:
    return isolated(one_line(text))


def _decoded(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise TemplateBroken(f"{MAILS}{path} is not UTF-8: {error}") from error
