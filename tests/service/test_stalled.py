"""A silent worker's job is shown as stalled, by Redis's clock."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from typing import Any

import pytest

from django_import_progress import (
    SyncProgressManager,
    get_progress_manager,
    get_sync_progress_manager,
    track_import,
)
from django_import_progress.access import make_ticket
from django_import_progress.watch.hub import Watcher

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.lone import LoneWorker
from ..kit.processes import RedisProcess
from ..kit.sse import Event, open_stream
from ..kit.stalling import (
    LATEST_SECONDS,
    STALLED_AFTER_SECONDS,
    becomes,
    now,
    seconds_late,
    stored,
)
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import until, wait_for

pytestmark = pytest.mark.usefixtures("soon_stalled")
HASH = f"import_progress:hash:{JOB}"


@pytest.fixture
async def watcher(lone_worker: LoneWorker) -> AsyncIterator[Watcher]:
    """A watcher of the worker's job."""
    watching = get_progress_manager().watcher(JOB)
    yield watching
    watching.close()


def _is_overdue(jobs: SyncProgressManager) -> bool:
    return seconds_late(jobs) > 0


def _next(events: Iterator[Event], *, stalled: bool) -> dict[str, Any]:
    """Return the next representation with this value of `stalled`."""
    return next(
        shown
        for event in events
        if (shown := event.json)["job_id"] == JOB and shown["stalled"] is stalled
    )


