"""Every table of the billing database.

Instants are microseconds since 1970-01-01T00:00Z (``*_us``), quantities, tokens and prices integers of 10^-6
(``*_micro``), money integers of the currency's minor unit (``*_minor``), local dates days since 1970-01-01
(``*_day``). Text sorts by code point on every database.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from billing.core.reference import TABLES, ColumnKind

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

CodePointText = Text().with_variant(Text(collation="C"), "postgresql")
# SQLite numbers rows by itself only where the key is INTEGER.
RowNumber = BigInteger().with_variant(Integer(), "sqlite")


def _text(name: str, **options: object) -> Column[str]:
    return Column(name, CodePointText, nullable=False, **options)  # type: ignore[arg-type]


def _whole(name: str, **options: object) -> Column[int]:
    return Column(name, BigInteger, nullable=False, **options)  # type: ignore[arg-type]


configuration = Table("configuration", metadata, _text("name", primary_key=True), _text("value"))

log = Table(
    "log",
    metadata,
    _whole("seq", primary_key=True, autoincrement=False),
    _whole("at_us"),
    _text("kind"),
    _text("payload"),
    _text("previous_hash"),
    _text("hash"),
)

reference_loads = Table(
    "reference_loads",
    metadata,
    _whole("load_no", primary_key=True, autoincrement=False),
    _whole("loaded_at_us"),
    _text("source"),
    _text("files"),
    _whole("rows_added"),
    _whole("rows_changed"),
    _whole("rows_removed"),
)

_SOUGHT = {
    "hub_teams": ("team_id",),
    "app_hubs": ("hub_id",),
    "subscriptions": ("team_id",),
    "team_members": ("team_id",),
}
"""Columns by which rows of reference tables are looked for, beside the first one of their key."""

STILL_KNOWN = 2**62
"""``known_to`` of a row that is still known."""


def _history(name: str) -> Table:
    columns = [
        Column(c.name, CodePointText if c.kind is ColumnKind.TEXT else BigInteger, nullable=False)
        for c in TABLES[name].columns
    ]
    return Table(
        f"ref_{name}",
        metadata,
        Column("row_no", RowNumber, primary_key=True, autoincrement=True),
        *columns,
        _whole("known_from"),
        _whole("known_to"),
        Index(None, "known_to"),
        *(Index(None, column, "known_to") for column in _sought(name)),
    )


def _sought(name: str) -> list[str]:
    """What rows of a reference table are looked for by: their own id, else the id of what they belong to."""
    by = {"token_grants": "subscription_id", "capacity_grants": "subscription_id"}
    key = [by.get(name, column) for column in TABLES[name].key[:1]]
    return [*key, *_SOUGHT.get(name, ())]


reference_history = {name: _history(name) for name in TABLES}
"""A row of reference table X is known from load ``known_from`` until load ``known_to`` (half-open)."""

late_rows = Table(
    "late_rows",
    metadata,
    _whole("load_no", primary_key=True, autoincrement=False),
    _whole("late_no", primary_key=True, autoincrement=False),
    _text("reference_table"),
    _text("row_key"),
    _text("team_id"),
    _whole("cycle_start_us"),
    _text("changed"),
    _text("touched"),
    _text("invoices"),
    _text("figures"),
)
"""Rows of a load that came too late for a closed cycle (rule 3.6), a row and cycle each, in the order in which they are
told; see ``store.late_rows``. ``changed``, ``touched``, ``invoices`` and ``figures`` are JSON lists.
"""

batches = Table(
    "batches",
    metadata,
    _whole("batch_no", primary_key=True, autoincrement=False),
    _text("state"),
    _text("kind"),
    _text("source"),
    _text("request", index=True),
    Column("window_start_us", BigInteger),
    _whole("window_end_us"),
    _whole("load_no"),
    _whole("opened_at_us"),
    Column("committed_at_us", BigInteger),
    _whole("records"),
    _whole("accepted"),
    _whole("duplicates"),
    _whole("quarantined"),
    Index(None, "state", "batch_no"),
)

batch_files = Table(
    "batch_files",
    metadata,
    _whole("batch_no", primary_key=True, autoincrement=False),
    _whole("file_no", primary_key=True, autoincrement=False),
    _text("name"),
    _text("sha256"),
    _whole("bytes"),
    _whole("records"),
    Column("arrived_at_us", BigInteger),
    Index(None, "name"),
)

quarantine = Table(
    "quarantine",
    metadata,
    _whole("batch_no", primary_key=True, autoincrement=False),
    _whole("file_no", primary_key=True, autoincrement=False),
    _whole("line", primary_key=True, autoincrement=False),
    _text("reason"),
    Column("raw", LargeBinary, nullable=False),
    _text("event_id"),
    _text("app_id"),
    _text("api"),
    Column("occurred_day", BigInteger),
    _text("ending"),
    Column("ended_in", BigInteger),
    Column("ended_at_us", BigInteger),
    _text("ended_why"),
    Index(None, "ending", "reason"),
    Index(None, "app_id", "ending"),
)
"""``event_id``, ``app_id`` and ``api`` are for looking for a record; ``raw`` is the record. ``ending`` is blank as long
as the record waits; ``ended_in`` is the batch that ended it.
"""

duplicate_ranges = Table(
    "duplicate_ranges",
    metadata,
    _whole("batch_no", primary_key=True, autoincrement=False),
    _whole("file_no", primary_key=True, autoincrement=False),
    _whole("first_line", primary_key=True, autoincrement=False),
    _whole("last_line"),
)

sources = Table(
    "sources",
    metadata,
    _text("name", primary_key=True),
    _text("kind"),
    _text("location"),
    _whole("registered_at_us"),
    Column("retired_at_us", BigInteger),
    _text("retired_why"),
)
"""Where usage comes from by windows. Usage is complete where every source that is not retired is."""

stopped_windows = Table(
    "stopped_windows",
    metadata,
    Column("stop_no", RowNumber, primary_key=True, autoincrement=True),
    _text("source", index=True),
    Column("window_start_us", BigInteger),
    _whole("window_end_us"),
    _whole("at_us"),
    _text("kind"),
    _text("message"),
)
"""Attempts to take a window that took nothing: ``refused`` (a file, the source itself) or ``anomaly``."""

files_set_aside = Table(
    "files_set_aside",
    metadata,
    _text("source", primary_key=True),
    _text("name", primary_key=True),
    _whole("bytes", primary_key=True, autoincrement=False),
    _whole("arrived_at_us", primary_key=True, autoincrement=False),
    _whole("at_us"),
    _text("why"),
)
"""Files that a person took out of a source's way, without touching them there."""

