"""What is heard of one server of a Cluster that tells of its own jobs alone: sharded pub/sub."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis.asyncio.cluster import ClusterNode
from redis.exceptions import MovedError

from ..cancellation import run_together
from ..core.snapshot import as_text
from ..redis.pubsub import subscription_at
from .pubsub_connection import Message, PubSubConnection


class Shard:
    """A server, and those channels of its slots that are wanted.

    Args:
        node: the server.
        take: called with each message; whether somebody is to be told something.
        on_kept: called with a channel for which no confirmation will come.
        on_moved: called with a channel that another server has now, or with a number: that of a
            hash slot.
    """

    def __init__(
        self,
        node: ClusterNode,
        take: Callable[[Message], bool],
        on_kept: Callable[[str], None],
        on_moved: Callable[[Shard, str | int], None],
    ) -> None:
        self.node = node
        self.channels: set[str] = set()
        self.served = False
        """Whether the server has confirmed a subscription over the present connection."""
        self.on_restored: Callable[[], None] = _nothing
        """Called when it has."""
        self._take = take
        self._on_kept = on_kept
        self._on_moved = on_moved
        self._line: _ShardPubSub | None = None

    def add(self, channel: str) -> None:
        """Want a channel."""
        self.channels.add(channel)
        self._changed(channel)

    def remove(self, channel: str) -> None:
        """Want it no longer."""
        self.channels.discard(channel)
        self._changed(channel)

    def let_go(self, channel: str) -> None:
        """Take note that the server has let go of it."""
        self.channels.discard(channel)
        if self._line is not None:
            self._line.forget(channel)

    def _changed(self, channel: str) -> None:
        if self._line is not None:  # Else it will begin with what is wanted by then.
            self._line.changed(channel)

    async def run(self) -> None:
        """Hear until nothing is wanted.

        Raises:
            RedisError, OSError, TimeoutError: the connection broke.
        """
        self.served = False
        async with subscription_at(self.node) as pubsub:
            self._line = line = _ShardPubSub(pubsub, self.channels, self._hear, self._on_kept)
            try:
                await run_together([line.talk(), line.listen()])
            finally:
                self._line = None

    def _hear(self, message: Message) -> bool:
        kind = message["type"]
        if kind == _MOVED:
            self._on_moved(self, message["data"])
        elif kind == "sunsubscribe" and as_text(message["channel"]) in self.channels:
            self._on_moved(self, as_text(message["channel"]))  # We have not asked for it.
        elif kind == "ssubscribe":
            self.served = True
            self.on_restored()
        return self._take(message)


def _nothing() -> None:
    """Tell nobody."""


_MOVED = "moved"
"""A message of ours: what was asked for is another server's."""


class _ShardPubSub(PubSubConnection):
    """Subscribes to sharded channels: a command each, for one names channels of one slot alone."""

    def forget(self, channel: str) -> None:
        """Take note that a subscription has ended, or has never begun."""
        self._subscribed.discard(channel)
        self.changed(channel)

    # Not by the methods of redis-py: before 8 its PubSub has none for these.

    async def _subscribe(self, channels: list[str]) -> None:
        for channel in channels:
            await self._pubsub.execute_command("SSUBSCRIBE", channel)
        await asyncio.sleep(0)  # They are many, and sending them waits for nothing.

    async def _unsubscribe(self, channels: list[str]) -> None:
        for channel in channels:
            await self._pubsub.execute_command("SUNSUBSCRIBE", channel)

    async def _next(self) -> Message | None:
        try:
            return await super()._next()
        except MovedError as error:
            return {"type": _MOVED, "channel": None, "data": error.slot_id}
