"""All settings of a process: from arguments, environment and ``billing.toml``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from billing.core.accounts import Accounts
from billing.core.alert_rules import AlertRules
from billing.core.errors import UsageError
from billing.core.focus import Service
from billing.core.instants import from_us, parse_instant_us
from billing.settings.access import AccessSettings, read_access
from billing.settings.accounts import read_accounts
from billing.settings.alerts import read_alerts, told_by_collecting
from billing.settings.approval import ApprovalSettings, read_approval
from billing.settings.audit import AuditSettings, read_audit
from billing.settings.expectations import read_expectations
from billing.settings.exports import ExportSettings, read_exports
from billing.settings.files import FilesSettings, read_files
from billing.settings.focus import read_service
from billing.settings.lake import LakeSettings, read_lake
from billing.settings.mail import MailSettings, read_mail
from billing.settings.notify import NotifierSettings, read_notifier
from billing.settings.payments import PaymentSettings, read_payments
from billing.settings.reference import ReferenceSettings, read_reference
from billing.settings.sources import SourceSettings, read_sources
from billing.settings.table import NAME, Table

_CHECKOUT = Path(__file__).resolve().parents[3]
_MEMORY_MB, _LEAST_MEMORY_MB = 512, 64


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
        file = Table.of_file(folder / "billing.toml")
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
            sources=read_sources(file.table("sources"), drop_folder, sql),
            reference=read_reference(file.table("reference"), sql),
            lake=read_lake(file.table("lake")),
            audit=read_audit(file.table("audit")),
            payments=read_payments(file.table("payments")),
            approval=read_approval(file.table("approval")),
            mail=read_mail(file.table("mail")),
            files=read_files(file.table("files")),
            notify=tuple(read_notifier(one) for one in file.tables("notify")),
            exports=read_exports(file.table("exports")),
            accounts=read_accounts(file.table("accounts")),
            service=read_service(file.table("focus")),
            alerts=replace(read_alerts(file.table("alerts")), told_otherwise=told_by_collecting(file)),
            access=read_access(file.table("access") or Table(file=file.file, name="access", content={})),
            memory_mb=_memory_mb(os.environ.get("BILLING_MEMORY_MB"), file),
            pages_at=_pages_at(os.environ.get("BILLING_PAGES_AT", "")),
            expectations=read_expectations(file.table("expectations")),
        )

    def source(self, name: str) -> SourceSettings:
        """The source of this name. ``UsageError`` where there is none."""
        for source in self.sources:
            if source.name == name:
                return source
        raise UsageError(f"There is no source {name!r}; there are: {', '.join(one.name for one in self.sources)}.")


def _pages_at(given: str) -> datetime | None:
    try:
        return from_us(parse_instant_us(given)) if given else None
    except ValueError as error:
        raise UsageError(f"BILLING_PAGES_AT: {error}") from None


def _memory_mb(given: str | None, file: Table) -> int:
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
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is no name of a theme; name a folder in the templates' folder themes, like default."
        )
    return name