validations = Table(
    "validations",
    metadata,
    Column("validation_no", RowNumber, primary_key=True, autoincrement=True),
    _text("suite"),
    _text("subject"),
    _text("run", index=True),
    Column("batch_no", BigInteger),
    Column("close_no", BigInteger),
    _whole("at_us"),
    _whole("expectations"),
    _text("failed"),
    _text("accepted_why"),
    _text("page_sha256"),
    _text("page_path"),
)
"""What was expected of an extract, of what was accepted, of the ledger, and what was found. ``failed`` is a JSON list;
``accepted_why`` says why a person let it pass.
"""

used_apis = Table("used_apis", metadata, _text("api", primary_key=True), _whole("first_batch_no"))

closes = Table(
    "closes",
    metadata,
    _whole("close_no", primary_key=True, autoincrement=False),
    _text("state"),
    _whole("as_of_us"),
    _whole("due_through_us"),
    _whole("pinned_batch"),
    _whole("pinned_load"),
    _whole("shards"),
    _text("tzdata"),
    _text("version"),
    _whole("opened_at_us"),
    Column("issued_at_us", BigInteger),
    _text("approval", server_default=""),
    Column("approved_at_us", BigInteger),
)
"""``approval`` is JSON of when approval is asked for (``core.approval.Policy``), as it was when the close was opened;
blank where never. ``approved_at_us`` is the issue instant of a close that was approved (rule 6.3).
"""

