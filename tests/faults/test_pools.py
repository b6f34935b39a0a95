"""Many who watch, small connection pools: nobody waits for a connection that a watcher holds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from typing import Any

import pytest
import redis
from redis import asyncio as async_redis

from django_import_progress import ProgressUnavailable, SyncProgressManager
from django_import_progress.redis.executor import perform, perform_sync, read_all
from django_import_progress.service import sync_manager
from django_import_progress.service.base import calls_for
from django_import_progress.watch import subscriber
from tests.kit.controls import without
from tests.kit.managers import manager_on, variant
from tests.kit.processes import RedisProcess
from tests.kit.topologies import ClusterGroup
from tests.kit.watching import Watching

from .cutting import subscriptions

CALLS = calls_for(redis.Redis(), "import_progress", 3600)
WATCHERS = 5
NEVER = 3600


def watchers_use_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subscribe over a connection of the client's pool, as redis-py does."""

    @asynccontextmanager
    async def subscription(client: Any) -> AsyncIterator[Any]:
        async with client.pubsub() as pubsub:
            yield pubsub

    @contextmanager
    def subscription_sync(client: Any, _: str) -> Iterator[Any]:
        with closing(client.pubsub()) as pubsub:
            yield pubsub

    monkeypatch.setattr(subscriber, "subscription", subscription)
    monkeypatch.setattr(sync_manager, "subscription_sync", subscription_sync)


@pytest.mark.parametrize("kind", ["async", "sync"])
@without(watchers_use_the_pool)
async def test_more_watchers_than_the_pool_has_connections_leave_them_to_the_calls(
    kind: str, server: RedisProcess
) -> None:
    url = f"{server.url}?max_connections=2"
    async with (
        manager_on("async", server.url) as writer,
        manager_on(kind, url, heartbeat_seconds=NEVER) as progress,
        AsyncExitStack() as stack,
    ):
        await writer.set_progress("j1", {"n": 1})
        # A manager each: those of one event loop that share a hub have one connection.
        watchings = [
            await stack.enter_async_context(Watching(variant(progress), ender=writer))
            for _ in range(WATCHERS)
        ]
        await asyncio.gather(*(watching.sees(n=1) for watching in watchings))
        await progress.update("j1", {"n": 2})
        await asyncio.gather(*(watching.sees(n=2) for watching in watchings))


def test_an_iterator_that_is_dropped_closes_its_connection(
    server: RedisProcess, foreign: redis.Redis
) -> None:
    with redis.Redis(port=server.port, max_connections=1) as client:
        manager = SyncProgressManager(client)
        manager.create("j1")
        watching = manager.watch("j1")
        assert next(watching)["status"] == "queued"
        assert subscriptions(foreign) == 1
        del watching
        gc.collect()
        assert subscriptions(foreign) == 0
        assert manager.update("j1", {"n": 1})["n"] == 1


SYNC_POOLS = {
    "that raises": lambda port: redis.ConnectionPool(port=port, max_connections=1),
    "that waits": lambda port: redis.BlockingConnectionPool(
        port=port, max_connections=1, timeout=0.1
    ),
}
ASYNC_POOLS = {
    "that raises": lambda port: async_redis.ConnectionPool(port=port, max_connections=1),
    "that waits": lambda port: async_redis.BlockingConnectionPool(
        port=port, max_connections=1, timeout=0.1
    ),
    "that waits for longer than the call": lambda port: async_redis.BlockingConnectionPool(
        port=port, max_connections=1, timeout=60
    ),
}
EXHAUSTED = r"connection pool .*127.0.0.1:\d+ is exhausted.* \(max_connections=1\)\. Raise"


@pytest.mark.parametrize("kind", SYNC_POOLS)
def test_an_exhausted_pool_is_called_so(kind: str, server: RedisProcess) -> None:
    pool = SYNC_POOLS[kind](server.port)
    pool.connection_kwargs["host"] = "127.0.0.1"
    with redis.Redis.from_pool(pool) as client:
        held = pool.get_connection()
        with pytest.raises(ProgressUnavailable, match=EXHAUSTED) as caught:
            perform_sync(client, CALLS.get("j1"))
        assert isinstance(caught.value.__cause__, redis.ConnectionError)
        pool.release(held)
        assert perform_sync(client, CALLS.get("j1")) is None


@pytest.mark.parametrize("kind", ASYNC_POOLS)
async def test_an_exhausted_pool_is_called_so_by_asynchronous_calls(
    kind: str, server: RedisProcess
) -> None:
    pool = ASYNC_POOLS[kind](server.port)
    pool.connection_kwargs["host"] = "127.0.0.1"
    client = async_redis.Redis.from_pool(pool)
    held = await pool.get_connection()
    with pytest.raises(ProgressUnavailable, match=EXHAUSTED):
        await perform(client, CALLS.get("j1"), seconds=0.5)
    with pytest.raises(ProgressUnavailable, match=EXHAUSTED):
        await read_all(client, [CALLS.get("j1")], seconds=0.5)
    await pool.release(held)
    assert await perform(client, CALLS.get("j1")) is None
    await client.aclose()


async def test_a_clusters_exhausted_pool_is_called_so(cluster: ClusterGroup) -> None:
    async with manager_on("async", f"{cluster.url}?max_connections=1") as progress:
        await progress.get_progress("j1")
        found = await asyncio.gather(
            *(progress.get_progress("j1") for _ in range(WATCHERS)), return_exceptions=True
        )
    refused = [str(error) for error in found if isinstance(error, ProgressUnavailable)]
    assert refused
    assert all("exhausted" in text and "max_connections" in text for text in refused)
