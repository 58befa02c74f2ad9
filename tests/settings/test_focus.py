"""Settings of what a FOCUS export calls the services; what is wrong there is said by file, table and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from billing.core.errors import UsageError
from tests.settings.homes import read


def test_services_are_read(tmp_path: Path) -> None:
    toml = '[focus]\nservice_category = "Media"\nservice_subcategory = "Content Creation"'
    assert read(tmp_path, toml).service.subcategory == "Content Creation"


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ('[focus]\nservice_category = "Cloud"', "is one of AI and Machine Learning"),
        ('[focus]\nservice_category = "Media"', "goes with a service_subcategory of"),
    ],
)
def test_what_is_wrong_with_services_is_said(tmp_path: Path, toml: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, toml)
