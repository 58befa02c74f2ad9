"""A small reference written as text, the way people write it, and what core and the slow model make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta

import pandas as pd

from billing.core.cycles import cycles_from, first_start_us
from billing.core.drawdown import Draw
from billing.core.rating import Rated, rate
from billing.core.reference import BLANK, FOREVER_US, NO_TOKENS, TABLES, Column, ColumnKind, Reference
from billing.core.spans import NOTHING_USED, Opening
from billing.core.streams import TeamPlan
from billing.core.terms import Terms, subscriptions_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLY = "2010-01-01T00:00:00Z"
NEVER_OPENED = Opening(carry_micro={}, used=NOTHING_USED)


def us(text: str) -> int:
    """Microseconds since the epoch of an ISO instant, by the standard library alone."""
    return (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)


def micro(text: str) -> int:
    """10^-6 of a decimal's text, by plain text handling alone."""
    whole, _, fraction = text.lstrip("-").partition(".")
    value = int(whole) * 10**6 + int(fraction.ljust(6, "0") or 0)
    return -value if text.startswith("-") else value


def _cell(column: Column, text: str) -> object:
    match column.kind:
        case ColumnKind.TEXT:
            return text
        case ColumnKind.INSTANT:
            return us(text) if text else FOREVER_US
        case ColumnKind.DAY:
            return (date.fromisoformat(text) - EPOCH.date()).days
        case ColumnKind.MICRO:
            return micro(text) if text else NO_TOKENS
        case ColumnKind.WHOLE:
            return int(text) if text else BLANK


def frames_of(tables: Mapping[str, Sequence[Mapping[str, str]]]) -> Reference:
    """Rows of text as the reference frames that core works with."""
    result = {}
    for table in TABLES.values():
        rows = tables.get(table.name, ())
        result[table.name] = pd.DataFrame(
            {
                c.name: pd.Series(
                    [_cell(c, row.get(c.name, "")) for row in rows],
                    dtype=object if c.kind is ColumnKind.TEXT else "int64",
                )
                for c in table.columns
            }
        )
    return result


class SmallReference:
    """One seller in France, one French buyer with the team ``t1``; everything else is added row by row."""

    def __init__(self) -> None:
        self.tables: dict[str, list[dict[str, str]]] = {name: [] for name in TABLES}
        self.add(
            "seller",
            legal_name="Seller",
            country="FR",
            vat_id="FR40303265045",
            invoice_prefix="INV",
            time_zone="Europe/Paris",
        )
        self.team("t1", country="FR")

    def add(self, table: str, **cells: str) -> None:
        """Add one row; the cells not named are blank."""
        assert set(cells) <= {c.name for c in TABLES[table].columns}
        self.tables[table].append({c.name: cells.get(c.name, "") for c in TABLES[table].columns})

    def team(self, team_id: str, *, country: str = "FR", vat_id: str = "") -> None:
        """A team with a buyer of its own."""
        self.add("customers", customer_id=f"c-{team_id}", legal_name="Buyer", country=country, vat_id=vat_id)
        self.add("teams", team_id=team_id, customer_id=f"c-{team_id}", name=team_id)

    def api(self, api: str, *, size: str = "1", tokens: str = "", price: str = "", billing: str = "rated") -> None:
        """An API; with a unit size, tokens per unit and a price in EUR from early on where they are not blank."""
        self.add("apis", api=api, name=api, usage_unit="unit", billing=billing)
        if size:
            self.rate(api, EARLY, size, tokens)
        if price:
            self.price(api, EARLY, price)

    def rate(self, api: str, valid_from: str, size: str, tokens: str = "") -> None:
        """A unit size from an instant on."""
        self.add("unit_rates", api=api, valid_from=valid_from, unit_size=size, tokens_per_unit=tokens)

    def price(self, api: str, valid_from: str, price: str, currency: str = "EUR") -> None:
        """A unit price from an instant on."""
        self.add("unit_prices", api=api, currency=currency, valid_from=valid_from, unit_price=price)

    def bought(
        self, subscription_id: str, kind: str, at: str, *, ends: str = "", zone: str = "UTC", team: str = "t1"
    ) -> None:
        """A subscription."""
        currency = "EUR" if kind == "payg" else ""
        cells = {"purchased_at": at, "time_zone": zone, "ends_at": ends, "currency": currency}
        self.add("subscriptions", subscription_id=subscription_id, team_id=team, kind=kind, **cells)

    def free(self, subscription_id: str, at: str, units: Mapping[str, int], **more: str) -> None:
        """A free subscription with its allowances."""
        self.bought(subscription_id, "free", at, **more)
        for api, count in units.items():
            self.add("free_allowances", subscription_id=subscription_id, api=api, units_per_period=str(count))

    def tokens(self, grant_id: str, subscription_id: str, tokens: str, valid_from: str, expires_at: str) -> None:
        """A grant of tokens."""
        times = {"valid_from": valid_from, "expires_at": expires_at}
        self.add("token_grants", grant_id=grant_id, subscription_id=subscription_id, tokens=tokens, **times)

    def capacity(self, grant_id: str, subscription_id: str, api: str, quantity: str, start: str, end: str) -> None:
        """A grant of a resource."""
        cells = {"quantity": quantity, "valid_from": start, "expires_at": end}
        self.add("capacity_grants", grant_id=grant_id, subscription_id=subscription_id, api=api, **cells)

    def frames(self) -> Reference:
        """What core reads."""
        return frames_of(self.tables)

    def plan(self, cycles: int, *, team: str = "t1", after: int = 0, batch: int = 0) -> TeamPlan:
        """The team's first ``cycles`` cycles after the first ``after``, with ``batch`` pinned by the close before."""
        subscriptions = subscriptions_of(self.frames())[team]
        spans = []
        for span in cycles_from(subscriptions, first_start_us(subscriptions), FOREVER_US):
            spans.append(span)
            if len(spans) == after + cycles:
                return TeamPlan(team_id=team, cycles=tuple(spans[after:]), pinned_batch=batch)
        raise AssertionError("cycles never end")

    def rated(self, events: pd.DataFrame, *plans: TeamPlan, opening: Opening = NEVER_OPENED) -> Rated:
        """Rate the plans (one cycle of ``t1`` where none is given)."""
        return rate(Terms.from_reference(self.frames()), plans or (self.plan(1),), events, opening)


