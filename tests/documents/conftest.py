"""One warm renderer for all tests of documents."""

from __future__ import annotations

import pytest

from billing.documents.renderer import Renderer

from .invoices import TEMPLATES


@pytest.fixture(scope="session")
def renderer() -> Renderer:
    """The renderer of the bundle that is in the repository."""
    return Renderer.open(TEMPLATES)