approvals = Table(
    "approvals",
    metadata,
    Column("close_no", BigInteger, ForeignKey("closes.close_no"), primary_key=True, autoincrement=False),
    _whole("approved_at_us"),
    _text("approved_by"),
    _text("asked_why"),
    _text("seen_sha256"),
    _text("comment"),
)
"""Answers, one a close that was asked for: who, when, and the hash of what was seen (``core.approval.Proposal``).
``asked_why`` is a JSON list of texts.
"""

rejections = Table(
    "rejections",
    metadata,
    Column("close_no", BigInteger, ForeignKey("approvals.close_no"), primary_key=True, autoincrement=False),
    _text("team_id", primary_key=True, index=True),
    _whole("cycle_start_us"),
    _whole("cycle_end_us"),
    _text("reason"),
)
"""Teams that an answer left out, from the first of their cycles that the close had rated to the last: what was rated of
them is discarded (rule 6.7).
"""

close_shards = Table(
    "close_shards",
    metadata,
    Column("close_no", BigInteger, ForeignKey("closes.close_no"), primary_key=True, autoincrement=False),
    _whole("shard", primary_key=True, autoincrement=False),
    _whole("teams"),
    _whole("cycles"),
)

cycles = Table(
    "cycles",
    metadata,
    _text("team_id", primary_key=True),
    _whole("cycle_start_us", primary_key=True, autoincrement=False),
    _whole("cycle_end_us"),
    _whole("period_first_day"),
    _whole("period_last_day"),
    _text("time_zone"),
    _text("payg_subscription_id"),
    _whole("close_no", index=True),
    _text("state"),
    _whole("shard", index=True),
    _whole("pinned_batch"),
    _whole("pinned_load"),
)

carry = Table(
    "carry",
    metadata,
    _text("team_id", primary_key=True),
    _whole("cycle_start_us", primary_key=True, autoincrement=False),
    _text("api", primary_key=True),
    _text("billing"),
    _whole("opening_micro"),
    _whole("usage_micro"),
    _whole("late_usage_micro"),
    _whole("charged_units"),
    _whole("closing_micro"),
)

draws = Table(
    "draws",
    metadata,
    Column("draw_no", RowNumber, primary_key=True, autoincrement=True),
    _text("team_id"),
    _whole("cycle_start_us"),
    _text("api"),
    _text("source"),
    _text("subscription_id", index=True),
    _text("grant_id"),
    Column("unit_price_micro", BigInteger),
    _text("currency"),
    Column("period_start_us", BigInteger),
    _whole("charged_units"),
    _whole("tokens_micro"),
    Index(None, "team_id", "cycle_start_us"),
)

open_ratings = Table(
    "open_ratings",
    metadata,
    _whole("rating_no", primary_key=True, autoincrement=False),
    _whole("through_batch"),
    _whole("load_no"),
    _whole("until_us"),
    _whole("at_us"),
)
"""The newest provisional rating of open cycles (one row): usage up to a batch, by a load, before an instant. Each that
rated any team has the next number.
"""

open_teams = Table(
    "open_teams",
    metadata,
    _text("team_id", primary_key=True),
    _whole("from_us"),
    _whole("pinned_batch"),
    _whole("rating_no", index=True),
)
"""What of a team is rated provisionally: from the end of its last closed cycle, with the batch pinned by that; and by
which rating.
"""

open_draws = Table(
    "open_draws",
    metadata,
    Column("draw_no", RowNumber, primary_key=True, autoincrement=True),
    _text("team_id", index=True),
    _whole("cycle_start_us"),
    _text("api"),
    _text("source"),
    _text("subscription_id"),
    _text("grant_id"),
    Column("unit_price_micro", BigInteger),
    _text("currency"),
    Column("period_start_us", BigInteger),
    _whole("charged_units"),
    _whole("tokens_micro"),
)

open_carry = Table(
    "open_carry",
    metadata,
    _text("team_id", primary_key=True),
    _whole("cycle_start_us", primary_key=True, autoincrement=False),
    _text("api", primary_key=True),
    _whole("opening_micro"),
    _whole("usage_micro"),
    _whole("closing_micro"),
)
"""What each cycle that is not closed opened with, used, and carries on after the last event so far. Of a resource the
carry-over is minus the credit.
"""