Event = tuple[str, str, str, str]
"""event_id, api, instant, quantity; a negative quantity is a correction."""


def usage(*events: Event, team: str = "t1", batch: int = 1) -> pd.DataFrame:
    """Accepted events as ``rate`` wants them."""
    return pd.DataFrame(
        {
            "team_id": pd.Series([team] * len(events), dtype=object),
            "event_id": pd.Series([e[0] for e in events], dtype=object),
            "api": pd.Series([e[1] for e in events], dtype=object),
            "occurred_at_us": pd.Series([us(e[2]) for e in events], dtype="int64"),
            "quantity_micro": pd.Series([micro(e[3]) for e in events], dtype="int64"),
            "is_correction": pd.Series([e[3].startswith("-") for e in events], dtype=bool),
            "batch_no": pd.Series([batch] * len(events), dtype="int64"),
        }
    )


def table(frame: pd.DataFrame) -> list[tuple[object, ...]]:
    """A frame's rows in an order of their own, for comparing what order must not matter for."""
    return sorted((tuple(row) for row in frame.itertuples(index=False)), key=repr)


def drawn(rated: Rated) -> dict[tuple[str, str, str, str], tuple[int, int]]:
    """(cycle start, api, source, grant or subscription) -> (units, tokens in 10^-6); cycle starts as ``MM-DD``."""
    result: dict[tuple[str, str, str, str], tuple[int, int]] = {}
    for row in rated.draws.itertuples(index=False):
        start = (EPOCH + timedelta(microseconds=int(row.cycle_start_us))).strftime("%m-%d")
        key = (start, row.api, str(row.source), row.grant_id or row.subscription_id)
        units, tokens = result.get(key, (0, 0))
        result[key] = (units + int(row.charged_units), tokens + int(row.tokens_micro))
    return result


def closing_of(rated: Rated) -> dict[tuple[str, str], int]:
    """Where the last rated cycle of each team left its accumulators."""
    ordered = rated.carry.sort_values("cycle_start_us")
    last = ordered.groupby(["team_id", "api"])["closing_micro"].last()
    return {(str(team), str(api)): int(value) for (team, api), value in last.items()}


PAYG_DRAW = Draw("api", "payg", "p", "", 1_000_000, "EUR")
