"""Requested cancellation: between two rows, once, and with one final status."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from contextlib import suppress
from typing import Any

import pytest

from django_import_progress import (
    ImportCancelled,
    ImportSuperseded,
    JobFinished,
    ProgressManager,
    SyncProgressManager,
    track_import,
)

from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for


async def test_request_cancel_says_whether_there_is_something_to_stop(
    progress: ProgressManager,
) -> None:
    assert not await progress.request_cancel("j1")
    await progress.create("j1")
    assert await progress.request_cancel("j1")
    assert await progress.request_cancel("j1")
    await progress.update("j1", {"status": "done"})
    assert not await progress.request_cancel("j1")


async def test_a_request_is_published_once_and_is_not_a_field(progress: ProgressManager) -> None:
    await progress.create("j1", data={"n": 1})
    before = await progress.get_progress("j1")
    await progress.request_cancel("j1")
    assert await progress.get_progress("j1") == before
    await progress.request_cancel("j1")
    stored = (await progress.jobs())[0]
    assert "_c" not in stored


def _cancel_after(jobs: SyncProgressManager, rows: int) -> Any:
    """Yield rows forever; request cancellation after some of them."""
    for number in range(10**9):  # pragma: no branch
        if number == rows:
            assert jobs.request_cancel(JOB)
        yield number
        time.sleep(0.001)


@pytest.mark.parametrize("kind", ["rows", "batches", "advance"])
def test_the_loop_ends_at_a_rows_boundary_and_the_with_absorbs_it(
    jobs: SyncProgressManager, kind: str
) -> None:
    through = 0
    with track_import(JOB) as job:
        if kind == "rows":
            for _ in job.rows(_cancel_after(jobs, 5)):
                through += 1
        elif kind == "batches":
            for _ in job.batches([row] for row in _cancel_after(jobs, 5)):
                through += 1
        else:
            for _ in _cancel_after(jobs, 5):  # pragma: no branch
                through += 1
                job.advance()
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("cancelled", through)
    assert through > 5


async def test_so_does_an_asynchronous_one(jobs: SyncProgressManager) -> None:
    async with track_import(JOB) as job:
        async for number in job.rows(range(10**9)):
            if number == 5:
                await asyncio.to_thread(jobs.request_cancel, JOB)
            await asyncio.sleep(0.001)
    assert state(jobs)["status"] == "cancelled"


def test_the_users_own_except_does_not_swallow_it(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        rows = iter(job.rows(_cancel_after(jobs, 5)))
        for _ in range(100_000):  # pragma: no branch - it ends before
            with suppress(Exception):
                next(rows)
    assert state(jobs)["status"] == "cancelled"


def test_one_that_is_still_queued_ends_as_soon_as_its_worker_takes_it(
    jobs: SyncProgressManager,
) -> None:
    jobs.create(JOB)
    jobs.request_cancel(JOB)
    with track_import(JOB) as job:
        for _ in job.rows(range(5)):
            raise AssertionError("a row was read")
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("cancelled", 0)


async def test_so_does_an_asynchronous_one_that_is_still_queued(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    jobs.request_cancel(JOB)
    async with track_import(JOB) as job:
        async for _ in job.rows(range(5)):
            raise AssertionError("a row was read")
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("cancelled", 0)


def test_a_loop_that_reads_cancelled_ends_cancelled(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for _ in _cancel_after(jobs, 5):  # pragma: no branch
            if job.cancelled:
                break
    assert state(jobs)["status"] == "cancelled"


def test_a_loop_that_ended_before_it_noticed_ends_done(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for _ in job.rows(range(5)):
            pass
        jobs.request_cancel(JOB)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 5)


def test_a_new_attempt_is_not_cancelled_by_what_ended_the_last(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    jobs.request_cancel(JOB)
    for _ in range(2):
        with track_import(JOB) as job:
            for _ in job.rows(range(5)):
                pass
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)


def test_a_final_status_by_other_code_wins_over_the_workers(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(ImportSuperseded), track_import(JOB) as job:
        shows(jobs, status="importing")
        jobs.update(JOB, {"status": "failed", "error_message": "by hand"})
        for _ in job.rows(range(5)):
            pass
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "by hand")
    with pytest.raises(JobFinished):
        jobs.update(JOB, {"n": 1})


def test_a_cancel_that_races_the_completion_ends_once(
    jobs: SyncProgressManager, server: RedisProcess
) -> None:
    moments = random.Random(20261124)
    for number in range(50):
        job_id = f"{JOB}-{number}"
        ends: list[str] = []
        watched = threading.Event()

        def watch(job_id: str = job_id, ends: list[str] = ends, seen: Any = watched) -> None:
            for snapshot in jobs.watch(job_id):
                seen.set()
                if snapshot["status"] in {"done", "cancelled"}:
                    ends.append(snapshot["status"])

        jobs.create(job_id)
        watcher = threading.Thread(target=watch)
        watcher.start()
        wait_for(watched.is_set, "the watcher")
        with track_import(job_id) as job:
            canceller = threading.Timer(
                moments.uniform(0, 0.02), jobs.request_cancel, args=[job_id]
            )
            canceller.start()
            for _ in job.rows(range(10)):
                time.sleep(0.001)
        canceller.join()
        watcher.join()
        assert len(ends) == 1
        assert (jobs.get_progress(job_id) or {})["status"] == ends[0]


def test_import_cancelled_is_no_exception() -> None:
    assert not issubclass(ImportCancelled, Exception)