parked = Table(
    "parked",
    metadata,
    _text("team_id", primary_key=True),
    _whole("cycle_start_us"),
    _text("reason"),
    _whole("close_no"),
    _whole("shard"),
    _text("detail", server_default=""),
)

usage_days = Table(
    "usage_days",
    metadata,
    _text("team_id", primary_key=True),
    _whole("cycle_start_us", primary_key=True, autoincrement=False),
    _text("api", primary_key=True),
    _whole("first_day"),
    _text("quantities"),
    _whole("late_micro"),
)
"""Actual usage by UTC day of cycles that are invoiced, as their statements show it (rule 6.6): ``quantities`` is a JSON
list of 10^-6, one a day from ``first_day`` on; what was late is told apart.
"""

invoices = Table(
    "invoices",
    metadata,
    _text("number", primary_key=True),
    _text("prefix"),
    _whole("year"),
    _whole("sequence"),
    _text("team_id"),
    _text("customer_id"),
    _text("subscription_id"),
    _whole("cycle_start_us"),
    _text("currency"),
    _whole("net_minor"),
    _text("tax_category"),
    _whole("tax_percent_micro"),
    _whole("tax_minor"),
    _whole("total_minor"),
    _whole("issued_at_us"),
    _whole("issue_day", index=True),
    _whole("close_no", index=True),
    _whole("pinned_load"),
    _whole("revision", server_default="1"),
    _text("replaces", server_default=""),
    UniqueConstraint("prefix", "year", "sequence"),
    UniqueConstraint("team_id", "cycle_start_us", "subscription_id", "revision"),
)
"""``revision`` counts the invoices of one cycle and subscription: each later one ``replaces`` the one before, which a
credit note gave back whole.
"""

invoice_lines = Table(
    "invoice_lines",
    metadata,
    Column("number", CodePointText, ForeignKey("invoices.number"), primary_key=True),
    _whole("line_no", primary_key=True, autoincrement=False),
    _text("api"),
    _whole("charged_units"),
    _whole("unit_price_micro"),
    _whole("net_minor"),
)

credit_notes = Table(
    "credit_notes",
    metadata,
    _text("number", primary_key=True),
    _text("prefix"),
    _whole("year"),
    _whole("sequence"),
    Column("invoice_number", CodePointText, ForeignKey("invoices.number"), nullable=False, index=True),
    _text("reason"),
    _whole("net_minor"),
    _whole("tax_minor"),
    _whole("total_minor"),
    _whole("issued_at_us"),
    _whole("issue_day", index=True),
    UniqueConstraint("prefix", "year", "sequence"),
)
"""What gives an invoice back, whole or in part (rule 6.4), in its currency and at its tax rate; amounts are above 0."""

credit_note_lines = Table(
    "credit_note_lines",
    metadata,
    Column("number", CodePointText, ForeignKey("credit_notes.number"), primary_key=True),
    _whole("line_no", primary_key=True, autoincrement=False),
    _whole("invoice_line_no"),
    _whole("charged_units"),
    _whole("unit_price_micro"),
    _whole("net_minor"),
    _whole("by_amount"),
)
"""``charged_units`` x ``unit_price_micro`` of a line of the invoice; ``by_amount`` is 1 where an amount was given back
rather than units (1 x the amount).
"""

period_locks = Table(
    "period_locks",
    metadata,
    _whole("lock_no", primary_key=True, autoincrement=False),
    _whole("through_day"),
    _whole("at_us"),
    _text("reason"),
)
"""Nothing is issued with a date up to and including ``through_day`` of the newest row. Taking a lock back is a row
too.
"""

documents = Table(
    "documents",
    metadata,
    _text("number", primary_key=True),
    _text("kind", primary_key=True),
    _text("sha256"),
    _whole("bytes"),
    _text("path"),
    _text("bundle"),
    _text("versions"),
)
"""Files of an invoice, a credit note or a run, by the number that it has."""

