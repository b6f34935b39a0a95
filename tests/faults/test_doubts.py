"""What messages have a hub do: they are signs of life, and a flood of them causes few reads."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest
import redis

from django_import_progress import ProgressManager
from django_import_progress.core import reducer
from django_import_progress.core.pacing import READ_INTERVAL_SECONDS
from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.watch import subscriber
from tests.kit.controls import without
from tests.kit.hubs import is_subscribed
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.waiting import until
from tests.kit.watching import Watching

CHANNEL = "import_progress:channel:j1"
MESSAGES = 3000
HEARTBEAT_SECONDS = 0.4
OTHERS = 10
"""How many scripts run besides: the first read, the writes, the last."""


def reads_at_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "READ_INTERVAL_SECONDS", 0.0)
    # One that waits for nothing: a loop that is busy reading would take several for one.
    monkeypatch.setattr(
        subscriber.Subscriber, "_schedule_read", lambda self, slot: self._run_scheduled_read(slot)
    )


def _scripts_run(client: redis.Redis) -> int:
    stats: dict[str, Any] = client.info("commandstats")
    return int(stats.get("cmdstat_evalsha", {"calls": 0})["calls"])


@pytest.mark.parametrize("message", ["{junk", json.dumps({"n": 1})], ids=["junk", "partial"])
@without(reads_at_each_message)
async def test_a_flood_of_messages_becomes_no_flood_of_reads(
    server: RedisProcess, foreign: redis.Redis, message: str
) -> None:
    async with manager_on("async", server.url, heartbeat_seconds=3600) as progress:
        await progress.set_progress("j1", {"status": "importing"})
        async with Watching(progress) as watching:
            await watching.sees(status="importing")
            await until(lambda: is_subscribed(foreign, "j1"), "the subscription")
            before, began = _scripts_run(foreign), time.monotonic()
            await asyncio.to_thread(_flood, foreign, message)
            await progress.update("j1", {"status": "done"})
            await watching.ends()
            seconds = time.monotonic() - began
    assert _scripts_run(foreign) - before < seconds / READ_INTERVAL_SECONDS + OTHERS


def forgets_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    partial = JobStateReducer._partial

    def laid(self: JobStateReducer, *args: Any) -> bool:
        misses = self._misses
        changed = partial(self, *args)
        self._misses = misses
        return changed

    monkeypatch.setattr(JobStateReducer, "_partial", laid)


@without(forgets_signs_of_life)
async def test_a_job_that_is_only_published_any_more_is_not_gone(server: RedisProcess) -> None:
    async with manager_on("async", server.url, heartbeat_seconds=HEARTBEAT_SECONDS) as progress:
        await progress.set_progress("j1", {"n": 0}, ttl_seconds=1)
        async with Watching(progress) as watching:
            await watching.sees(n=0)
            await until(lambda: _is_absent(progress), "the snapshot to expire")
            long_enough = time.monotonic() + 3 * reducer.MISSES_UNTIL_GONE * HEARTBEAT_SECONDS
            number = 0
            while time.monotonic() < long_enough:
                number += 1
                await progress.publish_update("j1", {"n": number})
                await asyncio.sleep(HEARTBEAT_SECONDS / 20)
            await watching.sees(n=number)
            await progress.publish_update("j1", {"status": "done"})
            assert (await watching.ends())[-1]["status"] == "done"


def _flood(client: redis.Redis, message: str) -> None:
    for _ in range(MESSAGES):
        client.publish(CHANNEL, message)


async def _is_absent(progress: ProgressManager) -> bool:
    return await progress.get_progress("j1") is None
