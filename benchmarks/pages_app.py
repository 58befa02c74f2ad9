"""What ``pages.py`` serves: the pages and the JSON, to an operator, without Airflow's log-in before them."""

from __future__ import annotations

from billing.web.access import _viewer
from billing.web.app import app
from billing.web.viewer import Viewer

app.dependency_overrides[_viewer] = lambda: Viewer(user="bench", is_operator=True)