charges = Table(
    "charges",
    metadata,
    _text("charge_key", primary_key=True),
    _text("customer_id"),
    _text("gateway"),
    _text("payment_method_id"),
    _text("currency"),
    _whole("amount_minor"),
    _text("state", index=True),
    _text("reference", server_default=""),
    _text("customer_reference", server_default=""),
    _text("attempt_reference", server_default=""),
    _whole("attempts", server_default="0"),
    _whole("opened_at_us"),
    Column("attempted_at_us", BigInteger),
    Column("next_attempt_us", BigInteger),
    _text("problem", server_default=""),
    _text("detail", server_default=""),
    _whole("method_load", server_default="0"),
)
"""What is taken from a stored payment method, once (rule 6.5). ``charge_key`` is the number of the invoice that it
began with, and the key that the gateway gets. ``reference`` is the gateway's id of it, blank until it is known;
``attempt_reference`` that of the last attempt whose outcome is known. ``state``, ``problem``: ``core.payments``.
``method_load`` is the load that the payment method was last taken from: whether it was replaced since is known by it.
"""

charge_invoices = Table(
    "charge_invoices",
    metadata,
    Column("number", CodePointText, ForeignKey("invoices.number"), primary_key=True),
    Column("charge_key", CodePointText, ForeignKey("charges.charge_key"), nullable=False, index=True),
    _whole("amount_minor"),
)
"""What a charge takes for which invoice: as a rule one; more where totals were below the gateway's minimum."""

payment_events = Table(
    "payment_events",
    metadata,
    Column("event_no", RowNumber, primary_key=True, autoincrement=True),
    Column("number", CodePointText, ForeignKey("invoices.number"), nullable=False, index=True),
    _text("kind"),
    _whole("amount_minor"),
    _text("gateway"),
    _text("reference"),
    _whole("at_us", index=True),
    _whole("recorded_at_us"),
    _text("detail", server_default=""),
    UniqueConstraint("number", "kind", "gateway", "reference"),
)
"""What happened to an invoice's money (``core.payments.EventKind``), in its currency, once each. ``reference`` is the
gateway's id of it (a charge, refund, dispute), or the bank's; ``at_us`` is when it happened there. Nothing is edited.
"""

mailings = Table(
    "mailings",
    metadata,
    _text("mail_key", primary_key=True),
    _text("kind", index=True),
    _text("subject_id", index=True),
    _text("customer_id"),
    _text("payload"),
    _whole("due_us"),
    _text("state", index=True),
    _whole("attempts", server_default="0"),
    _text("recipient", server_default=""),
    _text("message_id", server_default=""),
    Column("claimed_at_us", BigInteger),
    Column("ended_at_us", BigInteger),
    _text("proof", server_default=""),
)
"""Mails, each once: written with what they tell of (an outbox), claimed before they are sent. ``payload`` is JSON of
what the text needs; ``proof`` JSON of what was sent: subject, attachments with their SHA-256, the server's answer.
"""

placed_files = Table(
    "placed_files",
    metadata,
    _text("destination", primary_key=True),
    _text("path", primary_key=True),
    _text("number", index=True),
    _text("kind"),
    _text("sha256"),
    _whole("bytes"),
    _whole("at_us"),
)
"""Copies of documents in a folder or in object storage, where others take them from."""

usage_months = Table(
    "usage_months",
    metadata,
    _text("team_id", primary_key=True),
    _whole("first_day", primary_key=True, autoincrement=False),
    _text("api", primary_key=True),
    _text("app_id", primary_key=True),
    _text("quantities"),
)
"""Actual usage by UTC day as it is shown (rule 8.2), a row a team, month (its first day), API and app (blank where no
app made it): ``quantities`` is a JSON list of 10^-6, one a day of the month. Derived from the usage table.
"""

usage_views = Table(
    "usage_views",
    metadata,
    _whole("view_no", primary_key=True, autoincrement=False),
    _whole("through_batch"),
    _whole("at_us"),
)
"""Up to which batch ``usage_months`` tells (one row)."""

