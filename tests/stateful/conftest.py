"""The worlds that schedules are performed in, and the switch by which a defence is turned off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from asgiref.sync import SyncToAsync

from tests.faults.conftest import defence

from .rules import Schedule
from .world import World

__all__ = ["defence"]


@pytest.fixture(scope="package")
def world() -> Iterator[World]:
    """Processes that all schedules share."""
    with World() as world:
        yield world


@pytest.fixture(scope="package")
def silent_world() -> Iterator[World]:
    """The same where no heartbeat comes."""
    with World(heartbeat_seconds=60) as world:
        yield world


@contextmanager
def _schedule_in(world: World) -> Iterator[type[Schedule]]:
    world.failure = None
    # Channels' middleware asks the database in a thread that asgiref keeps for the process's life.
    SyncToAsync.single_thread_executor.submit(int).result()
    world.baseline = world.held()
    with world.settings():
        yield type("Schedule", (Schedule,), {"world": world})


@pytest.fixture
def schedule(world: World, transactional_db: None) -> Iterator[type[Schedule]]:
    """The state machine. WebSockets close the connections to the database that are open."""
    with _schedule_in(world) as schedule:
        yield schedule


@pytest.fixture
def silent_schedule(silent_world: World, transactional_db: None) -> Iterator[type[Schedule]]:
    """The state machine where no heartbeat comes."""
    with _schedule_in(silent_world) as schedule:
        yield schedule
