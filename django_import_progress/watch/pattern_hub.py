"""Receives the updates of all jobs of a namespace over one subscription."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.asyncio.client import PubSub

from ..callbacks import safe_callback
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
    """A hub that is subscribed to all channels of a namespace, watched or not.

    Args:
        redis: a client of the running event loop, used to subscribe and to read.
        calls: commands of the namespace.
        heartbeat_seconds: how often each watched job is read again.
        on_subscribed: called after each (re)subscription. Earlier messages may be lost: watched
            jobs are read again, the others are up to the callback.
        on_unknown: called with the id of an unwatched job that a message has come for. A watcher
            that is created in the callback misses nothing.
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
        self._on_subscribed = safe_callback(on_subscribed)
        self._on_unknown = safe_callback(on_unknown)
        self._is_subscribed = False
        """Whether the present subscriber is."""

    async def run(self) -> None:
        """Stay subscribed until cancelled, through any outage."""
        self._task = asyncio.current_task()
        await self._stay_subscribed()

    def note_response(self) -> None:
        """Note that Redis has responded to a read of the hub's owner.

        Without watched jobs the hub has no reads of its own to show that the connection works.
        """
        # A read sent before an outage may be answered before the hub is subscribed again.
        if self._subscriber is not None and self._is_subscribed and not self._jobs:
            self._subscriber.note_response()

    @property
    def _is_needed(self) -> bool:
        return True

    def _new_subscriber(self) -> Subscriber:
        self._is_subscribed = False
        return _PatternSubscriber(
            self._redis,
            self._jobs,
            self._heartbeat_seconds,
            prefix=self._prefix,
            on_subscribed=self._handle_subscribed,
            on_unknown=self._on_unknown,
        )

    def _handle_subscribed(self) -> None:
        self._is_subscribed = True
        self._on_subscribed()


class _PatternSubscriber(Subscriber):
    """A connection that is subscribed to a pattern: all channels that begin with `prefix`."""

    def __init__(
        self,
        redis: AsyncClient,
        jobs: dict[str, WatchedJob],
        heartbeat_seconds: float,
        *,
        prefix: str,
        on_subscribed: Callable[[], None],
        on_unknown: Callable[[str], None],
    ) -> None:
        super().__init__(redis, jobs, heartbeat_seconds)
        self._prefix = prefix
        self._on_subscribed = on_subscribed
        self._on_unknown = on_unknown

    def channel_changed(self, channel: str) -> None:
        """Read a job that is watched now: its channel is subscribed to already."""
        if channel in self._jobs:
            self.request_read(self._jobs[channel])

    def _new_connection(self, pubsub: PubSub) -> PubSubConnection:
        return _PatternConnection(
            pubsub, self._jobs, self._handle_message, self._read_kept, prefix=self._prefix
        )

    def _handle_message(self, message: Message) -> bool:
        if message["type"] == "psubscribe":
            for job in self._jobs.values():
                self.request_read(job)
            self._on_subscribed()
        if message["type"] != "pmessage":
            return False
        channel, payload = as_text(message["channel"]), message["data"]
        if channel not in self._jobs:
            self._on_unknown(channel.removeprefix(self._prefix))
        return channel in self._jobs and self._apply_message(self._jobs[channel], payload)


class _PatternConnection(PubSubConnection):
    """A connection with a single subscription: the pattern."""

    def __init__(self, *args: Any, prefix: str) -> None:
        super().__init__(*args)
        self._prefix = prefix

    async def manage_subscriptions(self) -> None:
        """Subscribe once, then ping."""
        async with RunningTimeout(SILENCE_SECONDS):
            # No character of a namespace is special in a pattern: see `core.keys`.
            await self._pubsub.psubscribe(f"{self._prefix}*")
        self._is_open.set()
        while True:
            await self._wait_or_ping()
