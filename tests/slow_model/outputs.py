"""The rows and files of the data contract: how values are written, and each table's rows."""

import csv
from datetime import UTC
from pathlib import Path

from . import cycles, rating
from .intake import FOREVER, MICRO
from .invoicing import minor_digits

COLUMNS = {
    "cycles": "team_id cycle_start cycle_end period_first_day period_last_day time_zone payg_subscription_id",
    "carry": "team_id cycle_start api opening usage late_usage charged_units closing",
    "charges": "team_id cycle_start api source subscription_id grant_id unit_price currency charged_units tokens",
    "invoices": "number team_id subscription_id cycle_start period_first_day period_last_day issue_date currency net"
    " tax_category tax_percent tax total",
    "invoice_lines": "number line_no api charged_units unit_price net",
    "rejected": "file line reason",
    "parked": "team_id cycle_start reason",
    "balances": "team_id source subscription_id grant_id api granted used available ends_at refreshes_at",
}


def instant_text(instant):
    """Contract: UTC with Z, six digits of fraction only where it is not zero; blank where it never comes."""
    if instant == FOREVER:
        return ""
    spec = "microseconds" if instant.microsecond else "seconds"
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def decimal_text(micro):
    """Contract: without trailing zeros."""
    whole, fraction = divmod(abs(micro), MICRO)
    text = f"{whole}.{fraction:06d}".rstrip("0").rstrip(".")
    return "-" + text if micro < 0 else text


def money_text(minor, currency):
    """Contract: with the currency's minor digits."""
    digits = minor_digits(currency)
    whole, fraction = divmod(abs(minor), 10**digits)
    text = f"{whole}.{fraction:0{digits}d}" if digits else str(whole)
    return "-" + text if minor < 0 else text


def table(name, rows):
    """The header, then the rows as text, sorted by their columns by code point."""
    return [COLUMNS[name].split(), *sorted([str(cell) for cell in row] for row in rows)]


def write_tables(tables, folder):
    """Write {file name: rows} as CSV files."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        with (Path(folder) / name).open("w", newline="", encoding="utf-8") as handle:
            csv.writer(handle, lineterminator="\n").writerows(rows)


# Rows


def cycle_row(closed):
    """A row of `cycles`."""
    cycle = closed.cycle
    return (
        cycle.team_id,
        instant_text(cycle.start),
        instant_text(cycle.end),
        cycle.first_day(),
        cycle.last_day(),
        cycle.anchor.time_zone,
        closed.payg_subscription_id,
    )


def carry_rows(closed):
    """Rows of `carry` of one closed cycle."""
    for row in closed.carry:
        yield (
            closed.cycle.team_id,
            instant_text(closed.cycle.start),
            row.api,
            decimal_text(row.opening_micro),
            decimal_text(row.usage_micro),
            decimal_text(row.late_micro),
            row.charged_units,
            decimal_text(row.closing_micro),
        )


def charge_rows(closed):
    """Rows of `charges` of one closed cycle."""
    for api, payer in closed.rating.payers():
        yield (
            closed.cycle.team_id,
            instant_text(closed.cycle.start),
            api,
            payer.source,
            payer.subscription_id,
            payer.grant_id,
            "" if payer.unit_price_micro is None else decimal_text(payer.unit_price_micro),
            payer.currency,
            closed.rating.units[api, payer],
            decimal_text(closed.rating.tokens_micro[api, payer]),
        )


def invoice_row(invoice):
    """A row of `invoices`."""
    draft, currency = invoice.draft, invoice.draft.subscription.currency
    return (
        invoice.number,
        draft.cycle.team_id,
        draft.subscription.subscription_id,
        instant_text(draft.cycle.start),
        draft.cycle.first_day(),
        draft.cycle.last_day(),
        invoice.issue_date,
        currency,
        money_text(draft.net_minor(), currency),
        draft.tax.category,
        decimal_text(draft.tax.percent_micro),
        money_text(draft.tax_minor(), currency),
        money_text(draft.net_minor() + draft.tax_minor(), currency),
    )


def invoice_line_rows(invoice):
    """Rows of `invoice_lines` of one invoice."""
    for line_no, line in enumerate(invoice.draft.lines, start=1):
        yield (
            invoice.number,
            line_no,
            line.api,
            line.charged_units,
            decimal_text(line.unit_price_micro),
            money_text(line.net_minor, invoice.draft.subscription.currency),
        )


def balance_rows(team_id, at, reference, standing):
    """Rule 8.1: a row per balance of the team that is valid at the instant."""
    subscriptions = reference.of_team(team_id)
    for one in subscriptions:
        if one.kind == "free" and one.is_active(at):
            yield from free_balance_rows(one, at, reference, standing)
    for grants, kinds, used in (
        (reference.token_grants, rating.TOKEN_KINDS, standing.tokens_used),
        (reference.capacity_grants, ("capacity",), standing.capacity_used),
    ):
        for grant in rating.valid_grants(grants, subscriptions, kinds, at):
            yield grant_balance_row(grant, reference.subscriptions[grant.subscription_id], used.get(grant.grant_id, 0))


def free_balance_rows(subscription, at, reference, standing):
    """Rule 8.1: granted and used of the running period; no refresh where the subscription ends no later."""
    refreshes_at = cycles.period_at(subscription, at)[1]
    for subscription_id, api, granted in reference.free_allowances:
        if subscription_id == subscription.subscription_id:
            used = rating.free_used(subscription, api, at, standing)
            yield (
                subscription.team_id,
                "free",
                subscription_id,
                "",
                api,
                granted,
                used,
                max(0, granted - used),
                instant_text(subscription.ends_at),
                "" if subscription.ends_at <= refreshes_at else instant_text(refreshes_at),
            )


def grant_balance_row(grant, subscription, used_micro):
    """Rule 8.1: a grant ends at the earlier of its own and its subscription's end."""
    return (
        subscription.team_id,
        subscription.kind,
        subscription.subscription_id,
        grant.grant_id,
        grant.api,
        decimal_text(grant.amount_micro),
        decimal_text(used_micro),
        decimal_text(max(0, grant.amount_micro - used_micro)),
        instant_text(min(grant.expires_at, subscription.ends_at)),
        "",
    )
