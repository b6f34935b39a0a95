"""Many watchers in one process use one subscription."""

from __future__ import annotations

import asyncio

import redis

from tests.kit.controls import without
from tests.kit.hubs import sees
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.waiting import until

from . import naive
from .cutting import subscriptions


@without(naive.has_a_hub_for_each_watcher)
async def test_2000_watchers_share_one_subscription_and_all_see_an_update_and_the_end(
    server: RedisProcess, foreign: redis.Redis, defence: bool
) -> None:
    ids = [f"j{number}" for number in range(1000 if defence else 5)]
    async with (
        manager_on("async", server.url) as writer,
        manager_on("async", server.url, heartbeat_seconds=3600) as progress,
    ):
        for job_id in ids:
            await writer.create(job_id)
        watchers = [progress.watcher(job_id) for job_id in ids * 2]
        try:
            await asyncio.gather(*(sees(watcher, status="queued") for watcher in watchers))
            assert subscriptions(foreign) == 1
            for fields in ({"n": 1}, {"n": 2, "status": "done"}):
                for job_id in ids:
                    await writer.update(job_id, fields)
                await asyncio.gather(*(sees(watcher, **fields) for watcher in watchers))
            assert [await watcher.next() for watcher in watchers] == [None] * len(watchers)
            assert subscriptions(foreign) == 1
        finally:
            for watcher in watchers:
                watcher.close()
        await until(lambda: subscriptions(foreign) == 0, "the subscription to end")
