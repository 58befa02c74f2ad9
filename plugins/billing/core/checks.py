"""The conservation laws of a rated cycle; each returns findings. Checked before anything is written."""

from __future__ import annotations

from collections.abc import Sequence

from billing.core.errors import ConservationBroken, Finding
from billing.core.frames import rows
from billing.core.invoicing import DraftInvoice
from billing.core.model import Kind
from billing.core.rating import Rated

_KEY = ["team_id", "cycle_start_us", "api"]


def units_are_drawn_once(rated: Rated) -> list[Finding]:
    """Every charged unit has exactly one payer, or is unfunded (rules 5.1, 5.5)."""
    charged = rated.carry[rated.carry["billing"] == "rated"].groupby(_KEY)["charged_units"].sum()
    drawn = rated.draws[rated.draws["source"] != Kind.CAPACITY].groupby(_KEY)["charged_units"].sum()
    # Filled as integers: a float would hide a difference beyond 2^53 units.
    keys = charged.index.union(drawn.index)
    charged, drawn = charged.reindex(keys, fill_value=0), drawn.reindex(keys, fill_value=0)
    return [
        Finding(file="draws", message=f"{key}: {charged[key]} units charged, {drawn[key]} drawn")
        for key in keys[charged.to_numpy() != drawn.to_numpy()]
    ]


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
    findings = []
    for row in rows(carry):
        held = int(row.opening_micro) + int(row.usage_micro) - int(row.closing_micro)
        if held != int(row.charged_units) * sizes_micro.get(row.api, 0):
            findings.append(
                Finding(file="carry", message=f"{row.team_id}, {row.api}: usage is not units x size + carry-over")
            )
    return findings


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
