"""The hub: one subscription for all who watch, who are woken and never queued for."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator

import pytest
import redis

from django_import_progress import ProgressManager, create_redis_client
from django_import_progress.watch.hub import Hub, Watcher
from django_import_progress.watch.watched_job import WatchedJob

from ..kit.hubs import is_subscribed, sees
from ..kit.processes import RedisProcess
from ..kit.waiting import until

CHANNEL = "import_progress:channel:j1"


@pytest.fixture
async def progress(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    """A manager with a hub of its own."""
    client = create_redis_client(server.url)
    hub = Hub(client)
    yield ProgressManager(client, hub=hub)
    await hub.aclose()
    await client.aclose()


def _links(foreign: redis.Redis) -> int:
    return len(foreign.client_list(_type="pubsub"))


async def test_50_watchers_of_50_jobs_share_one_connection_that_goes_with_the_last(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    watchers = [progress.watcher(f"j{number}") for number in range(50)]
    for number, watcher in enumerate(watchers):
        await progress.create(f"j{number}", data={"n": number})
        await sees(watcher, n=number)
    assert _links(foreign) == 1
    for watcher in watchers:
        watcher.close()
    await until(lambda: _links(foreign) == 0, "the connection to go")


async def test_more_channels_than_one_command_names(
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


async def test_a_job_that_nobody_watches_any_more_is_unsubscribed(
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


async def test_a_job_taken_up_again_at_once_is_read_though_redis_confirms_nothing(
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


async def test_closing_wakes_who_waits_from_any_thread_and_twice(
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
    await until(lambda: _links(foreign) == 0, "the connection to go")
    assert (watcher.closed, await watcher.next()) == (True, None)


async def test_closing_one_of_two_leaves_the_other_watching(progress: ProgressManager) -> None:
    await progress.create("j1")
    one, other = progress.watcher("j1"), progress.watcher("j1")
    await sees(one, status="queued")
    one.close()
    await progress.update("j1", {"n": 1})
    await sees(other, n=1)
    other.close()


async def test_what_is_gone_is_told_and_who_comes_later_waits_for_another_life(
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


async def test_a_watcher_who_was_away_while_its_job_was_deleted_and_made_anew_is_not_left_hanging(
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
        pass  # Until the hub has heard of it all.
    late = progress.watcher("j1")
    await sees(late, n=2)
    await progress.update("j1", {"status": "done"})
    while await away.next(5) is not None:
        pass  # It ends, as gone or as done.
    for watcher in (away, late, other, keeper):
        watcher.close()


async def test_a_key_of_another_type_keeps_no_other_job_from_being_read(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    foreign.set("import_progress:hash:j1", "text")
    await progress.create("j2")
    odd, watcher = progress.watcher("j1"), progress.watcher("j2")
    await sees(watcher, status="queued")
    for one in (odd, watcher):
        one.close()


async def test_closing_the_hub_lets_go_of_everything(
    progress: ProgressManager, foreign: redis.Redis
) -> None:
    hub = Hub(progress.redis)
    await hub.aclose()  # Nothing was begun.
    watchers = [hub.watch(progress.calls, job_id) for job_id in ("j1", "j2", "j2")]
    assert repr(hub) == "<Hub: 2 jobs, 3 watchers>"
    await until(lambda: is_subscribed(foreign, "j2"), "the subscription")
    await hub.aclose()
    await until(lambda: _links(foreign) == 0, "the connection to go")
    for watcher in watchers:
        watcher.close()
    assert repr(hub) == "<Hub: 0 jobs, 0 watchers>"


def test_closing_a_watcher_after_its_loop_is_nothing(server: RedisProcess) -> None:
    async def begin() -> Watcher:
        client = create_redis_client(server.url)
        hub = Hub(client)
        watcher = hub.watch(ProgressManager(client).calls, "j1")
        await hub.aclose()
        await client.aclose()
        return watcher

    asyncio.run(begin()).close()


async def test_who_joins_a_watched_job_is_shown_what_is_stored(
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


async def test_the_first_watcher_of_a_job_is_shown_no_partial_message_before_the_snapshot(
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


async def test_closing_a_hub_tells_those_who_wait(progress: ProgressManager) -> None:
    watcher = progress.watcher("j1")
    waiting = asyncio.create_task(watcher.next())
    await asyncio.sleep(0)
    hub = progress._hub
    assert hub is not None
    await hub.aclose()
    async with asyncio.timeout(10):
        assert await waiting is None


async def test_who_joins_a_job_that_goes_before_it_is_read_is_told(
    progress: ProgressManager,
) -> None:
    slot = WatchedJob(progress.calls, "j1")  # The read it asks for never comes: the link breaks.
    hub = progress._hub
    assert hub is not None
    watcher = Watcher(hub, slot, 0, None)
    slot.apply_message(b'{"_l":1,"_v":1}')
    with pytest.raises(TimeoutError):
        await watcher.next(0)
    slot.apply_message(b'{"_gone":1}')
    state = await watcher.next(0)
    assert state is not None
    assert state.gone
