"""The hub: one subscription for all watchers, which have no queues."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
import redis

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from django_import_progress.watch.hub import Hub, Watcher
from django_import_progress.watch.watched_job import WatchedJob
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.hubs import is_subscribed, sees
from ..kit.processes import RedisProcess
from ..kit.waiting import until

__all__ = ["defence"]

CHANNEL = "import_progress:channel:j1"


@pytest.fixture
async def progress(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    """A manager with a hub of its own."""
    client = create_redis_client(server.url)
    hub = Hub(client)
    yield ProgressManager(client, hub=hub)
    await hub.aclose()
    await client.aclose()


def _subscriptions(foreign: redis.Redis) -> int:
    return len(foreign.client_list(_type="pubsub"))


async def test_50_watchers_of_50_jobs_share_a_connection_that_is_closed_after_the_last(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    watchers = [progress.watcher(f"j{number}") for number in range(50)]
    for number, watcher in enumerate(watchers):
        await progress.create(f"j{number}", data={"n": number})
        await sees(watcher, n=number)
    assert _subscriptions(foreign) == 1
    for watcher in watchers:
        watcher.close()
    await until(lambda: _subscriptions(foreign) == 0, "the connection to be closed")


async def test_more_channels_than_fit_into_one_command(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    watchers = [progress.watcher(f"j{number}") for number in range(1201)]
    await until(lambda: len(foreign.pubsub_channels()) == 1201, "all to be subscribed")
    for number in (0, 700, 1200):
        await progress.create(f"j{number}")
        await sees(watchers[number], status="queued")
    for watcher in watchers[1:]:
        watcher.close()
    await until(lambda: len(foreign.pubsub_channels()) == 1, "all but one to be unsubscribed")
    await progress.update("j0", {"n": 1})
    await sees(watchers[0], n=1)
    watchers[0].close()


def shows_a_deletion_to_later_watchers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watcher, "is_confirmed", True)


@without(shows_a_deletion_to_later_watchers)
async def test_a_watcher_that_joins_after_the_job_was_created_again_is_not_shown_its_deletion(
    progress: ProgressManager, server: RedisProcess
) -> None:
    await progress.create("j1")
    first = progress.watcher("j1")
    await sees(first, status="queued")
    with create_sync_redis_client(server.url) as client:
        # The event loop does not run meanwhile: the hub has not received the deletion yet.
        jobs = SyncProgressManager(client)
        jobs.delete("j1")
        jobs.create("j1", data={"stage": "again"})
        second = progress.watcher("j1")
    state = await second.next(10)
    assert state is not None
    assert (state.gone, state.fields.get("stage")) == (False, "again")
    gone = await first.next(10)
    assert gone is not None
    assert gone.gone
    second.close()


async def test_a_job_without_watchers_is_unsubscribed(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    stays, goes, goes_too = (progress.watcher(job_id) for job_id in ("j1", "j2", "j2"))
    await until(lambda: is_subscribed(foreign, "j2"), "the subscription")
    goes.close()
    await progress.create("j2")
    await sees(goes_too, status="queued")
    goes_too.close()
    await until(lambda: not is_subscribed(foreign, "j2"), "its end")
    assert is_subscribed(foreign, "j1")
    stays.close()


async def test_a_job_watched_again_at_once_is_read_without_a_confirmation(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    await progress.create("j1")
    first, other = progress.watcher("j1"), progress.watcher("j2")
    await sees(first, status="queued")
    first.close()
    await asyncio.sleep(0)  # The closing is done; the hub has not come to unsubscribe.
    again = progress.watcher("j1")
    await sees(again, status="queued")
    for watcher in (again, other):
        watcher.close()


async def test_a_slow_watcher_gets_only_the_newest(progress: ProgressManager) -> None:
    await progress.create("j1")
    slow, quick = progress.watcher("j1"), progress.watcher("j1")
    await sees(slow, status="queued")
    for number in range(100):
        await progress.update("j1", {"n": number})
    await sees(quick, n=99)
    state = await slow.next()
    assert state is not None
    assert state.fields["n"] == 99
    with pytest.raises(TimeoutError):
        await slow.next(timeout_seconds=0.01)
    await progress.update("j1", {"n": 100})
    await sees(slow, n=100)
    slow.close()
    quick.close()


async def test_after_the_end_there_is_nothing_more(progress: ProgressManager) -> None:
    await progress.create("j1", data={"status": "done"})
    watcher = progress.watcher("j1")
    state = await watcher.next()
    assert state is not None
    assert state.ended
    assert await watcher.next() is None
    watcher.close()
    assert await watcher.next() is None


async def test_a_watcher_may_be_closed_from_any_thread_and_twice(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    watcher = progress.watcher("j1")
    waiting = asyncio.create_task(watcher.next())
    await until(lambda: is_subscribed(foreign, "j1"), "the subscription")
    threads = [threading.Thread(target=watcher.close) for _ in range(2)]
    for thread in threads:
        thread.start()
    assert await waiting is None
    for thread in threads:
        thread.join()
    watcher.close()
    await until(lambda: _subscriptions(foreign) == 0, "the connection to be closed")
    assert (watcher.closed, await watcher.next()) == (True, None)


async def test_closing_a_watcher_does_not_affect_another_one_of_the_job(
    progress: ProgressManager,
) -> None:
    await progress.create("j1")
    one, other = progress.watcher("j1"), progress.watcher("j1")
    await sees(one, status="queued")
    one.close()
    await progress.update("j1", {"n": 1})
    await sees(other, n=1)
    other.close()


async def test_after_a_deletion_new_watchers_wait_until_the_job_is_created_again(
    progress: ProgressManager,
) -> None:
    await progress.create("j1", data={"n": 1})
    watcher = progress.watcher("j1")
    await sees(watcher, n=1)
    await progress.delete("j1")
    state = await watcher.next()
    assert state is not None
    assert state.gone
    assert await watcher.next() is None
    late = progress.watcher("j1")
    await progress.create("j1", data={"n": 2})
    await sees(late, n=2)
    for one in (late, watcher):
        one.close()


async def test_a_watcher_ends_if_it_missed_that_its_job_was_deleted_and_recreated(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    await progress.create("j1", data={"n": 1})
    life = int(foreign.hget("import_progress:hash:j1", "_l") or 0)
    away, other, keeper = (progress.watcher(job_id) for job_id in ("j1", "j1", "j2"))
    await sees(away, n=1)
    with foreign.pipeline() as pipeline:  # As one reading of the socket finds it.
        pipeline.publish(CHANNEL, json.dumps({"a": 1}))
        pipeline.delete("import_progress:hash:j1")
        pipeline.publish(CHANNEL, json.dumps({"_gone": life}))
        pipeline.hset("import_progress:hash:j1", mapping={"n": 2, "_l": life + 1, "_v": 1})
        pipeline.execute()
    while (state := await other.next(10)) is not None and not state.gone:
        pass  # Until the hub has received all messages.
    late = progress.watcher("j1")
    await sees(late, n=2)
    await progress.update("j1", {"status": "done"})
    while await away.next(5) is not None:
        pass  # It ends, as gone or as done.
    for watcher in (away, late, other, keeper):
        watcher.close()


async def test_a_key_of_another_type_does_not_affect_other_jobs(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    foreign.set("import_progress:hash:j1", "text")
    await progress.create("j2")
    odd, watcher = progress.watcher("j1"), progress.watcher("j2")
    await sees(watcher, status="queued")
    for one in (odd, watcher):
        one.close()


async def test_closing_the_hub_closes_watchers_and_connection(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    hub = Hub(progress.redis)
    await hub.aclose()  # Nothing was begun.
    watchers = [hub.watch(progress.calls, job_id) for job_id in ("j1", "j2", "j2")]
    assert repr(hub) == "<Hub: 2 jobs, 3 watchers>"
    await until(lambda: is_subscribed(foreign, "j2"), "the subscription")
    await hub.aclose()
    await until(lambda: _subscriptions(foreign) == 0, "the connection to be closed")
    for watcher in watchers:
        watcher.close()
    assert repr(hub) == "<Hub: 0 jobs, 0 watchers>"


def test_a_watcher_may_be_closed_after_its_event_loop(server: RedisProcess) -> None:
    async def begin() -> Watcher:
        client = create_redis_client(server.url)
        hub = Hub(client)
        watcher = hub.watch(ProgressManager(client).calls, "j1")
        await hub.aclose()
        await client.aclose()
        return watcher

    asyncio.run(begin()).close()


async def test_a_new_watcher_of_a_watched_job_is_shown_the_stored_state(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    await progress.create("j1", data={"n": 1})
    first = progress.watcher("j1")
    await sees(first, n=1)
    await progress.set_progress("j1", {"n": 2})  # Nobody is told.
    second = progress.watcher("j1")
    state = await second.next()
    assert state is not None
    assert state.fields["n"] == 2
    await progress.update("j1", {"status": "done"})
    await sees(first, status="done")
    await progress.set_progress("j1", {"status": "importing"})  # It begins anew.
    third = progress.watcher("j1")
    state = await third.next()
    assert state is not None
    assert state.fields["status"] == "importing"
    for watcher in (first, second, third):
        watcher.close()


async def test_a_new_watcher_is_shown_no_partial_message_before_the_snapshot(
    progress: ProgressManager,
) -> None:
    slot = WatchedJob(progress.calls, "j1")
    hub = progress._hub
    assert hub is not None
    watcher = Watcher(hub, slot, 0, None)
    slot.apply_message(b'{"p":1}')  # Between the confirmation and the answer of the read.
    with pytest.raises(TimeoutError):
        await watcher.next(0)
    slot.view.apply_read(None, slot.view.begin_read())
    slot.confirmed_read = slot.requested_read
    assert (await watcher.next(0)) is not None


async def test_closing_a_hub_ends_waiting_watchers(progress: ProgressManager) -> None:
    watcher = progress.watcher("j1")
    waiting = asyncio.create_task(watcher.next())
    await asyncio.sleep(0)
    hub = progress._hub
    assert hub is not None
    await hub.aclose()
    async with asyncio.timeout(10):
        assert await waiting is None
