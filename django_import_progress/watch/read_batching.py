"""A busy link is read a few messages at a time: a wake-up for each costs more than the message."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from redis.asyncio.client import PubSub

WINDOW_SECONDS = 0.1
BUSY = 20
"""So many messages in a window make a link busy."""
GATHER_SECONDS = 0.01
"""How long what comes in lies in the kernel then: too short for anybody to see."""


class ReadBatching:
    """Has the transport of a busy connection rest for a moment after each reading.

    Args:
        pubsub: the connection.
    """

    def __init__(self, pubsub: PubSub) -> None:
        self._pubsub = pubsub
        self._loop = asyncio.get_running_loop()
        self._since = self._loop.time()
        self._count = 0
        self._is_busy = False

    def heard(self, now: float) -> None:
        """Take note of a message.

        Args:
            now: by the event loop's clock.
        """
        self._count += 1
        if now - self._since >= WINDOW_SECONDS:
            self._is_busy = self._count >= BUSY
            self._since, self._count = now, 0
        if self._is_busy:
            self._rest()

    def _rest(self) -> None:
        with suppress(AttributeError):  # It was closed meanwhile.
            connection: Any = self._pubsub.connection
            transport = connection._writer.transport  # noqa: SLF001 - no other name leads to it.
            # Where the stream's own buffer is full, it is at rest already.
            if transport.is_reading():
                transport.pause_reading()
                self._loop.call_later(GATHER_SECONDS, _go_on, transport)


def _go_on(transport: asyncio.Transport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
