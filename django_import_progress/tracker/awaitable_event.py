"""An event for threads and event loops that survives signal handlers which raise."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

from ..core.pacing import Patience

MOST_SECONDS = 2.0
"""Upper limit of a brief wait."""


class AwaitableEvent:
    """A `threading.Event` that can also be awaited, without a thread.

    `threading.Event` uses a condition that is written in Python. If a signal handler raises inside
    it, its lock stays locked, and the next user of the event waits forever. Here each step is one
    call of a lock, which is atomic.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._lock = threading.Lock()
        self._lock.acquire()

    def is_set(self) -> bool:
        """Return whether the event is set."""
        return self._is_set

    def set(self) -> None:
        """Set the event; may be called more than once."""
        self._is_set = True
        self._release()

    def clear(self) -> None:
        """Reset the event; only for a single waiting thread."""
        self._is_set = False
        self._lock.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for up to `timeout` seconds, or forever; return whether the event is set."""
        if not self._is_set and self._lock.acquire(timeout=-1 if timeout is None else timeout):
            self._release()  # For other waiting threads.
        return self._is_set

    def _release(self) -> None:
        with suppress(RuntimeError):  # It is not locked.
            self._lock.release()

    async def wait_async(self, seconds: float) -> bool:
        """Wait for up to `seconds` in an event loop; return whether the event is set.

        It polls: all threads of asyncio may be in use, and a notification would cost more.
        """
        deadline = time.monotonic() + seconds
        while not self.is_set():
            await asyncio.sleep(Patience.TURN_SECONDS)
            if time.monotonic() >= deadline:
                break
        return self.is_set()

    async def wait_briefly(self, turns: int, *, in_loop: bool) -> None:
        """Wait for as long as a healthy Redis may take to respond: see `Patience`.

        Args:
            turns: how many turns on time to wait.
            in_loop: whether to wait in the event loop instead of blocking the calling thread.
        """
        patience = Patience(time.monotonic(), turns, MOST_SECONDS)
        turn = patience.TURN_SECONDS
        while not (await self.wait_async(turn) if in_loop else self.wait(turn)):
            if patience.is_over(time.monotonic()):
                return
