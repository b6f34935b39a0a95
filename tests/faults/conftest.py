"""The switch by which a test is run without the defence that it tests, and what tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_import_progress.web.limits import open_streams
from tests.kit import waiting
from tests.kit.controls import Switch
from tests.kit.topologies import ClusterGroup
from tests.kit.wires import SocketWire, SseWire, Wire

CONTROL_PATIENCE_SECONDS = 6.0
"""Beyond the 5 s within which a broken link must be mended: then the control has shown it."""


@pytest.fixture(autouse=True)
def defence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[bool]:
    """Turn the test's defence off where this run is its negative control; whether it is on."""
    switch: Switch | None = getattr(request, "param", None)
    if switch is None:
        yield True
        return
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", CONTROL_PATIENCE_SECONDS)
    switch(monkeypatch)
    yield False
    for stream in tuple(open_streams._all):  # A control may leave streams open: no other test's.
        open_streams.discard(stream)


@pytest.fixture(params=[SseWire, SocketWire], ids=["sse", "websocket"])
def wire(request: pytest.FixtureRequest) -> type[Wire]:
    """Each way in which progress reaches a browser."""
    kind: type[Wire] = request.param
    return kind


QUICK_CONTROL_SECONDS = 2.5
"""How long a control waits where no heartbeat mends anything later."""


@pytest.fixture(scope="session")
def lasting_cluster(redis_program: str) -> Iterator[ClusterGroup]:
    with ClusterGroup(redis_program) as group:
        yield group


@pytest.fixture
def cluster(
    defence: bool, lasting_cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> ClusterGroup:
    """A Cluster with no keys in it."""
    if not defence:
        monkeypatch.setattr(waiting, "PATIENCE_SECONDS", QUICK_CONTROL_SECONDS)
    return lasting_cluster.emptied()


@pytest.fixture
def lone_cluster(
    defence: bool, redis_program: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ClusterGroup]:
    """One of which a server may go."""
    with ClusterGroup(redis_program) as group:
        if not defence:
            monkeypatch.setattr(waiting, "PATIENCE_SECONDS", QUICK_CONTROL_SECONDS)
        yield group
