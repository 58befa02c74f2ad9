"""Stripe as a process of its own on loopback: ``localstripe`` with Stripe's documented promises kept in front of it.

    PYTHONPATH=plugins python -m tests.gateway.world --port 8421

prints its base address and key as JSON, and runs until it is ended (with ``--while PID``: as long as that process is
there). A test takes ``running()``, which gives a ``World`` to steer it by: over HTTP, at ``/_world/...``.

Kept are: one answer for one idempotency key for 24 hours of the world's clock, errors 500 among them, and other
parameters under the same key refused; lists in pages, the newest first; a key of the API that is checked. On demand
answers are lost after the work was done, requests before it, both are late, or 429, 409 and 500 come instead: a share
of them, by a seeded chance, or the next ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import re
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[2]
KEY = "sk_test_" + "w0rldw0rldw0rldw0rld"
DAY_SECONDS = 24 * 60 * 60

Method = tuple[str, str]
"""A customer's reference, and the token of its stored payment method."""


@dataclass(frozen=True, kw_only=True)
class World:
    """A running world, and what can be done to it."""

    base: str
    key: str = field(default=KEY, repr=False)

    def stored_method(self, kind: str = "card", *, expires: tuple[int, int] = (2035, 12), **behaviour: Any) -> Method:
        """A customer and its payment method; ``behaviour`` as ``behave`` takes it."""
        customer = self.stripe("customers", name="Buyer")["id"]
        if kind == "card":
            year, month = expires
            card = {"number": "4242" * 4, "exp_month": month, "exp_year": year, "cvc": "123"}
            given = {f"card[{name}]": value for name, value in card.items()}
        else:
            given = {"sepa_debit[iban]": "DE89370400440532013000"}
        token = self.stripe("payment_methods", type=kind, **given)["id"]
        self.stripe(f"payment_methods/{token}/attach", customer=customer)
        if behaviour:
            self.behave(token, **behaviour)
        return customer, token

    def behave(self, token: str, confirm: str = "", **more: Any) -> None:
        """From now on confirmations by this method end so: a name of ``stripe_api.DECLINES``; ``processing``, which
        ``settle`` ends; blank: paid, or with ``received`` a part of it.
        """
        self._do("behave", token=token, confirm=confirm, **more)

    def faults(self, **wanted: Any) -> None:
        """What goes wrong from now on, in percent of requests whose ``METHOD /path`` matches ``only``: ``lost`` (the
        request), ``busy`` (429), ``locked`` (409), ``broken`` (500 after the work was done), ``dropped`` (the answer,
        after the work was done). ``late_seconds`` delays answers, ``times`` bounds how many requests are hit. Nothing
        given: all is well.
        """
        self._do("faults", **wanted)

    def move(self, *, at: float | None = None, seconds: float = 0) -> None:
        """Set the clock (seconds since 1970), or move it on."""
        self._do("clock", at=at, seconds=seconds)

    def settle(self, intent: str, outcome: str = "") -> None:
        """End a payment that is processing: paid, or declined."""
        self._do("settle", reference=intent, outcome=outcome)

    def dispute(self, intent: str = "", **told: Any) -> dict[str, Any]:
        """Open one, or with ``dispute`` change one: ``status``, ``reason``, ``amount``, ``due_by``."""
        return dict(self._do("dispute", intent=intent, **told))

    def fail_refund(self, refund: str) -> None:
        """Money that was given back comes back."""
        self._do("fail_refund", reference=refund)

    def moves(self) -> list[dict[str, Any]]:
        """All that was really ``taken``, ``refunded`` and came back (``refund_failed``), in Stripe's amounts."""
        return list(self._do("moves"))

    def taken(self) -> dict[str, int]:
        """What was really taken by currency, in Stripe's amounts, before refunds."""
        sums: Counter[str] = Counter()
        for move in self.moves():
            sums[move["currency"]] += move["amount"] if move["what"] == "taken" else 0
        return dict(sums)

    def requests(self) -> list[str]:
        """``METHOD /path`` of every request that arrived, in order."""
        return list(self._do("requests"))

    def intents(self) -> list[dict[str, Any]]:
        """Every PaymentIntent as it is now, in the order in which they were made."""
        return list(self._do("intents"))

    def reset(self) -> None:
        """A new account, the clock right, nothing wrong."""
        self._do("reset")

    def stripe(self, path: str, **params: Any) -> dict[str, Any]:
        """A request by somebody else who has the key."""
        answer = http_client().post(
            f"{self.base}/v1/{path}", data=params, headers={"Authorization": f"Bearer {self.key}"}
        )
        answer.raise_for_status()
        return dict(answer.json())

    def connection(self) -> str:
        """As ``AIRFLOW_CONN_...`` has it."""
        return json.dumps({"conn_type": "http", "host": self.base, "password": self.key})

    def _do(self, what: str, **told: Any) -> Any:
        answer = http_client().post(f"{self.base}/_world/{what}", json=told)
        answer.raise_for_status()
        return answer.json()


