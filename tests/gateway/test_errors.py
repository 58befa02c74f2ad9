"""What goes wrong with the gateway: whether anything was done is said, and never a secret."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable

import pytest
import stripe

from billing.core.errors import BillingError, UsageError
from billing.outbound.payment_gateway import GatewayRefused, GatewayUnavailable
from billing.outbound.stripe_errors import redacted
from billing.outbound.stripe_gateway import StripeGateway
from tests.gateway.asked import opened, wanted
from tests.gateway.world import World


def by_key(world: World, key: str, base: str = "") -> StripeGateway:
    return StripeGateway(
        "stripe",
        lambda: (key, base or world.base),
        label="acme",
        connection="stripe_key",
        connect_seconds=0.5,
        read_seconds=0.5,
    )


@pytest.mark.parametrize("fault", ["lost", "busy", "locked", "broken", "dropped"])
def test_no_answer_that_says_what_was_done_is_unavailable(gateway: StripeGateway, world: World, fault: str) -> None:
    method = world.stored_method()
    reference = opened(gateway, method)
    world.faults(only="confirm", **{fault: 100})
    with pytest.raises(GatewayUnavailable, match="It is asked again by the next run"):
        gateway.confirm(reference, method[1])
    world.faults()
    was_done = fault in ("broken", "dropped")
    assert world.taken() == ({"EUR": 12345} if was_done else {})


def test_a_request_is_sent_once(gateway: StripeGateway, world: World) -> None:
    """The SDK asks nothing again by itself: whoever asks again looks up first."""
    reference = opened(gateway, world.stored_method())
    world.faults(broken=100)
    with pytest.raises(GatewayUnavailable):
        gateway.charge(reference)
    assert world.requests().count(f"GET /v1/payment_intents/{reference}") == 1


def test_an_answer_that_comes_too_late_is_unavailable(world: World) -> None:
    method, slow = world.stored_method(), by_key(world, world.key)
    reference = opened(slow, method)
    world.faults(late_seconds=1.5, times=1)
    began = time.monotonic()
    with pytest.raises(GatewayUnavailable, match="ReadTimeout"):
        slow.confirm(reference, method[1])
    assert time.monotonic() - began < 1.4
    assert world.taken() == {"EUR": 12345}


def test_nobody_there_is_unavailable(world: World) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = by_key(world, world.key, f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(GatewayUnavailable, match="ConnectionError"):
            nobody.charge("pi_1")


def test_an_answer_that_is_not_stripe_s_is_unavailable(world: World) -> None:
    """A proxy's page in its place, say: what was done is not known."""
    with pytest.raises(GatewayUnavailable):
        by_key(world, world.key, f"{world.base}/js.stripe.com/v3/?").charge("pi_1")


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ("sk_test_wr0ngwr0ngwr0ng", "Invalid API Key provided: sk_test_..."),
        ("rk_live_readonly0readonly", "rk_live_...' does not have the required permissions"),
    ],
)
def test_a_key_that_is_not_taken_is_said_by_its_connection(world: World, key: str, says: str) -> None:
    with pytest.raises(UsageError, match="connection 'stripe_key'") as caught:
        by_key(world, key).charge("pi_1")
    assert says in str(caught.value) and key not in str(caught.value)
    assert caught.value.exit_status == 2


# --- no secret in anything


def everything(error: BaseException) -> str:
    """All that a log could show of an error: its chain, its frames, its attributes."""
    shown = "".join(traceback.format_exception(error))
    while error is not None:
        shown += repr(error) + str(error) + repr(getattr(error, "__dict__", ""))
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return shown


@pytest.mark.parametrize(
    "work",
    [
        lambda gateway, token: gateway.stored_method(token),
        lambda gateway, token: gateway.stored_method(token + "x"),
        lambda gateway, token: gateway.open_charge(wanted(("cus_another", token))),
        lambda gateway, token: gateway.confirm("pi_none", token),
        lambda gateway, token: gateway.change("pi_none", amount_minor=1, token=token),
    ],
    ids=["fine", "no such method", "of another customer", "confirm", "change"],
)
@pytest.mark.parametrize("fault", ["", "broken", "dropped", "busy"])
@pytest.mark.parametrize("to_console", [True, False])
def test_no_secret_is_in_any_message_log_or_repr(
    world: World,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[StripeGateway, str], object],
    fault: str,
    to_console: bool,
) -> None:
    if to_console:
        monkeypatch.setattr(stripe, "log", "debug")
        monkeypatch.setattr(stripe._util, "STRIPE_LOG", "debug")
    caplog.set_level(logging.DEBUG)
    _, token = world.stored_method()
    caplog.clear()
    no_causes: tuple[BaseException | None, ...] = (None, None)
    gateway = by_key(world, world.key)
    world.faults(**({fault: 100} if fault else {}))
    shown, causes = repr(gateway), no_causes
    try:
        shown += repr(work(gateway, token))
    except BillingError as error:
        shown += everything(error)
        causes = (error.__context__, error.__cause__)
    assert causes == no_causes, "the SDK's error holds headers and body"
    captured = capfd.readouterr()
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    shown += captured.out + captured.err + "".join(f"{record.getMessage()}{record.args}" for record in ours)
    assert any(record.name == "stripe" for record in ours), "the log is still there"
    for secret in (world.key, token, "w0rldw0rld"):
        assert secret not in shown


def test_what_is_hidden_and_what_is_not() -> None:
    hidden = (
        "sk_live_51H sk_test_ab*cd rk_live_a1 whsec_x pm_card_visa pm_1AbC pi_1_secret_Zz9 "
        "card_1A2b3C4d5E6f7G tok_1A2b3C4d5E6f7G src_1A2b3C4d5E6f7G 4242424242424242 "
        "4242-4242-4242-4242 4242 4242 4242 4242"
    )
    shown = redacted(hidden)
    for part in ("51H", "ab*cd", "a1", "_x", "visa", "1AbC", "Zz9", "1A2b", "4242"):
        assert part not in shown
    kept = "card_declined card_not_supported INV-2026-000001 pi_3Abc ch_3Abc cus_9 1785542400 do_not_honor"
    assert redacted(kept) == kept


def test_a_refusal_has_the_gateway_s_code_and_words(gateway: StripeGateway) -> None:
    with pytest.raises(GatewayRefused, match="The gateway 'stripe' refused: No such payment_intent: 'pi_1'") as caught:
        gateway.charge("pi_1")
    assert caught.value.code == "resource_missing"
