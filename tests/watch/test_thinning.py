"""Updates are thinned to `max_per_second` for watchers that ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from django_import_progress import ProgressManager
from django_import_progress.core.job_state import State
from django_import_progress.watch.hub import Watcher

from ..kit.hubs import sees
from ..kit.managers import manager_on
from ..kit.processes import RedisProcess


@pytest.fixture
async def progress(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    async with manager_on("async", server.url) as manager:
        yield manager


async def _next(watcher: Watcher) -> State:
    state = await watcher.next(10)
    assert state is not None
    return state


async def test_fast_updates_are_thinned_to_the_newest_and_the_end_is_never_held_back(
    progress: ProgressManager,
) -> None:
    await progress.create("j1", data={"n": 0})
    thinned = progress.watcher("j1", max_per_second=1 / 3600)
    assert (await _next(thinned)).fields["n"] == 0
    for number in (1, 2):
        await progress.update("j1", {"n": number})
        await sees(watcher := progress.watcher("j1"), n=number)
        watcher.close()
        with pytest.raises(TimeoutError):
            await thinned.next(0.05)
    await progress.update("j1", {"status": "done"})
    assert (await _next(thinned)).fields["status"] == "done"
    thinned.close()


async def test_a_held_back_update_is_delivered_when_it_is_due(progress: ProgressManager) -> None:
    await progress.create("j1", data={"n": 0})
    thinned = progress.watcher("j1", max_per_second=5)
    clock = asyncio.get_running_loop().time
    shown, moments = await _next(thinned), [clock()]
    for number in range(1, 10):
        await progress.update("j1", {"n": number})
    while shown.fields["n"] < 9:
        shown = await _next(thinned)
        moments.append(clock())
    assert all(later - earlier > 0.19 for earlier, later in pairwise(moments))
    with pytest.raises(TimeoutError):
        await thinned.next(0.3)  # Nothing is told twice.
    thinned.close()
