"""What closed cycles would have been, had all been known that is known now (rule 7.2). Nothing is changed by it.

Each chosen team is rated from its first cycle on, with all usage and the newest reference data: what came late is
billed where it occurred, at today's prices and rates. Later cycles carry over what earlier ones would have left. Usage
belongs to the team that it was attributed to when it came; what another team drew on a balance before that was moved
does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal

from sqlalchemy import Connection, select

from billing.core.cycles import cycles_from, first_start_us
from billing.core.errors import DataRefused
from billing.core.frames import rows
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices
from billing.core.model import Kind
from billing.core.reference import Reference
from billing.core.spans import NOTHING_USED, Opening
from billing.core.streams import TeamPlan
from billing.core.terms import Terms, subscriptions_of
from billing.steps.audit.choosing import Choice, Cycles
from billing.steps.audit.comparing import Comparison, Key, compared
from billing.steps.audit.invoices import of_cycles
from billing.steps.collector import collector_paused
from billing.steps.rating_in_parts import rate_in_parts
from billing.steps.reference import current_reference
from billing.store.batches import committed, demand_lake
from billing.store.home import Home
from billing.store.invoices import from_minor, stands, to_minor
from billing.store.ledger import ISSUED
from billing.store.tables import carry, cycles, invoices

_CYCLE_API = ("team_id", "cycle_start_us", "api")
_UNITS = ("usage_micro", "charged_units", "closing_micro")
_MONEY = ("net_minor", "tax_minor", "total_minor")


@collector_paused()
def known_now(home: Home, choice: Choice) -> list[Comparison]:
    """Compare the chosen closed cycles with what they would be: usage, units and carry-over an API, money an invoice.

    ``stored`` is what was billed (invoices that stand), ``again`` what it would be. Raises ``NotFound`` where no cycle
    was chosen, ``DataRefused`` where a team holds nothing any more.
    """
    _, reference = current_reference(home)
    with home.database.read() as connection:
        demand_lake(home, connection)
        mine: Cycles = frozenset().union(*choice.read(connection).values())
        plans = _plans(reference, _ends(connection, mine))
        terms = Terms.from_reference(reference, [plan.team_id for plan in plans])
        usage = home.usage.unbilled(committed(connection))
        counted, billed = _counted(connection, mine), _billed(connection, mine)
    rated = rate_in_parts(terms, plans, usage, Opening(carry_micro={}, used=NOTHING_USED))
    spans = {(plan.team_id, span.start_us): span for plan in plans for span in plan.cycles}
    paid = of_cycles(rated.draws[rated.draws["source"] == Kind.PAYG.value], mine)
    drafts, _ = draft_invoices(paid, spans, Buyers.from_reference(reference, decided=True))
    would_count = {tuple(row)[:3]: tuple(row)[3:] for row in rows(of_cycles(rated.carry, mine)[[*_CYCLE_API, *_UNITS]])}
    return [
        *compared("carry", _UNITS, counted, would_count),
        *compared("invoice", _MONEY, billed, {_key(draft): _money(draft) for draft in drafts}),
    ]


def _ends(connection: Connection, mine: Cycles) -> dict[str, int]:
    """By chosen team the end of the last chosen cycle."""
    ends: dict[str, int] = {}
    for row in connection.execute(select(cycles).where(cycles.c.state == ISSUED)):
        if (row.team_id, row.cycle_start_us) in mine:
            ends[row.team_id] = max(row.cycle_end_us, ends.get(row.team_id, row.cycle_end_us))
    return ends


def _plans(reference: Reference, ends: Mapping[str, int]) -> list[TeamPlan]:
    """Every cycle of these teams until then, as reference data bounds them now."""
    held = subscriptions_of(reference, set(ends))
    if gone := sorted(ends.keys() - held.keys()):
        raise DataRefused(f"No subscription is assigned to {', '.join(gone)} any more: leave them out.")
    spans = {name: tuple(cycles_from(held[name], first_start_us(held[name]), end)) for name, end in ends.items()}
    return [TeamPlan(team_id=name, cycles=mine, pinned_batch=0) for name, mine in sorted(spans.items()) if mine]


def _counted(connection: Connection, mine: Cycles) -> dict[Key, Sequence[object]]:
    """What the chosen cycles have counted, by team, cycle and API."""
    columns = [carry.c[name] for name in (*_CYCLE_API, *_UNITS)]
    found = (tuple(row) for row in connection.execute(select(*columns)))
    return {row[:3]: row[3:] for row in found if row[:2] in mine}


def _billed(connection: Connection, mine: Cycles) -> dict[Key, Sequence[object]]:
    """What invoices that stand have billed, by team, cycle, subscription and currency."""
    names = ("team_id", "cycle_start_us", "subscription_id", "currency", *_MONEY)
    found = (tuple(row) for row in connection.execute(select(*(invoices.c[name] for name in names)).where(stands())))
    return {row[:4]: row[4:] for row in found if row[:2] in mine}


def _key(draft: DraftInvoice) -> Key:
    return draft.team_id, draft.cycle.start_us, draft.subscription_id, draft.currency


def _money(draft: DraftInvoice) -> Sequence[object]:
    return [to_minor(amount, draft.currency) for amount in (draft.net, draft.tax, draft.total)]


def money_by_team(comparisons: Iterable[Comparison]) -> list[tuple[str, str, Decimal, Decimal]]:
    """Totals of invoices as they are and as they would be: (team_id, currency, billed, would be)."""
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for one in comparisons:
        if one.what == "invoice" and one.field == "total_minor":
            total = sums[one.team_id, one.key.rpartition(" ")[2]]
            total[0] += int(one.stored or 0)
            total[1] += int(one.again or 0)
    return [
        (team_id, currency, from_minor(billed, currency), from_minor(would_be, currency))
        for (team_id, currency), (billed, would_be) in sorted(sums.items())
    ]