standings = Table(
    "standings",
    metadata,
    _text("team_id", primary_key=True),
    _whole("as_of_us"),
    _whole("through_batch"),
    _whole("load_no"),
    Column("cycle_start_us", BigInteger),
    Column("cycle_end_us", BigInteger),
    _text("time_zone"),
    _text("subscription_id"),
    _text("currency"),
    _whole("spend_minor"),
    Column("projected_low_minor", BigInteger),
    Column("projected_minor", BigInteger),
    Column("projected_high_minor", BigInteger),
    _whole("unfunded_units"),
    Column("least_left_micro", BigInteger),
    Column("first_end_us", BigInteger),
    _whole("changes_at_us"),
)
"""How a team stands at ``as_of_us``: its running cycle (None before its first), the pay-as-you-go subscription of it
with what would be invoiced now and what may be at its end (net), what nothing paid for in it. To find and sort teams
by: the smallest share that is left of any valid balance (10^-6), and when the first of them ends or refreshes. Without
usage nothing of it changes before ``changes_at_us``, but for the forecast. A row is written when any of it changes.
"""

standing_refreshes = Table(
    "standing_refreshes",
    metadata,
    _whole("refresh_no", primary_key=True, autoincrement=False),
    _whole("as_of_us"),
    _whole("through_batch"),
    _whole("load_no"),
    _whole("rating_no"),
    _whole("paces_day"),
)
"""How fresh standings are (one row): as of when they tell, with usage up to a batch, by a load and a rating of open
cycles; and the UTC day before which forecasts know usage.
"""

paces = Table(
    "paces",
    metadata,
    _text("team_id", primary_key=True),
    _text("api", primary_key=True),
    _whole("first_day"),
    _text("quantities"),
)
"""Usage of the last weeks' UTC days that forecasts are made from: ``quantities`` is a JSON list of 10^-6, one a day
from ``first_day`` on. Derived from the usage table, once a day.
"""

standing_balances = Table(
    "standing_balances",
    metadata,
    _text("team_id", primary_key=True),
    _text("source", primary_key=True),
    _text("subscription_id", primary_key=True),
    _text("grant_id", primary_key=True),
    _text("api", primary_key=True),
    _text("state"),
    _whole("begins_at_us"),
    _whole("granted_micro"),
    _whole("used_micro"),
    _whole("available_micro"),
    _whole("ends_at_us"),
    _whole("refreshes_at_us"),
    Column("per_day_micro", BigInteger),
    Column("runs_out_low_us", BigInteger),
    Column("runs_out_us", BigInteger),
    Column("runs_out_high_us", BigInteger),
    _text("forecast"),
)
"""A balance of a team at its standing's instant (rule 8.1): ``valid`` ones as ``billing balances`` tells them,
``coming`` grants that begin later, and ``expired`` ones of the last 24 months, with what was never used as
``available_micro``. ``begins_at_us`` is the grant's beginning, or that of the free balance's running period.
``per_day_micro``: the pace of the last weeks. When it runs out at that pace, and between when and when; ``forecast`` is
JSON that says how that was found, or why nothing is said (``core.outlook``).
"""

standing_apis = Table(
    "standing_apis",
    metadata,
    _text("team_id", primary_key=True),
    _text("api", primary_key=True),
    Column("unit_size_micro", BigInteger),
    _whole("opening_micro"),
    _whole("usage_micro"),
    _whole("carry_micro"),
    _whole("free_units"),
    _whole("token_flex_units"),
    _whole("flex_units"),
    _whole("payg_units"),
    _whole("unfunded_units"),
    _whole("spend_minor"),
)
"""An API in a team's running cycle so far: what it opened with, used, and carries towards the next unit (of the size in
force, None where there is none), who paid for the units, and what pay as you go would charge (net, rounded as lines
are).
"""

alerts = Table(
    "alerts",
    metadata,
    _text("alert_key", primary_key=True),
    _text("kind", index=True),
    _text("team_id", index=True),
    _text("subject_id"),
    _whole("raised_at_us"),
    Column("ended_at_us", BigInteger),
    _text("detail"),
    Index(None, "ended_at_us", "team_id"),
)
"""What admins were told of, once each; ``ended_at_us`` is when it was not so any more. ``detail`` is JSON."""
