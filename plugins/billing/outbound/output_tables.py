"""The output tables as files (data contract, "Outputs"): UTF-8 CSV, RFC 4180, sorted by their columns as text by code
point.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "cycles": (
        "team_id",
        "cycle_start",
        "cycle_end",
        "period_first_day",
        "period_last_day",
        "time_zone",
        "payg_subscription_id",
    ),
    "carry": ("team_id", "cycle_start", "api", "opening", "usage", "late_usage", "charged_units", "closing"),
    "charges": (
        "team_id",
        "cycle_start",
        "api",
        "source",
        "subscription_id",
        "grant_id",
        "unit_price",
        "currency",
        "charged_units",
        "tokens",
    ),
    "invoices": (
        "number",
        "team_id",
        "subscription_id",
        "cycle_start",
        "period_first_day",
        "period_last_day",
        "issue_date",
        "currency",
        "net",
        "tax_category",
        "tax_percent",
        "tax",
        "total",
    ),
    "invoice_lines": ("number", "line_no", "api", "charged_units", "unit_price", "net"),
    "rejected": ("file", "line", "reason"),
    "parked": ("team_id", "cycle_start", "reason", "detail"),
    "credit_notes": (
        "number",
        "invoice_number",
        "issue_date",
        "currency",
        "net",
        "tax_category",
        "tax_percent",
        "tax",
        "total",
        "reason",
    ),
    "credit_note_lines": ("number", "line_no", "invoice_line_no", "api", "by", "charged_units", "unit_price", "net"),
    "payments": (
        "number",
        "customer_id",
        "currency",
        "total",
        "credited",
        "received",
        "refunded",
        "disputed",
        "written_off",
        "outstanding",
        "due_date",
        "gateway",
        "payment_method_id",
        "charge_key",
        "charge_state",
        "attempts",
        "next_attempt",
        "problem",
    ),
    "payment_events": ("number", "kind", "amount", "currency", "gateway", "reference", "at", "detail"),
    "balances": (
        "team_id",
        "source",
        "subscription_id",
        "grant_id",
        "api",
        "granted",
        "used",
        "available",
        "ends_at",
        "refreshes_at",
    ),
}


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> int:
    """Write one table, sorted; a reader sees the whole file or none. Returns the number of rows."""
    ordered = sorted(tuple(row) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\r\n")
            writer.writerow(columns)
            writer.writerows(ordered)
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return len(ordered)
