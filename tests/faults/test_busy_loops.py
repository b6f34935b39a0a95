"""A process that is blocked for seconds keeps its subscriptions to Redis."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis
from redis.client import PubSub

from django_import_progress import SyncProgressManager, create_sync_redis_client
from django_import_progress.metrics import process_metrics
from django_import_progress.redis import executor, pubsub
from django_import_progress.service import sync_manager
from django_import_progress.watch import pubsub_connection, subscriber
from django_import_progress.watch.pubsub_connection import PubSubConnection
from tests.kit.blocked import block_the_loop
from tests.kit.controls import without
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.proxy import Connection, Proxy
from tests.kit.proxy import subscribers as is_subscribed
from tests.kit.waiting import until, wait_for

JOBS = 200
NEVER = 3600
BLOCKED_SECONDS = 4.0


@pytest.fixture
def commands(foreign: redis.Redis) -> Callable[[str], int]:
    """Return how often the server has executed a command since the test began."""
    foreign.config_resetstat()

    def count(name: str) -> int:
        stats: Any = foreign.info("commandstats")
        return int(stats[f"cmdstat_{name}"]["calls"])

    return count


def measures_silence_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a connection when the last message was received too long ago."""
    received: dict[PubSubConnection, float] = {}

    def process(self: PubSubConnection, message: Any, *_: Any, **__: Any) -> bool:
        now = time.monotonic()
        received[self] = received[self] if message is None else now
        assert now - received[self] <= pubsub_connection.SILENCE_SECONDS
        return message is not None and self._handle(message)

    monkeypatch.setattr(PubSubConnection, "_process", process)


@without(measures_silence_by_time)
async def test_an_event_loop_that_was_blocked_for_seconds_keeps_its_subscription(
    server: RedisProcess, commands: Callable[[str], int], caplog: pytest.LogCaptureFixture
) -> None:
    lost = process_metrics.connections_lost
    async with manager_on("async", server.url, heartbeat_seconds=NEVER) as progress:
        watchers = []
        for number in range(JOBS):
            await progress.create(f"j{number}", data={"n": 1})
            watchers.append(progress.watcher(f"j{number}"))
        for watcher in watchers:
            assert await watcher.next(30) is not None
        before = commands("subscribe")
        block_the_loop(BLOCKED_SECONDS)
        await asyncio.sleep(pubsub_connection.PING_SECONDS)  # The time limit of the naive way.
        for number, watcher in enumerate(watchers):
            await progress.update(f"j{number}", {"n": 2})
            state = await watcher.next(30)
            assert state is not None
            assert state.fields["n"] == 2
            watcher.close()
    assert (commands("subscribe"), process_metrics.connections_lost) == (before, lost)
    assert caplog.records == []


def counts_blocked_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (pubsub_connection, executor, pubsub):
        monkeypatch.setattr(module, "RunningTimeout", asyncio.timeout)


@without(counts_blocked_time)
async def test_an_event_loop_that_is_busy_at_the_start_does_not_lose_its_subscription(
    server: RedisProcess,
    commands: Callable[[str], int],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pubsub_connection, "SILENCE_SECONDS", 0.4)
    monkeypatch.setattr(subscriber, "READ_SECONDS", 0.4)
    async with manager_on("async", server.url, heartbeat_seconds=NEVER) as progress:
        watchers = [progress.watcher(f"j{number}") for number in range(JOBS)]
        for _ in range(30):
            await asyncio.sleep(0)
            block_the_loop(0.2)
        await until(lambda: all(watcher.found_nothing for watcher in watchers), "the first reads")
        for watcher in watchers:
            watcher.close()
    assert commands("subscribe") == 1
    assert caplog.records == []


def measures_silence_by_time_in_sync_code(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = PubSub.get_message
    received: dict[PubSub, float] = {}

    def get_message(self: PubSub, *args: Any, **options: Any) -> Any:
        message = receive(self, *args, **options)
        now = time.monotonic()
        if message is not None:
            received[self] = now
        elif now - received.get(self, now) > sync_manager.SILENCE_SECONDS:
            raise TimeoutError
        return message

    monkeypatch.setattr(PubSub, "get_message", get_message)


def _is_read(connection: Connection) -> bool:
    return not is_subscribed(connection)


@without(measures_silence_by_time_in_sync_code)
def test_a_sync_watcher_that_is_slow_or_reads_slowly_keeps_its_subscription(
    server: RedisProcess, commands: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_manager, "SILENCE_SECONDS", 1.0)
    monkeypatch.setattr(sync_manager, "PING_SECONDS", 0.25)
    with (
        Proxy(server.port) as proxy,
        create_sync_redis_client(proxy.url) as client,
        create_sync_redis_client(server.url) as other,
    ):
        writer = SyncProgressManager(other)
        writer.create("j1", data={"n": 1})
        seen = []

        def watch() -> None:
            for snapshot in SyncProgressManager(client, heartbeat_seconds=0.5).watch("j1"):
                seen.append(snapshot["n"])
                time.sleep(2 * sync_manager.SILENCE_SECONDS)

        watching = threading.Thread(target=watch)
        watching.start()
        wait_for(lambda: seen, "the first snapshot")
        writer.update("j1", {"n": 2})
        wait_for(lambda: seen == [1, 2], "the second one")
        with proxy.holding(_is_read):
            wait_for(lambda: proxy.holds, "a heartbeat's read")
            time.sleep(1.5 * sync_manager.SILENCE_SECONDS)
        writer.update("j1", {"n": 3})
        wait_for(lambda: seen == [1, 2, 3], "the third one")
        writer.update("j1", {"status": "done"})
        watching.join()
    assert commands("subscribe") == 1
