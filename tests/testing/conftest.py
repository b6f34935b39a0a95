"""What these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..kit.tracked import end_writers


@pytest.fixture
def defence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Turn a defence off, for a negative control."""
    if request.param is not None:
        request.param(monkeypatch)


@pytest.fixture(autouse=True)
def nowhere(settings: object) -> Iterator[None]:
    """Point the settings to a port at which no server listens; end what a control has started."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}  # type: ignore[attr-defined]
    yield
    end_writers()