@cache
def http_client() -> httpx.Client:
    """One for all, since each loads certificates."""
    return httpx.Client(timeout=30, trust_env=False, verify=False)


@contextmanager
def running() -> Iterator[World]:
    """A world in a process of its own, in a session of its own: whoever kills workers does not kill it. It ends with
    this process, however that ends.
    """
    command = [sys.executable, "-m", "tests.gateway.world", "--while", str(os.getpid())]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield World(base=json.loads(process.stdout.readline())["base"])
        finally:
            process.terminate()


# --- the server


class _Server:
    """In front of ``localstripe``: keys, faults, and what steers both."""

    def __init__(self) -> None:
        from localstripe import resources

        from tests.gateway.stripe_api import Account, Clock

        self.clock, self.new_account, self.store = Clock(), Account, resources.store
        resources.time = self.clock
        resources.Store.dump_to_disk = lambda _: None  # would write a file of that machine at every step
        self.reset()

    def reset(self) -> None:
        self.store.clear()
        self.clock.ahead = 0
        self.account = self.new_account(clock=self.clock)
        self.kept: dict[str, tuple[float, object, int, bytes]] = {}
        self.seen: list[str] = []
        self.wrong: dict[str, Any] = {}
        self.chance = random.Random(0)

    async def front(self, request: Any, handler: Any) -> Any:
        """Every request passes here first."""
        from aiohttp import web

        if request.path.startswith("/_world/"):
            return web.json_response(self.steer(request.path.removeprefix("/_world/"), await request.json()))
        name = f"{request.method} {request.path}"
        self.seen.append(name)
        fault, late_seconds = self._fault(name)
        if fault == "lost":
            request.transport.abort()
            return web.Response()
        status, body = await self._answered(request, handler, fault)
        await asyncio.sleep(late_seconds)
        if fault == "dropped":
            request.transport.abort()
        return web.Response(status=status, body=body, content_type="application/json")

    async def _answered(self, request: Any, handler: Any, fault: str) -> tuple[int, bytes]:
        from tests.gateway.stripe_api import Refused

        try:
            self._check_access(request)
            if fault in ("busy", "locked"):
                code = {"busy": "rate_limit", "locked": "lock_timeout"}[fault]
                raise Refused(429 if fault == "busy" else 409, "Try again.", code)
            return await self._once(request, handler, fault)
        except Refused as refused:
            return refused.status, _encoded(refused.body)

    async def _once(self, request: Any, handler: Any, fault: str) -> tuple[int, bytes]:
        """Under one key one answer, for a day. What fails validation is not kept."""
        from localstripe.server import get_post_data, unflatten_data

        from tests.gateway.stripe_api import Refused

        key = request.headers.get("Idempotency-Key", "") if request.method == "POST" else ""
        data = (await get_post_data(request) or {}) if request.method == "POST" else unflatten_data(request.query)
        asked = (request.path, json.dumps(data, sort_keys=True))
        at, before, status, body = self.kept.get(key, (0.0, None, 0, b""))
        if key and before is not None and self.clock.time() < at + DAY_SECONDS:
            if before != asked:
                said = (
                    "Keys for idempotent requests can only be used with the same parameters they were first used with."
                )
                raise Refused(400, said, kind="idempotency_error")
            return status, body
        status, body = await self._worked(request, handler, data)
        if fault == "broken":
            status, body = 500, _encoded({"error": {"type": "api_error", "message": "Something went wrong."}})
        if key and status not in (400, 404):
            self.kept[key] = (self.clock.time(), asked, status, body)
        return status, body

    async def _worked(self, request: Any, handler: Any, data: dict[str, Any]) -> tuple[int, bytes]:
        from tests.gateway.stripe_api import Refused

        try:
            found = self.account.answer(request.method, request.path, data)
        except Refused as refused:
            return refused.status, _encoded(refused.body)
        if found is not None:
            return 200, _encoded(found)
        answer = await handler(request)
        if answer.status == 404:
            said = f"No such object: '{request.path.rpartition('/')[2]}'"
            error = {"type": "invalid_request_error", "code": "resource_missing", "message": said}
            return 404, _encoded({"error": error})
        return answer.status, bytes(answer.body)

    def _check_access(self, request: Any) -> None:
        from tests.gateway.stripe_api import Refused

        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if key.startswith("rk_"):
            raise Refused(403, f"The provided key '{key}' does not have the required permissions for this endpoint.")
        if key != KEY:
            raise Refused(401, f"Invalid API Key provided: {key}")

    def _fault(self, name: str) -> tuple[str, float]:
        """What goes wrong with a request, and how late its answer is."""
        wrong = self.wrong
        if not wrong or wrong.get("times") == 0 or not re.search(wrong.get("only", ""), name):
            return "", 0.0
        if wrong.get("times") is not None:
            wrong["times"] -= 1
        drawn, late_seconds = self.chance.random() * 100, float(wrong.get("late_seconds", 0))
        for fault in ("lost", "busy", "locked", "broken", "dropped"):
            drawn -= wrong.get(fault, 0)
            if drawn < 0:
                return fault, late_seconds
        return "", late_seconds

    def steer(self, what: str, told: dict[str, Any]) -> Any:
        account = self.account
        if what == "behave":
            account.behaviour[told.pop("token")] = told
        elif what == "faults":
            self.wrong, self.chance = told, random.Random(told.pop("seed", 0))
        elif what == "clock":
            if told["at"] is not None:
                self.clock.move_to(told["at"])
            self.clock.ahead += told["seconds"]
        elif what in ("settle", "dispute", "fail_refund"):
            return getattr(account, what)(**told)
        elif what == "reset":
            self.reset()
        else:
            intents = [account._shown(one, []) for one in account.intents.values()] if what == "intents" else []
            return {"moves": account.moves, "requests": self.seen, "intents": intents}[what]
        return None


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


async def _serve(port: int, while_pid: int) -> None:
    from aiohttp import web
    from localstripe import server

    world = _Server()

    @web.middleware
    async def front(request: Any, handler: Any) -> Any:
        return await world.front(request, handler)

    server.app.middlewares.insert(0, front)
    runner = web.AppRunner(server.app, access_log=None)
    await runner.setup()
    listening = socket.create_server(("127.0.0.1", port), backlog=128)
    await web.SockSite(runner, listening).start()
    print(json.dumps({"base": f"http://127.0.0.1:{listening.getsockname()[1]}", "key": KEY}), flush=True)
    while not while_pid or _is_there(while_pid):
        await asyncio.sleep(1)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--while", type=int, default=0, dest="while_pid", help="end when this process has ended")
    given = parser.parse_args()
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # of connections that are dropped on purpose
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(given.port, given.while_pid))


if __name__ == "__main__":
    _main()
