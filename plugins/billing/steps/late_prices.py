"""Late rates and prices: closed cycles whose units, balances or prices they would have changed (rules 3.6, 4.1 and
5.4).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from billing.core.model import UNFUNDED, ApiBilling, Kind
from billing.core.quantity import decimal_of_micro, minor_digits, multiply, round_half_up
from billing.core.reference import Reference
from billing.steps.late_closed import Hit, cycle_of, named
from billing.steps.late_in_force import NOTHING, Difference, InForce, differences_by_key, in_force, pieces
from billing.steps.reference_versions import Version
from billing.store.invoices import from_minor, stands
from billing.store.late_rows import Figure, Touched
from billing.store.tables import carry, cycles, draws, invoice_lines, invoices, reference_history

_Key = tuple[str, ...]
_Invoiced = tuple[str, int, str, str]
"""Team, cycle, currency and API."""


def rate_hits(connection: Connection, found: Sequence[Version], before: Reference, after: Reference) -> Iterator[Hit]:
    """Closed cycles with an API whose unit size or price in tokens was another one, from the first such instant on:
    what waits in the carry-over, and what is left of balances, goes from cycle to cycle.
    """
    by_key = _by_key(found, ("api",))
    values = ("unit_size", "tokens_per_unit")
    were, are = (in_force(one["unit_rates"], ("api",), values, by_key) for one in (before, after))
    other = differences_by_key(were, are)
    query = select(carry.c.team_id, carry.c.cycle_start_us, carry.c.api, cycles.c.cycle_end_us)
    rated = query.join(cycles, cycle_of(carry)).where(carry.c.billing == ApiBilling.RATED.value)
    for row in named(connection, rated, carry.c.api, {api for (api,) in other}):
        for version in by_key[row.api,]:
            mine = [d for d in _brought_by(version, other[row.api,]) if d.low < row.cycle_end_us]
            if touched := frozenset(touch for d in mine for touch in _touched_by_rate(d)):
                yield Hit(version=version, team_id=row.team_id, cycle_start_us=row.cycle_start_us, touched=touched)


def _touched_by_rate(other: Difference) -> Iterator[Touched]:
    (size, tokens), (size_after, tokens_after) = other.before or (None, None), other.after or (None, None)
    if size != size_after:
        yield Touched.UNITS
    if tokens != tokens_after:
        yield Touched.BALANCE


def _by_key(found: Sequence[Version], key: Sequence[str]) -> dict[_Key, list[Version]]:
    by_key: dict[_Key, list[Version]] = {}
    for version in found:
        by_key.setdefault(tuple(getattr(version.row, name) for name in key), []).append(version)
    return by_key


def _brought_by(version: Version, other: Sequence[Difference]) -> list[Difference]:
    return [difference for difference in other if version.row.valid_from in difference.starts]


# --- prices ----------------------------------------------------------------------------------------------------------


def price_hits(connection: Connection, found: Sequence[Version], before: Reference, after: Reference) -> Iterator[Hit]:
    """Closed cycles in which units were paid at a price that was another one, or were not paid for want of one that
    there is now. A price changes nothing of what other balances pay, nor of later cycles.
    """
    by_key = _by_key(found, ("api", "currency"))
    were, are = (in_force(one["unit_prices"], ("api", "currency"), ("unit_price",), by_key) for one in (before, after))
    hits = list(_priced(connection, by_key, differences_by_key(were, are), after))
    figures = _line_figures(connection, {_invoiced(hit) for hit in hits if Touched.PRICE in hit.touched}, are)
    for hit in hits:
        yield replace(hit, figures=figures.get(_invoiced(hit), ()))


def _invoiced(hit: Hit) -> _Invoiced:
    return (hit.team_id, hit.cycle_start_us, hit.version.row.currency, hit.version.row.api)


def _priced(
    connection: Connection,
    by_key: Mapping[_Key, Sequence[Version]],
    others: Mapping[_Key, Sequence[Difference]],
    after: Reference,
) -> Iterator[Hit]:
    payers = _payers(after)
    for row in _paid_cycles(connection, {api for api, _ in others}):
        for (api, currency), other in others.items():
            mine = [d for d in other if d.within(row.cycle_start_us, row.cycle_end_us)] if api == row.api else []
            mine = [d for d in mine if _can_touch(row, currency, d, payers)]
            touched = frozenset(Touched.PRICE if d.before and d.after else Touched.BALANCE for d in mine)
            for version in by_key[api, currency] if touched else ():
                if _brought_by(version, mine):
                    yield Hit(version=version, team_id=row.team_id, cycle_start_us=row.cycle_start_us, touched=touched)


def _can_touch(row: Any, currency: str, other: Difference, payers: Collection[tuple[str, str]]) -> bool:
    """What was paid had a price in its currency; what was not paid had none, and somebody who could pay."""
    if row.source == UNFUNDED:
        return other.before is None and (row.team_id, currency) in payers
    return bool(row.currency == currency and other.before is not None)


def _payers(reference: Reference) -> set[tuple[str, str]]:
    """Teams that pay as they go, ever, with the currency."""
    held = reference["subscriptions"]
    paying = held[held["kind"] == Kind.PAYG]
    return set(zip(paying["team_id"], paying["currency"], strict=True))


def _paid_cycles(connection: Connection, apis: Collection[str]) -> Iterator[Any]:
    """Closed cycles, API, source and currency of units that somebody paid for as they went, or nobody paid for."""
    columns = (draws.c.team_id, draws.c.cycle_start_us, draws.c.api, draws.c.source, draws.c.currency)
    query = select(*columns, cycles.c.cycle_end_us).join(cycles, cycle_of(draws)).distinct()
    last = query.where(draws.c.source.in_([Kind.PAYG.value, UNFUNDED]), draws.c.charged_units > 0)
    return named(connection, last, draws.c.api, apis)


# --- exact figures: an invoice's lines at the prices of this load (rule 6.1) -----------------------------------------


def _line_figures(
    connection: Connection, wanted: Collection[_Invoiced], are: Mapping[_Key, InForce]
) -> dict[_Invoiced, tuple[Figure, ...]]:
    pinned = _pinned_prices(connection, {(api, currency) for _, _, currency, api in wanted})
    lines: dict[tuple[_Invoiced, str], list[tuple[Any, int | None]]] = {}
    for line in _lines(connection, {team_id for team_id, *_ in wanted}):
        key = (line.team_id, line.cycle_start_us, line.currency, line.api)
        if key in wanted:
            law = _known_at(pinned[line.api, line.currency], line.pinned_load)
            price = _price_instead(line, law, are.get((line.api, line.currency), NOTHING))
            lines.setdefault((key, line.number), []).append((line, price))
    figures: dict[_Invoiced, tuple[Figure, ...]] = {}
    for (key, _), mine in lines.items():
        figures[key] = (*figures.get(key, ()), *_figures(mine))
    return figures


def _figures(lines: Sequence[tuple[Any, int | None]]) -> Iterator[Figure]:
    """Of the lines of one API in an invoice, those whose price is another one; lines that would have been one line
    have no figure of their own.
    """
    together = Counter(price for _, price in lines)
    for line, price in lines:
        if price is not None and price != line.unit_price_micro and together[price] == 1:
            digits = minor_digits(line.currency)
            net = round_half_up(multiply(line.charged_units, decimal_of_micro(price)), digits)
            yield Figure(
                what=f"{line.number}, line {line.line_no} ({line.api}): net",
                stands=f"{from_minor(line.net_minor, line.currency):f} {line.currency}",
                would_be=f"{net:f} {line.currency}",
            )


def _price_instead(line: Any, pinned: InForce, now: InForce) -> int | None:
    """The one price that is in force now wherever in the cycle the line's was; None where there is no such one."""
    prices = {
        now.at(low)
        for low, _ in pieces(line.cycle_start_us, line.cycle_end_us, pinned, now)
        if pinned.at(low) == (line.unit_price_micro,)
    }
    (price,) = prices if len(prices) == 1 else (None,)
    return price[0] if price else None


def _lines(connection: Connection, team_ids: Collection[str]) -> Iterator[Any]:
    query = select(
        invoices.c.team_id,
        invoices.c.cycle_start_us,
        invoices.c.currency,
        cycles.c.cycle_end_us,
        cycles.c.pinned_load,
        invoice_lines,
    ).join(invoice_lines, invoice_lines.c.number == invoices.c.number)
    query = query.join(cycles, cycle_of(invoices)).where(stands())
    query = query.order_by(invoices.c.number, invoice_lines.c.line_no)
    return named(connection, query, invoices.c.team_id, team_ids)


def _pinned_prices(connection: Connection, keys: Collection[_Key]) -> dict[_Key, list[Any]]:
    """Every row that was ever known of these APIs and currencies."""
    history = reference_history["unit_prices"]
    found: dict[_Key, list[Any]] = {key: [] for key in keys}
    for row in named(connection, select(history), history.c.api, {api for api, _ in keys}):
        if (row.api, row.currency) in found:
            found[row.api, row.currency].append(row)
    return found


def _known_at(history: Sequence[Any], load_no: int) -> InForce:
    known = [row for row in history if row.known_from <= load_no < row.known_to]
    return InForce.of((row.valid_from, (row.unit_price,)) for row in known)
