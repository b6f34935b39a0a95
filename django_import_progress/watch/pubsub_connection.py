"""One pub/sub connection: subscribes to what is wanted, hears, and notices silence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeVar

from redis.asyncio.client import PubSub

from ..core.pacing import PING_SECONDS, SILENCE_SECONDS
from ..redis.timeouts import RunningTimeout
from .read_batching import ReadBatching

T = TypeVar("T")
Message = Mapping[str, Any]

AT_ONCE = 50
"""Of so many jobs messages are heard before others in the event loop have their turn."""
CHUNK = 500
"""How many channels one command names."""


class PubSubConnection:
    """A connection, subscribed to the `wanted` channels, which others go on to change.

    Two tasks share it: one talks (subscribes, pings), one listens. Each fails when the link broke.

    Args:
        pubsub: the connection, not connected yet.
        wanted: the channels, as they are at each moment.
        take: called with each message; whether somebody is to be told something.
        on_kept: called with a channel for which no confirmation will come: it was left and taken
            up anew before we came to unsubscribe.
    """

    def __init__(
        self,
        pubsub: PubSub,
        wanted: Collection[str],
        take: Callable[[Message], bool],
        on_kept: Callable[[str], None],
    ) -> None:
        self._pubsub = pubsub
        self._wanted = wanted
        self._take = take
        self._on_kept = on_kept
        self._subscribed: set[str] = set()
        self._changed: set[str] = set(wanted)
        self._has_changed = asyncio.Event()
        self._open = asyncio.Event()
        self._clock = asyncio.get_running_loop().time
        self._ping_is_due = False
        self._has_pinged = False
        """Whether a ping was sent since anything was received."""
        self._reads_in_vain = 0

    def changed(self, channel: str) -> None:
        """Take note that a channel is wanted from now on, or not any more."""
        self._changed.add(channel)
        self._has_changed.set()

    async def talk(self) -> None:
        """Subscribe and unsubscribe, until nothing is wanted."""
        while self._wanted:
            channels, self._changed = self._changed, set()
            wanted = {channel for channel in channels if channel in self._wanted}
            new, kept = wanted - self._subscribed, wanted & self._subscribed
            left = (channels - wanted) & self._subscribed
            # Before the first is sent, for what is refused may be forgotten before the last is.
            self._subscribed = (self._subscribed | new) - left
            async with RunningTimeout(SILENCE_SECONDS):
                for chunk in chunks(new):
                    await self._subscribe(chunk)
                    self._open.set()
                for chunk in chunks(left):
                    await self._unsubscribe(chunk)
            for channel in [channel for channel in kept if channel in self._wanted]:
                self._on_kept(channel)
            await self._wait_or_ping()

    async def _subscribe(self, channels: list[str]) -> None:
        await self._pubsub.subscribe(*channels)

    async def _unsubscribe(self, channels: list[str]) -> None:
        await self._pubsub.unsubscribe(*channels)

    async def _wait_or_ping(self) -> None:
        await self._has_changed.wait()
        self._has_changed.clear()
        if self._ping_is_due:
            self._ping_is_due = False
            async with RunningTimeout(SILENCE_SECONDS):
                await self._pubsub.ping()
            self._has_pinged = True

    async def listen(self) -> None:
        """Take what comes in."""
        await self._open.wait()
        told: set[bytes | str] = set()
        gathering = ReadBatching(self._pubsub)
        while True:
            has_pinged = self._has_pinged
            message = await self._next()
            if message is not None and _is_others_turn(message["channel"], told):
                await asyncio.sleep(0)
                told.clear()
            if self._hear(message, gathering, has_pinged=has_pinged):
                assert message is not None
                told.add(message["channel"])

    def _hear(self, message: Message | None, gathering: ReadBatching, *, has_pinged: bool) -> bool:
        if message is None:
            self._note_silence(has_pinged=has_pinged)
            return False
        self._has_pinged, self._reads_in_vain = False, 0
        gathering.heard(self._clock())
        return self._take(message)

    def _note_silence(self, *, has_pinged: bool) -> None:
        """Ping, or give up a connection over which pings stay unanswered.

        Reads are counted, and not seconds: while the event loop was blocked an answer may have
        arrived that nobody has read yet.

        Args:
            has_pinged: whether a ping was on its way when the read began that brought nothing.
        """
        self._reads_in_vain += has_pinged
        if self._reads_in_vain >= SILENCE_SECONDS / PING_SECONDS:
            raise TimeoutError("the link to Redis is silent")
        self._ping_is_due = True
        self._has_changed.set()

    async def _next(self) -> Message | None:
        message: Message | None = await self._pubsub.get_message(timeout=PING_SECONDS)
        return message


def _is_others_turn(channel: bytes | str, told: set[bytes | str]) -> bool:
    """Tell whether those have to run who wait for a state, before the next one replaces it.

    Args:
        channel: of the message that comes next.
        told: of which jobs something was told since their last turn. A turn for each message would
            cost as much as the message itself.
    """
    return channel in told or len(told) >= AT_ONCE


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Part items into lists of `CHUNK`."""
    iterator = iter(items)
    while chunk := list(islice(iterator, CHUNK)):
        yield chunk
