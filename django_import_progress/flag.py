"""What the writer's thread raises, and the import waits for: in its own thread, or in a loop."""

from __future__ import annotations

import asyncio
import threading
import time

from .core.pacing import Patience

MOST_SECONDS = 2.0
"""How long a moment may last."""


class Flag(threading.Event):
    """An event that one waits for with a thread or without."""

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
