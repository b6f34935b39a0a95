"""The example's own tests, from which readers learn, run here as well."""

from __future__ import annotations

from typing import Any

import pytest
from airports.tests import ImporterTest

__all__ = ["ImporterTest"]


@pytest.fixture(autouse=True)
def nowhere(settings: Any) -> None:
    """Point the settings to a port at which no server listens."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
