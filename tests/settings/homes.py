"""A home with a ``billing.toml``, and what is said where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from billing.settings.settings import Settings

ROOT = Path(__file__).parents[2]
PASSWORD = "holds a password; define an Airflow connection"


def read(home: Path, toml: str = "") -> Settings:
    (home / "billing.toml").write_text(toml, "utf-8")
    return Settings.read(home)


def refusal(home: Path, toml: str) -> str:
    """What is said of it after the name of the file, and never a secret: these are ``hush`` here."""
    with pytest.raises(UsageError) as caught:
        read(home, toml)
    file, says = f"{home / 'billing.toml'}: ", str(caught.value)
    assert says.startswith(file)
    assert "hush" not in says
    return says.removeprefix(file)
