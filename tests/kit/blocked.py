"""An event loop that is blocked, as by sync code where it should not be."""

from __future__ import annotations

import time


def block_the_loop(seconds: float) -> None:
    """Let no coroutine of this thread run meanwhile."""
    time.sleep(seconds)
