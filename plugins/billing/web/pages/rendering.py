"""Templates, what every page has, refusals as pages, and the static files: a stylesheet and a script of a few lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import date, datetime
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from billing.core.errors import BillingError
from billing.core.instants import from_us
from billing.web import clock
from billing.web.answers import status_of
from billing.web.pages import wording
from billing.web.viewer import Viewer

MOUNTED_AT = "/billing"
"""Where the plugin puts us below Airflow's own address."""
_LOG_IN = "/api/v2/auth/login"
"""Airflow's own address of whatever asks for the log-in; it leads back to ``next``."""
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'self'"
)
"""Styles and scripts are our own two files; nothing in a page can load or run anything else."""
_STATIC: Mapping[str, str] = {"billing.css": "text/css; charset=utf-8", "billing.js": "text/javascript; charset=utf-8"}
_PARTS = re.compile(r"[^/_.:-]{1,24}(?:[/_.:-]{1,8}|$)|[^/_.:-]{1,16}|[/_.:-]{1,8}", re.DOTALL)
"""Pieces of an identifier that stay whole. Every character is in one of them."""
_INSTANT = re.compile(r"\b([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z)")
_NO_BREAK = "\N{NO-BREAK SPACE}"

templates = Environment(
    loader=PackageLoader("billing.web", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def show(
    template: str, request: Request, viewer: Viewer | None, *, status: int = 200, **values: object
) -> HTMLResponse:
    """A page. ``viewer`` decides what the navigation offers; ``at``: relative times are told from then."""
    root = str(request.scope.get("root_path", ""))
    around = {
        "root": root,
        "airflow": root.removesuffix(MOUNTED_AT),
        "viewer": viewer,
        "version": _version(),
        "told": clock.is_set(),
    }
    page = templates.get_template(template).render({**around, **values})
    return HTMLResponse(page, status, headers={"Content-Security-Policy": POLICY})


class PageRoute(APIRoute):
    """Answers refusals by a page, where the JSON answers them by JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """As FastAPI has it."""
        answer = super().get_route_handler()

        async def handler(request: Request) -> Response:
            try:
                return await answer(request)
            except RequestValidationError as wrong:
                if any(each["loc"][0] == "path" for each in wrong.errors()):
                    return _refused(request, 404, "There is no such page.")
                return _refused(request, 400, _not_right(str(each["loc"][-1]) for each in wrong.errors()))
            except BillingError as refusal:
                return _refused(request, status_of(refusal), str(refusal))
            except HTTPException as refusal:
                if refusal.status_code != 401:
                    raise
                return _refused(request, 401, "Log in to see this page.")

        return handler


def _not_right(parameters: Iterable[str]) -> str:
    names = [f"“{name}”" for name in dict.fromkeys(parameters)]
    have = "has" if len(names) == 1 else "have"
    return f"The address of this page is not right: {' and '.join(names)} {have} no value, or none that is possible."


def _refused(request: Request, status: int, message: str) -> HTMLResponse:
    values = {"title": "Not shown", "message": message, "section": "", "log_in": ""}
    if status == 401:
        airflow = str(request.scope.get("root_path", "")).removesuffix(MOUNTED_AT)
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        values["log_in"] = f"{airflow}{_LOG_IN}?{urlencode({'next': here})}"
    return show("refused.html", request, None, status=status, **values)


def static(name: str) -> Response:
    """One of the static files, kept by browsers as long as it is the same. They tell nothing of anybody."""
    if name not in _STATIC:
        raise HTTPException(404, "There is no such file.")
    headers = {"Cache-Control": "public, max-age=31536000, immutable"}
    return Response(_content(name), media_type=_STATIC[name], headers=headers)


@cache
def _content(name: str) -> bytes:
    return (files("billing.web") / "static" / name).read_bytes()


@cache
def _version() -> str:
    """Changes with the files: a new version has a new address."""
    return sha256(b"".join(_content(name) for name in sorted(_STATIC))).hexdigest()[:12]


@pass_context
def _link(context: Context, path: str, **query: object) -> str:
    """An address of ours; ids go into the query, where any character survives."""
    given = {name: value for name, value in query.items() if value not in ("", None)}
    return f"{context['root']}/{path}" + (f"?{urlencode(given)}" if given else "")


def _time(value: datetime, words: str) -> Markup:
    instant = value.isoformat().replace("+00:00", "Z")
    return Markup('<time datetime="{}" title="{}">{}</time>').format(instant, wording.absolute(value), _whole(words))


@pass_context
def _when(context: Context, value: datetime) -> Markup:
    """``23 Aug 2026 (in 12 days)``, with the instant."""
    return _time(value, wording.dated(value, context["at"]))


@pass_context
def _left(context: Context, value: datetime) -> Markup:
    """``in 12 days``, where the date stands beside it."""
    return _time(value, wording.relative(value, context["at"]))


@pass_context
def _ago(context: Context, value: datetime) -> Markup:
    """``5 minutes ago``, with the instant; only the instant where what is shown is not of today."""
    if context.get("told"):
        return _instant(value)
    return _time(value, wording.since(value, context["at"]))


def _instant(value: datetime) -> Markup:
    return _time(value, wording.absolute(value))


def _told(text: str) -> Markup:
    """A text with its instants as every page tells them; what only looks like one stays as it is."""
    return Markup().join(_read(one) if place % 2 else one for place, one in enumerate(_INSTANT.split(text)))


def _read(text: str) -> Markup | str:
    try:
        return _instant(datetime.fromisoformat(text))
    except ValueError:
        return text


def _instant_us(us: int) -> Markup:
    return _instant(from_us(us))


def _day(value: date) -> str:
    """``15 Jul 2026``, on one line."""
    return _whole(wording.day(value))


def _whole(words: str) -> str:
    """Words that stay on one line, but for a break between a day and its time."""
    return words.replace(" ", _NO_BREAK).replace(f",{_NO_BREAK}", ", ")


def _broken(text: str) -> Markup:
    """A long identifier, where a line may break: after what parts its words, and within what has none."""
    return Markup("<wbr>").join(escape(part) for part in _PARTS.findall(text))


templates.filters |= {
    "number": wording.number,
    "money": wording.money,
    "price": wording.price,
    "edge": wording.edge,
    "percent": wording.percent,
    "permille": wording.permille,
    "day": _day,
    "local": wording.local,
    "word": wording.word,
    "units": wording.units,
    "tone": wording.tone,
    "alert": wording.alert,
    "alert_says": wording.alert_says,
    "size": wording.size,
    "month": wording.month,
    "mend": wording.mend,
    "paid_how": wording.paid_how,
    "when": _when,
    "left": _left,
    "ago": _ago,
    "instant": _instant,
    "instant_us": _instant_us,
    "told": _told,
    "broken": _broken,
}
templates.globals |= {"link": _link, "outlook": wording.outlook, "counted": wording.counted, "often": wording.OFTEN}
