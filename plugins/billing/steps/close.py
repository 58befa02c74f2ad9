"""Close cycles: find what is due, pin what is known, rate, issue (rules 3.4 to 3.8, 6.1 to 6.3, 6.7).

``open_close`` pins; ``rate_shards`` rates teams, in any number of processes; ``issue`` gives numbers in one
transaction. ``close`` is all three. An interrupted close is finished first, with what it had pinned; a second
run of the same close finds its work done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version

from sqlalchemy import Connection, select

from billing.core import checks
from billing.core.approval import NEVER_ASKED, Policy, When
from billing.core.cycles import CycleSpan, cycles_from, first_start_us
from billing.core.errors import ApprovalAwaited, DataRefused, Finding
from billing.core.frames import rows
from billing.core.instants import day_number, format_us, from_us, to_us
from billing.core.invoicing import Buyers, DraftInvoice, draft_invoices, in_issue_order, issue_date
from billing.core.model import Kind, Parked, ParkedReason
from billing.core.rating import Rated, first_troubles, without_parked
from billing.core.reference import Reference
from billing.core.spans import Opening
from billing.core.streams import TeamPlan
from billing.core.sums import UnbilledUsage
from billing.core.terms import Terms, subscriptions_of
from billing.core.zones import TZDATA_VERSION
from billing.steps import commit_points
from billing.steps.approval import ask, demand_answered, demand_rated
from billing.steps.awaited import Awaited, awaited
from billing.steps.collector import collector_paused
from billing.steps.e_invoices import not_valid
from billing.steps.origin import origin
from billing.steps.progress import Progress, silent
from billing.steps.rating_in_parts import rate_in_parts
from billing.steps.reference import reference_at
from billing.steps.telemetry import say, say_detail, warn
from billing.store import ledger, log
from billing.store.batches import committed, completeness, demand_lake, demand_rows, pinnable
from billing.store.configuration import CLOSE_LAG_SECONDS, MAX_UNITS_PER_CYCLE, PRODUCTION, configured
from billing.store.home import Home
from billing.store.invoices import NewInvoice, demand_no_credit_notes, last_invoice_us, write_invoices
from billing.store.ledger import Close, LastClosed
from billing.store.period_locks import demand_open
from billing.store.reference_history import last_load
from billing.store.shards import SHARDS, shard_of
from billing.store.tables import invoices

ROWS_AT_ONCE = 25_000_000
"""So many events of the usage table are rated in one task, by their sums: in some tens of seconds."""
_NOTHING_DUE_US = -(2**62)
"""No cycle ends by then: usage is complete through no instant yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """Cycles that are over but cannot close: usage is not complete through their end and the lag."""

    cycles: int
    complete_through: datetime | None
    awaited: tuple[Awaited, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CloseSummary:
    """What a close did."""

    close_no: int
    cycles: int
    invoices: tuple[str, ...]
    parked: tuple[Parked, ...]
    waiting: Waiting


def close(
    home: Home,
    as_of: datetime,
    *,
    assume_complete: bool = False,
    e_invoices: bool = True,
    approval: Policy = NEVER_ASKED,
    progress: Progress = silent,
) -> CloseSummary:
    """Close every cycle that is due at ``as_of``, in this process. For ``e_invoices`` see ``rate_shards``, for
    ``approval`` see ``open_close``. Raises ``ApprovalAwaited`` where a person is asked.
    """
    waiting = None
    while True:
        close_no, waiting = open_close(home, as_of, assume_complete=assume_complete, approval=approval)
        pending = pending_shards(home, close_no)
        for done, group in enumerate(pending):
            progress("rating shards", done, len(pending))
            rate_shards(home, close_no, group, e_invoices=e_invoices)
        progress("rating shards", len(pending), len(pending))
        if (proposal := ask(home, close_no)) is not None:
            raise ApprovalAwaited(close_no, proposal.asked_why)
        issue(home, close_no)
        summary = summarise(home, close_no, waiting)
        with home.database.read() as connection:
            if ledger.read_close(connection, close_no).as_of_us == to_us(as_of):
                return summary


@collector_paused()
def open_close(
    home: Home, as_of: datetime, *, assume_complete: bool = False, approval: Policy = NEVER_ASKED
) -> tuple[int, Waiting]:
    """Pin what is known now, under the lock that gives numbers out; or find the close that was interrupted.

    ``assume_complete`` takes usage to be complete through ``as_of`` (scenarios). ``approval`` says when a person is
    asked before anything is issued; it is kept with the close, and counts for it whatever is set later. Only one that
    always asks also counts for a close that was interrupted. Raises ``DataRefused`` for an ``as_of`` before the last
    close.
    """
    as_of_us = to_us(as_of)
    with home.database.exclusive("books") as connection:
        last = ledger.last_close(connection)
        if last and last.state != ledger.ISSUED:
            if last.state == ledger.OPEN and approval.when is When.ALWAYS:
                ledger.ask_always(connection, last.close_no, approval.to_json())
            return last.close_no, _waiting(home, connection, last)
        if last and as_of_us < last.as_of_us:
            raise DataRefused(
                f"The last close was as of {format_us(last.as_of_us)}, and an earlier one is refused (rule 3.4): "
                "give that instant or a later one."
            )
        demand_lake(home, connection)
        asked = "" if approval.when is When.NEVER else approval.to_json()
        new = replace(_new_close(connection, last, as_of_us, assume_complete), approval=asked)
        _demand_issuable(home, connection, new)
        values = {"tzdata": TZDATA_VERSION, "version": version("carryover"), "opened_at_us": to_us(datetime.now(UTC))}
        fields = {name: getattr(new, name) for name in Close.__slots__}
        ledger.open_close(connection, fields | values)
        waiting = _waiting(home, connection, new)
    commit_points.reached(commit_points.CLOSE_OPENED)
    return new.close_no, waiting


def earliest_as_of(home: Home) -> datetime | None:
    """The first instant that a close can be as of: when an invoice was last issued (rule 6.3). A close that waited for
    its approval may have issued after the next one was due.
    """
    with home.database.read() as connection:
        issued_us = last_invoice_us(connection)
    return None if issued_us is None else from_us(issued_us)


def _demand_issuable(home: Home, connection: Connection, new: Close) -> None:
    """Refuse an ``as_of`` with which nothing may be issued, before anything is pinned: in a locked month, with a prefix
    that numbers credit notes, or before an invoice that was issued by hand (rule 6.3: the issue instant never goes
    back).
    """
    issued_us = last_invoice_us(connection)
    if issued_us is not None and new.as_of_us < issued_us:
        raise DataRefused(
            f"An invoice was issued at {format_us(issued_us)}, and none is issued with an earlier instant (rule 6.3): "
            "close as of that instant or a later one."
        )
    if new.pinned_load:
        seller = reference_at(home, new.pinned_load)["seller"].iloc[0]
        demand_open(connection, day_number(issue_date(from_us(new.as_of_us), seller["time_zone"])))
        demand_no_credit_notes(connection, seller["invoice_prefix"])


def _new_close(connection: Connection, last: Close | None, as_of_us: int, assume_complete: bool) -> Close:
    pinned_batch = pinnable(connection)
    lag_us = configured(connection, CLOSE_LAG_SECONDS) * 1_000_000
    complete_us = as_of_us if assume_complete else completeness(connection, pinned_batch).through_us
    return Close(
        close_no=last.close_no + 1 if last else 1,
        state=ledger.OPEN,
        as_of_us=as_of_us,
        due_through_us=_NOTHING_DUE_US if complete_us is None else min(as_of_us, complete_us) - lag_us,
        pinned_batch=pinned_batch,
        pinned_load=last_load(connection),
        shards=SHARDS,
    )


def pending_shards(
    home: Home, close_no: int, *, at_least: int = 1, rows_at_once: int = ROWS_AT_ONCE
) -> list[list[int]]:
    """The shards that are still to be rated, in groups of about ``rows_at_once`` events, at least so many where
    there are shards.

    The number of groups depends on shards and events, never on the number of teams.
    """
    with home.database.read() as connection:
        done = ledger.rated_shards(connection, close_no)
    rows = {int(shard): count for shard, count in home.usage.lake.rows_by("shard").items()}
    left = sorted(
        (shard for shard in range(SHARDS) if shard not in done), key=lambda shard: (-rows.get(shard, 0), shard)
    )
    wanted = min(len(left), max(at_least, -(-sum(rows.get(shard, 0) for shard in left) // rows_at_once)))
    groups: list[list[int]] = [[] for _ in range(wanted)]
    for shard in left:
        min(groups, key=lambda group: (sum(rows.get(s, 0) for s in group), len(group))).append(shard)
    return [sorted(group) for group in groups]


@collector_paused()
def rate_shards(home: Home, close_no: int, shards: Sequence[int], *, e_invoices: bool = True) -> int:
    """Rate every due cycle of the teams of these shards; returns how many cycles. One transaction, once per shard.

    With ``e_invoices`` every invoice is checked by the rules of EN 16931 before anything is written, and a team whose
    invoice breaks one is parked; without, only by what the law and this house ask for.
    """
    with home.database.read() as connection:
        this = ledger.read_close(connection, close_no)
        todo = sorted(set(shards) - ledger.rated_shards(connection, close_no))
        if not todo:
            return 0
        demand_rows(home, connection, this.pinned_batch)
        work = _Work.of(home, connection, this, todo)
    rated, now_parked = work.rate(e_invoices)
    kept = without_parked(rated, now_parked)
    due = work.cycles_before(now_parked)
    with home.database.exclusive("rating") as connection:
        overtaken = ledger.rated_shards(connection, close_no) & set(todo)
        if not overtaken:
            ledger.write_rated(connection, this, work.shard_by_team, due, kept)
            ledger.write_parked(connection, this, todo, now_parked, work.shard_by_team)
            ledger.finish_shards(connection, close_no, work.shard_rows(due))
    if overtaken:  # another run of this close was faster with some of them: rate what is left
        return rate_shards(home, close_no, todo, e_invoices=e_invoices)
    commit_points.reached(commit_points.CLOSE_SHARDS_RATED)
    _say_rated(close_no, due, now_parked)
    return sum(map(len, due.values()))


def _say_rated(close_no: int, due: Mapping[str, Sequence[CycleSpan]], now_parked: Sequence[Parked]) -> None:
    for team_id, mine in due.items():
        for cycle in mine:
            say_detail("cycle rated", close=close_no, team=team_id, cycle=format_us(cycle.start_us))
    for team in now_parked:
        cycle_start = format_us(team.cycle_start_us)
        said = {"reason": team.reason.value} | ({"detail": team.detail} if team.detail else {})
        warn("team parked", close=close_no, team=team.team_id, cycle=cycle_start, **said)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """All that the rating of some shards reads: nothing but what the close pinned."""

    shards: Sequence[int]
    as_of_us: int
    reference: Reference
    terms: Terms
    due: Mapping[str, Sequence[CycleSpan]]
    shard_by_team: Mapping[str, int]
    plans: Sequence[TeamPlan]
    opening: Opening
    usage: UnbilledUsage
    max_units: int
    production: bool

    @classmethod
    def of(cls, home: Home, connection: Connection, this: Close, shards: Sequence[int]) -> _Work:
        reference = reference_at(home, this.pinned_load)
        last = ledger.last_closed(connection, shards)
        due = due_cycles(reference, last, shards, this.due_through_us)
        plans = ledger.plans_of(due, last)
        terms = Terms.from_reference(reference, list(due))
        return cls(
            shards=shards,
            as_of_us=this.as_of_us,
            reference=reference,
            terms=terms,
            due=due,
            shard_by_team={team_id: shard_of(team_id) for team_id in due},
            plans=plans,
            opening=ledger.read_opening(
                connection,
                shards,
                terms.with_balances(),
                since_us=min((plan.start_us for plan in plans), default=this.as_of_us),
            ),
            usage=home.usage.unbilled(committed(connection, this.pinned_batch)),
            max_units=configured(connection, MAX_UNITS_PER_CYCLE),
            production=bool(configured(connection, PRODUCTION)),
        )

    def rate(self, e_invoices: bool) -> tuple[Rated, list[Parked]]:
        """Rate, find what must be parked, and check the laws on what is left."""
        rated = rate_in_parts(self.terms, self.plans, self.usage, self.opening)
        if not self.due:  # before the first load there is not even a seller
            return rated, []
        buyers = Buyers.from_reference(self.reference, production=self.production)
        cycles = {(team_id, c.start_us): c for team_id, mine in self.due.items() for c in mine}
        drafts, not_invoiceable = draft_invoices(rated.draws, cycles, buyers)
        invalid = not_valid(drafts, self.reference, from_us(self.as_of_us)) if e_invoices else []
        over = rated.carry[rated.carry["charged_units"] > self.max_units]
        beyond = [
            Parked(team_id=row.team_id, cycle_start_us=int(row.cycle_start_us), reason=ParkedReason.BOUND_EXCEEDED)
            for row in rows(over)
        ]
        now_parked = first_troubles([*rated.troubles, *not_invoiceable, *beyond, *invalid])
        limit = {p.team_id: p.cycle_start_us for p in now_parked}
        issuable = [d for d in drafts if d.team_id not in limit or d.cycle.start_us < limit[d.team_id]]
        _check(without_parked(rated, now_parked), issuable, self.terms)
        return rated, now_parked

    def cycles_before(self, now_parked: Sequence[Parked]) -> dict[str, list[CycleSpan]]:
        """The due cycles that are rated: of a parked team those before the parked one."""
        limit = {p.team_id: p.cycle_start_us for p in now_parked}
        return {t: [c for c in mine if t not in limit or c.start_us < limit[t]] for t, mine in self.due.items()}

    def shard_rows(self, due: Mapping[str, Sequence[CycleSpan]]) -> list[dict[str, int]]:
        """A row a shard for the ledger."""
        return [
            {
                "shard": shard,
                "teams": sum(1 for team_id in due if self.shard_by_team[team_id] == shard),
                "cycles": sum(len(mine) for team_id, mine in due.items() if self.shard_by_team[team_id] == shard),
            }
            for shard in self.shards
        ]


@collector_paused()
def issue(home: Home, close_no: int) -> tuple[str, ...]:
    """Give the close's invoices their numbers, in order, and close its cycles (rule 6.3). Once: a second call finds it
    done. Raises ``ApprovalAwaited`` where a person is asked first and has not answered (rule 6.7).
    """
    with home.database.read() as connection:
        this = ledger.read_close(connection, close_no)
        demand_rated(connection, this)
    commit_points.reached(commit_points.CLOSE_RATED)
    reference = reference_at(home, this.pinned_load)
    with home.database.exclusive("books") as connection:
        this = ledger.read_close(connection, close_no)
        if this.state != ledger.ISSUED:
            _issue(connection, this, reference)
    commit_points.reached(commit_points.CLOSE_ISSUED)
    numbers = invoice_numbers(home, close_no)
    said = {"first": numbers[0], "last": numbers[-1]} if numbers else {}
    say("close issued", close=close_no, as_of=format_us(this.as_of_us), invoices=len(numbers), **said)
    return numbers


def _issue(connection: Connection, this: Close, reference: Reference) -> None:
    issued_at = from_us(this.issue_us)
    cycles = ledger.close_cycles(connection, this.close_no)
    numbers: list[str] = []
    if cycles:
        seller = reference["seller"].iloc[0]
        day = issue_date(issued_at, seller["time_zone"])
        paid = ledger.close_draws(connection, this.close_no, Kind.PAYG)
        drafts, troubles = draft_invoices(paid, cycles, Buyers.from_reference(reference, decided=True))
        checks.demand([Finding(file="invoices", message=f"{t.team_id}: {t.reason} after rating") for t in troubles])
        demand_answered(connection, this, cycles, drafts, reference)
        demand_open(connection, day_number(day))
        new = [NewInvoice(draft=draft, issued_at=issued_at, issue_date=day) for draft in in_issue_order(drafts)]
        numbers = write_invoices(connection, this, seller["invoice_prefix"], new)
    ledger.turn(connection, this.close_no, ledger.ISSUED, issued_at_us=this.issue_us)
    payload = {
        "by": origin(),
        "close_no": this.close_no,
        "as_of": format_us(this.as_of_us),
        "pinned_batch": this.pinned_batch,
        "pinned_load": this.pinned_load,
        "cycles": len(cycles),
        "invoices": numbers,
    }
    log.append(connection, datetime.now(UTC), "close", payload)


def summarise(home: Home, close_no: int, waiting: Waiting) -> CloseSummary:
    """What a finished close did, and who is parked now."""
    with home.database.read() as connection:
        cycles = ledger.close_cycles(connection, close_no)
    return CloseSummary(
        close_no=close_no,
        cycles=len(cycles),
        invoices=invoice_numbers(home, close_no),
        parked=parked_teams(home),
        waiting=waiting,
    )


def parked_teams(home: Home) -> tuple[Parked, ...]:
    """Who is parked now, and why (rule 3.8)."""
    with home.database.read() as connection:
        return ledger.read_parked(connection)


def invoice_numbers(home: Home, close_no: int) -> tuple[str, ...]:
    """The numbers of a close's invoices, in order; those that took the place of one later are not its own."""
    with home.database.read() as connection:
        query = (
            select(invoices.c.number)
            .where(invoices.c.close_no == close_no, invoices.c.revision == 1)
            .order_by(invoices.c.year, invoices.c.sequence)
        )
        return tuple(connection.execute(query).scalars())


def due_cycles(
    reference: Reference, last: Mapping[str, LastClosed], shards: Sequence[int], due_through_us: int
) -> dict[str, list[CycleSpan]]:
    """By team, the cycles to close now, in order: from the end of its last closed cycle (rule 3.6)."""
    due: dict[str, list[CycleSpan]] = {}
    for team_id, held in sorted(subscriptions_of(reference).items()):
        if shard_of(team_id) in shards:
            start_us = last[team_id].end_us if team_id in last else first_start_us(held)
            if mine := list(cycles_from(held, start_us, due_through_us)):
                due[team_id] = mine
    return due


def _waiting(home: Home, connection: Connection, this: Close) -> Waiting:
    """Cycles that are over at ``as_of`` but not complete, and what is missing (rule 3.4)."""
    found = completeness(connection, this.pinned_batch)
    lag_us = configured(connection, CLOSE_LAG_SECONDS) * 1_000_000
    over = {}
    if this.due_through_us < this.as_of_us - lag_us and this.pinned_load:
        over = due_cycles(
            reference_at(home, this.pinned_load), ledger.last_closed(connection), range(SHARDS), this.as_of_us - lag_us
        )
    waiting = sum(1 for mine in over.values() for cycle in mine if cycle.end_us > this.due_through_us)
    return Waiting(
        cycles=waiting,
        complete_through=None if found.through_us is None else from_us(found.through_us),
        awaited=awaited(connection, found, from_us(this.as_of_us)) if waiting else (),
    )


def _check(rated: Rated, drafts: Sequence[DraftInvoice], terms: Terms) -> None:
    """The laws of the books, before anything is written."""
    sizes = terms.sizes_micro
    changing = frozenset(api for api in terms.apis if len(sizes.get(api, ())) > 1)
    constant = {api: sizes[api][0] for api in sizes if api not in changing}
    found = [*checks.units_are_drawn_once(rated), *checks.carry_moves_on(rated)]
    checks.demand(
        [*found, *checks.usage_is_conserved(rated, changing, constant), *checks.invoices_match_draws(rated, drafts)]
    )
