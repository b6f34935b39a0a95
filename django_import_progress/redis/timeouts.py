"""A time-out that counts only the time in which the event loop was running."""

from __future__ import annotations

import asyncio
from types import TracebackType

TURNS = 8
"""Into so many parts the time is divided, each awaited by itself."""
LATE_SHARE = 0.1
"""How much a turn counts that came late: what has arrived meanwhile has not been read yet. More
than nothing, so that there is an end for a loop that is blocked at each turn, too."""


class RunningTimeout:
    """Does what `asyncio.timeout` does, but a time in which the loop was blocked hardly counts.

    When a callback, or sync code in a coroutine, has blocked the loop for longer than a time-out,
    `asyncio.timeout` raises although the awaited answer already lies in the socket.

    Args:
        seconds: of a running loop.
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

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._handle.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

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
