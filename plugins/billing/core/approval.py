"""What is to be decided before a rated close issues its invoices, whether a person is asked, and why (rules 6.3, 6.7).

All of it is derived from what the close had pinned and from what earlier closes had issued: it is the same however
often it is asked, as long as the close waits.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256

from billing.core.cycles import CycleSpan
from billing.core.instants import format_instant, format_us, from_us
from billing.core.invoicing import DraftInvoice, in_issue_order
from billing.core.model import Parked
from billing.core.parties import Parties
from billing.core.quantity import divide_half_up, minor_digits, total

LARGEST = 10
"""So many of the largest invoices of each currency are named."""
_FLOOR = Decimal(1)
_BOUNDS = ("invoice_above", "close_above", "outlier_floor")
_OTHERS = ("when", "outlier_times", "outlier_cycles")


class When(StrEnum):
    """When a person is asked: never, where something is above a bound or unusual, or whenever an invoice is issued."""

    NEVER = "never"
    ABOVE = "above"
    ALWAYS = "always"


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """When approval is asked for. Amounts are by currency.

    ``invoice_above`` and ``close_above`` are totals: of one invoice, of all of a close. An invoice is an outlier where
    its net is ``outlier_times`` what is usual for its subscription: the median of the nets of its last
    ``outlier_cycles`` invoices, or ``outlier_floor`` where that is more (1 where a currency is not named).
    """

    when: When = When.NEVER
    invoice_above: Mapping[str, Decimal]
    close_above: Mapping[str, Decimal]
    outlier_times: int = 50
    outlier_cycles: int = 6
    outlier_floor: Mapping[str, Decimal]

    def asked(self) -> Policy:
        """The same, asking whenever an invoice is issued."""
        return replace(self, when=When.ALWAYS)

    def to_json(self) -> str:
        """As it is kept with a close."""
        bounds = {name: {c: str(a) for c, a in getattr(self, name).items()} for name in _BOUNDS}
        others = {name: getattr(self, name) for name in _OTHERS}
        return json.dumps(bounds | others, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Policy:
        """What was kept; blank is one that never asks."""
        if not text:
            return NEVER_ASKED
        read = json.loads(text)
        bounds = ({c: Decimal(amount) for c, amount in read[name].items()} for name in _BOUNDS)
        invoice_above, close_above, floor = bounds
        return cls(
            when=When(read["when"]),
            invoice_above=invoice_above,
            close_above=close_above,
            outlier_times=int(read["outlier_times"]),
            outlier_cycles=int(read["outlier_cycles"]),
            outlier_floor=floor,
        )


NEVER_ASKED = Policy(invoice_above={}, close_above={}, outlier_floor={})
"""What holds where nothing is set."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Earlier:
    """An invoice of an earlier close. ``net`` has the currency's minor digits."""

    subscription_id: str
    cycle_start_us: int
    currency: str
    net: Decimal


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedInvoice:
    """An invoice that would be issued, beside what came before. Amounts have the currency's minor digits.

    ``before`` is the net of the subscription's invoice before, ``usual`` its usual one, ``times`` how many times that
    this is, to one decimal; None where it never had one. ``is_new``: the buyer never had an invoice. ``was_rejected``
    says why the cycle was left out of an earlier close; blank where it was not.
    """

    team_id: str
    team_name: str
    customer_id: str
    customer: str
    subscription_id: str
    cycle_start: datetime
    currency: str
    net: Decimal
    tax: Decimal
    total: Decimal
    before: Decimal | None
    usual: Decimal | None
    times: Decimal | None
    is_outlier: bool
    is_new: bool
    was_rejected: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ProposedTotals:
    """The proposed invoices of one currency. ``compared`` of them have one before: their net is ``compared_net``, and
    was ``before``.
    """

    currency: str
    invoices: int
    net: Decimal
    tax: Decimal
    total: Decimal
    compared: int
    compared_net: Decimal
    before: Decimal

    @property
    def change(self) -> Decimal:
        """What the compared ones have more than before (below 0: less)."""
        return total((self.compared_net, self.before.copy_negate()), minor_digits(self.currency))


