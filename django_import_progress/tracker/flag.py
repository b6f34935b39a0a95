"""An event that can be awaited, and that a signal handler which raises cannot break."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

from ..core.pacing import Patience

MOST_SECONDS = 2.0
"""How long a moment may last."""


class Flag:
    """An event; one waits for it with a thread or without.

    `threading.Event` waits by a condition, written in Python: if a signal handler raises in the
    middle of that, its lock stays locked, and whoever uses the event next waits forever. Here each
    step is one call of a lock, which is atomic.
    """

    def __init__(self) -> None:
        self._is_set = False
        self._gate = threading.Lock()
        self._gate.acquire()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it; more than once, if need be."""
        self._is_set = True
        self._open()

    def clear(self) -> None:
        """Unset it; for one thread that waits again and again."""
        self._is_set = False
        self._gate.acquire(blocking=False)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for so many seconds at most, or forever; whether it is set."""
        if not self._is_set and self._gate.acquire(timeout=-1 if timeout is None else timeout):
            self._open()  # For others that wait.
        return self._is_set

    def _open(self) -> None:
        with suppress(RuntimeError):  # It is open.
            self._gate.release()

    async def wait_in_loop(self, seconds: float) -> bool:
        """Wait for so long at most, without a thread; whether it is raised.

        By looking: asyncio's threads may all be taken, and to be told would be dearer.
        """
        deadline = time.monotonic() + seconds
        while not self.is_set():
            await asyncio.sleep(Patience.TURN_SECONDS)
            if time.monotonic() >= deadline:
                break
        return self.is_set()

    def wait_a_moment(self, turns: int) -> None:
        """Wait for as long as a Redis that is well may take: see `Patience`."""
        patience = Patience(time.monotonic(), turns, MOST_SECONDS)
        while not self.wait(patience.TURN_SECONDS):
            if patience.is_over(time.monotonic()):
                return

    async def wait_a_moment_in_loop(self, turns: int) -> None:
        """Do the same without a thread."""
        patience = Patience(time.monotonic(), turns, MOST_SECONDS)
        while not self.is_set():
            await asyncio.sleep(patience.TURN_SECONDS)
            if patience.is_over(time.monotonic()):
                return
