"""Pub/sub connections for each kind of client, and the check that they lead to the primary."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, nullcontext, suppress
from typing import Any
from weakref import WeakKeyDictionary

import redis as sync_redis
from redis import asyncio as async_redis
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import SentinelConnectionPool

from ..cancellation import result_of
from ..core.command import RedisCommand
from .causes import REDIS_ERRORS
from .executor import CALL_SECONDS, AsyncClient, Client, SyncClient, is_clustered, perform_sync
from .timeouts import RunningTimeout

ASK_SECONDS = 1.0
"""How long the sentinels may take to name the primary."""


_subscribed_at: WeakKeyDictionary[async_redis.RedisCluster, str] = WeakKeyDictionary()
"""By the client of a Cluster: the server to which it subscribed last."""


@asynccontextmanager
async def subscription(redis: AsyncClient) -> AsyncIterator[async_redis.client.PubSub]:
    """Yield a pub/sub connection that is not connected yet, and close it. It does not reconnect.

    It is not from the client's pool, which is for short calls: long subscriptions would exhaust it.

    In a Cluster it leads to one server of any: each server forwards what is published to all
    others, unless the channel is sharded.
    Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#pubsub
    """
    if isinstance(redis, async_redis.Redis):
        shared = redis.connection_pool
        pool = _pool(shared.connection_class, shared.connection_kwargs)
        async with _closing(redis.pubsub(), pool) as pubsub:
            yield pubsub
        return
    async with RunningTimeout(CALL_SECONDS):
        await redis.initialize()
    # Not the same server again: it may be frozen.
    before = _subscribed_at.get(redis)
    nodes = [node for node in redis.get_nodes() if node.name != before] or redis.get_nodes()
    node = random.choice(nodes)
    _subscribed_at[redis] = node.name
    async with subscription_at(node) as pubsub:
        yield pubsub


@asynccontextmanager
async def subscription_at(node: ClusterNode) -> AsyncIterator[async_redis.client.PubSub]:
    """Yield a pub/sub connection to this server of a Cluster."""
    # Not the client's own `pubsub`: redis-py before 8 has none for asyncio.
    pool = _pool(node.connection_class, node.connection_kwargs)
    async with _closing(async_redis.client.PubSub(pool), pool) as pubsub:
        yield pubsub


def _pool(kind: type[Any], options: dict[str, Any]) -> async_redis.ConnectionPool:
    """Return a pool for one subscription, without time-outs: the caller sets them.

    redis-py's own time-outs also count while the event loop is blocked: they would fail although
    the reply has been received.
    """
    limits = {"socket_timeout": None, "socket_connect_timeout": None}
    return async_redis.ConnectionPool(kind, **{**options, **limits})


@asynccontextmanager
async def _closing(
    pubsub: async_redis.client.PubSub, pool: async_redis.ConnectionPool
) -> AsyncIterator[async_redis.client.PubSub]:
    """Yield `pubsub` with a connection from `pool`, and close both."""
    pubsub.connection_pool = pool
    try:
        yield _without_reconnecting(pubsub)
    finally:
        try:
            await pubsub.aclose()
        finally:  # Also if the task is cancelled again while closing.
            await pool.disconnect()


def _without_reconnecting(pubsub: async_redis.client.PubSub) -> async_redis.client.PubSub:
    """Disable redis-py's reconnecting, so that `pubsub` fails if its connection breaks.

    redis-py reconnects in the first of the tasks that use it: another task may then find it half
    connected (TypeError, RuntimeError), or close what the first one has opened.
    """

    async def execute(_: Any, command: Any, *args: Any, **kwargs: Any) -> Any:
        return await command(*args, **kwargs)

    pubsub._execute = execute  # type: ignore[assignment]  # noqa: SLF001
    return pubsub


def locate_key(key: str) -> RedisCommand[int]:
    """Return a command that refreshes which server has a key: the client follows MOVED.

    A sharded channel has the name of its job's key.
    """
    return RedisCommand(("EXISTS", key), int)


@contextmanager
def subscription_sync(redis: SyncClient, key: str) -> Iterator[sync_redis.client.PubSub]:
    """Do the same with a sync client; in a Cluster on the server that has `key`.

    So no other server, which may be frozen, is involved; and a sharded channel has the name of its
    job's key.
    """
    server = redis if isinstance(redis, sync_redis.Redis) else _server_of(redis, key)
    # redis-py 6 also closes all connections of a Cluster's pools, including those in use, if
    # another thread finds that a slot has moved.
    shared = server.connection_pool
    pool = sync_redis.ConnectionPool(shared.connection_class, **shared.connection_kwargs)
    with closing(pool), closing(server.pubsub()) as pubsub:
        pubsub.connection_pool = pool
        yield pubsub


def _server_of(redis: Any, key: str) -> sync_redis.Redis:
    """Return the client of the Cluster's server that has `key`."""
    perform_sync(redis, locate_key(key))
    server: sync_redis.Redis = redis.get_redis_connection(redis.get_node_from_key(key))
    return server


async def check_primary(
    redis: Client, pubsub: async_redis.client.PubSub | sync_redis.client.PubSub
) -> None:
    """Check with the sentinels, if there are any, that `pubsub` is connected to the primary.

    A primary that was cut off from the others and replaced still serves clients that reach it.

    Raises:
        redis.exceptions.ConnectionError: it is connected to another server.
    """
    primary = None
    pool: Any = None if is_clustered(redis) else getattr(redis, "connection_pool", None)
    is_async = isinstance(pool, AsyncSentinelPool)
    if is_async or isinstance(pool, SentinelConnectionPool):
        with suppress(*REDIS_ERRORS):  # If the sentinels do not respond, nothing has changed.
            async with RunningTimeout(ASK_SECONDS) if is_async else nullcontext():
                primary = await result_of(pool.get_master_address())
    connection: Any = pubsub.connection
    if None not in {connection, primary} and (connection.host, connection.port) != primary:
        raise RedisConnectionError("another server has become the primary")