@dataclass(frozen=True, kw_only=True, slots=True)
class Proposal:
    """A rated close as it is put before who approves it.

    ``invoices`` are in the order in which they would get their numbers, ``totals`` by currency. ``teams`` are all that
    it has rated, with their cycles from the first's start to the last's end; those without an invoice among them.
    ``asked_why`` is empty where nobody is asked.
    """

    close_no: int
    as_of: datetime
    cycles: int
    teams: Mapping[str, tuple[int, int]]
    invoices: tuple[ProposedInvoice, ...]
    totals: tuple[ProposedTotals, ...]
    rejected_before: tuple[str, ...]
    parked: tuple[Parked, ...]
    outlier_times: int
    asked_why: tuple[str, ...]

    @property
    def outliers(self) -> list[ProposedInvoice]:
        """From the farthest from what is usual on."""
        found = (one for one in self.invoices if one.is_outlier)
        return sorted(found, key=lambda one: (-(one.times or Decimal(0)), one.team_id, one.subscription_id))

    @property
    def new_buyers(self) -> list[ProposedInvoice]:
        """First invoices, from the largest of each currency on."""
        return _from_the_largest(one for one in self.invoices if one.is_new)

    @property
    def again(self) -> list[ProposedInvoice]:
        """Invoices of cycles that were rejected before."""
        return [one for one in self.invoices if one.was_rejected]

    @property
    def largest(self) -> list[ProposedInvoice]:
        """The largest of each currency."""
        by_currency: dict[str, list[ProposedInvoice]] = defaultdict(list)
        for one in _from_the_largest(self.invoices):
            by_currency[one.currency].append(one)
        return [one for mine in by_currency.values() for one in mine[:LARGEST]]

    @property
    def sha256(self) -> str:
        """The hash of what is decided: every invoice with its amounts, every team, and why it is asked."""
        seen = {
            "close_no": self.close_no,
            "as_of": format_instant(self.as_of),
            "asked_why": self.asked_why,
            "teams": {team_id: [format_us(us) for us in span] for team_id, span in self.teams.items()},
            "invoices": [
                [one.team_id, one.subscription_id, format_instant(one.cycle_start), one.currency]
                + [str(amount) for amount in (one.net, one.tax, one.total)]
                for one in self.invoices
            ],
        }
        return sha256(json.dumps(seen, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


def propose(
    *,
    close_no: int,
    as_of: datetime,
    policy: Policy,
    cycles: Mapping[tuple[str, int], CycleSpan],
    drafts: Sequence[DraftInvoice],
    parties: Parties,
    earlier: Iterable[Earlier],
    known_buyers: Collection[str],
    rejected: Mapping[tuple[str, int], str],
    parked: Sequence[Parked] = (),
) -> Proposal:
    """Put a rated close together for a decision. ``cycles`` are its cycles by team and start, ``drafts`` what they
    would be invoiced; ``earlier`` invoices of their subscriptions, of whom only the last ``outlier_cycles`` count;
    ``rejected`` the reasons for which cycles were left out of earlier closes.
    """
    made = tuple(_invoices(policy, drafts, parties, earlier, known_buyers, rejected))
    totals = tuple(_totals(made))
    again = tuple(sorted({team_id for team_id, start_us in cycles if (team_id, start_us) in rejected}))
    return Proposal(
        close_no=close_no,
        as_of=as_of,
        cycles=len(cycles),
        teams=_teams(cycles),
        invoices=made,
        totals=totals,
        rejected_before=again,
        parked=tuple(parked),
        outlier_times=policy.outlier_times,
        asked_why=tuple(_why(policy, made, totals, again)),
    )


def _teams(cycles: Mapping[tuple[str, int], CycleSpan]) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for (team_id, _), span in sorted(cycles.items()):
        start_us = found[team_id][0] if team_id in found else span.start_us
        found[team_id] = (start_us, span.end_us)
    return found


def _invoices(
    policy: Policy,
    drafts: Sequence[DraftInvoice],
    parties: Parties,
    earlier: Iterable[Earlier],
    known_buyers: Collection[str],
    rejected: Mapping[tuple[str, int], str],
) -> Iterator[ProposedInvoice]:
    nets: dict[tuple[str, str], list[Decimal]] = defaultdict(list)
    for one in sorted(earlier, key=lambda one: (one.subscription_id, one.cycle_start_us)):
        nets[one.subscription_id, one.currency].append(one.net)
    known = set(known_buyers)
    for draft in in_issue_order(drafts):
        mine = nets[draft.subscription_id, draft.currency]
        usual = _usual(policy, draft.currency, mine[-policy.outlier_cycles :])
        yield ProposedInvoice(
            team_id=draft.team_id,
            team_name=parties.team_name[draft.team_id],
            customer_id=draft.customer_id,
            customer=parties.customer(draft.customer_id).legal_name,
            subscription_id=draft.subscription_id,
            cycle_start=from_us(draft.cycle.start_us),
            currency=draft.currency,
            net=draft.net,
            tax=draft.tax,
            total=draft.total,
            before=mine[-1] if mine else None,
            usual=usual and divide_half_up(usual, Decimal(1), minor_digits(draft.currency)),
            times=usual and divide_half_up(draft.net, usual, 1),
            is_outlier=usual is not None and draft.net >= policy.outlier_times * usual,
            is_new=draft.customer_id not in known,
            was_rejected=rejected.get((draft.team_id, draft.cycle.start_us), ""),
        )
        mine.append(draft.net)
        known.add(draft.customer_id)


def _usual(policy: Policy, currency: str, nets: Sequence[Decimal]) -> Decimal | None:
    """The median, exactly, but not below the floor; None where there is none."""
    if not nets:
        return None
    ordered, middle = sorted(nets), len(nets) // 2
    # One digit more than an amount of money has: half of a sum.
    digits = minor_digits(currency) + 1
    pair = ordered[middle], ordered[middle if len(nets) % 2 else middle - 1]
    return max(divide_half_up(total(pair, digits), Decimal(2), digits), policy.outlier_floor.get(currency, _FLOOR))


def _totals(made: Sequence[ProposedInvoice]) -> Iterator[ProposedTotals]:
    for currency in sorted({one.currency for one in made}):
        mine, digits = [one for one in made if one.currency == currency], minor_digits(currency)
        compared = [one for one in mine if one.before is not None]
        yield ProposedTotals(
            currency=currency,
            invoices=len(mine),
            net=total((one.net for one in mine), digits),
            tax=total((one.tax for one in mine), digits),
            total=total((one.total for one in mine), digits),
            compared=len(compared),
            compared_net=total((one.net for one in compared), digits),
            before=total((one.before for one in compared if one.before is not None), digits),
        )


def _why(
    policy: Policy, made: Sequence[ProposedInvoice], totals: Sequence[ProposedTotals], again: Sequence[str]
) -> Iterator[str]:
    """The reasons to ask; none where nothing would be issued and nobody was rejected before."""
    if again:  # whatever the settings say: a person stopped them, and a person lets them go
        yield f"{_counted(len(again), 'team')} rejected at an earlier close"
    if not made or policy.when is When.NEVER:
        return
    if policy.when is When.ALWAYS:
        yield "every close that issues an invoice is asked for"
    yield from _bounds_passed(policy, made, totals)
    if outliers := sum(1 for one in made if one.is_outlier):
        yield f"{_counted(outliers, 'invoice')} at {policy.outlier_times} times the usual amount or more"


def _bounds_passed(policy: Policy, made: Sequence[ProposedInvoice], totals: Sequence[ProposedTotals]) -> Iterator[str]:
    for one in totals:
        currency = one.currency
        bounds = policy.close_above.get(currency), policy.invoice_above.get(currency)
        if bounds[0] is not None and one.total > bounds[0]:
            yield f"the total of {one.total:,f} {currency} is above {bounds[0]:,f}"
        above = [i for i in made if bounds[1] is not None and i.currency == currency and i.total > bounds[1]]
        if above:
            yield f"{_counted(len(above), 'invoice')} above {bounds[1]:,f} {currency}"
        if bounds == (None, None) and (policy.close_above or policy.invoice_above):
            yield f"no bound is set for {currency}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _from_the_largest(invoices: Iterable[ProposedInvoice]) -> list[ProposedInvoice]:
    return sorted(
        invoices, key=lambda one: (one.currency, -one.total, one.team_id, one.subscription_id, one.cycle_start)
    )


def rejected_of(lines: Iterable[str], teams: Collection[str]) -> tuple[dict[str, str], list[str]]:
    """Teams to be left out with the reasons, from lines ``TEAM = REASON``; and what is wrong with lines. Blank lines
    say nothing. An id that holds ``=`` is found too: the longest that is one of ``teams``.
    """
    found: dict[str, str] = {}
    wrong: list[str] = []
    for line in filter(None, (text.strip() for text in lines)):
        cuts = [place for place, character in enumerate(line) if character == "="]
        known = [cut for cut in cuts if line[:cut].strip() in teams]
        if not cuts:
            wrong.append(f"{line!r} is not TEAM = REASON")
            continue
        cut = known[-1] if known else cuts[0]
        team_id, reason = line[:cut].strip(), " ".join(line[cut + 1 :].split())
        if team_id not in teams:
            wrong.append(f"team {team_id!r} is not in this close")
        elif not reason:
            wrong.append(f"team {team_id!r} is rejected without a reason")
        elif found.get(team_id, reason) != reason:
            wrong.append(f"team {team_id!r} is rejected twice, with different reasons")
        else:
            found[team_id] = reason
    return found, wrong
