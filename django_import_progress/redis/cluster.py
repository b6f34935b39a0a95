"""Clients of a Redis Cluster: how they start, and how they find the owner of a hash slot."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar

import redis as sync_redis
from redis import asyncio as async_redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, SlotNotCoveredError

from ..cancellation import result_of
from .causes import REDIS_ERRORS
from .timeouts import RunningTimeout

T = TypeVar("T")

SERVER_SECONDS = 1.5
"""How long one server may take to respond while a client starts, before the next one is tried."""

UNOWNED_SLOT = (SlotNotCoveredError, KeyError)
"""What redis-py raises if it knows no owner of a hash slot. Its lookup in a dictionary fails with
`KeyError`, which only the sync client handles, and not after MOVED. No code of ours runs in those
calls, so a `KeyError` of ours cannot be mistaken for it."""

_responded: dict[frozenset[str], str] = {}
"""By the servers in a URL: the one that responded last. Under WSGI each request has a client of its
own, which would otherwise wait for a frozen server again."""


class ShardedCluster(async_redis.RedisCluster):
    """A Cluster in which the updates of a job are published by its own server only."""


class LazyCluster:
    """A sync Cluster client that connects on first use, as other clients do.

    Args:
        connect: creates the client, which connects to the servers.
        hosts: the first servers to connect to, each with its port.
        sharded: whether the updates of a job are published by its own server only.
    """

    def __init__(
        self,
        connect: Callable[[], sync_redis.RedisCluster],
        hosts: Sequence[str],
        *,
        sharded: bool = False,
    ) -> None:
        self._connect = connect
        self.hosts = hosts
        self.sharded = sharded
        self._client: sync_redis.RedisCluster | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    @property
    def client(self) -> sync_redis.RedisCluster:
        """The client itself.

        Raises:
            RedisClusterException: none of the servers responds.
        """
        # No lock, which another thread may hold at a fork: two may connect, and one is dropped.
        if self._client is None:
            self._client = client = self._connect()
            find_script_keys_locally(client)
        return self._client

    def close(self) -> None:
        """Close its connections, if there are any."""
        if self._client is not None:
            self._client.close()


def find_script_keys_locally(cluster: sync_redis.RedisCluster) -> None:
    """Make the client find the keys of a script in the command itself.

    By default redis-py asks one server, always the same, with `COMMAND GETKEYS` before each script:
    a round trip more, and all jobs have to wait if that server is frozen.
    """
    parser = cluster.commands_parser
    get_keys = parser.get_keys

    def keys_of(connection: Any, name: str, *arguments: Any) -> Any:
        if name in {"EVAL", "EVALSHA"}:
            return list(arguments[2 : 2 + int(arguments[1])])
        return get_keys(connection, name, *arguments)  # type: ignore[no-untyped-call]

    parser.get_keys = keys_of  # type: ignore[method-assign]


def start_with_any_server(cluster: async_redis.RedisCluster) -> None:
    """Make the client start even if a server is down or frozen.

    By default redis-py waits for one random server to list the slots, and for the first primary to
    list the commands.
    """
    nodes = cluster.nodes_manager
    named = frozenset(nodes.startup_nodes)
    start, load_commands = cluster.initialize, cluster.commands_parser.initialize
    lock = asyncio.Lock()

    async def respond(node: ClusterNode) -> ClusterNode:
        try:
            await node.execute_command("CLUSTER SLOTS")  # The client sends the same command.
        except BaseException:
            await node.disconnect()  # The client closes only the server with which it starts.
            raise
        return node

    async def initialize(**options: Any) -> async_redis.RedisCluster:
        # One task at a time: each would connect to a server of its own, and the client closes only
        # one of them.
        async with lock:
            if cluster.get_default_node():  # It has started.
                return await start(**options)
            every = nodes.startup_nodes
            node = await _first_of(_ordered(every.values(), named), respond)
            _responded[named] = node.name
            nodes.startup_nodes = {node.name: node}
            try:
                return await start(**options)
            except BaseException:
                nodes.startup_nodes = every
                raise

    async def initialize_commands(node: ClusterNode) -> None:
        others = [other for other in nodes.nodes_cache.values() if other != node]
        await _first_of(_ordered([node, *others], named), load_commands)

    cluster.initialize = initialize  # type: ignore[method-assign,assignment]
    cluster.commands_parser.initialize = initialize_commands  # type: ignore[assignment]


def _ordered(nodes: Iterable[ClusterNode], named: frozenset[str]) -> list[ClusterNode]:
    """Return the servers in random order, after the one that responded last."""
    last = _responded.get(named)
    return sorted(nodes, key=lambda node: (node.name != last, random.random()))


async def _first_of(nodes: list[ClusterNode], ask: Callable[[ClusterNode], Awaitable[T]]) -> T:
    """Return the response of the first server that responds in time."""
    failure: BaseException = RedisClusterException("No server is known")
    for node in nodes:
        try:
            async with RunningTimeout(SERVER_SECONDS):
                return await ask(node)
        except REDIS_ERRORS as error:
            failure = error
    raise failure


def server_of(cluster: Any, key: str) -> str:
    """Return the name of the server that has a key, as far as an asyncio client knows.

    If no server is known, return the number of the key's hash slot as text.
    """
    try:
        return str(cluster.get_node_from_key(key).name)
    except SlotNotCoveredError:
        return str(cluster.keyslot(key))


async def with_owners(cluster: Any, send: Callable[[], Awaitable[T]]) -> T:
    """Send; if no owner of the hash slot is known, refresh the slots and send again.

    redis-py does not refresh them, so a client that started while a slot had no owner would never
    serve the jobs in it.

    Args:
        cluster: the client.
        send: sends commands with it.

    Raises:
        SlotNotCoveredError: the slot has no owner.
        redis.exceptions.ConnectionError: another task, which has refreshed the servers, has closed
            the connection that this one was opening.
    """
    try:
        return await _send_with_owners(cluster, send)
    except AttributeError as error:  # redis-py has set the connection's writer to None.
        raise RedisConnectionError("the connection was closed by another task") from error


async def _send_with_owners(cluster: Any, send: Callable[[], Awaitable[T]]) -> T:
    if isinstance(cluster, async_redis.RedisCluster):
        # Otherwise redis-py 8 sends the first command to any server: it routes before it has
        # started.
        await cluster.initialize()
    try:
        return await send()
    except UNOWNED_SLOT:
        await result_of(cluster.nodes_manager.initialize())
    try:
        return await send()
    except KeyError as error:
        raise SlotNotCoveredError(f"hash slot {error} has no owner") from error
