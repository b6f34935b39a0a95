"""What the writer's thread raises, and the import waits for: in its own thread, or in a loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from .core.pacing import Patience

MOST_SECONDS = 2.0
"""How long a moment may last."""


class Flag:
    """An event that one waits for with a thread or without."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._on_change: Callable[[], object] = lambda: None

    def is_set(self) -> bool:
        """Tell whether it is raised."""
        return self._event.is_set()

    def set(self) -> None:
        """Raise it. May be called from any thread."""
        self._event.set()
        with suppress(RuntimeError):  # The event loop that waited has been closed.
            self._on_change()

    def clear(self) -> None:
        """Take it back."""
        self._event.clear()

    def wait(self, seconds: float) -> bool:
        """Wait for so long at most; whether it is raised."""
        return self._event.wait(seconds)

    async def wait_in_loop(self, seconds: float) -> bool:
        """Do the same without a thread: asyncio's own may all be taken."""
        changed = asyncio.Event()
        self._on_change = partial(asyncio.get_running_loop().call_soon_threadsafe, changed.set)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self.is_set():
                    await changed.wait()
                    changed.clear()
        return self.is_set()

    def wait_a_moment(self, turns: int) -> None:
        """Wait for as long as a Redis that is well may take: see `Patience`."""
        patience = Patience(time.monotonic(), turns, MOST_SECONDS)
        while not self.wait(patience.TURN_SECONDS):
            if patience.is_over(time.monotonic()):
                return

    async def wait_a_moment_in_loop(self, turns: int) -> None:
        """Do the same without a thread; looking, for a time-out each turn would be dear."""
        patience = Patience(time.monotonic(), turns, MOST_SECONDS)
        while not self.is_set():
            await asyncio.sleep(patience.TURN_SECONDS)
            if patience.is_over(time.monotonic()):
                return
