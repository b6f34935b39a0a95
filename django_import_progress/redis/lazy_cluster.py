"""A sync client of a Cluster that asks no server before it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import redis as sync_redis


class LazyCluster:
    """A sync Cluster client that connects when it is first used, as all others do.

    Args:
        connect: makes the client, and asks the servers who they are.
        hosts: whom it asks first, each with its port.
        sharded: whether each job is told by its own server alone.
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
            RedisClusterException: none of the servers answers.
        """
        # No lock, which another thread may hold at a fork: two may connect, and one is dropped.
        if self._client is None:
            self._client = self._connect()
        return self._client

    def close(self) -> None:
        """Close its connections, if there are any."""
        if self._client is not None:
            self._client.close()
