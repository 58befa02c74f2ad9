"""A payment gateway kept in a file, written by hand behind the seam: it survives the process that asks it, and may be
asked by several. It keeps what gateways promise (one charge for a key, until it forgets; a charge is paid once), and
does on demand what they do in bad weather.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from billing.outbound.payment_gateway import (
    KEY_TAKEN,
    DisputeState,
    GatewayCharge,
    GatewayDispute,
    GatewayRefund,
    GatewayRefused,
    GatewayState,
    GatewayUnavailable,
    StoredMethod,
    WantedCharge,
)

ENDED = ("succeeded", "cancelled", "processing")


@dataclass(frozen=True, kw_only=True)
class FakeGateway:
    """``name`` is as in ``payment_methods.gateway``. The token ``tok_X_of_C`` is of the customer ``C`` there."""

    file: Path
    name: str = "fake"

    # --- what a test says

    def set(self, **values: Any) -> None:
        """``clock`` (ISO), ``minimum``, ``expires`` ([year, month]), ``currency`` (what charges are told to be in)."""
        with self._state() as state:
            state |= values

    def answer(self, token: str, *outcomes: str) -> None:
        """What the next attempts with a token come to: a decline's code, ``authenticate``, ``processing``,
        ``partial:N``; afterwards they succeed. One that begins with ``!`` stays for ever.
        """
        with self._state() as state:
            state["answers"][token] = list(outcomes)

    def lose(self, call: str, times: int = 1) -> None:
        """The answers of the next calls are lost after the work was done."""
        with self._state() as state:
            state["lost"][call] = times

    def refuse(self, call: str, code: str, times: int = 1) -> None:
        """The next calls are refused, and do nothing."""
        with self._state() as state:
            state["refused"][call] = [code, times]

    def forget_keys(self) -> None:
        with self._state() as state:
            state["keys"] = {}

    def settle(self, reference: str, outcome: str, received: int | None = None) -> None:
        """What becomes of a charge by itself: ``succeeded``, ``cancelled``, or a decline's code."""
        with self._state() as state:
            charge = state["charges"][reference]
            if outcome in ("succeeded", "cancelled"):
                charge["state"] = outcome
                charge["received"] = 0 if outcome == "cancelled" else received or charge["amount"]
            else:
                charge |= {"state": "declined", "problem": outcome}

    def dispute(self, reference: str, state_: DisputeState, amount: int, *, at: str, key: str = "dp_1") -> None:
        with self._state() as state:
            state["disputes"][key] = {"charge": reference, "state": state_.value, "amount": amount, "at": at}

    def refund_by_hand(self, reference: str, amount: int, *, at: str, key: str = "") -> None:
        with self._state() as state:
            self._refund(state, reference, amount, key, at)

    def fail_refunds(self) -> None:
        with self._state() as state:
            for refund in state["refunds"].values():
                refund["failed"] = True

    def foreign(self, amount: int, *, key: str = "", numbers: tuple[str, ...] = (), state_: str = "succeeded") -> str:
        with self._state() as state:
            charge = self._new(state, key, list(numbers), amount, "EUR", "cus_other")
            charge |= {"state": state_, "received": amount if state_ == "succeeded" else 0}
            return str(charge["reference"])

    # --- what a test looks at

    def seen(self) -> dict[str, Any]:
        with self._state() as state:
            return dict(state)

    def charges(self) -> list[dict[str, Any]]:
        return list(self.seen()["charges"].values())

    def taken(self) -> dict[str, int]:
        """By the first part of the key what was received less what was given back."""
        state, found = self.seen(), {}
        for charge in state["charges"].values():
            key = charge["key"].partition("/")[0]
            found[key] = found.get(key, 0) + charge["received"]
        for refund in state["refunds"].values():
            if not refund["failed"]:
                found[state["charges"][refund["charge"]]["key"].partition("/")[0]] -= refund["amount"]
        return {key: amount for key, amount in found.items() if amount}

    def calls(self, name: str) -> int:
        return int(self.seen()["calls"].get(name, 0))

    # --- the seam

    def minimum_minor(self, currency: str) -> int:
        with self._state() as state:
            return int(state["minimum"])

    def stored_method(self, token: str) -> StoredMethod:
        with self._call("stored_method") as state:
            if "_of_" not in token:
                raise GatewayRefused("no_such_payment_method", "there is no payment method of this token")
            expires = tuple(state["expires"]) if state["expires"] else None
            customer = token.partition("_of_")[2]
            return StoredMethod(token=token, customer_reference=customer, kind="card", expires=expires)  # type: ignore[arg-type]

    def open_charge(self, wanted: WantedCharge) -> GatewayCharge:
        with self._call("open_charge") as state:
            content = [wanted.amount_minor, wanted.currency, wanted.customer_reference]
            if wanted.key in state["keys"]:
                known = state["keys"][wanted.key]
                if known["content"] != content:
                    raise GatewayRefused(KEY_TAKEN, "the key was used with another content")
                charge = state["charges"][known["reference"]]
            else:
                charge = self._new(
                    state,
                    wanted.key,
                    list(wanted.numbers),
                    wanted.amount_minor,
                    wanted.currency,
                    wanted.customer_reference,
                )
                state["keys"][wanted.key] = {"reference": charge["reference"], "content": content}
        return self._charge(charge, state)

    def charge(self, reference: str) -> GatewayCharge:
        with self._call("charge") as state:
            if reference not in state["charges"]:
                raise GatewayRefused("no_such_charge", f"there is no charge {reference}")
        return self._charge(state["charges"][reference], state)

    def change(self, reference: str, *, amount_minor: int, token: str) -> GatewayCharge:
        with self._call("change") as state:
            charge = state["charges"][reference]
            if charge["state"] in ENDED:
                raise GatewayRefused("unexpected_state", f"{reference} is {charge['state']}")
            charge["amount"] = amount_minor
        return self._charge(charge, state)

    def confirm(self, reference: str, token: str) -> GatewayCharge:
        with self._call("confirm") as state:
            charge = state["charges"][reference]
            if charge["state"] not in ENDED:
                self._attempt(state, charge, token)
        return self._charge(charge, state)

    def cancel(self, reference: str) -> GatewayCharge:
        with self._call("cancel") as state:
            charge = state["charges"][reference]
            if charge["state"] in ("succeeded", "processing"):
                raise GatewayRefused("unexpected_state", f"{reference} is {charge['state']}")
            charge["state"] = "cancelled"
        return self._charge(charge, state)

    def refund(self, reference: str, *, amount_minor: int, key: str) -> GatewayRefund:
        with self._call("refund") as state:
            for made in state["refunds"].values():
                if made["key"] == key and key in state["keys"]:
                    return self._told(made)
            held = state["charges"][reference]["received"] - sum(
                one["amount"] for one in state["refunds"].values() if one["charge"] == reference and not one["failed"]
            )
            if amount_minor > held:
                raise GatewayRefused("too_much", f"{held} are left")
            made = self._refund(state, reference, amount_minor, key, state["clock"])
            state["keys"][key] = {}
        return self._told(made)

    def refunds(self, reference: str) -> list[GatewayRefund]:
        with self._call("refunds") as state:
            return [self._told(one) for one in state["refunds"].values() if one["charge"] == reference]

    def charges_between(self, begin: datetime, end: datetime) -> Iterator[GatewayCharge]:
        with self._call("charges_between") as state:
            found = [self._charge(one, state) for one in state["charges"].values()]
        yield from (one for one in found if begin <= one.opened_at < end)

    def refunds_between(self, begin: datetime, end: datetime) -> Iterator[GatewayRefund]:
        with self._call("refunds_between") as state:
            found = [self._told(one) for one in state["refunds"].values()]
        yield from (one for one in found if begin <= one.at < end)

    def disputes_between(self, begin: datetime, end: datetime) -> Iterator[GatewayDispute]:
        with self._call("disputes_between") as state:
            disputes = dict(state["disputes"])
        for key, one in disputes.items():
            at, decided = datetime.fromisoformat(one["at"]), one["state"] in ("won", "lost")
            if begin <= at < end:
                yield GatewayDispute(
                    reference=key,
                    charge_reference=one["charge"],
                    state=DisputeState(one["state"]),
                    currency="EUR",
                    amount_minor=one["amount"],
                    reason="fraudulent",
                    at=at,
                    answer_by=None
                    if decided
                    else datetime.fromisoformat(one.get("answer_by", "2026-08-20T00:00:00+00:00")),
                )

    # --- how it is kept

    def _attempt(self, state: dict[str, Any], charge: dict[str, Any], token: str) -> None:
        state["serial"] += 1
        charge |= {"attempt": f"at_{state['serial']}", "problem": ""}
        waiting = state["answers"].get(token, [])
        outcome = (waiting[0][1:] if waiting[0][0] == "!" else waiting.pop(0)) if waiting else "ok"
        if outcome == "ok" or outcome.startswith("partial:"):
            part = int(outcome.partition(":")[2] or charge["amount"])
            charge |= {"state": "succeeded", "received": part, "settled": state["clock"]}
        elif outcome == "processing":
            charge["state"] = "processing"
        elif outcome == "authenticate":
            charge |= {"state": "needs_authentication", "problem": "authentication_required"}
        else:
            charge |= {"state": "declined", "problem": outcome}

    def _new(
        self, state: dict[str, Any], key: str, numbers: list[str], amount: int, currency: str, customer: str
    ) -> dict[str, Any]:
        state["serial"] += 1
        charge = {"reference": f"ch_{state['serial']}", "key": key, "numbers": numbers, "state": "unconfirmed"}
        charge |= {"currency": currency, "amount": amount, "received": 0, "attempt": "", "problem": "", "settled": ""}
        charge |= {"customer": customer, "opened": state["clock"]}
        state["charges"][charge["reference"]] = charge
        return charge

    def _refund(self, state: dict[str, Any], reference: str, amount: int, key: str, at: str) -> dict[str, Any]:
        state["serial"] += 1
        made = {"reference": f"re_{state['serial']}", "charge": reference, "key": key, "amount": amount, "at": at}
        state["refunds"][made["reference"]] = made | {"failed": False}
        return dict(made | {"failed": False})

    def _told(self, one: dict[str, Any]) -> GatewayRefund:
        return GatewayRefund(
            reference=one["reference"],
            charge_reference=one["charge"],
            key=one["key"],
            currency="EUR",
            amount_minor=one["amount"],
            failed=one["failed"],
            at=datetime.fromisoformat(one["at"]),
        )

    def _charge(self, one: dict[str, Any], state: dict[str, Any]) -> GatewayCharge:
        return GatewayCharge(
            reference=one["reference"],
            key=one["key"],
            numbers=tuple(one["numbers"]),
            state=GatewayState(one["state"]),
            currency=state["currency"] or one["currency"],
            amount_minor=one["amount"],
            received_minor=one["received"],
            attempt_reference=one["attempt"],
            problem=one["problem"],
            detail="as the bank says" if one["problem"] else "",
            opened_at=datetime.fromisoformat(one["opened"]),
            settled_at=datetime.fromisoformat(one["settled"]) if one["settled"] else None,
            customer_reference=one["customer"],
        )

    @contextmanager
    def _call(self, name: str) -> Iterator[dict[str, Any]]:
        """A call is refused before it does anything, and its answer is lost after it has done it."""
        with self._state() as state:
            state["calls"][name] = state["calls"].get(name, 0) + 1
            code, times = state["refused"].get(name, ["", 0])
            if times:
                state["refused"][name] = [code, times - 1]
                raise GatewayRefused(code, f"the gateway refused: {code}")
            yield state
            is_lost = state["lost"].get(name, 0)
            if is_lost:
                state["lost"][name] = is_lost - 1
        if is_lost:
            raise GatewayUnavailable("the answer was lost")

    @contextmanager
    def _state(self) -> Iterator[dict[str, Any]]:
        """What there is, kept also where the caller was refused."""
        with self.file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = json.loads(self.file.read_text()) if self.file.exists() else _empty()
            try:
                yield state
            finally:
                self.file.with_suffix(".new").write_text(json.dumps(state))
                self.file.with_suffix(".new").replace(self.file)


def _empty() -> dict[str, Any]:
    named = ("charges", "keys", "refunds", "disputes", "answers", "lost", "refused", "calls")
    plain = {"clock": datetime(2026, 8, 2, tzinfo=UTC).isoformat(), "serial": 0, "minimum": 0, "expires": None}
    return {name: {} for name in named} | plain | {"currency": ""}
