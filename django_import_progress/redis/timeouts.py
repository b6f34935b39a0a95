"""A time-out that counts only the time in which the event loop was running."""

from __future__ import annotations

import asyncio
from typing import Any

TURNS = 8
"""The number of parts into which the time is divided; each is awaited separately."""
LATE_SHARE = 0.1
"""How much a late turn counts: what was received in it may not have been read yet. More than 0, so
that the time also ends in a loop that is blocked in each turn."""


class RunningTimeout:
    """Like `asyncio.timeout`, but time in which the event loop was blocked hardly counts.

    If a callback or sync code blocks the loop for longer than the time-out, `asyncio.timeout`
    raises although the awaited reply is already in the socket.

    Args:
        seconds: time in which the loop is running.
    """

    __slots__ = ("_due", "_handle", "_left", "_loop", "_timeout", "_turn_seconds")

    def __init__(self, seconds: float) -> None:
        self._turn_seconds = seconds / TURNS
        self._left = float(TURNS)

    async def __aenter__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._wait()

    async def __aexit__(self, *error: Any) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(*error)

    def _wait(self) -> None:
        self._due = self._loop.time() + self._turn_seconds
        self._handle = self._loop.call_at(self._due, self._turn)

    def _turn(self) -> None:
        is_late = self._loop.time() - self._due > self._turn_seconds
        self._left -= LATE_SHARE if is_late else 1
        if self._left > 0:
            self._wait()
        else:
            self._timeout.reschedule(self._loop.time())
