"""Redis comes back empty, or with less than it had: watchers see what is stored, and no mixture."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from django_import_progress import JobNotFound, ProgressManager, SyncProgressManager, track_import
from tests.kit.controls import without
from tests.kit.managers import manager_on
from tests.kit.processes import DURABLE, RedisProcess, valkey_binary
from tests.kit.proxy import Proxy
from tests.kit.tracked import JOB, shows
from tests.kit.waiting import wait_for
from tests.kit.watching import Watching

from . import naive

KEY = "import_progress:hash:j1"
both_managers = pytest.mark.parametrize("kind", ["async", "sync"])
NEVER = 3600
"""A heartbeat that nothing is mended by."""
MENDED_SECONDS = 5.0
BUSY_SECONDS = 3.0
"""What a busy machine may add."""


@both_managers
@pytest.mark.parametrize("options", [(), DURABLE], ids=["empty", "with-its-data"])
@without(naive.reads_a_job_only_once)
async def test_all_watchers_have_the_current_state_after_a_kill_and_a_restart(
    kind: str, options: tuple[str, ...]
) -> None:
    ids = [f"j{number}" for number in range(10 if kind == "async" else 2)]
    with RedisProcess(valkey_binary(), *options) as process, Proxy(process.port) as proxy:
        async with AsyncExitStack() as stack:
            writer = await stack.enter_async_context(manager_on("async", process.url))
            progress = await stack.enter_async_context(
                manager_on(kind, proxy.url, heartbeat_seconds=NEVER)
            )
            watchings = []
            for job_id in ids * 2:
                await writer.set_progress(job_id, {"n": 1})
                watching = Watching(progress, job_id, ender=writer)
                watchings.append(await stack.enter_async_context(watching))
            await asyncio.gather(*(watching.sees(n=1) for watching in watchings))
            with proxy.refusing():
                proxy.cut(reset=True)
                for job_id in ids:
                    await writer.update(job_id, {"n": 2})
                process.kill()
                process.start()
                for job_id in () if options else ids:  # A worker writes the job again.
                    await writer.create(job_id, data={"n": 2})
            waits = await asyncio.gather(
                *(watching.seconds_until_it_sees(n=2) for watching in watchings)
            )
    assert max(waits) < MENDED_SECONDS + BUSY_SECONDS


@both_managers
@without(naive.believes_in_no_older_state)
async def test_a_promoted_replica_that_lacks_writes_is_a_visible_step_back_and_no_mixture(
    kind: str,
) -> None:
    with (
        RedisProcess(valkey_binary()) as master,
        RedisProcess(valkey_binary()) as replica,
        Proxy(master.port) as replication,
        Proxy(master.port) as proxy,
    ):
        async with (
            manager_on("async", master.url) as old,
            manager_on("async", replica.url) as new,
            manager_on(kind, proxy.url, heartbeat_seconds=NEVER) as progress,
        ):
            written = [await old.set_progress("j1", {"stage": "both", "n": 1})]
            replica.replicate(replication.port)
            async with Watching(progress, ender=new) as watching:
                await watching.sees(n=1)
                replication.blackhole()
                written.append(await old.update("j1", {"n": 2, "lost": True}))
                written.append(await old.update("j1", {"n": 3}))
                await watching.sees(n=3)
                replica.promote()
                proxy.retarget(replica.port)
                master.kill()
                assert await watching.sees(n=1) == written[0]
                written.append(await new.update("j1", {"stage": "new"}))
                assert await watching.sees(stage="new") == await new.get_progress("j1")
                written.append(await new.update("j1", {"status": "done"}))
                assert all(snapshot in written for snapshot in await watching.ends())


def _flushed(raw: redis.Redis) -> None:
    raw.flushall()


def _deleted(raw: redis.Redis) -> None:
    raw.delete(KEY)


def _expired(raw: redis.Redis) -> None:
    raw.pexpire(KEY, 1)
    wait_for(lambda: not raw.exists(KEY), "the job to expire")


def _evicted(raw: redis.Redis) -> None:
    raw.config_set("maxmemory-policy", "allkeys-lru")
    raw.config_set("maxmemory", 1)
    wait_for(lambda: not raw.exists(KEY), "the job to be evicted")
    raw.config_set("maxmemory", 0)
    raw.config_set("maxmemory-policy", "noeviction")


WAYS: list[Callable[[redis.Redis], None]] = [_flushed, _deleted, _expired, _evicted]
"""How a job vanishes; the test of each way makes it anew."""


def _all_expire(raw: redis.Redis) -> bool:
    return all(raw.ttl(key) > 0 for key in raw.scan_iter())


@pytest.mark.parametrize("vanish", WAYS)
@without(naive.updates_without_looking)
async def test_no_half_of_a_job_comes_back(
    progress: ProgressManager, raw: redis.Redis, vanish: Callable[[redis.Redis], None]
) -> None:
    await progress.create("j1", owner="7", data={"a": 1})
    vanish(raw)
    with pytest.raises(JobNotFound):
        await progress.update("j1", {"b": 2})
    await progress.publish_update("j1", {"b": 2})
    assert not raw.exists(KEY)
    assert _all_expire(raw)
    whole = await progress.set_progress("j1", {"c": 3})
    assert await progress.get_progress("j1") == whole
    assert _all_expire(raw)


@without(naive.waits_for_a_job_forever)
async def test_watchers_of_a_job_that_stays_away_are_told_that_it_is_gone(
    quick: Any, foreign: redis.Redis
) -> None:
    for vanish in WAYS:
        stored = await quick.set_progress("j1", {"n": 1})
        async with Watching(quick) as watching:
            await watching.sees(n=1)
            vanish(foreign)
            assert await watching.ends() == [stored]


@both_managers
@without(naive.tells_no_lives_apart)
async def test_a_job_that_was_made_anew_is_a_visible_reset_and_no_mixture(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    async with manager_on(kind, server.url, heartbeat_seconds=NEVER) as progress:
        for vanish in WAYS:
            await progress.set_progress("j1", {"n": 1, "old": True})
            older = await progress.update("j1", {"n": 2})
            async with Watching(progress) as watching:
                await watching.sees(n=2)
                vanish(foreign)
                await progress.create("j1", data={"new": True})
                newer = await watching.sees(new=True)
                assert newer == await progress.get_progress("j1")
                end = await progress.update("j1", {"status": "done"})
                assert await watching.ends() == [older, newer, end]
            assert watching.orders == sorted(watching.orders)
            _deleted(foreign)


@without(naive.writes_only_what_it_counts)
def test_a_running_import_writes_the_whole_job_again_after_redis_was_emptied(
    jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    jobs.create(JOB, owner="7", data={"label": "Products"}, ttl_seconds=7200)
    with track_import(JOB, total=3) as job:
        for row in job.rows("abc"):
            if row == "b":
                foreign.flushall()
                job.count("created")
                wait_for(lambda: jobs.get_progress(JOB), "the job to be there again")
                shows(jobs, label="Products", attempt=1, processed_rows=1, created=1)
                assert 7190 <= foreign.ttl(f"import_progress:hash:{JOB}") <= 7200
                assert [listed["job_id"] for listed in jobs.jobs(owner="7")] == [JOB]
                assert _all_expire(foreign)
    shows(jobs, status="done", label="Products", processed_rows=3)
    assert _all_expire(foreign)
