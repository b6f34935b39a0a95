"""Cancelling asyncio's tasks for good: a cancellation can be eaten on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine, Iterable
from typing import Any


async def run_together(jobs: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run all until the first is through or has failed, and end the others with it."""
    tasks = [asyncio.create_task(job) for job in jobs]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        await end_tasks(tasks)


def raise_if_cancelled(error: Exception | None = None) -> None:
    """Raise the cancellation of the running task that other code has swallowed.

    redis-py does so, asyncio on Python 3.11, and any `AUTHORIZE` rule may.

    Args:
        error: what came instead of it, if something did.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


async def end_tasks(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended; also where the caller is cancelled meanwhile.

    A loop that is closed cancels each task once, and waits for all of them.
    """
    pending, cancelled = set(tasks), None
    while pending:  # Again and again: asyncio on 3.11 may eat it, and redis-py.
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=0.5)
        except asyncio.CancelledError as error:
            cancelled = error
        pending = {task for task in pending if not task.done()}
    for task in tasks:
        if not task.cancelled():
            task.exception()  # Looked at: a second task that failed is no news.
    if cancelled is not None:
        raise cancelled
