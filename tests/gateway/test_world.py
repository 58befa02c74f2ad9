"""The world keeps what Stripe promises; otherwise tests against it would prove nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter

import httpx
import pytest

from billing.outbound.payment_gateway import GatewayUnavailable, PaymentGateway
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.asked import opened
from tests.gateway.world import ROOT, Method, World, http_client


def post(world: World, key: str, path: str = "payment_intents", **params: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {world.key}", "Idempotency-Key": key}
    return http_client().post(f"{world.base}/v1/{path}", data=params, headers=headers)


def an_intent(method: Method, amount: int = 1000) -> dict[str, object]:
    return {"amount": amount, "currency": "eur", "customer": method[0], "payment_method": method[1]}


def test_the_gateway_is_what_the_seam_asks_for(gateway: StripeGateway) -> None:
    seam: PaymentGateway = gateway
    assert seam.name == "stripe"


def test_one_key_has_one_answer_for_a_day(world: World) -> None:
    asked = an_intent(world.stored_method())
    first = post(world, "a", **asked)
    world.move(seconds=24 * 3600 - 5)
    assert post(world, "a", **asked).json() == first.json()
    world.move(seconds=10)
    assert post(world, "a", **asked).json()["id"] != first.json()["id"]


def test_a_key_is_for_one_request(world: World) -> None:
    method = world.stored_method()
    post(world, "a", **an_intent(method))
    answer = post(world, "a", **an_intent(method, 2000))
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")


def test_an_error_of_the_server_is_kept_and_one_of_the_request_is_not(world: World) -> None:
    method = world.stored_method()
    world.faults(broken=100, times=1)
    assert post(world, "a", **an_intent(method)).status_code == 500
    assert post(world, "a", **an_intent(method)).status_code == 500
    assert len(world.intents()) == 1, "the work was done"
    assert post(world, "b", **an_intent(method, 1)).status_code == 400
    assert post(world, "b", **an_intent(method)).status_code == 200


def test_a_decline_under_a_key_stays(world: World) -> None:
    """Why a confirmation must have no key of ours."""
    method = world.stored_method(confirm="insufficient_funds")
    path = f"payment_intents/{post(world, 'a', **an_intent(method)).json()['id']}/confirm"
    asked = {"payment_method": method[1], "off_session": "true"}
    assert post(world, "c", path, **asked).status_code == 402
    world.behave(method[1])
    assert post(world, "c", path, **asked).status_code == 402
    assert post(world, "d", path, **asked).status_code == 200


def test_lists_have_pages_a_time_and_a_customer(world: World) -> None:
    one, other = world.stored_method(), world.stored_method()
    made = [post(world, f"{n}", **an_intent(one if n % 2 else other)).json()["id"] for n in range(10)]

    def listed(**params: object) -> dict[str, object]:
        answer = http_client().get(
            f"{world.base}/v1/payment_intents", params=params, headers={"Authorization": f"Bearer {world.key}"}
        )
        return {"status": answer.status_code, **answer.json()}

    page = listed(limit=4)
    assert ([found["id"] for found in page["data"]], page["has_more"]) == (made[:5:-1], True)  # type: ignore[attr-defined]
    page = listed(limit=100, starting_after=made[3])
    assert ([found["id"] for found in page["data"]], page["has_more"]) == (made[2::-1], False)  # type: ignore[attr-defined]
    assert [found["id"] for found in listed(customer=one[0])["data"]] == made[9::-2]  # type: ignore[attr-defined]
    assert listed(**{"created[lt]": 1_000_000_000})["data"] == []
    assert listed(limit=101)["status"] == 400


def test_a_seeded_share_of_answers_is_lost_after_the_work(gateway: StripeGateway, world: World) -> None:
    methods = [world.stored_method() for _ in range(40)]
    references = [opened(gateway, method, f"INV-{n}") for n, method in enumerate(methods)]

    def outcomes() -> list[bool]:
        world.faults(only="confirm", dropped=30, seed=7)
        answered = []
        for reference, (_, token) in zip(references, methods, strict=True):
            try:
                gateway.confirm(reference, token)
                answered.append(True)
            except GatewayUnavailable:
                answered.append(False)
        world.faults()
        return answered

    first = outcomes()
    assert 20 <= sum(first) < 40
    assert world.taken() == {"EUR": 40 * 12345}
    assert outcomes() == first
    assert world.taken() == {"EUR": 40 * 12345}
    assert Counter(move["metadata"]["carryover_key"] for move in world.moves()).most_common(1)[0][1] == 1


def test_it_is_a_program_that_ends_with_who_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    command = [sys.executable, "-m", "tests.gateway.world", "--while", str(parent.pid)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        world = World(base=told["base"], key=told["key"])
        assert world.stored_method()[1].startswith("pm_")
        assert json.loads(world.connection())["host"] == world.base
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        began = time.monotonic()
        assert process.wait(timeout=20) == 0 and time.monotonic() - began < 20


@pytest.mark.parametrize("fault", ["lost", "busy", "locked"])
def test_a_request_that_did_not_come_through_did_nothing(world: World, fault: str) -> None:
    method = world.stored_method()
    world.faults(times=1, **{fault: 100})
    try:
        assert post(world, "a", **an_intent(method)).status_code in (409, 429)
    except httpx.HTTPError:
        assert fault == "lost"
    assert world.intents() == []
    assert post(world, "a", **an_intent(method)).status_code == 200
