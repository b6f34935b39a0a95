"""Cancels asyncio tasks reliably: other code may swallow a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import Any


async def run_together(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run coroutines until the first one returns or fails, then cancel the others."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_tasks(tasks)


def raise_if_cancelled(error: Exception | None = None) -> None:
    """Raise the cancellation of the running task if other code has swallowed it.

    redis-py may do so, asyncio on Python 3.11, and any `AUTHORIZE` rule.

    Args:
        error: the exception that was raised instead, if any.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended, even if the caller is cancelled meanwhile.

    An event loop that is closed cancels each task only once, and waits for all of them.
    """
    pending, cancelled = set(tasks), None
    while pending:  # Repeatedly: asyncio on Python 3.11 and redis-py may swallow a cancellation.
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=0.5)
        except asyncio.CancelledError as error:
            cancelled = error
        pending = {task for task in pending if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()  # Retrieved, so that asyncio does not log it.
    if cancelled is not None:
        raise cancelled
