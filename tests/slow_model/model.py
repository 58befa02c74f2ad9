"""The state and the steps of a scenario: loads, ingests, closes, balances (rules 3.4-3.8, 8.1)."""

import json
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from . import cycles, intake, invoicing, outputs, rating
from .cycles import Cycle
from .intake import Refused
from .rating import Rating, Standing

CLOSE_LAG_SECONDS_DEFAULT = 3600


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """A closed cycle and what it gave; it never changes (rule 3.4)."""

    cycle: Cycle
    payg_subscription_id: str
    carry: list
    rating: Rating


@dataclass(kw_only=True, slots=True)
class State:
    """Everything that is known. `tables` are the raw reference tables, `reference` what they say."""

    close_lag: timedelta = timedelta(seconds=CLOSE_LAG_SECONDS_DEFAULT)
    tables: dict = field(default_factory=dict)
    reference: intake.Reference | None = None
    accepted: dict = field(default_factory=dict)  # event_id -> Event
    billed: set = field(default_factory=set)  # event_ids that a closed cycle has taken
    rejected: list = field(default_factory=list)  # (file, line, reason)
    closed: list = field(default_factory=list)
    closed_until: dict = field(default_factory=dict)  # team_id -> end of its last closed cycle
    last_as_of: object = None
    standing: Standing = field(default_factory=Standing)
    numbers: dict = field(default_factory=dict)  # (prefix, year) -> last number
    invoices: list = field(default_factory=list)
    parked: list = field(default_factory=list)  # (team_id, cycle_start, reason) of the latest close
    balances: dict = field(default_factory=dict)  # file name -> table

    def open_events(self, team_id):
        """The team's accepted events that no closed cycle has billed."""
        events = self.accepted.values()
        return [one for one in events if one.team_id == team_id and one.event_id not in self.billed]


def run(scenario):
    """Run a scenario folder: {file name: rows with their header} of every output of the data contract."""
    scenario = Path(scenario)
    state = State()
    for step in json.loads((scenario / "steps.json").read_text(encoding="utf-8")):
        STEPS[step["do"]](state, scenario, step)
    return tables_of(state)


def tables_of(state):
    """All outputs of the contract by their file names."""
    rows = {
        "cycles": [outputs.cycle_row(closed) for closed in state.closed],
        "carry": [row for closed in state.closed for row in outputs.carry_rows(closed)],
        "charges": [row for closed in state.closed for row in outputs.charge_rows(closed)],
        "invoices": [outputs.invoice_row(invoice) for invoice in state.invoices],
        "invoice_lines": [row for invoice in state.invoices for row in outputs.invoice_line_rows(invoice)],
        "rejected": state.rejected,
        "parked": [(team_id, outputs.instant_text(start), reason) for team_id, start, reason in state.parked],
    }
    return {f"{name}.csv": outputs.table(name, rows[name]) for name in rows} | state.balances


# Steps


def configure(state, scenario, step):
    """Rule 3.4: set the lag after which a cycle may close."""
    state.close_lag = timedelta(seconds=step["close_lag_seconds"])


def load_reference(state, scenario, step):
    """A load is a full picture; an absent file says nothing about its table. What is closed stands (rule 3.6)."""
    state.tables = state.tables | intake.read_tables(scenario / step["folder"])
    state.reference = intake.reference_of(state.tables)


def ingest_usage(state, scenario, step):
    """Rules 2.4, 3.7: one ingest batch."""
    now = intake.known_instant(step["now"], "now")
    rejected = intake.ingest(scenario / step["file"], now, state.reference, state.accepted)
    state.rejected += [(step["file"], line, reason) for line, reason in rejected]


def close_cycles(state, scenario, step):
    """Rules 3.4, 3.8, 6.3: close every cycle that is due, park what cannot be billed, then number the invoices."""
    as_of = intake.known_instant(step["as_of"], "as_of")
    if state.last_as_of is not None and as_of < state.last_as_of:
        raise Refused(f"close as of {as_of}: there was one as of {state.last_as_of}")
    state.last_as_of = as_of
    state.parked = []
    drafts = []
    for team_id in sorted(state.reference.teams):
        drafts += close_team(state, team_id, as_of)
    state.invoices += invoicing.issue(drafts, as_of, state.reference, state.numbers)


def close_team(state, team_id, as_of):
    """Rule 3.4: close the team's due cycles in order, up to one that parks it. Returns their invoices' drafts."""
    subscriptions = state.reference.of_team(team_id)
    drafts = []
    while True:
        cycle = cycles.next_cycle(team_id, subscriptions, state.closed_until.get(team_id))
        if cycle is None or cycle.end + state.close_lag > as_of:
            return drafts
        closed_drafts = close_cycle(state, cycle, subscriptions)
        if closed_drafts is None:
            return drafts
        drafts += closed_drafts


def close_cycle(state, cycle, subscriptions):
    """Rules 3.4, 3.8: rate one cycle and keep it, or park the team and change nothing (None)."""
    taken = rating.effective_events(state.open_events(cycle.team_id), cycle.start, cycle.end)
    standing = state.standing.copy()
    rated = rating.rate(cycle.team_id, taken, state.reference, standing)
    drafts = invoicing.drafts(cycle, rated, state.reference)
    if rated.unsized_apis or any(draft.tax is None for draft in drafts):
        reason = "no_unit_size" if rated.unsized_apis else "no_tax_rate"
        state.parked.append((cycle.team_id, cycle.start, reason))
        return None
    payg = cycles.payg_at(subscriptions, cycle.start)
    carry = rating.carry_rows(cycle.team_id, taken, state.reference, state.standing, standing, rated)
    state.closed.append(
        Closed(
            cycle=cycle,
            payg_subscription_id=payg.subscription_id if payg else "",
            carry=carry,
            rating=rated,
        )
    )
    state.closed_until[cycle.team_id] = cycle.end
    state.billed |= {one.event.event_id for one in taken}
    state.standing = standing
    return drafts


def show_balances(state, scenario, step):
    """Rule 8.1: every accepted event that is effective before the instant counts, open cycles included."""
    at = intake.known_instant(step["at"], "at")
    rows = []
    for team_id in sorted(state.reference.teams):
        subscriptions = state.reference.of_team(team_id)
        cycle = cycles.next_cycle(team_id, subscriptions, state.closed_until.get(team_id))
        if cycle is not None:
            standing = state.standing.copy()
            taken = rating.effective_events(state.open_events(team_id), cycle.start, at)
            rating.rate(team_id, taken, state.reference, standing)
            rows += outputs.balance_rows(team_id, at, state.reference, standing)
    state.balances[f"{step['out']}.csv"] = outputs.table("balances", rows)


STEPS = {
    "configure": configure,
    "reference": load_reference,
    "ingest": ingest_usage,
    "close": close_cycles,
    "balances": show_balances,
}
