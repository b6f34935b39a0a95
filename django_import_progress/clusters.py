"""Has the client of a Cluster begin though a server of it is down."""

from __future__ import annotations

import random

from redis import asyncio as async_redis
from redis.asyncio.cluster import ClusterNode

from .clients import REDIS_ERRORS


def begin_with_any_server(cluster: async_redis.RedisCluster) -> None:
    """Let the client begin though the first primary is down.

    redis-py asks that one alone which commands there are, and gives up where it does not answer.
    """
    ask = cluster.commands_parser.initialize

    async def initialize(node: ClusterNode) -> None:
        try:
            await ask(node)
        except REDIS_ERRORS:  # Any other; the next try may take another one.
            nodes = cluster.nodes_manager.nodes_cache.values()
            await ask(random.choice([other for other in nodes if other != node]))

    cluster.commands_parser.initialize = initialize  # type: ignore[assignment]
