"""What a month did to prepaid tokens: sold, used, expired unused (breakage), and what is still owed (deferred).

A grant is sold at the first instant at which it can be used, and ends at the earlier of its own end and its
subscription's (rule 8.1); what is unused then is breakage of the month that holds that instant. A month is
``[start, end)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from billing.core.frames import rows
from billing.core.model import Kind
from billing.core.quantity import decimal_of_micro, divide_half_up, minor_digits, multiply, round_half_up, total
from billing.core.reference import BLANK, Reference


@dataclass(frozen=True, kw_only=True, slots=True)
class SoldGrant:
    """A grant of tokens as a sale. ``team_id`` is blank while its subscription is not assigned. ``amount`` is what was
    paid for it, with its currency's minor digits; None where the reference data say nothing of it.
    """

    grant_id: str
    team_id: str
    subscription_id: str
    kind: Kind
    granted_micro: int
    sold_at_us: int
    ended_at_us: int
    currency: str
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenMovement:
    """What a month did to one grant, in 10^-6 of a token: ``opening + sold = used + expired + remaining``, and over all
    time ``granted = used_before + used + expired_before + expired + remaining``.
    """

    grant: SoldGrant
    used_before_micro: int
    expired_before_micro: int
    opening_micro: int
    sold_micro: int
    used_micro: int
    expired_micro: int
    remaining_micro: int


@dataclass(frozen=True, kw_only=True, slots=True)
class MoneyMovement:
    """The same in money: ``opening + sold = recognised + breakage + deferred``, with the currency's minor digits."""

    opening: Decimal
    sold: Decimal
    recognised: Decimal
    breakage: Decimal
    deferred: Decimal


def sold_grants(reference: Reference) -> Iterator[SoldGrant]:
    """Every grant of tokens that is known, in the order of its id."""
    held = {row.subscription_id: row for row in rows(reference["subscriptions"])}
    for row in rows(reference["token_grants"].sort_values("grant_id")):
        subscription = held[row.subscription_id]
        sold = max(int(row.valid_from), int(subscription.purchased_at))
        has_amount = int(row.amount) != BLANK and row.currency != ""
        digits = minor_digits(row.currency)
        yield SoldGrant(
            grant_id=row.grant_id,
            team_id=subscription.team_id,
            subscription_id=row.subscription_id,
            kind=Kind(subscription.kind),
            granted_micro=int(row.tokens),
            sold_at_us=sold,
            ended_at_us=max(sold, min(int(row.expires_at), int(subscription.ends_at))),
            currency=row.currency if has_amount else "",
            amount=round_half_up(decimal_of_micro(row.amount), digits) if has_amount else None,
        )


def movement(
    grant: SoldGrant, used_before_micro: int, used_to_date_micro: int, start_us: int, end_us: int
) -> TokenMovement | None:
    """What ``[start, end)`` did to a grant of which so much was used before each of the two instants; None where it was
    over before, or is sold later.
    """
    used = used_to_date_micro - used_before_micro
    if grant.sold_at_us >= end_us or (grant.ended_at_us < start_us and not used):
        return None
    expired_before = _expired(grant, used_before_micro, start_us)
    expired = _expired(grant, used_to_date_micro, end_us) - expired_before
    is_new = grant.sold_at_us >= start_us
    return TokenMovement(
        grant=grant,
        used_before_micro=used_before_micro,
        expired_before_micro=expired_before,
        opening_micro=0 if is_new else grant.granted_micro - used_before_micro - expired_before,
        sold_micro=grant.granted_micro if is_new else 0,
        used_micro=used,
        expired_micro=expired,
        remaining_micro=grant.granted_micro - used_to_date_micro - expired_before - expired,
    )


def money(moved: TokenMovement) -> MoneyMovement | None:
    """Recognised to date is amount x used / granted, rounded half up once over all that was used; at the end of the
    grant breakage takes the rest. None where no amount is known.
    """
    amount, currency = moved.grant.amount, moved.grant.currency
    if amount is None:
        return None
    digits = minor_digits(currency)
    before = _recognised(amount, moved.used_before_micro, moved.grant.granted_micro, digits)
    to_date = _recognised(amount, moved.used_before_micro + moved.used_micro, moved.grant.granted_micro, digits)
    opening = Decimal(0) if moved.sold_micro or moved.expired_before_micro else _less(amount, before, digits)
    sold = amount if moved.sold_micro else Decimal(0)
    recognised = _less(to_date, before, digits)
    left = _less(total((opening, sold), digits), recognised, digits)
    is_over = bool(moved.expired_micro)
    return MoneyMovement(
        opening=total((opening,), digits),
        sold=total((sold,), digits),
        recognised=recognised,
        breakage=left if is_over else total((), digits),
        deferred=total((), digits) if is_over else left,
    )


def _expired(grant: SoldGrant, used_micro: int, at_us: int) -> int:
    """What was lost before an instant."""
    return grant.granted_micro - used_micro if grant.ended_at_us < at_us else 0


def _recognised(amount: Decimal, used_micro: int, granted_micro: int, digits: int) -> Decimal:
    return divide_half_up(multiply(used_micro, amount), Decimal(granted_micro), digits)


def _less(left: Decimal, right: Decimal, digits: int) -> Decimal:
    return total((left, right.copy_negate()), digits)
