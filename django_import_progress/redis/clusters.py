"""Has the client of a Cluster begin though a server of it is down, or does not respond."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

from redis import asyncio as async_redis
from redis.asyncio.cluster import ClusterNode
from redis.exceptions import RedisClusterException

from .executor import REDIS_ERRORS
from .timeouts import RunningTimeout

T = TypeVar("T")

SERVER_SECONDS = 1.5
"""How long one server may take to answer while a client begins, before another one is asked."""

_responded: dict[frozenset[str], str] = {}
"""By the servers that a URL names: which of them has responded last. Under WSGI each request has a
client of its own, which would wait for a frozen server again."""


def begin_with_any_server(cluster: async_redis.RedisCluster) -> None:
    """Let the client begin though a server is down or frozen.

    redis-py waits for the server that it happens to ask first who has which slots, and asks the
    first primary alone which commands there are.
    """
    nodes = cluster.nodes_manager
    named = frozenset(nodes.startup_nodes)
    begin, ask = cluster.initialize, cluster.commands_parser.initialize

    async def responding(node: ClusterNode) -> ClusterNode:
        try:
            await node.execute_command("CLUSTER SLOTS")  # Which the client will send again.
        except BaseException:
            await node.disconnect()  # The client closes what it has begun with.
            raise
        return node

    async def initialize(**options: Any) -> async_redis.RedisCluster:
        if cluster.get_default_node():  # It has begun.
            return await begin(**options)
        every = nodes.startup_nodes
        node = await _first_of(_ordered(every.values(), named), responding)
        _responded[named] = node.name
        nodes.startup_nodes = {node.name: node}
        try:
            return await begin(**options)
        except BaseException:
            nodes.startup_nodes = every
            raise

    async def initialize_commands(node: ClusterNode) -> None:
        others = [other for other in nodes.nodes_cache.values() if other != node]
        await _first_of(_ordered([node, *others], named), ask)

    cluster.initialize = initialize  # type: ignore[method-assign,assignment]
    cluster.commands_parser.initialize = initialize_commands  # type: ignore[assignment]


def _ordered(nodes: Iterable[ClusterNode], named: frozenset[str]) -> list[ClusterNode]:
    """Return the servers in random order, the one that has responded last first."""
    last = _responded.get(named)
    return sorted(nodes, key=lambda node: (node.name != last, random.random()))


async def _first_of(nodes: list[ClusterNode], ask: Callable[[ClusterNode], Awaitable[T]]) -> T:
    """Return the answer of the first server that gives one in time."""
    failure: BaseException = RedisClusterException("No server is known")
    for node in nodes:
        try:
            async with RunningTimeout(SERVER_SECONDS):
                return await ask(node)
        except REDIS_ERRORS as error:
            failure = error
    raise failure
