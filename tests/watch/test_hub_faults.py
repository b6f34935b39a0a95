"""The hub when its connection breaks, and when redis-py misbehaves."""

from __future__ import annotations

import asyncio
import gc
import logging
from typing import Any

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from django_import_progress import ProgressManager, create_redis_client
from django_import_progress.cancellation import end_tasks
from django_import_progress.watch.hub import Hub
from django_import_progress.watch.reconnect import ReconnectPolicy
from django_import_progress.watch.subscriber import Subscriber
from django_import_progress.watch.watched_job import WatchedJob

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.hubs import is_subscribed, sees
from ..kit.processes import RedisProcess, valkey_binary
from ..kit.waiting import until

__all__ = ["defence"]

CHANNEL = "import_progress:channel:j1"


class _Unruly(PubSub):
    """redis-py at its worst: an exception replaces the cancellation during which it is raised."""

    async def aclose(self) -> None:
        await super().aclose()
        raise AttributeError


class _UnrulyClient(Redis):
    def pubsub(self, **kwargs: Any) -> PubSub:
        return _Unruly(self.connection_pool, **kwargs)


async def test_an_outage_is_logged_once_and_so_is_its_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "django_import_progress")
    process = RedisProcess(valkey_binary()).start()
    client = create_redis_client(process.url)
    progress = ProgressManager(client)
    watcher = progress.watcher("j1")
    await progress.create("j1", data={"n": 1})
    await sees(watcher, n=1)
    process.kill()
    await until(lambda: len(caplog.records) > 0, "the warning")
    with pytest.raises(TimeoutError):
        await watcher.next(0.7)  # Some failed attempts.
    process.start()
    await progress.create("j1", data={"n": 2})
    await sees(watcher, n=2)
    await until(lambda: len(caplog.records) > 1, "the end of the outage to be logged")
    watcher.close()
    await progress.aclose()
    await client.aclose()
    process.close()
    gc.collect()  # An exception that nobody has fetched would be logged by now.
    lost, back = caplog.records
    assert lost.getMessage().startswith("Lost the subscription to Redis (")
    assert not lost.exc_info
    assert (back.levelname, back.getMessage()) == (
        "INFO", "Redis subscription restored",
    )  # fmt: skip


async def test_an_unexpected_exception_is_logged_with_its_traceback_and_the_hub_reconnects(
    server: RedisProcess, foreign: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client = Redis.from_url(server.url, decode_responses=True)  # And strict about it.
    progress = ProgressManager(client)
    await progress.create("j1")
    watcher = progress.watcher("j1")
    await sees(watcher, status="queued")
    foreign.publish(CHANNEL, b"\xff")
    await until(lambda: len(caplog.records) > 0, "the log line")
    await progress.update("j1", {"n": 1})
    await sees(watcher, n=1)
    watcher.close()
    await progress.aclose()
    await client.aclose()
    (record,) = caplog.records
    assert record.exc_info is not None


async def test_a_cancellation_that_redis_py_swallows_still_ends_the_hub(
    server: RedisProcess, foreign: redis.Redis
) -> None:
    client = _UnrulyClient(port=server.port)
    hub = Hub(client)
    hub.watch(ProgressManager(client).calls, "j1")
    await until(lambda: is_subscribed(foreign, "j1"), "the subscription")
    async with asyncio.timeout(10):
        await hub.aclose()
    await client.aclose()


async def test_a_failed_read_is_not_retried_for_a_job_without_watchers(
    server: RedisProcess,
) -> None:
    client = create_redis_client(server.url)
    slot = WatchedJob(ProgressManager(client).calls, "j1")
    watched, left = (
        Subscriber(client, ReconnectPolicy(client), {slot.channel: slot}, 15),
        Subscriber(client, ReconnectPolicy(client), {}, 15),
    )
    for link in (watched, left):
        link._read_if_watched(slot)
    assert (list(watched._reader._queues), list(left._reader._queues)) == ([("", False)], [])
    await watched._tasks.aclose()
    await client.aclose()


async def test_a_subscriber_that_has_ended_reads_nothing(server: RedisProcess) -> None:
    client = create_redis_client(server.url)
    link = Subscriber(client, ReconnectPolicy(client), {}, 15)
    await link.run()  # Nobody watches.
    link.request_read(WatchedJob(ProgressManager(client).calls, "j1"))
    assert asyncio.all_tasks() == {asyncio.current_task()}
    await client.aclose()


def nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    async def aclose(_: Hub) -> None:
        """Close nothing."""

    monkeypatch.setattr(Hub, "aclose", aclose)


@without(nothing_is_ended)
async def test_closing_a_manager_closes_its_subscription(
    server: RedisProcess, foreign: redis.Redis
) -> None:
    client = create_redis_client(server.url)
    progress = ProgressManager(client)
    await progress.aclose()  # Nobody has watched yet.
    watcher = progress.watcher("j1")
    await until(lambda: is_subscribed(foreign, "j1"), "the subscription")
    try:
        await progress.aclose()
        assert not client.connection_pool._in_use_connections
        await until(lambda: not is_subscribed(foreign, "j1"), "the subscription to end")
        assert await watcher.next() is None
    finally:
        watcher.close()
        await asyncio.wait([watcher._hub._task])
        await client.aclose()


async def test_closing_a_manager_does_not_close_a_shared_hub(server: RedisProcess) -> None:
    client = create_redis_client(server.url)
    hub = Hub(client)
    watcher = ProgressManager(client, hub=hub).watcher("j1")
    one, other = (ProgressManager(client, hub=hub) for _ in range(2))
    await one.aclose()
    await other.create("j1", data={"n": 1})
    await sees(watcher, n=1)
    watcher.close()
    await hub.aclose()
    await client.aclose()


async def test_a_job_watched_before_the_connection_is_open_is_subscribed(
    server: RedisProcess, foreign: redis.Redis
) -> None:
    client = create_redis_client(server.url)
    slot = WatchedJob(ProgressManager(client).calls, "j1")
    slots: dict[str, WatchedJob] = {}
    link = Subscriber(client, ReconnectPolicy(client), slots, 15)
    slots[slot.channel] = slot
    link.channel_changed(slot.channel)
    running = asyncio.create_task(link.run())
    await until(lambda: link.policy.is_working, "the first read, after the subscription")
    assert is_subscribed(foreign, "j1")
    await end_tasks([running])
    await client.aclose()
