"""Connection pools whose connections are all in use: how that is recognized, and what to do."""

from __future__ import annotations

from typing import Any

import redis as sync_redis
from redis import asyncio as async_redis
from redis.exceptions import MaxConnectionsError

from .locations import location_of

_EXHAUSTED = ("Too many connections", "No connection available.")
"""What redis-py says then. Before version 7 it has no exception of its own for it, and a pool that
waits until a connection is released has none to this day."""


def is_exhausted(redis: Any, error: BaseException | None) -> bool:
    """Tell whether a call failed because all connections of the client's pool are in use.

    Args:
        redis: a client of any kind.
        error: what the call raised.
    """
    if isinstance(error, MaxConnectionsError) or str(error) in _EXHAUSTED:
        return True
    # A pool may wait for longer than the call does.
    may_wait = isinstance(error, TimeoutError) and isinstance(redis, async_redis.Redis)
    return may_wait and not redis.connection_pool.can_get_connection()


def exhausted_message(redis: Any) -> str:
    """Return what to tell the developer, with the limit and the fix."""
    limit = "max_connections"
    if isinstance(redis, async_redis.Redis | sync_redis.Redis):
        limit += f"={redis.connection_pool.max_connections}"
    return (
        f"The client's connection pool for Redis at {location_of(redis)} is exhausted: all of its"
        f" connections are in use ({limit}). Raise max_connections, as in"
        " redis://localhost:6379/0?max_connections=200, or make fewer calls at the same time;"
        " if a higher limit does not help, Redis responds too slowly"
    )
