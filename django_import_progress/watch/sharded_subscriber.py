"""Subscribes to the watched jobs of a Cluster with sharded pub/sub: one connection per server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from ..core.errors import ProgressUnavailable
from ..redis.causes import REDIS_ERRORS
from ..redis.cluster import ShardedCluster
from ..redis.executor import CALL_SECONDS, perform
from ..redis.pubsub import locate_key
from ..redis.timeouts import RunningTimeout
from .reconnect import ReconnectPolicy
from .shard_connection import ShardConnection
from .subscriber import RETRY_SECONDS, Subscriber

REFRESH_SECONDS = 1.0
"""Time limit for finding the owner of a hash slot."""


class ShardedSubscriber(Subscriber):
    """A connection to each server that has a watched job, for any number of watchers.

    Each connection is restored independently, so an unavailable server does not delay the jobs of
    the others.
    """

    _redis: ShardedCluster

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._shards: dict[str, ShardConnection] = {}
        """By the name of the server."""
        self._owners: dict[int, ShardConnection] = {}
        """By hash slot: the connection that its channels are subscribed on."""
        self._channels: dict[int, set[str]] = {}
        """By hash slot: these channels."""
        self._ownerless: dict[int, set[str]] = {}
        """By hash slot: channels that wait until its owner is found."""
        self._has_changed = asyncio.Event()

    def channel_changed(self, channel: str) -> None:
        """See `Subscriber`."""
        if channel in self._jobs:
            self._subscribe([channel])
        else:
            self._unsubscribe(channel)
        self._has_changed.set()

    async def _watch(self) -> None:
        async with RunningTimeout(CALL_SECONDS):
            await self._redis.initialize()
        self._subscribe(self._jobs)
        await self._wait_until_nobody_watches()

    async def _wait_until_nobody_watches(self) -> None:
        while self._jobs:
            self._has_changed.clear()
            await self._has_changed.wait()

    def _subscribe(self, channels: Iterable[str]) -> None:
        """Subscribe to channels at the servers that own them, as far as the client knows."""
        if self._is_over:
            return
        for channel in channels:
            hash_slot = self._redis.keyslot(channel)
            owner = self._owners.get(hash_slot) or self._connection_for(channel)
            if owner is None:
                self._wait_for_owner(hash_slot, channel)
            else:
                self._owners[hash_slot] = owner
                self._channels.setdefault(hash_slot, set()).add(channel)
                owner.add(channel)

    def _connection_for(self, channel: str) -> ShardConnection | None:
        try:
            node = self._redis.get_node_from_key(channel)
        except REDIS_ERRORS:
            node = None
        if node is None:  # The client is about to initialize again.
            return None
        shard = self._shards.get(node.name)
        if shard is None:
            listeners = (self._handle_message, self._read_kept, self._handle_moved)
            shard = ShardConnection(node, ReconnectPolicy(self._redis), *listeners)
            self._shards[node.name] = shard
            self._tasks.start(self._stay_connected(shard))
        return shard

    def _unsubscribe(self, channel: str) -> None:
        hash_slot = self._redis.keyslot(channel)
        if hash_slot in self._owners:
            self._owners[hash_slot].remove(channel)
            self._channels[hash_slot].discard(channel)
            if not self._channels[hash_slot]:
                del self._owners[hash_slot], self._channels[hash_slot]

    async def _stay_connected(self, shard: ShardConnection) -> None:
        while shard.channels:
            try:
                await shard.run()
            except Exception as error:
                await shard.policy.wait_before_retry(error)
                if await self._leave(shard):  # pragma: no cover - or a server reports it first
                    shard.policy.note_response()
        del self._shards[shard.node.name]

    async def _leave(self, shard: ShardConnection) -> bool:
        """Move the channels of a lost server to the servers that have taken over its hash slots.

        Returns:
            Whether they have taken over all of them.
        """
        taken = await self._taken_over(shard)
        if taken:  # This makes the client learn of it, too.
            await self._refresh_owner(next(iter(self._channels[taken[0]])))
        for hash_slot in [number for number in taken if self._owners.get(number) is shard]:
            self._subscribe(self._release(hash_slot))
        return bool(taken) and not shard.channels

    async def _taken_over(self, shard: ShardConnection) -> list[int]:
        """Ask another server which hash slots of a lost server have a new owner."""
        lost = (shard.node.host, shard.node.port)
        others = [node for node in self._redis.get_nodes() if node.name != shard.node.name]
        ranges: Any = {}
        with suppress(*REDIS_ERRORS):  # It may be unavailable, or there may be no other.
            async with RunningTimeout(REFRESH_SECONDS):
                ranges = await self._redis.cluster_slots(target_nodes=random.choice(others))
        moved = [range(a, b + 1) for (a, b), owner in ranges.items() if owner["primary"] != lost]
        owned = [hash_slot for hash_slot, owner in self._owners.items() if owner is shard]
        return [hash_slot for hash_slot in owned if any(hash_slot in part for part in moved)]

    def _release(self, hash_slot: int) -> set[str]:
        owner, channels = self._owners.pop(hash_slot), self._channels.pop(hash_slot)
        for channel in channels:
            owner.forget(channel)
        return channels

    def _handle_moved(self, shard: ShardConnection, moved: str | int) -> None:
        """Find the new owner of a hash slot, or of a channel.

        A server that gives a slot away unsubscribes its channels, and refuses new subscriptions.
        """
        hash_slot = moved if isinstance(moved, int) else self._redis.keyslot(moved)
        if self._owners.get(hash_slot) is shard:
            for channel in self._release(hash_slot):
                self._wait_for_owner(hash_slot, channel)

    def _wait_for_owner(self, hash_slot: int, channel: str) -> None:
        if hash_slot not in self._ownerless:
            self._ownerless[hash_slot] = set()
            self._tasks.start(self._find_owner(hash_slot))
        self._ownerless[hash_slot].add(channel)

    async def _find_owner(self, hash_slot: int) -> None:
        while watched := self._ownerless[hash_slot] & self._jobs.keys():
            if await self._refresh_owner(next(iter(watched))):
                break
            await asyncio.sleep(RETRY_SECONDS)
        self._subscribe(self._ownerless.pop(hash_slot) & self._jobs.keys())

    async def _refresh_owner(self, channel: str) -> bool:
        """Refresh the owner of a channel: redis-py follows MOVED and records it."""
        try:
            await perform(self._redis, locate_key(channel), seconds=REFRESH_SECONDS)
        except ProgressUnavailable:
            return False
        return True
