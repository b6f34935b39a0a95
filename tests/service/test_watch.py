"""`watch`: the current snapshot, then each newer one, to the end."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import redis

from django_import_progress import ProgressManager

from ..kit.facade import AsyncFacade
from ..kit.managers import manager_on, variant
from ..kit.processes import RedisProcess
from ..kit.waiting import until
from ..kit.watching import Watching

KEY = "import_progress:hash:j1"
CHANNEL = "import_progress:channel:j1"
both_managers = pytest.mark.parametrize("kind", ["async", "sync"])


def _publish(foreign: redis.Redis, **fields: Any) -> None:
    foreign.publish(CHANNEL, json.dumps(fields))


async def test_first_comes_the_current_snapshot_then_each_newer_one(
    progress: ProgressManager,
) -> None:
    first = await progress.set_progress("j1", {"n": 0})
    async with Watching(progress) as watching:
        assert await watching.sees(n=0) == first
        for number in (1, 2, 3):
            written = await progress.update("j1", {"n": number})
            assert await watching.sees(n=number) == written
    assert [snapshot["n"] for snapshot in watching.seen[:4]] == [0, 1, 2, 3]


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
async def test_it_ends_after_the_terminal_snapshot(progress: ProgressManager, status: str) -> None:
    await progress.set_progress("j1", {"status": "importing"})
    async with Watching(progress) as watching:
        await watching.sees(status="importing")
        await progress.update("j1", {"status": status})
        assert [snapshot["status"] for snapshot in await watching.ends()] == ["importing", status]


async def test_a_job_that_has_ended_is_shown_once(progress: ProgressManager) -> None:
    stored = await progress.set_progress("j1", {"status": "done"})
    assert [snapshot async for snapshot in progress.watch("j1")] == [stored]


async def test_it_waits_for_a_job_that_is_not_there_yet(progress: ProgressManager) -> None:
    async with Watching(progress) as watching:
        await progress.create("j1")
        await watching.sees(status="queued")
    assert watching.seen[0]["status"] == "queued"


async def test_it_ends_when_the_job_is_deleted(progress: ProgressManager) -> None:
    stored = await progress.set_progress("j1", {"n": 1})
    async with Watching(progress) as watching:
        await watching.sees(n=1)
        await progress.delete("j1")
        assert await watching.ends() == [stored]


async def test_who_is_slow_gets_only_the_newest(progress: ProgressManager) -> None:
    await progress.create("j1", data={"n": 0})
    seen = []
    async for snapshot in progress.watch("j1"):
        seen.append(snapshot["n"])
        if len(seen) == 1:
            for number in range(1, 50):
                await progress.update("j1", {"n": number})
            await progress.update("j1", {"status": "done"})
    assert seen[-1] == 49
    assert len(seen) < 10


async def test_what_was_yielded_belongs_to_who_got_it(quick: Any) -> None:
    await quick.set_progress("j1", {"n": 1})
    async with Watching(quick) as one, Watching(quick) as other:
        (await one.sees(n=1))["n"] = 99
        await other.sees(n=1)
        assert (await quick.update("j1", {"a": 1}))["n"] == 1
        await one.sees(n=1, a=1)


async def test_set_progress_is_seen_with_the_next_heartbeat(quick: Any) -> None:
    await quick.set_progress("j1", {"n": 1})
    async with Watching(quick) as watching:
        await watching.sees(n=1)
        await quick.set_progress("j1", {"n": 2})
        await watching.sees(n=2)


async def test_set_progress_is_seen_with_the_next_message(progress: ProgressManager) -> None:
    await progress.set_progress("j1", {"n": 1, "stage": "a"})
    async with Watching(progress) as watching:
        await watching.sees(n=1)
        await progress.set_progress("j1", {"n": 2, "stage": "b"})
        await progress.publish_update("j1", {"n": 2})
        await watching.sees(n=2, stage="b")


async def test_a_partial_message_is_merged_until_something_newer_is_stored(
    progress: ProgressManager,
) -> None:
    await progress.set_progress("j1", {"n": 1, "m": 1})
    async with Watching(progress) as watching:
        await watching.sees(n=1)
        assert await progress.publish_update("j1", {"n": 2}) == 1
        await watching.sees(n=2, m=1)
        assert (await progress.get_progress("j1") or {})["n"] == 1
        await progress.update("j1", {"m": 2})
        await watching.sees(n=1, m=2)


async def test_a_terminal_status_in_a_published_message_ends_the_watching(
    progress: ProgressManager,
) -> None:
    await progress.set_progress("j1", {"status": "importing", "n": 1})
    async with Watching(progress) as watching:
        await watching.sees(n=1)
        await progress.publish_update("j1", {"status": "failed", "error_message": "é"})
        seen = await watching.ends()
    assert (seen[-1]["status"], seen[-1]["error_message"], seen[-1]["n"]) == ("failed", "é", 1)


async def test_a_version_that_is_older_is_not_shown(quick: Any, foreign: redis.Redis) -> None:
    await quick.set_progress("j1", {"n": 1})
    life = int(foreign.hget(KEY, "_l") or 0)
    async with Watching(quick) as watching:
        await watching.sees(n=1)
        await quick.update("j1", {"n": 2})
        _publish(foreign, n=1, _l=life, _v=1)
        _publish(foreign, n=0, _l=life - 1, _v=9)
        await quick.update("j1", {"n": 3})
        await watching.sees(n=3)
    assert [snapshot["n"] for snapshot in watching.seen[:3]] in ([1, 2, 3], [1, 3, 3])


@both_managers
@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_with_answers_decoded_or_not(
    kind: str, server: RedisProcess, foreign: redis.Redis, decode_responses: bool, protocol: int
) -> None:
    url = f"{server.url}?protocol={protocol}"
    async with manager_on(kind, url, decode_responses=decode_responses) as progress:
        await progress.set_progress("j1", {"stage": "é"})
        async with Watching(progress) as watching:
            await watching.sees(stage="é")
            foreign.publish(CHANNEL, b"junk")
            await progress.update("j1", {"stage": "日本"})
            await watching.sees(stage="日本")


async def test_leaving_the_loop_lets_go_of_the_connection(quick: Any, foreign: redis.Redis) -> None:
    await quick.set_progress("j1", {"n": 1})
    if isinstance(quick, AsyncFacade):
        iterator = quick.manager.watch("j1")
        assert (await asyncio.to_thread(next, iterator))["n"] == 1
        iterator.close()
    else:
        watching = quick.watch("j1")
        assert (await anext(watching))["n"] == 1
        await watching.aclose()
    await until(lambda: foreign.client_list(_type="pubsub") == [], "the subscription to end")


async def test_two_watch_one_job_and_both_see_its_end(quick: Any) -> None:
    await quick.set_progress("j1", {"n": 1})
    async with Watching(quick) as one, Watching(variant(quick, heartbeat_seconds=0.2)) as other:
        await one.sees(n=1)
        await other.sees(n=1)
        await quick.update("j1", {"status": "done"})
        assert await one.ends() == await other.ends()
