"""One pub/sub connection: subscribes to the wanted channels, receives, and notices silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

from redis.asyncio.client import PubSub
from redis.exceptions import MovedError

from ..core.pacing import PING_SECONDS, SILENCE_SECONDS
from ..redis.timeouts import RunningTimeout

T = TypeVar("T")
Message = Mapping[str, Any]

MOVED = "moved"
"""Type of a message of our own: another server owns the hash slot whose number is its data."""

JOBS_PER_TURN = 50
"""After updates of so many jobs, other tasks of the event loop run."""
CHANNELS_PER_COMMAND = 500
WINDOW_SECONDS = 0.1
BUSY_MESSAGES = 20
"""So many messages within a window make a connection busy."""
PAUSE_SECONDS = 0.01
"""Pause after each read of a busy connection; too short to be seen."""


class PubSubConnection:
    """A connection, subscribed to the `wanted` channels, which its owner changes.

    Two tasks share it: `manage_subscriptions` subscribes and pings, `receive` reads. Each of them
    fails when the connection is broken.

    Args:
        pubsub: the connection, not connected yet.
        wanted: a live view of the channels.
        handle: called with each message; returns whether watchers see a change.
        on_kept: called with a channel that Redis will not confirm again: it became unwanted and
            wanted again before it was unsubscribed.
        kind: first letter of the commands: "P" if the channels are patterns, "S" if they are
            sharded.
    """

    def __init__(
        self,
        pubsub: PubSub,
        wanted: Collection[str],
        handle: Callable[[Message], bool],
        on_kept: Callable[[str], None],
        kind: str = "",
    ) -> None:
        self._pubsub = pubsub
        self._kind = kind
        self._wanted = wanted
        self._handle = handle
        self._on_kept = on_kept
        self._subscribed: set[str] = set()
        self._changed: set[str] = set(wanted)
        self._has_changed = asyncio.Event()
        self._is_open = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._ping_is_due = False
        self._has_pinged = False
        """Whether a ping was sent since the last message was received."""
        self._empty_reads = 0

    def channel_changed(self, channel: str) -> None:
        """Subscribe to a channel that is wanted now, or unsubscribe from an unwanted one."""
        self._changed.add(channel)
        self._has_changed.set()

    def forget(self, channel: str) -> None:
        """Note that the server has ended or refused a subscription."""
        self._subscribed.discard(channel)
        self.channel_changed(channel)

    async def manage_subscriptions(self) -> None:
        """Subscribe, unsubscribe and ping, until no channel is wanted."""
        while self._wanted:
            channels, self._changed = self._changed, set()
            wanted = {channel for channel in channels if channel in self._wanted}
            new, kept = wanted - self._subscribed, wanted & self._subscribed
            unwanted = (channels - wanted) & self._subscribed
            # Before the first command: a server may refuse one before the last is sent.
            self._subscribed = (self._subscribed | new) - unwanted
            async with RunningTimeout(SILENCE_SECONDS):
                for chunk in chunks(new):
                    await self._send("SUBSCRIBE", chunk)
                    self._is_open.set()
                for chunk in chunks(unwanted):
                    await self._send("UNSUBSCRIBE", chunk)
            for channel in [channel for channel in kept if channel in self._wanted]:
                self._on_kept(channel)
            await self._has_changed.wait()
            self._has_changed.clear()
            if self._ping_is_due:
                self._ping_is_due = False
                async with RunningTimeout(SILENCE_SECONDS):
                    await self._pubsub.ping()
                self._has_pinged = True

    async def _send(self, verb: str, channels: list[str]) -> None:
        # Sharded channels may be in different hash slots, but those of a command must be in one.
        # redis-py has methods for them only from version 8 on.
        for names in [[name] for name in channels] if self._kind == "S" else [channels]:
            await self._pubsub.execute_command(f"{self._kind}{verb}", *names)
        await asyncio.sleep(0)  # Many commands may be sent without waiting once.

    async def receive(self) -> None:
        """Receive messages and handle them."""
        await self._is_open.wait()
        updated: set[bytes | str] = set()
        batching = ReadBatching(self._pubsub)
        while True:
            has_pinged = self._has_pinged
            message = await self._next_message()
            if message is not None and _must_yield(message["channel"], updated):
                await asyncio.sleep(0)
                updated.clear()
            if self._process(message, batching, has_pinged=has_pinged):
                assert message is not None
                updated.add(message["channel"])

    def _process(
        self, message: Message | None, batching: ReadBatching, *, has_pinged: bool
    ) -> bool:
        if message is None:
            self._note_silence(has_pinged=has_pinged)
            return False
        self._has_pinged, self._empty_reads = False, 0
        batching.note_message(self._clock())
        return self._handle(message)

    def _note_silence(self, *, has_pinged: bool) -> None:
        """Request a ping, or give up a connection that does not respond to pings.

        Reads are counted, not seconds: after the event loop was blocked, a response may have
        arrived that was not read yet.

        Args:
            has_pinged: whether a ping was already sent when the read began.

        Raises:
            TimeoutError: the connection does not respond.
        """
        self._empty_reads += has_pinged
        if self._empty_reads >= SILENCE_SECONDS / PING_SECONDS:
            raise TimeoutError("The connection to Redis does not respond to pings")
        self._ping_is_due = True
        self._has_changed.set()

    async def _next_message(self) -> Message | None:
        try:
            message: Message | None = await self._pubsub.get_message(timeout=PING_SECONDS)
        except MovedError as error:
            return {"type": MOVED, "channel": None, "data": error.slot_id}
        return message


def _must_yield(channel: bytes | str, updated: set[bytes | str]) -> bool:
    """Return whether watchers must run before the next message replaces a state.

    Args:
        channel: the channel of the next message.
        updated: channels with updates since the watchers last ran. A turn for each message would
            cost as much as the message itself.
    """
    return channel in updated or len(updated) >= JOBS_PER_TURN


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Yield lists of at most `CHANNELS_PER_COMMAND` items."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHANNELS_PER_COMMAND)):
        yield chunk


class ReadBatching:
    """Pauses a busy connection after each read: a wake-up costs more than handling a message.

    Args:
        pubsub: the connection.
    """

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._count = 0
        self._is_busy = False

    def note_message(self, now: float) -> None:
        """Count a message, and pause the connection if it is busy.

        Args:
            now: by the event loop's clock.
        """
        self._count += 1
        if now - self._since >= WINDOW_SECONDS:
            self._is_busy = self._count >= BUSY_MESSAGES
            self._since, self._count = now, 0
        if self._is_busy:
            self._pause()

    def _pause(self) -> None:
        with suppress(AttributeError):  # The connection was closed meanwhile.
            connection: Any = self._pubsub.connection
            transport = connection._writer.transport  # noqa: SLF001 - there is no public name.
            # A transport whose buffer is full is paused already.
            if transport.is_reading():
                transport.pause_reading()
                self._loop.call_later(PAUSE_SECONDS, _resume, transport)


def _resume(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
