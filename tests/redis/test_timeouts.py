"""A time-out that a blocked event loop does not use up."""

from __future__ import annotations

import asyncio
import time

import pytest

from django_import_progress.redis import timeouts
from django_import_progress.redis.timeouts import RunningTimeout

from ..faults.conftest import defence
from ..kit.blocked import block_the_loop
from ..kit.controls import without

__all__ = ["defence"]


async def test_it_ends_what_takes_too_long() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        async with RunningTimeout(0.2):
            await asyncio.sleep(3600)
    assert time.monotonic() - began >= 0.2


async def test_what_is_in_time_is_left_alone() -> None:
    async with RunningTimeout(0.05):
        pass
    await asyncio.sleep(0.1)
    with pytest.raises(ZeroDivisionError):
        async with RunningTimeout(0.05):
            raise ZeroDivisionError


def all_time_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "TURNS", 1)
    monkeypatch.setattr(timeouts, "LATE_SHARE", 1.0)


@without(all_time_counts)
async def test_time_in_which_the_loop_was_blocked_does_not_count() -> None:
    near, far = asyncio.Queue[int](), asyncio.Queue[int]()

    async def answer() -> None:
        while True:
            far.put_nowait(await near.get())

    answering = asyncio.create_task(answer())
    try:
        async with RunningTimeout(0.4):
            for number in range(5):
                near.put_nowait(number)
                block_the_loop(0.5)
                assert await far.get() == number
    finally:
        answering.cancel()


async def test_a_loop_that_is_blocked_again_and_again_has_an_end_of_it_too() -> None:
    with pytest.raises(TimeoutError):
        async with RunningTimeout(0.01):
            while True:
                block_the_loop(0.005)
                await asyncio.sleep(0)
