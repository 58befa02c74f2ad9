"""What every answer of ours has: headers that keep it with whom asked; and refusals as answers, not as tracebacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import OperationalError
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from billing.core.errors import BillingError, NotFound, UsageError
from billing.web.viewer import NotForYou

HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
_STATUS: Mapping[type[BillingError], int] = {NotForYou: 403, NotFound: 404, UsageError: 400}


class GuardedHeaders:
    """Gives every answer ``HEADERS``, refusals of Airflow's own among them, unless a page says something else."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, guarded)


def guard(app: FastAPI) -> None:
    """Answer refusals: 403, 404 and 400 for what is asked, 503 for books that cannot be read as they are."""
    app.add_middleware(GuardedHeaders)
    app.add_exception_handler(BillingError, _refusal)
    app.add_exception_handler(OperationalError, _unreachable)


def status_of(refusal: BillingError) -> int:
    """How a refusal is answered."""
    return next((code for kind, code in _STATUS.items() if isinstance(refusal, kind)), 503)


def _refusal(_: Request, refusal: Any) -> JSONResponse:
    return JSONResponse({"detail": str(refusal)}, status_of(refusal))


def _unreachable(_: Request, __: Exception) -> JSONResponse:
    """What the driver says may hold an address, so it stays in the server's log."""
    return JSONResponse({"detail": "The billing database cannot be reached just now; try again."}, 503)