def test_json_and_streams_show_a_stopped_worker_as_stalled_until_it_goes_on(
    live: AsgiServer, jobs: SyncProgressManager, lone_worker: LoneWorker
) -> None:
    other = jobs.create()
    ticket = make_ticket(JOB)
    one = f"{live.url}/progress/jobs/{ticket}"
    both = f"{live.url}/progress/stream/?job={ticket}&job={make_ticket(other)}"
    with open_stream(f"{one}/stream/") as (_, events), open_stream(both) as (_, several):
        seen = [_next(stream, stalled=False) for stream in (events, several)]
        assert seen[0] == seen[1] | {"updated_at": seen[0]["updated_at"]}  # It beats meanwhile.
        assert http.get(f"{one}/").json()["stalled"] is False
        lone_worker.pause()
        for stream in (events, several):
            shown = _next(stream, stalled=True)
            assert (shown["status"], shown["processed_rows"]) == ("importing", 0)
            assert seconds_late(jobs) < LATEST_SECONDS
        answer = http.get(f"{one}/")
        assert answer.json() == shown
        lone_worker.resume()
        for stream in (events, several):
            _next(stream, stalled=False)
        assert http.get(f"{one}/").json()["stalled"] is False
        again = http.get(f"{one}/", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 200
        assert lone_worker.outcome() == "through"
        assert [event.json["stalled"] for event in events if event.data][-1] is False
        jobs.delete(other)


async def test_the_hub_shows_a_worker_as_stalled_that_was_killed(
    jobs: SyncProgressManager, lone_worker: LoneWorker, watcher: Watcher
) -> None:
    await becomes(watcher, stalled=False)
    await asyncio.to_thread(lone_worker.kill)
    await becomes(watcher, stalled=True)
    assert seconds_late(jobs) < LATEST_SECONDS
    with pytest.raises(TimeoutError):  # And once.
        await watcher.next(1.5)
    async with track_import(JOB):
        again = await becomes(watcher, stalled=False)
        assert again.fields["attempt"] == 2


@pytest.mark.parametrize("verb", ["update", "set_progress"])
async def test_whoever_continues_a_stalled_job_makes_it_run(
    jobs: SyncProgressManager, lone_worker: LoneWorker, watcher: Watcher, verb: str
) -> None:
    await asyncio.to_thread(lone_worker.kill)
    await becomes(watcher, stalled=True)
    getattr(jobs, verb)(JOB, {"status": "importing", "note": "by hand"})
    jobs.publish_update(JOB, {})  # What was set is not published.
    state = await becomes(watcher, stalled=False)
    assert state.fields["note"] == "by hand"
    described = jobs.describe(JOB)
    assert described is not None
    assert not described["stalled"]


async def test_what_is_published_about_a_stalled_job_does_not_make_it_run(
    jobs: SyncProgressManager, lone_worker: LoneWorker, watcher: Watcher
) -> None:
    await asyncio.to_thread(lone_worker.kill)
    await becomes(watcher, stalled=True)
    assert jobs.request_cancel(JOB)
    asked = await watcher.next(10)
    assert asked is not None
    assert (asked.cancelling, asked.stalled) == (True, True)
    jobs.publish_update(JOB, {"note": "gone"})
    told = await watcher.next(10)
    assert told is not None
    assert (told.fields["note"], told.stalled) == ("gone", True)
    jobs.publish_update(JOB, {"status": "failed"})
    ended = await watcher.next(10)
    assert ended is not None
    assert (ended.ended, ended.stalled, ended.cancelling) == (True, False, False)


async def test_watch_does_not_yield_a_snapshot_again_because_its_worker_has_stalled(
    jobs: SyncProgressManager, lone_worker: LoneWorker, watcher: Watcher
) -> None:
    seen: dict[str, list[dict[str, Any]]] = {"async": [], "sync": []}
    watching = jobs.watch(JOB)

    async def watch() -> None:
        async for snapshot in get_progress_manager().watch(JOB):
            seen["async"].append(snapshot)

    task = asyncio.create_task(watch())
    thread = threading.Thread(target=lambda: seen["sync"].extend(watching))
    thread.start()
    try:
        await until(lambda: seen["async"], "the first snapshot")
        lone_worker.pause()
        await becomes(watcher, stalled=True)

        def is_seen_by_the_sync_one() -> bool:
            frame: Any = watching.gi_frame  # type: ignore[attr-defined]
            return bool(frame.f_locals["slot"].view.state.stalled)

        await until(is_seen_by_the_sync_one, "the thread to know that it has stalled")
        lone_worker.resume()
        lone_worker.row()
        await until(lambda: seen["async"][-1]["processed_rows"] == 1, "the row")
    finally:
        lone_worker.resume()
        assert await asyncio.to_thread(lone_worker.outcome) == "through"
        await asyncio.wait_for(task, 10)
        await asyncio.to_thread(thread.join)
    for snapshots in seen.values():
        assert snapshots[-1]["status"] == "done"
        assert all(one != next_one for one, next_one in pairwise(snapshots))
        assert not any({"stalled", "cancelling"} & snapshot.keys() for snapshot in snapshots)


def test_a_worker_is_not_stalled_whose_one_row_takes_long(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        first = stored(jobs).lease
        leases = {first}

        def has_taken_three_deadlines() -> bool:
            found = stored(jobs)
            leases.add(found.lease)
            assert not found.stalled
            return found.lease > first + 3e6 * STALLED_AFTER_SECONDS

        for _ in job.rows([1]):
            wait_for(has_taken_three_deadlines, "the lease to be prolonged")
        # Every third of it: one that is late must not be the last.
        assert len(leases) > 6
    assert state(jobs)["status"] == "done"


@pytest.mark.parametrize("tracked_before", [False, True])
async def test_a_job_without_a_tracked_worker_never_is(
    jobs: SyncProgressManager, tracked_before: bool
) -> None:
    if tracked_before:
        async with track_import(JOB):
            pass
        jobs.set_progress(JOB, {"status": "queued"})  # It begins anew.
    else:
        jobs.create(JOB)
    deadline = now(jobs) + 2e6 * STALLED_AFTER_SECONDS
    watcher = get_progress_manager().watcher(JOB)
    try:
        for fields in ({"status": "queued"}, {"status": "importing"}):
            jobs.update(JOB, fields)
            await until(lambda: now(jobs) > deadline, "two deadlines to pass")
            assert (stored(jobs).lease, stored(jobs).stalled) == (0, False)
            found = await watcher.next(10)
            assert found is not None
            assert not found.stalled
    finally:
        watcher.close()


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
def test_a_job_that_has_ended_never_is(jobs: SyncProgressManager, status: str) -> None:
    errors: dict[str, BaseException] = {"failed": ValueError(), "cancelled": KeyboardInterrupt()}
    try:
        with track_import(JOB):
            if status in errors:
                raise errors[status]
    except (ValueError, KeyboardInterrupt):
        pass
    assert state(jobs)["status"] == status
    wait_for(lambda: _is_overdue(jobs), "the last lease to be over")
    assert not stored(jobs).stalled


@pytest.mark.parametrize("days", [-1, 1])
async def test_the_clocks_of_worker_and_reader_play_no_part(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)
    watcher = get_progress_manager().watcher(JOB)
    try:
        async with track_import(JOB) as job:
            lease = stored(jobs).lease
            assert 0 < lease - now(jobs) <= 1e6 * STALLED_AFTER_SECONDS
            assert not (await becomes(watcher, stalled=False)).ended
            writer: Any = job._writer
            held = threading.Event()
            monkeypatch.setattr(writer, "_take_sample", lambda: [held.wait(), job._sample()][1])
            await becomes(watcher, stalled=True)
            assert 0 < seconds_late(jobs) < LATEST_SECONDS
            held.set()
            await becomes(watcher, stalled=False)
    finally:
        watcher.close()


def test_it_is_no_field_of_the_snapshot(jobs: SyncProgressManager, lone_worker: LoneWorker) -> None:
    lone_worker.signal(signal.SIGKILL)
    wait_for(lambda: stored(jobs).stalled, "the worker to be missed")
    shows(jobs, status="importing")
    assert "stalled" not in state(jobs)
    assert "stalled" not in jobs.jobs()[0]
    names: Any = jobs.redis.hkeys(HASH)
    assert b"stalled" not in names


def test_a_job_with_a_short_time_to_live_does_not_expire_while_one_row_takes_long(
    site: RedisProcess, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "TTL_SECONDS": 1}
    jobs = get_sync_progress_manager()
    with track_import(JOB) as job:
        for _ in job.rows(range(1)):
            wait_for(lambda: stored(jobs).version > 5, "signs of life")
    assert state(jobs)["status"] == "done"
