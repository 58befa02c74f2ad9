"""Time zones come from the locked package, whatever the machine has."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest
import tzdata

from billing.core import zones

SUMMER = datetime(2026, 7, 1, tzinfo=UTC)


@pytest.fixture
def lying_machine(tmp_path: Path) -> Iterator[None]:
    """A machine whose own copy says that Paris keeps UTC."""
    (tmp_path / "Europe").mkdir()
    utc = files(tzdata).joinpath("zoneinfo", "Etc", "UTC").read_bytes()
    (tmp_path / "Europe" / "Paris").write_bytes(utc)
    before = zoneinfo.TZPATH
    zoneinfo.reset_tzpath([tmp_path])
    zoneinfo.ZoneInfo.clear_cache(only_keys=["Europe/Paris"])
    yield
    zoneinfo.reset_tzpath(before)
    zoneinfo.ZoneInfo.clear_cache(only_keys=["Europe/Paris"])


@pytest.mark.usefixtures("lying_machine")
def test_zones_come_from_the_package() -> None:
    """Rules 3.4, 7.1: the same boundaries on any machine."""
    assert SUMMER.astimezone(zoneinfo.ZoneInfo("Europe/Paris")).utcoffset() == timedelta(0)
    zones.zone.cache_clear()
    assert SUMMER.astimezone(zones.zone("Europe/Paris")).utcoffset() == timedelta(hours=2)


def test_the_version_is_that_of_the_installed_data() -> None:
    """Rule 3.4: a close pins the version of the time zone data."""
    assert zones.TZDATA_VERSION == tzdata.IANA_VERSION
    year, letter = zones.TZDATA_VERSION[:4], zones.TZDATA_VERSION[4:]
    assert version("tzdata") == f"{year}.{ord(letter) - ord('a') + 1}"


def test_every_name_can_be_read() -> None:
    """Rule 3.1: IANA names."""
    names = zones.zone_names()
    assert len(names) > 550
    assert all(zones.zone(name).key == name for name in names)


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "europe/paris", "Europe", "../zones", "+02:00", "Europe/Paris "])
def test_what_is_no_zone(name: str) -> None:
    """Data contract: an unknown time zone is refused."""
    with pytest.raises(ValueError, match="is not an IANA time zone"):
        zones.zone(name)
