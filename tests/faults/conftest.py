"""The switch by which a test is run without the defence that it tests."""

from __future__ import annotations

import pytest

from tests.kit import waiting
from tests.kit.controls import Switch
from tests.kit.wires import SocketWire, SseWire, Wire

CONTROL_PATIENCE_SECONDS = 6.0
"""Beyond the 5 s within which a broken link must be mended: then the control has shown it."""


@pytest.fixture(autouse=True)
def defence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Turn the test's defence off where this run is its negative control; whether it is on."""
    switch: Switch | None = getattr(request, "param", None)
    if switch is None:
        return True
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", CONTROL_PATIENCE_SECONDS)
    switch(monkeypatch)
    return False


@pytest.fixture(params=[SseWire, SocketWire], ids=["sse", "websocket"])
def wire(request: pytest.FixtureRequest) -> type[Wire]:
    """Each way in which progress reaches a browser."""
    kind: type[Wire] = request.param
    return kind
