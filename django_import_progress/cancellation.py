"""Helpers for asyncio: tasks that end reliably, safe callbacks, coroutines for sync code."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterable
from inspect import isawaitable
from typing import Any, ParamSpec, TypeVar

logger = logging.getLogger("django_import_progress")

P = ParamSpec("P")
T = TypeVar("T")

CALLBACK_ERRORS = (Exception, asyncio.CancelledError)
"""What a callback may raise without ending the task that calls it. A callback awaits nothing, so
its `CancelledError` does not cancel that task: it comes from a future that was cancelled."""


def without_waiting(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits for the event loop, as with a sync client of Redis."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result


async def result_of(value: Any) -> Any:
    """Return `value`, or what it returns once it was awaited."""
    return await value if isawaitable(value) else value


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


class Tasks:
    """Tasks that are started one by one, and end together."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    def start(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine in a task."""
        task = asyncio.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._note_end)

    def _note_end(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._failure.done():
            self._failure.set_result(error)

    async def wait_for_failure(self) -> None:
        """Wait until a task has failed, and raise its exception."""
        raise await self._failure

    async def aclose(self) -> None:
        """End all tasks."""
        await end_tasks(self._running)


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


def safe_callback(callback: Callable[P, object]) -> Callable[P, None]:
    """Return a function that calls `callback` and logs only the first exception that it raises."""
    has_failed = False

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal has_failed
        try:
            callback(*args, **kwargs)
        except CALLBACK_ERRORS:
            if not has_failed:
                has_failed = True
                logger.exception("A callback raised an exception; further ones are not logged")

    return call


def ignore() -> None:
    """Do nothing: the default of callbacks."""
