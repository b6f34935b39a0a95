"""Bursts of messages: a fast watcher is shown each, and none waits for the whole burst."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from django_import_progress import ProgressManager, create_redis_client
from django_import_progress.watch import pubsub_connection
from django_import_progress.watch.hub import Hub, Watcher

from ..kit.controls import without
from ..kit.hubs import sees
from ..kit.processes import RedisProcess

UPDATES = 20
JOBS = 3 * pubsub_connection.JOBS_PER_TURN


@pytest.fixture
async def progress(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    """A manager with a hub of its own."""
    client = create_redis_client(server.url)
    hub = Hub(client)
    yield ProgressManager(client, hub=hub)
    await hub.aclose()
    await client.aclose()


def nobody_has_a_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub_connection, "_must_yield", lambda channel, updated: False)


@pytest.fixture
def defence(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param is not None:
        request.param(monkeypatch)


def publish_at_once(foreign: redis.Redis, told: list[tuple[str, str]]) -> None:
    with foreign.pipeline() as transaction:
        for job_id, text in told:
            transaction.publish(f"import_progress:channel:{job_id}", text)
        transaction.execute()


@without(nobody_has_a_turn)
async def test_a_fast_watcher_is_shown_each_message_of_a_burst(
    defence: None, progress: ProgressManager, foreign: redis.Redis
) -> None:
    for job_id in ("j1", "j2"):
        await progress.create(job_id)
    watchers = [progress.watcher(job_id) for job_id in ("j1", "j2")]
    for watcher in watchers:
        await sees(watcher, status="queued")
    tasks = [asyncio.ensure_future(_numbers(watcher)) for watcher in watchers]
    await asyncio.sleep(0)  # Both wait by now.
    both = [(job_id, f'{{"n":{number}}}') for number in range(UPDATES) for job_id in ("j1", "j2")]
    publish_at_once(foreign, both)
    assert await asyncio.gather(*tasks) == [[*range(UPDATES)]] * 2


async def _numbers(watcher: Watcher) -> list[int]:
    found: list[int] = []
    while not found or found[-1] < UPDATES - 1:
        state = await watcher.next(10)
        assert state is not None
        found.append(state.fields["n"])
    watcher.close()
    return found


@without(nobody_has_a_turn)
async def test_a_burst_of_many_jobs_is_shown_in_turns(
    defence: None, progress: ProgressManager, foreign: redis.Redis
) -> None:
    jobs = [f"j{number}" for number in range(JOBS)]
    watchers = [progress.watcher(job_id) for job_id in jobs]
    for job_id in jobs:
        await progress.create(job_id)
    for watcher in watchers:
        await sees(watcher, status="queued")
    first = asyncio.ensure_future(watchers[0].next(10))
    await asyncio.sleep(0)
    publish_at_once(foreign, [(job_id, '{"n":1}') for job_id in jobs])
    await first
    assert watchers[-1].poll() is None, "all were heard before the first could be shown"
    await sees(watchers[-1], n=1)
    for watcher in watchers:
        watcher.close()
