"""Where things are: the only reader of the environment.

=========================  ======================================================================
BILLING_HOME               the home folder (default: ``./billing-home``)
BILLING_DATABASE_URL       where the billing database is, if not in the home (``postgresql://...``)
BILLING_TEMPLATES          the folder of the invoice's template, style, texts, fonts and themes
BILLING_THEME              which of the themes there (default: ``default``)
BILLING_DROP_FOLDER        where usage files arrive, if ``billing.toml`` names no sources
BILLING_REFERENCE_FOLDER   where reference files are kept (DAG ``reference_sync``)
BILLING_SQL                the folder of the SQL that people may change
BILLING_AUDIT_TEMPLATES    the folder of the template of a rerun's report
BILLING_MEMORY_MB          what a task's engine may hold while it sums usage, in MB (default: 512)
BILLING_PAGES_AT           the instant as of which pages tell "in 12 days", for usage of the past (default: now)
=========================  ======================================================================

A file ``billing.toml`` in the home may give ``database_url``, ``templates`` and ``theme``; the environment goes before
it. It may also say where usage and reference data come from, and numbers for what is expected of them::

    [sources.deliveries]                 # usage files: a folder, or a URL of object storage
    kind = "files"
    location = "s3://bucket/usage"
    connection = "usage_bucket"          # an Airflow connection; without, what this machine's environment gives

    [sources.app]                        # usage from a query
    kind = "sql"
    connection = "app_db"                # or url = "postgresql://host/db", which holds no password
    query = "usage.sql"                  # default: the shipped sql/extract/usage.sql or usage_by_occurrence.sql
    by = "arrival"                       # or "occurrence", where the source does not know when a row arrived
    overlap_minutes = 60                 # by arrival: how late a row may be committed
    since = 2026-01-01T00:00:00Z         # nothing from before is read

    [reference]                          # reference data from queries, one a table
    connection = "app_db"
    queries = "reference"                # default: the shipped sql/extract/reference

    [lake]                               # the usage table on an S3 API; without, it is in the home
    location = "s3://bucket/prefix"
    connection = "lake_bucket"           # an Airflow connection of the type aws; without, what the environment gives.
                                         # All the rest of a home stays in its folder, which workers share

    [audit]                              # where the head of the log goes once a day, out of reach of who writes here
    heads = "s3://bucket/heads"          # or a folder
    connection = "heads_bucket"          # an Airflow connection; without, what this machine's environment gives
    mail = "audit@example.com"           # the head also goes there, by Airflow's SMTP connection

    [payments]                           # how money is collected (docs/payments.md); all of it may be left out
    since = 2026-08-01                   # invoices issued before this day are collected by other means
    retry_after_days = [1, 3, 5, 7]      # when a declined charge is tried again: days after the first attempt
    overdue_mail_days = [3, 14, 30]      # when a bank transfer is asked for: days after it was due
    warn_expiry_days = 30                # how long before a card expires its owner is told
    at_once = 4                          # charges that are worked on at the same time
    stuck_after_hours = 168              # how long a payment may be on its way before a person should look
    answer_disputes_days = 7             # how long before a dispute must be answered it is said
    ignore_foreign_charges = false       # true where the gateway's account takes money for others too

    [payments.gateways.stripe]           # under the name that payment_methods.gateway has
    kind = "stripe"
    connection = "stripe_key"            # an Airflow connection; its password is the secret key
    label = "acme"                       # tells its charges from others in the account (default: the gateway's name)
    minimum = { EUR = "1.00" }           # the smallest charge, where it is not the gateway's own

    [approval]                           # who is asked before a close issues its invoices; without it, nobody
    when = "above"                       # or "always", or "never": where a total is above a bound, or an outlier
    invoice_above = { EUR = 10000 }      # the total of any invoice, a bound a currency
    close_above = { EUR = 250000 }       # the total of all of them
    outlier_times = 50                   # an invoice of so many times its subscription's usual net is an outlier: the
    outlier_cycles = 6                   # median of so many invoices before it,
    outlier_floor = { EUR = 10 }         # or this where that is less (default 1)
    approvers = ["ada"]                  # ids of users of Airflow's auth manager: nobody else may answer there
    within_hours = 72                    # unanswered for so long, the run ends red, and the next one asks again
    mail = "finance@example.com"         # is told that a close waits, by Airflow's SMTP connection

    [mail]                               # without it no mail is sent
    since = 2026-08-01T00:00:00Z         # nothing that was issued before is ever mailed
    connection = "smtp_default"          # an Airflow connection of the type smtp
    sender = "Example <bill@example.com>" # default: the connection's from_email, else the seller's address
    reply_to = "ap-desk@example.com"
    finance = ["finance@example.com"]    # run summaries, and what could not be delivered
    copy_to = "archive@example.com"      # a blind copy of all that goes to buyers
    xml = true                           # the e-invoice's XML beside the PDF, which has it inside too
    off = ["card_expiring"]              # kinds that are not sent

    [files]                              # copies of documents in a folder or in object storage
    location = "s3://bucket/invoices"
    connection = "invoices_bucket"       # an Airflow connection; without, what this machine's environment gives
    layout = "{year}/{customer_id}/{number}.{kind}"
    summaries = "{year}/summaries/{number}.{kind}"

    [[notify]]                           # any notifier of Airflow, told of every close; of new alerts too by "alerts"
    notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
    on = ["success", "failure"]
    arguments = { to = "team@example.com", subject = "Close {{ close_no }}", html_content = "<pre>{{ summary }}</pre>" }

    [accounts]                           # where the journal books what; patterns, see core/accounts.py for all of them
    receivable = "Assets:Receivable:{customer}"
    [accounts.usage]                     # a whole name by API (vat: by country; gateway: by gateway; tokens,
    render = "Income:Rendering"          # tokens_sold, deferred_tokens, breakage: by kind of subscription)

    [exports]                            # where the DAG exports puts Parquet and FOCUS for a warehouse
    location = "s3://bucket/exports"     # or a folder
    connection = "exports_bucket"        # an Airflow connection; without, what this machine's environment gives

    [focus]                              # of the services, in the words of the FOCUS specification
    service_category = "Developer Tools"
    service_subcategory = "Developer Platforms"

    [alerts]                             # of what admins of a team are told, once each (docs/balances.md)
    low_percent = [20, 5]                # when so much or less is left of a balance
    least_granted = 10                   # of smaller balances nobody is told (units, tokens, or the resource)
    ends_within_days = 30                # grants that end with something left, payment methods that expire
    runs_out_within_days = 60            # balances that will be used up before they end or refresh
    free = false                         # free balances too
    off = ["payment_missing"]            # kinds that are not raised; default: none
    mail = true                          # false: they are listed and shown, and nobody gets mail
    mails_at_once_max = 200              # more at one refresh become one, to finance

    [access]                             # who sees all of the pages; others see the teams that they are members of
    operators = ["runs:cycle_close"]     # whoever may run this DAG (the default); also "user:NAME", "role:NAME"

    [expectations]
    volume_up_times = 8                  # a bound of intake/expectations/bounds.py

Paths in the file are relative to the home.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast
from urllib.parse import parse_qsl, urlsplit

from billing.core.accounts import DEFAULTS, OVERRIDDEN_BY, Accounts, demand_distinct, demand_pattern
from billing.core.alert_rules import AlertKind, AlertRules
from billing.core.approval import NEVER_ASKED, Policy, When
from billing.core.collecting import CollectingRules
from billing.core.errors import UsageError
from billing.core.file_layout import Layout
from billing.core.focus import Service, demand_service
from billing.core.instants import from_us, parse_instant_us
from billing.core.mail_addresses import Mailbox, parse_mailbox
from billing.core.payments import MANUAL
from billing.core.quantity import MICRO, minor_digits

_CHECKOUT = Path(__file__).resolve().parents[2]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_SECRET_KEY = re.compile(r"\b(sk|rk|whsec)_")
_LONGEST_WAIT_HOURS = 24 * 365
_MEMORY_MB, _LEAST_MEMORY_MB = 512, 64
_OPERATORS = ("runs:cycle_close",)
_SHIPPED = {"arrival": "usage.sql", "occurrence": "usage_by_occurrence.sql"}

_OUTCOMES = ("success", "failure")
_TOLD = (*_OUTCOMES, "alerts")
MAIL_KINDS = (
    *("invoice", "credit_note", "run_summary", "delivery_problem", "card_expiring", "balance_alert"),
    *("payment_declined", "authentication_required", "payment_final_notice", "payment_overdue"),
)
"""Kinds of mail, as ``store/mailings.py`` has them."""

Kind = Literal["files", "sql"]
By = Literal["arrival", "occurrence"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceSettings:
    """A source of usage. Blank is what does not apply to its kind, or was not given.

    ``location`` (files): an absolute folder, or a URL. ``connection``: the id of an Airflow connection. ``url`` (sql):
    instead of a connection, without a password. ``query``, ``by``, ``overlap`` (sql): see ``intake/sources``. ``since``
    (sql): an aware instant.
    """

    name: str
    kind: Kind
    location: str = ""
    connection: str = ""
    url: str = ""
    query: Path | None = None
    by: By = "arrival"
    overlap: timedelta = timedelta(hours=1)
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceSettings:
    """Reference data from a database: by ``connection`` or by ``url``. ``queries``: the folder of a file a table."""

    queries: Path
    connection: str = ""
    url: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LakeSettings:
    """The usage table on an S3 API: ``location`` is ``s3://bucket/prefix``. ``connection``: the id of an Airflow
    connection; blank where the environment opens it.
    """

    location: str
    connection: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditSettings:
    """Where heads of the log are kept: ``heads`` is an absolute folder, or a URL. ``connection``: the id of an Airflow
    connection; blank where the environment opens it. ``mail``: blank where none is sent.
    """

    heads: str
    connection: str = ""
    mail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class GatewaySettings:
    """A payment gateway. ``connection``: the id of an Airflow connection. ``label`` is kept with its charges.
    ``minimum``: the smallest charge by currency, where it is not the gateway's own.
    """

    name: str
    kind: Literal["stripe"]
    connection: str
    label: str
    minimum: Mapping[str, Decimal] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, kw_only=True, slots=True)
class PaymentSettings:
    """How money is collected. ``gateways`` are in the order of their names; without one nothing is charged.
    ``is_set_up``: the file says something of payments; until it does, no DAG collects.
    """

    is_set_up: bool = False
    gateways: tuple[GatewaySettings, ...] = ()
    rules: CollectingRules = field(default_factory=CollectingRules)


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalSettings:
    """When a person is asked before a close issues its invoices (``policy``), who may answer in Airflow (``approvers``:
    empty where anyone may who may answer there at all), how long the request waits, and whom a mail tells (blank:
    nobody).
    """

    policy: Policy
    approvers: tuple[str, ...] = ()
    within: timedelta = timedelta(hours=72)
    mail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class MailSettings:
    """What is mailed, and by which SMTP connection. ``sender`` and ``reply_to`` are None where nothing was given.

    ``since``: nothing that was issued or due before it is ever sent. ``off``: kinds that are not sent.
    """

    since: datetime
    connection: str = "smtp_default"
    sender: Mailbox | None = None
    reply_to: Mailbox | None = None
    finance: tuple[Mailbox, ...] = ()
    copy_to: tuple[Mailbox, ...] = ()
    xml: bool = True
    off: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesSettings:
    """Where copies of documents go: ``location`` is an absolute folder, or a URL. ``connection``: the id of an Airflow
    connection; blank where the environment opens it.
    """

    location: str
    layout: Layout
    summaries: Layout
    connection: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifierSettings:
    """A notifier of Airflow that is told how a close ended, or of new alerts: the path of its class, and what that is
    made with. ``on``: of what; blank is of closes only.
    """

    notifier: str
    on: tuple[str, ...]
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """Where exports are placed: ``location`` is an absolute folder, or a URL. ``connection``: the id of an Airflow
    connection; blank where the environment opens it.
    """

    location: str
    connection: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class AccessSettings:
    """Who sees all of the pages: users and roles of Airflow by name, and whoever may run one of some DAGs."""

    users: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    runs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of this process; folders are absolute. ``sources`` has at least one, in the order of their names.

    ``reference`` is None where reference data comes from files, ``lake`` where the usage table is in the home,
    ``audit`` where heads of the log are kept nowhere else, ``mail`` where none is sent, ``files`` where documents are
    copied nowhere, ``exports`` where none are placed by themselves. ``alerts``: when admins are told of what.
    ``expectations``: numbers by name, as they were given.
    """

    home: Path
    database_url: str | None = field(repr=False)
    templates: Path
    theme: str
    drop_folder: Path
    reference_folder: Path
    sql: Path
    audit_templates: Path
    sources: tuple[SourceSettings, ...]
    reference: ReferenceSettings | None
    lake: LakeSettings | None
    audit: AuditSettings | None
    payments: PaymentSettings
    approval: ApprovalSettings
    mail: MailSettings | None
    files: FilesSettings | None
    notify: tuple[NotifierSettings, ...]
    exports: ExportSettings | None
    accounts: Accounts
    service: Service
    alerts: AlertRules
    access: AccessSettings
    memory_mb: int
    pages_at: datetime | None
    expectations: Mapping[str, float]

    @classmethod
    def read(cls, home: Path | None = None, database_url: str | None = None) -> Settings:
        """What the arguments say, else the environment, else ``billing.toml``, else the defaults.

        Raises ``UsageError`` that names file, table and key for what is wrong in the file.
        """
        folder = (home or Path(os.environ.get("BILLING_HOME") or "billing-home")).absolute()
        file = _Table.of_file(folder / "billing.toml")
        tables = (
            "sources",
            "reference",
            "lake",
            "audit",
            "payments",
            "approval",
            "mail",
            "files",
            "notify",
            "exports",
            "accounts",
            "focus",
            "alerts",
            "access",
            "expectations",
        )
        file.only(("database_url", "templates", "theme", "memory_mb", *tables))
        drop_folder = Path(os.environ.get("BILLING_DROP_FOLDER") or folder / "drop").absolute()
        sql = Path(os.environ.get("BILLING_SQL") or _CHECKOUT / "sql").absolute()
        templates = os.environ.get("BILLING_TEMPLATES") or file.text("templates")
        return cls(
            home=folder,
            database_url=database_url or os.environ.get("BILLING_DATABASE_URL") or file.text("database_url") or None,
            templates=Path(templates or _CHECKOUT / "templates" / "invoices").absolute(),
            theme=_theme(os.environ.get("BILLING_THEME") or file.text("theme") or "default"),
            drop_folder=drop_folder,
            reference_folder=Path(os.environ.get("BILLING_REFERENCE_FOLDER") or folder / "reference").absolute(),
            sql=sql,
            audit_templates=Path(
                os.environ.get("BILLING_AUDIT_TEMPLATES") or _CHECKOUT / "templates" / "audit"
            ).absolute(),
            sources=_sources(file.table("sources"), drop_folder, sql),
            reference=_reference(file.table("reference"), sql),
            lake=_lake(file.table("lake")),
            audit=_audit(file.table("audit")),
            payments=_payments(file.table("payments")),
            approval=_approval(file.table("approval")),
            mail=_mail(file.table("mail")),
            files=_files(file.table("files")),
            notify=tuple(_notifier(one) for one in file.tables("notify")),
            exports=_exports(file.table("exports")),
            accounts=_accounts(file.table("accounts")),
            service=_service(file.table("focus")),
            alerts=replace(_alerts(file.table("alerts")), told_otherwise=_told_by_collecting(file)),
            access=_access(file.table("access") or _Table(file=file.file, name="access", content={})),
            memory_mb=_memory_mb(os.environ.get("BILLING_MEMORY_MB"), file),
            pages_at=_pages_at(os.environ.get("BILLING_PAGES_AT", "")),
            expectations=_numbers(file.table("expectations")),
        )

    def source(self, name: str) -> SourceSettings:
        """The source of this name. ``UsageError`` where there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise UsageError(f"There is no source {name!r}; there are: {', '.join(one.name for one in self.sources)}.")


@contextmanager
def plain_airflow() -> Iterator[None]:
    """Where Airflow is imported first in here, it makes no folder, and leaves the logs of this process alone.

    For processes that Airflow did not start: in others it has been imported before.
    """
    variable = "_AIRFLOW__AS_LIBRARY"
    before = os.environ.get(variable)
    os.environ[variable] = "1"
    try:
        yield
    finally:
        os.environ.pop(variable)
        if before is not None:
            os.environ[variable] = before


def _pages_at(given: str) -> datetime | None:
    try:
        return from_us(parse_instant_us(given)) if given else None
    except ValueError as error:
        raise UsageError(f"BILLING_PAGES_AT: {error}") from None


def _memory_mb(given: str | None, file: _Table) -> int:
    """From the environment, else the file."""
    number = file.number("memory_mb", _MEMORY_MB)
    if given:
        number = int(given) if given.isascii() and given.isdecimal() else 0
    if number < _LEAST_MEMORY_MB or number != int(number):
        raise UsageError(
            f"The memory of a task is a whole number of MB from {_LEAST_MEMORY_MB} on: BILLING_MEMORY_MB, or memory_mb."
        )
    return int(number)


def _theme(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a theme; name a folder in the templates' folder themes, like default."
        )
    return name


def _sources(table: _Table | None, drop_folder: Path, sql: Path) -> tuple[SourceSettings, ...]:
    if table is None or not table.content:
        return (SourceSettings(name="drop", kind="files", location=str(drop_folder)),)
    for name in table.content:
        if not _NAME.fullmatch(name):
            raise table.wrong(name, "is no name of a source; use letters, digits, and _ . - after the first")
    return tuple(_source(name, table.inner(name), sql) for name in sorted(table.content))


def _source(name: str, table: _Table, sql: Path) -> SourceSettings:
    if table.choice("kind", ("files", "sql"), "") == "files":
        table.only(("kind", "location", "connection"))
        location = _location(table, "location", "s3://bucket/usage")
        return SourceSettings(name=name, kind="files", location=location, connection=table.text("connection"))
    table.only(("kind", "connection", "url", "query", "by", "overlap_minutes", "since"))
    connection, url = _connection(table)
    overlap = table.number("overlap_minutes", 60)
    if overlap < 0:
        raise table.wrong("overlap_minutes", "is a number from 0 on")
    by = cast("By", table.choice("by", ("arrival", "occurrence"), "arrival"))
    if by == "occurrence" and "overlap_minutes" in table.content:
        raise table.wrong("overlap_minutes", 'applies to by = "arrival" only; leave it out')
    return SourceSettings(
        name=name,
        kind="sql",
        connection=connection,
        url=url,
        query=table.path("query") or sql / "extract" / _SHIPPED[by],
        by=by,
        overlap=timedelta(minutes=overlap),
        since=table.instant("since"),
    )


def _location(table: _Table, key: str, example: str) -> str:
    """A URL as it is; a folder absolute."""
    location = table.text(key)
    if not location:
        raise table.wrong(key, f'is missing; give a folder, or a URL like "{example}"')
    if "://" not in location or location.startswith("file://"):
        return str(table.folder / location.removeprefix("file://"))
    return table.without_password(key)


def _connection(table: _Table) -> tuple[str, str]:
    """An Airflow connection, or a URL that anyone may read."""
    connection, url = table.text("connection"), table.without_password("url")
    if bool(connection) == bool(url):
        is_wrong = "is there beside url; keep one" if url else "is missing; name an Airflow connection, or give a url"
        raise table.wrong("connection", is_wrong)
    return connection, url


def _reference(table: _Table | None, sql: Path) -> ReferenceSettings | None:
    if table is None:
        return None
    table.only(("connection", "url", "queries"))
    connection, url = _connection(table)
    return ReferenceSettings(
        connection=connection, url=url, queries=table.path("queries") or sql / "extract" / "reference"
    )


def _lake(table: _Table | None) -> LakeSettings | None:
    if table is None:
        return None
    table.only(("location", "connection"))
    location = table.text("location").rstrip("/")
    if not re.fullmatch(r"s3://[^/@?]+(/[^?]+)?", location):
        raise table.wrong(
            "location",
            'is an S3 API\'s bucket, and a prefix if you like: "s3://bucket/prefix"; keys are of a connection',
        )
    return LakeSettings(location=location, connection=table.text("connection"))


def _audit(table: _Table | None) -> AuditSettings | None:
    if table is None:
        return None
    table.only(("heads", "connection", "mail"))
    return AuditSettings(
        heads=_location(table, "heads", "s3://bucket/heads"),
        connection=table.text("connection"),
        mail=table.text("mail"),
    )


def _payments(table: _Table | None) -> PaymentSettings:
    if table is None:
        return PaymentSettings()
    gateways = _gateways(table.table("gateways"))
    return PaymentSettings(is_set_up=True, gateways=gateways, rules=_collecting_rules(table))


def _gateways(table: _Table | None) -> tuple[GatewaySettings, ...]:
    if table is None:
        return ()
    for name in table.content:
        if not _NAME.fullmatch(name):
            raise table.wrong(name, "is no name of a gateway; use letters, digits, and _ . - after the first")
        if name == MANUAL:
            raise table.wrong(name, "is the name of bank transfers, which no gateway takes; use another")
    return tuple(_gateway(name, table.inner(name)) for name in sorted(table.content))


def _gateway(name: str, table: _Table) -> GatewaySettings:
    for key, value in table.content.items():
        if _SECRET_KEY.search(str(value)) or any(word in key.lower() for word in ("key", "secret", "pass", "token")):
            raise table.wrong(key, "holds a secret; define an Airflow connection with it as password, and name that")
    table.only(("kind", "connection", "label", "minimum"))
    table.choice("kind", ("stripe",), "")
    if not table.text("connection"):
        raise table.wrong("connection", "is missing; name an Airflow connection, whose password is the secret key")
    label = table.text("label") or name
    if not _NAME.fullmatch(label):
        raise table.wrong("label", "is no label; use at most 64 letters, digits, and _ . - after the first")
    return GatewaySettings(
        name=name,
        kind="stripe",
        connection=table.text("connection"),
        label=label,
        minimum=_amounts(table, "minimum", 0),
    )


def _collecting_rules(table: _Table) -> CollectingRules:
    days, wholes = ("retry_after_days", "overdue_mail_days"), {"at_once": 1, "stuck_after_hours": 1}
    wholes |= {"warn_expiry_days": 0, "answer_disputes_days": 0}
    table.only(("gateways", *days, *wholes, "ignore_foreign_charges", "since"))
    given: dict[str, Any] = {key: table.days(key) for key in days if key in table.content}
    given |= {key: table.whole(key, least, least=least) for key, least in wholes.items() if key in table.content}
    return CollectingRules(
        **given,
        ignore_foreign_charges=table.flag("ignore_foreign_charges", False),
        since=table.day("since"),
    )


def _approval(table: _Table | None) -> ApprovalSettings:
    if table is None:
        return ApprovalSettings(policy=NEVER_ASKED)
    numbers = ("outlier_times", "outlier_cycles", "within_hours")
    bounds = ("invoice_above", "close_above", "outlier_floor")
    table.only(("when", *bounds, *numbers, "approvers", "mail"))
    policy = Policy(
        when=When(table.choice("when", tuple(When), "")),
        invoice_above=_amounts(table, "invoice_above", 0),
        close_above=_amounts(table, "close_above", 0),
        outlier_times=table.whole("outlier_times", 50, least=2),
        outlier_cycles=table.whole("outlier_cycles", 6, least=1),
        outlier_floor=_amounts(table, "outlier_floor", 1),
    )
    within = table.number("within_hours", 72)
    if not 0 < within <= _LONGEST_WAIT_HOURS:
        raise table.wrong("within_hours", f"is a number above 0 and up to {_LONGEST_WAIT_HOURS}")
    return ApprovalSettings(
        policy=policy,
        approvers=table.texts("approvers"),
        within=timedelta(hours=within),
        mail=table.text("mail"),
    )


def _amounts(table: _Table, key: str, least: int) -> Mapping[str, Decimal]:
    """Amounts of money by currency, as numbers or in quotes, in no more digits than the currency has."""
    inner = table.table(key)
    if inner is None:
        return MappingProxyType({})
    found = {}
    for currency in sorted(inner.content):
        if not re.fullmatch("[A-Z]{3}", currency):
            raise inner.wrong(currency, "is no currency; write its three capital letters, like EUR")
        given, digits = inner.content[currency], minor_digits(currency)
        text = given if isinstance(given, str) else str(inner.number(currency, 0))
        if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]*)?", text) or round(Decimal(text), digits) != Decimal(text):
            raise inner.wrong(currency, f"is an amount from {least} on, with at most {digits} decimals")
        found[currency] = Decimal(text)
        if found[currency] < least:
            raise inner.wrong(currency, f"is an amount from {least} on, with at most {digits} decimals")
    return MappingProxyType(found)


def _mail(table: _Table | None) -> MailSettings | None:
    if table is None:
        return None
    table.only(("since", "connection", "sender", "reply_to", "finance", "copy_to", "xml", "off"))
    since = table.instant("since")
    if since is None:
        raise table.wrong("since", "is missing; nothing that was issued before this instant is ever mailed")
    sender, reply_to = table.mailboxes("sender"), table.mailboxes("reply_to")
    for key, found in (("sender", sender), ("reply_to", reply_to)):
        if len(found) > 1:
            raise table.wrong(key, "is one address")
    return MailSettings(
        since=since,
        connection=table.text("connection") or "smtp_default",
        sender=sender[0] if sender else None,
        reply_to=reply_to[0] if reply_to else None,
        finance=table.mailboxes("finance"),
        copy_to=table.mailboxes("copy_to"),
        xml=table.flag("xml", True),
        off=table.names("off", MAIL_KINDS),
    )


def _files(table: _Table | None) -> FilesSettings | None:
    if table is None:
        return None
    table.only(("location", "connection", "layout", "summaries"))
    return FilesSettings(
        location=_location(table, "location", "s3://bucket/invoices").rstrip("/"),
        connection=table.text("connection"),
        layout=_layout(table, "layout", "{year}/{customer_id}/{number}.{kind}"),
        summaries=_layout(table, "summaries", "{year}/summaries/{number}.{kind}"),
    )


def _layout(table: _Table, key: str, default: str) -> Layout:
    try:
        return Layout.parse(table.text(key) or default)
    except ValueError as error:
        raise table.wrong(key, str(error)) from None


def _notifier(table: _Table) -> NotifierSettings:
    table.only(("notifier", "on", "arguments"))
    path = table.text("notifier")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", path):
        raise table.wrong("notifier", "is the path of a class, like package.module.SlackNotifier")
    arguments = table.inner("arguments").content if "arguments" in table.content else {}
    for key in arguments:
        if _is_secret(key):
            raise table.wrong(
                f"arguments.{key}", "holds a secret; name an Airflow connection as the notifier's *_conn_id"
            )
    on = table.names("on", _TOLD) or _OUTCOMES
    return NotifierSettings(notifier=path, on=on, arguments=arguments)


def _exports(table: _Table | None) -> ExportSettings | None:
    if table is None:
        return None
    table.only(("location", "connection"))
    return ExportSettings(
        location=_location(table, "location", "s3://bucket/exports"), connection=table.text("connection")
    )


def _accounts(table: _Table | None) -> Accounts:
    """Patterns, and whole names by API, country, gateway or kind."""
    if table is None:
        return Accounts()
    table.only(tuple(DEFAULTS))
    patterns, overrides = dict(DEFAULTS), {}
    for role, given in table.content.items():
        if not isinstance(given, dict):
            patterns[role] = _account(table, role, role, table.text(role))
            continue
        if role not in OVERRIDDEN_BY:
            raise table.wrong(role, "is one account; write it in quotes")
        inner = table.inner(role)
        for key in inner.content:
            overrides[role, key] = _account(inner, key, role, inner.text(key))
    found = Accounts(patterns=MappingProxyType(patterns), overrides=MappingProxyType(overrides))
    demand_distinct(found)
    return found


def _account(table: _Table, key: str, role: str, pattern: str) -> str:
    try:
        demand_pattern(role, pattern)
        if key != role and "{" in pattern:
            raise ValueError("is a whole name here, without {}")
    except ValueError as error:
        raise table.wrong(key, str(error)) from None
    return pattern


def _service(table: _Table | None) -> Service:
    if table is None:
        return Service()
    table.only(("service_category", "service_subcategory"))
    default = Service()
    found = Service(
        category=table.text("service_category") or default.category,
        subcategory=table.text("service_subcategory") or default.subcategory,
    )
    try:
        demand_service(found)
    except ValueError as error:
        raise table.wrong("service_category", str(error)) from None
    return found


def _alerts(table: _Table | None) -> AlertRules:
    given = AlertRules()
    if table is None:
        return given
    days = ("ends_within_days", "runs_out_within_days")
    table.only(("low_percent", "least_granted", *days, "free", "off", "mail", "mails_at_once_max"))
    return AlertRules(
        low_percent=_percents(table, given.low_percent),
        least_granted_micro=table.whole("least_granted", given.least_granted_micro // MICRO, least=0) * MICRO,
        ends_within_days=table.whole("ends_within_days", given.ends_within_days, least=0),
        runs_out_within_days=table.whole("runs_out_within_days", given.runs_out_within_days, least=0),
        free=table.flag("free", given.free),
        off=_kinds(table),
        mail=table.flag("mail", given.mail),
        mails_at_once_max=table.whole("mails_at_once_max", given.mails_at_once_max, least=0),
    )


def _told_by_collecting(file: _Table) -> frozenset[AlertKind]:
    """That a card expires is told by the collecting of payments where it is set up, unless its mail is off."""
    mail = _mail(file.table("mail"))
    is_told = file.table("payments") is not None and (mail is None or "card_expiring" not in mail.off)
    return frozenset({AlertKind.PAYMENT_EXPIRES} if is_told else ())


def _percents(table: _Table, default: tuple[int, ...]) -> tuple[int, ...]:
    value = table.content.get("low_percent", list(default))
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one <= 99 for one in value):
        raise table.wrong("low_percent", "is a list of whole numbers from 0 to 99, like [20, 5]")
    return tuple(sorted(set(value), reverse=True))


def _kinds(table: _Table) -> frozenset[AlertKind]:
    value, known = table.content.get("off", []), [kind.value for kind in AlertKind]
    if not isinstance(value, list) or not all(one in known for one in value):
        raise table.wrong("off", f"is a list of kinds of alerts; there are: {', '.join(known)}")
    return frozenset(AlertKind(one) for one in value)


def _access(table: _Table) -> AccessSettings:
    table.only(("operators",))
    by: dict[str, list[str]] = {"user": [], "role": [], "runs": []}
    for one in table.texts("operators", _OPERATORS):
        kind, colon, name = one.partition(":")
        if kind not in by or not colon or not name:
            says = f'has {one!r}; write "runs:DAG" (whoever may run that DAG), "user:NAME" or "role:NAME"'
            raise table.wrong("operators", says)
        by[kind].append(name)
    return AccessSettings(users=frozenset(by["user"]), roles=frozenset(by["role"]), runs=tuple(by["runs"]))


def _numbers(table: _Table | None) -> Mapping[str, float]:
    if table is None:
        return MappingProxyType({})
    return MappingProxyType({name: table.number(name, 0) for name in table.content})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Table:
    """A table of the file, and how to speak of it. What is absent is blank, None, or the default."""

    file: Path
    name: str
    content: Mapping[str, Any]

    @classmethod
    def of_file(cls, path: Path) -> _Table:
        try:
            content = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: {error}") from None
        return cls(file=path, name="", content=content)

    @property
    def folder(self) -> Path:
        return self.file.parent

    def wrong(self, key: str, what: str) -> UsageError:
        where = f"{self.file}: [{self.name}] " if self.name else f"{self.file}: "
        return UsageError(f"{where}{key!r} {what}.")

    def only(self, known: tuple[str, ...]) -> None:
        for key in self.content:
            if key not in known:
                raise self.wrong(key, f"is not a setting; there are: {', '.join(known)}")

    def table(self, key: str) -> _Table | None:
        return self.inner(key) if key in self.content else None

    def inner(self, key: str) -> _Table:
        if not isinstance(self.content[key], dict):
            raise self.wrong(key, "is a table; write it as [" + f"{self.name}.{key}]".removeprefix("."))
        return _Table(file=self.file, name=f"{self.name}.{key}".removeprefix("."), content=self.content[key])

    def tables(self, key: str) -> list[_Table]:
        found = self.content.get(key, [])
        if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
            raise self.wrong(key, f"is a list of tables; write each as [[{key}]]")
        return [_Table(file=self.file, name=f"{key}, {place}", content=one) for place, one in enumerate(found, start=1)]

    def names(self, key: str, known: tuple[str, ...]) -> tuple[str, ...]:
        """A name of these, or a list of them."""
        found = self._texts(key)
        for name in found:
            if name not in known:
                raise self.wrong(key, f"has {name!r}; there are: {', '.join(known)}")
        return found

    def mailboxes(self, key: str) -> tuple[Mailbox, ...]:
        """An address, or a list of them."""
        try:
            return tuple(parse_mailbox(one) for one in self._texts(key))
        except ValueError as error:
            raise self.wrong(key, f"is an address of mail, or a list of them: {error}") from None

    def flag(self, key: str, default: bool) -> bool:
        value = self.content.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "is true or false, without quotes")
        return value

    def _texts(self, key: str) -> tuple[str, ...]:
        value = self.content.get(key, [])
        found = value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in found):
            raise self.wrong(key, "is a text, or a list of texts")
        return tuple(found)

    def text(self, key: str) -> str:
        value = self.content.get(key, "")
        if not isinstance(value, str):
            raise self.wrong(key, "is a text; write it in quotes")
        return value

    def path(self, key: str) -> Path | None:
        return self.folder / self.text(key) if self.text(key) else None

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        value = self.text(key) or default
        if value not in choices:
            raise self.wrong(
                key, f"is one of {', '.join(choices)}" + (f", not {value!r}" if value else "; it is missing")
            )
        return value

    def number(self, key: str, default: float) -> float:
        value = self.content.get(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not isfinite(value):
            raise self.wrong(key, "is a number; write it without quotes")
        return value

    def whole(self, key: str, default: int, *, least: int) -> int:
        value = self.number(key, default)
        if value != int(value) or value < least:
            raise self.wrong(key, f"is a whole number from {least} on")
        return int(value)

    def days(self, key: str) -> tuple[int, ...]:
        value = self.content[key]
        is_whole = isinstance(value, list) and all(isinstance(day, int) and not isinstance(day, bool) for day in value)
        if not is_whole or any(day < 1 for day in value) or sorted(set(value)) != value:
            raise self.wrong(key, "is a list of whole days from 1 on, each more than the one before, like [1, 3, 5]")
        return tuple(value)

    def day(self, key: str) -> date | None:
        value = self.content.get(key)
        if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
            raise self.wrong(key, "is a date; write it without quotes, like 2026-08-01")
        return value

    def texts(self, key: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
        value = self.content.get(key, list(default))
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(key, 'is a list of texts; write it as ["a", "b"]')
        return tuple(value)

    def instant(self, key: str) -> datetime | None:
        value = self.content.get(key)
        if isinstance(value, str):
            try:
                return from_us(parse_instant_us(value))
            except ValueError as error:
                raise self.wrong(key, f"cannot be read: {error}") from None
        if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
            raise self.wrong(key, "is an instant; write it with its offset, like 2026-01-01T00:00:00Z")
        return value and value.astimezone(UTC)

    def without_password(self, key: str) -> str:
        url = self.text(key)
        if url and "://" not in url:
            raise self.wrong(key, "is a URL; write it as dialect://host/database")
        if _holds_secret(url):
            raise self.wrong(key, "holds a password; define an Airflow connection, and name it as `connection`")
        return url


def _holds_secret(url: str) -> bool:
    """Whether a user's password, or an option that is one, is in a URL, also where it was not escaped."""
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] != "sqlite" and ":" in rest.rpartition("@")[0]:
        return True
    options = parse_qsl(urlsplit(f"//x/?{rest.partition('?')[2]}").query)
    return any(_is_secret(key) for key, _ in options)


def _is_secret(key: str) -> bool:
    return any(word in key.lower() for word in ("pass", "secret", "token", "account_key"))
