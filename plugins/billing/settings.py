"""Where things are: the only reader of the environment.

=========================  ======================================================================
BILLING_HOME               the home folder (default: ``./billing-home``)
BILLING_DATABASE_URL       where the billing database is, if not in the home (``postgresql://...``)
BILLING_TEMPLATES          the folder of the invoice's template, style, texts, fonts and logo
BILLING_DROP_FOLDER        where usage files arrive (DAG ``usage_ingest``)
BILLING_REFERENCE_FOLDER   where reference files are kept (DAG ``reference_sync``)
=========================  ======================================================================

A file ``billing.toml`` in the home may give ``database_url`` and ``templates``; the environment goes before it.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from billing.core.errors import UsageError

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Settings of this process; folders are absolute."""

    home: Path
    database_url: str | None
    templates: Path
    drop_folder: Path
    reference_folder: Path

    @classmethod
    def read(cls, home: Path | None = None, database_url: str | None = None) -> Settings:
        """What the arguments say, else the environment, else ``billing.toml``, else the defaults."""
        folder = (home or Path(os.environ.get("BILLING_HOME") or "billing-home")).absolute()
        file = _read_file(folder / "billing.toml")
        return cls(
            home=folder,
            database_url=database_url or os.environ.get("BILLING_DATABASE_URL") or file.get("database_url"),
            templates=Path(
                os.environ.get("BILLING_TEMPLATES") or file.get("templates") or _CHECKOUT / "templates" / "invoices"
            ).absolute(),
            drop_folder=Path(os.environ.get("BILLING_DROP_FOLDER") or folder / "drop").absolute(),
            reference_folder=Path(os.environ.get("BILLING_REFERENCE_FOLDER") or folder / "reference").absolute(),
        )


def _read_file(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}") from None
    known = {"database_url", "templates"}
    wrong = [name for name, value in content.items() if name not in known or not isinstance(value, str)]
    if wrong:
        raise UsageError(f"{path}: {wrong[0]!r} is not a setting; there are: {', '.join(sorted(known))}, each a text.")
    return dict(content)
