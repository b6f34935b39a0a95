"""Hears of all jobs of a namespace over one subscription, whether or not it knew of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio.client import PubSub

from ..callbacks import contained
from ..core.commands import JobCommands
from ..core.pacing import SILENCE_SECONDS
from ..core.snapshot import as_text
from ..redis.executor import AsyncClient
from ..redis.timeouts import RunningTimeout
from .hub import Hub
from .pubsub_connection import Message, PubSubConnection
from .subscriber import Subscriber
from .watched_job import WatchedJob


class PatternHub(Hub):
    """A hub that is subscribed to each channel of a namespace, and not only to what is watched.

    Args:
        redis: the client to subscribe and to read with; of the event loop that is running.
        calls: of the namespace.
        heartbeat_seconds: how often each watched job is read again.
        on_subscribed: called whenever the subscription has begun (again). What was told before
            is lost: the watched jobs are read again, the others are for who is called.
        on_unknown: called with the id of a job of which a message came, and which nobody watches.
            A watcher that is created then misses nothing.
    """

    def __init__(
        self,
        redis: AsyncClient,
        calls: JobCommands,
        *,
        heartbeat_seconds: float,
        on_subscribed: Callable[[], None],
        on_unknown: Callable[[str], None],
    ) -> None:
        super().__init__(redis, heartbeat_seconds=heartbeat_seconds)
        self._prefix = calls.keys.channel("")
        self._on_subscribed = contained(on_subscribed)
        self._on_unknown = contained(on_unknown)
        self._is_subscribed = False
        """Whether the present link is."""

    async def run(self) -> None:
        """Serve until cancelled, through any outage."""
        self._task = asyncio.current_task()
        await self._serve()

    def was_answered(self) -> None:
        """Take note that Redis has answered a read of somebody else's.

        It shows that the link is served where there is no job of ours that could show it.
        """
        # One that was asked before the link broke may be answered before the next is subscribed.
        if self._link is not None and self._is_subscribed and not self._slots:
            self._link.serve()

    @property
    def _is_needed(self) -> bool:
        return True

    def _new_link(self) -> Subscriber:
        self._is_subscribed = False
        return _PatternSubscriber(
            self._redis,
            self._slots,
            self._heartbeat_seconds,
            prefix=self._prefix,
            on_subscribed=self._begin,
            on_unknown=self._on_unknown,
        )

    def _begin(self) -> None:
        self._is_subscribed = True
        self._on_subscribed()


class _PatternSubscriber(Subscriber):
    """A connection that is subscribed to a pattern: all channels that begin with `prefix`."""

    def __init__(
        self,
        redis: AsyncClient,
        slots: dict[str, WatchedJob],
        heartbeat_seconds: float,
        *,
        prefix: str,
        on_subscribed: Callable[[], None],
        on_unknown: Callable[[str], None],
    ) -> None:
        super().__init__(redis, slots, heartbeat_seconds)
        self._prefix = prefix
        self._on_subscribed = on_subscribed
        self._on_unknown = on_unknown

    def changed(self, channel: str) -> None:
        """Read a job that is watched from now on: its channel is subscribed to already."""
        if channel in self._slots:
            self.request_read(self._slots[channel])

    def _new_line(self, pubsub: PubSub) -> PubSubConnection:
        return _PatternConnection(
            pubsub, self._slots, self._take, self._read_kept, prefix=self._prefix
        )

    def _take(self, message: Message) -> bool:
        if message["type"] == "psubscribe":
            for slot in self._slots.values():
                self.request_read(slot)
            self._on_subscribed()
        if message["type"] != "pmessage":
            return False
        channel, payload = as_text(message["channel"]), message["data"]
        if channel not in self._slots:
            self._on_unknown(channel.removeprefix(self._prefix))
        return channel in self._slots and self._pass_on(self._slots[channel], payload)


class _PatternConnection(PubSubConnection):
    """Is subscribed to the pattern."""

    def __init__(self, *args: Any, prefix: str) -> None:
        super().__init__(*args)
        self._prefix = prefix

    async def talk(self) -> None:
        """Subscribe once, to what is watched and to what is not."""
        async with RunningTimeout(SILENCE_SECONDS):
            # A namespace has no character that is special in a pattern: see `core.keys`.
            await self._pubsub.psubscribe(f"{self._prefix}*")
        self._open.set()
        while True:
            await self._wait_or_ping()
