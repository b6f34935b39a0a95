"""`end_tasks` ends tasks that swallow cancellations, also if it is cancelled itself."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from django_import_progress.cancellation import end_tasks


async def _eat(cancellations: int) -> None:
    for _ in range(cancellations):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def _begun(cancellations: int) -> asyncio.Task[None]:
    task = asyncio.create_task(_eat(cancellations))
    await asyncio.sleep(0)
    return task


async def test_a_task_that_eats_cancellations_is_ended() -> None:
    task = await _begun(2)
    await end_tasks([task])
    assert task.cancelled()


async def test_who_is_cancelled_meanwhile_ends_them_all_the_same_and_is_cancelled_then() -> None:
    task = await _begun(3)
    ending = asyncio.create_task(end_tasks([task]))
    await asyncio.sleep(0)
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert task.cancelled()


async def test_the_failure_of_one_is_no_news() -> None:
    async def fail() -> None:
        raise OSError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert task.done()
