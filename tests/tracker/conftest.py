"""Fixtures of several modules here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_import_progress.signals import import_finished

from ..kit.processes import RedisProcess


@pytest.fixture
def ends(site: RedisProcess) -> Iterator[list[str]]:
    """The statuses with which `import_finished` was sent."""
    sent: list[str] = []

    def receive(*, status: str, **_: Any) -> None:
        sent.append(status)

    import_finished.connect(receive)
    yield sent
    import_finished.disconnect(receive)
