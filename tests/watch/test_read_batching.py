"""A busy connection is read in batches, a quiet one at once."""

from __future__ import annotations

import asyncio
from asyncio import selector_events
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from django_import_progress import ProgressManager
from django_import_progress.redis.factory import create_redis_client
from django_import_progress.watch import pubsub_connection
from django_import_progress.watch.hub import Watcher
from django_import_progress.watch.pubsub_connection import (
    BUSY_MESSAGES,
    WINDOW_SECONDS,
    ReadBatching,
)

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.hubs import sees
from ..kit.managers import manager_on
from ..kit.processes import RedisProcess
from ..kit.waiting import until

__all__ = ["defence"]

BURSTS, BURST = 25, 60
"""They take longer than a window, and make a connection busy."""
TRANSPORT: Any = selector_events._SelectorTransport  # type: ignore[attr-defined]


@pytest.fixture
async def progress(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    async with manager_on("async", server.url) as progress:
        yield progress


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the transports that were paused, once for each pause."""
    found: list[Any] = []
    pause = TRANSPORT.pause_reading

    def pause_reading(transport: Any) -> None:
        found.append(transport)
        pause(transport)

    monkeypatch.setattr(TRANSPORT, "pause_reading", pause_reading)
    return found


async def _watching(progress: ProgressManager) -> Watcher:
    await progress.create("j1")
    watcher = progress.watcher("j1")
    await sees(watcher, status="queued")
    return watcher


def _publish_many(foreign: redis.Redis, first: int) -> None:
    with foreign.pipeline(transaction=False) as pipeline:
        for number in range(first, first + BURST):
            pipeline.publish("import_progress:channel:j1", f'{{"n":{number}}}')
        pipeline.execute()


def never_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_connection, "BUSY_MESSAGES", 1_000_000)


@without(never_pauses)
async def test_a_busy_connection_pauses_after_each_read_and_loses_nothing(
    progress: ProgressManager, foreign: redis.Redis, pauses: list[Any]
) -> None:
    watcher = await _watching(progress)
    for number in range(0, BURSTS * BURST, BURST):
        _publish_many(foreign, number)
        await sees(watcher, n=number + BURST - 1)
    assert len(pauses) > BURSTS / 4
    await until(pauses[-1].is_reading, "it to read on")
    await progress.update("j1", {"n": "the last", "status": "done"})
    await sees(watcher, n="the last")
    watcher.close()


async def test_a_quiet_connection_is_read_at_once(
    progress: ProgressManager, pauses: list[Any]
) -> None:
    watcher = await _watching(progress)
    for number in range(BUSY_MESSAGES // 2):  # And the confirmation.
        await progress.update("j1", {"n": number})
        await sees(watcher, n=number)
    watcher.close()
    assert not pauses


async def test_a_connection_that_is_closed_during_a_pause_is_not_resumed(
    server: RedisProcess, monkeypatch: pytest.MonkeyPatch, pauses: list[Any]
) -> None:
    monkeypatch.setattr(pubsub_connection, "PAUSE_SECONDS", 0.05)
    client = create_redis_client(server.url)
    pubsub = client.pubsub()
    await pubsub.subscribe("a")
    batching = ReadBatching(pubsub)
    now = asyncio.get_running_loop().time()
    for number in range(BUSY_MESSAGES):
        batching.note_message(now + WINDOW_SECONDS * number)
    assert not pauses  # One per window is not busy.
    for _ in range(BUSY_MESSAGES):
        batching.note_message(now)
    batching.note_message(now + WINDOW_SECONDS * (BUSY_MESSAGES + 1))
    assert len(pauses) == 1
    await pubsub.aclose()
    batching.note_message(now)
    await client.aclose()
    await until(pauses[0].is_closing, "the connection to be closed")
    await asyncio.sleep(0.06)  # The end of the pause.
    assert not pauses[0].is_reading()
