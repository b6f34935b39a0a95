"""Clients of the servers that sentinels watch: the primary, and replicas where they are read."""

from __future__ import annotations

from redis import asyncio as async_redis
from redis.asyncio import sentinel as async_sentinel


class SentinelPool(async_sentinel.SentinelConnectionPool, async_redis.BlockingConnectionPool):
    """Connections to whom the sentinels name; who needs one more waits for it."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections: all, or those that lie idle."""
        await super().disconnect(inuse_connections)
        if inuse_connections:  # For good: the connections to the sentinels go as well.
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.connection_pool.disconnect()


class PrimaryAndReplicas(async_redis.Redis):
    """The primary's client, which has another one for what a replica may answer."""

    replicas: async_redis.Redis
    left_until = 0.0
    """Until when (`time.monotonic`) no replica is asked."""
    replicas_serve = True
    """Whether one has answered when it was asked last."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        """Close both clients."""
        await self.replicas.aclose()
        await super().aclose(close_connection_pool)
