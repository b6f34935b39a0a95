"""Connections to the primary that the sentinels name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import asyncio as async_redis
from redis.asyncio import sentinel as async_sentinel

Host = tuple[str, int]

_responded: dict[frozenset[Host], Host] = {}
"""By the sentinels in a URL: the one that responded last."""


class Sentinels(async_sentinel.Sentinel):
    """Sentinels, tried in the order in which they responded to any client of this process.

    Under WSGI each request has a client of its own, which would wait for a frozen sentinel again.

    Args:
        hosts: the sentinels.
    """

    def __init__(self, hosts: Sequence[Host], **options: Any) -> None:
        self._named = frozenset(hosts)
        last = _responded.get(self._named)
        super().__init__(  # type: ignore[no-untyped-call]
            sorted(hosts, key=lambda host: host != last), **options
        )

    async def discover_master(self, service_name: str) -> Any:
        """Return the address of the primary."""
        found = await super().discover_master(service_name)
        # redis-py moves the sentinel that responded to the front.
        options = self.sentinels[0].connection_pool.connection_kwargs
        _responded[self._named] = (options["host"], options["port"])
        return found


class SentinelPool(async_sentinel.SentinelConnectionPool, async_redis.BlockingConnectionPool):
    """A blocking pool of connections to the server that the sentinels name."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close all connections, or only the idle ones."""
        await super().disconnect(inuse_connections)
        if inuse_connections:  # The client is closed: so are its sentinels.
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.connection_pool.disconnect()
