"""Where a client connects to, as it may be said: without a user, a password or options."""

from __future__ import annotations

from typing import Any


def location_of(redis: Any) -> str:
    """Return the host and port, or the socket's path, or the first hosts that are asked.

    Args:
        redis: a client of any kind.
    """
    if (hosts := getattr(redis, "hosts", None)) is not None:  # A Cluster's, not connected yet.
        return ", ".join(hosts)
    if (nodes := getattr(redis, "nodes_manager", None)) is not None:
        return ", ".join(nodes.startup_nodes)
    pool = redis.connection_pool
    sentinels = getattr(pool, "sentinel_manager", None)
    if sentinels is None:
        return _place(pool.connection_kwargs)
    asked = (_place(sentinel.connection_pool.connection_kwargs) for sentinel in sentinels.sentinels)
    return f"{pool.service_name}, by its sentinels {', '.join(asked)}"


def _place(options: dict[str, Any]) -> str:
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    return str(options.get("path") or f"{host}:{port}")
