"""Connections to the primary that the sentinels name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis import asyncio as async_redis
from redis.asyncio import sentinel as async_sentinel

Host = tuple[str, int]

_responded: dict[frozenset[Host], Host] = {}
"""By the sentinels that a URL names: which of them has named the primary last."""


class Sentinels(async_sentinel.Sentinel):
    """Asks the sentinel first that has responded last, whichever client asked it.

    Under WSGI each request has a client of its own, which would wait for a frozen one again.

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
        """Return where the primary is."""
        found = await super().discover_master(service_name)
        # redis-py moves the one that has responded to the front.
        options = self.sentinels[0].connection_pool.connection_kwargs
        _responded[self._named] = (options["host"], options["port"])
        return found


class SentinelPool(async_sentinel.SentinelConnectionPool, async_redis.BlockingConnectionPool):
    """Connections to whom the sentinels name; who needs one more waits for it."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close connections: all, or those that lie idle."""
        await super().disconnect(inuse_connections)
        if inuse_connections:  # For good: the connections to the sentinels go as well.
            for sentinel in self.sentinel_manager.sentinels:
                await sentinel.connection_pool.disconnect()
