"""A connection to one server of a Cluster, for sharded pub/sub."""

from __future__ import annotations

from collections.abc import Callable

from redis.asyncio.cluster import ClusterNode

from ..cancellation import run_together
from ..core.snapshot import as_text
from ..redis.pubsub import subscription_at
from .pubsub_connection import MOVED, Message, PubSubConnection
from .reconnect import ReconnectPolicy


class ShardConnection:
    """A server of a Cluster, and the wanted channels whose hash slots it owns.

    Args:
        node: the server.
        policy: notes that the server has confirmed a subscription.
        handle: called with each message; returns whether watchers see a change.
        on_kept: called with a channel that Redis will not confirm again.
        on_moved: called with what another server owns now: a channel, or the number of a hash
            slot.
    """

    def __init__(
        self,
        node: ClusterNode,
        policy: ReconnectPolicy,
        handle: Callable[[Message], bool],
        on_kept: Callable[[str], None],
        on_moved: Callable[[ShardConnection, str | int], None],
    ) -> None:
        self.node = node
        self.channels: set[str] = set()
        self.policy = policy
        self._handle = handle
        self._on_kept = on_kept
        self._on_moved = on_moved
        self._connection: PubSubConnection | None = None

    def add(self, channel: str) -> None:
        """Subscribe to a channel."""
        self.channels.add(channel)
        self._channel_changed(channel)

    def remove(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        self.channels.discard(channel)
        self._channel_changed(channel)

    def forget(self, channel: str) -> None:
        """Remove a channel that the server has unsubscribed, or refused."""
        self.channels.discard(channel)
        if self._connection is not None:
            self._connection.forget(channel)

    def _channel_changed(self, channel: str) -> None:
        if self._connection is not None:  # Otherwise `run` will subscribe to it.
            self._connection.channel_changed(channel)

    async def run(self) -> None:
        """Receive messages until no channel is wanted.

        Raises:
            RedisError, OSError, TimeoutError: the connection is broken.
        """
        async with subscription_at(self.node) as pubsub:
            self._connection = connection = PubSubConnection(
                pubsub, self.channels, self._handle_message, self._on_kept, kind="S"
            )
            try:
                await run_together([connection.manage_subscriptions(), connection.receive()])
            finally:
                self._connection = None

    def _handle_message(self, message: Message) -> bool:
        kind = message["type"]
        if kind == MOVED:
            self._on_moved(self, message["data"])
        elif kind == "sunsubscribe" and as_text(message["channel"]) in self.channels:
            self._on_moved(self, as_text(message["channel"]))  # The server unsubscribed it.
        elif kind == "ssubscribe":
            self.policy.note_response()
        return self._handle(message)
