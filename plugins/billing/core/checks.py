"""The conservation laws of a rated cycle; each returns findings. Checked before anything is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pandas as pd

from billing.core.errors import ConservationBroken, Finding
from billing.core.frames import rows
from billing.core.invoicing import DraftInvoice
from billing.core.model import Kind
from billing.core.rating import Rated

_KEY = ("team_id", "cycle_start_us", "api")


def units_are_drawn_once(rated: Rated) -> list[Finding]:
    """Every charged unit has exactly one payer, or is unfunded (rules 5.1, 5.5)."""
    charged = _units(rated.carry[rated.carry["billing"] == "rated"])
    drawn = _units(rated.draws[rated.draws["source"] != Kind.CAPACITY])
    return [
        Finding(file="draws", message=f"{key}: {charged.get(key, 0)} units charged, {drawn.get(key, 0)} drawn")
        for key in sorted(charged.keys() | drawn.keys())
        if charged.get(key, 0) != drawn.get(key, 0)
    ]


def _units(frame: pd.DataFrame) -> dict[tuple[str, int, str], int]:
    """Charged units by team_id, start of the cycle and API."""
    sums: dict[tuple[str, int, str], int] = defaultdict(int)
    for *key, units in zip(*(frame[name].tolist() for name in (*_KEY, "charged_units")), strict=True):
        sums[key[0], key[1], key[2]] += units
    return sums


def carry_moves_on(rated: Rated) -> list[Finding]:
    """A cycle opens with what the cycle before closed with (rule 4.2)."""
    carry = rated.carry.sort_values(["team_id", "api", "cycle_start_us"])
    same = (carry["team_id"] == carry["team_id"].shift()) & (carry["api"] == carry["api"].shift())
    broken = carry[same & (carry["opening_micro"] != carry["closing_micro"].shift())]
    return [
        Finding(file="carry", message=f"{row.team_id}, {row.api}: does not open with what was left")
        for row in rows(broken)
    ]


def usage_is_conserved(rated: Rated, size_changes: frozenset[str], sizes_micro: dict[str, int]) -> list[Finding]:
    """opening + usage = charged units x unit size + closing, for APIs whose size never changed (rule 4.4)."""
    carry = rated.carry[(rated.carry["billing"] == "rated") & ~rated.carry["api"].isin(size_changes)]
    names = ("team_id", "api", "opening_micro", "usage_micro", "closing_micro", "charged_units")
    return [
        Finding(file="carry", message=f"{team_id}, {api}: usage is not units x size + carry-over")
        for team_id, api, opening, usage, closing, units in zip(*(carry[n].tolist() for n in names), strict=True)
        if opening + usage - closing != units * sizes_micro.get(api, 0)
    ]


def invoices_match_draws(rated: Rated, drafts: Sequence[DraftInvoice]) -> list[Finding]:
    """The units of all invoice lines are the units that pay as you go paid for (rule 6.1)."""
    paid = int(rated.draws.loc[rated.draws["source"] == Kind.PAYG, "charged_units"].sum())
    invoiced = sum(line.charged_units for draft in drafts for line in draft.lines)
    return (
        []
        if paid == invoiced
        else [Finding(file="invoices", message=f"{paid} units paid as you go, {invoiced} invoiced")]
    )


def demand(findings: Sequence[Finding]) -> None:
    """Raise ``ConservationBroken`` if a law does not hold."""
    if findings:
        listed = "\n".join(f"  {finding}" for finding in findings[:20])
        raise ConservationBroken(f"{len(findings)} laws of the books do not hold; nothing was written:\n{listed}")
