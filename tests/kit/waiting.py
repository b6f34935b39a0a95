"""Wait for a condition; a test never waits for a clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""After that a condition has failed. Far beyond what is expected: the machine may be busy."""
FAULT_SECONDS = 60.0
"""The same for what a test needs to come about before it can look, with its defence or without."""
_PAUSE_SECONDS = 0.01


def wait_for(condition: Callable[[], T], what: object, seconds: float | None = None) -> T:
    """Return what `condition` returns as soon as it is true.

    Args:
        condition: asked again and again.
        what: is waited for; what the failure says of it, as text.
        seconds: after that it has failed; `PATIENCE_SECONDS` where not given.
    """
    seconds = PATIENCE_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(_PAUSE_SECONDS)
    return result


@overload
async def until(
    condition: Callable[[], Awaitable[T]], what: object, seconds: float | None = None
) -> T: ...
@overload
async def until(condition: Callable[[], T], what: object, seconds: float | None = None) -> T: ...
async def until(condition: Callable[[], Any], what: object, seconds: float | None = None) -> Any:
    """Do the same in a coroutine; `condition` may be one, too."""
    seconds = PATIENCE_SECONDS if seconds is None else seconds
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if isinstance(result, Awaitable):
            result = await result
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        await asyncio.sleep(_PAUSE_SECONDS)
