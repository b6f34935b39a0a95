"""A worker that is killed, or stopped: its job is shown as stalled, and no other job is."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from django.db import transaction

from django_import_progress import SyncProgressManager, get_progress_manager, track_import
from django_import_progress.access import make_ticket
from django_import_progress.watch.hub import Watcher
from tests.kit import http, waiting
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.sse import open_stream
from tests.kit.stalling import (
    LATEST_SECONDS,
    STALLED_AFTER_SECONDS,
    becomes,
    now,
    seconds_late,
    stored,
)
from tests.kit.tracked import JOB, shows, state
from tests.kit.waiting import wait_for

from . import naive

pytestmark = pytest.mark.usefixtures("soon_stalled")


@asynccontextmanager
async def _watching() -> AsyncIterator[Watcher]:
    watcher = get_progress_manager().watcher(JOB)
    try:
        yield watcher
    finally:
        watcher.close()


both_signals = pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])


@both_signals
@without(naive.looks_for_lost_workers_at_heartbeats_only)
async def test_watchers_see_within_the_deadline_that_a_worker_is_lost(
    jobs: SyncProgressManager, lone_worker: LoneWorker, number: signal.Signals
) -> None:
    async with _watching() as watcher:
        await becomes(watcher, stalled=False)
        lone_worker.signal(number)
        await becomes(watcher, stalled=True)
        assert seconds_late(jobs) < LATEST_SECONDS


@both_signals
@without(naive.believes_in_every_worker)
def test_json_shows_at_the_deadline_that_a_worker_is_lost(
    live: AsgiServer, jobs: SyncProgressManager, lone_worker: LoneWorker, number: signal.Signals
) -> None:
    url = f"{live.url}/progress/jobs/{make_ticket(JOB)}/"
    lone_worker.signal(number)
    wait_for(lambda: seconds_late(jobs) > 0, "the deadline")
    shown = http.get(url).json()
    assert (shown["status"], shown["stalled"]) == ("importing", True)
    with open_stream(f"{url}stream/") as (_, events):  # So does the first event of a stream.
        assert next(events).json == shown


@without(naive.tells_changes_only)
def test_a_worker_whose_row_takes_longer_than_the_deadline_is_not_lost(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB):
        first = stored(jobs).lease

        def is_prolonged() -> bool:
            found = stored(jobs)
            assert not found.stalled
            return found.lease > first + 2e6 * STALLED_AFTER_SECONDS

        wait_for(is_prolonged, "two deadlines to pass")
    shows(jobs, status="done")


@without(naive.tells_no_time)
async def test_a_request_to_cancel_a_lost_workers_job_is_no_sign_of_life(
    jobs: SyncProgressManager, lone_worker: LoneWorker
) -> None:
    async with _watching() as watcher:
        await asyncio.to_thread(lone_worker.kill)
        await becomes(watcher, stalled=True)
        jobs.request_cancel(JOB)
        async with asyncio.timeout(waiting.PATIENCE_SECONDS):
            told = None
            while told is None or not told.cancelling:
                told = await watcher.next()
                assert told is not None
                assert told.stalled


@pytest.mark.parametrize("days", [-1, 1])
@without(naive.leases_by_the_workers_clock)
def test_a_clock_that_is_wrong_makes_no_worker_lost_and_none_immortal(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + days * 86_400)
    with track_import(JOB) as job:
        job.advance()
        shows(jobs, processed_rows=1)
        assert 0 < stored(jobs).lease - now(jobs) <= 1e6 * STALLED_AFTER_SECONDS


class ChangedMindError(Exception):
    pass


@pytest.mark.django_db(transaction=True)
@without(naive.says_done_at_once)
def test_an_import_that_was_rolled_back_has_failed(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(ChangedMindError), transaction.atomic():
        with track_import(JOB):
            pass
        raise ChangedMindError
    assert state(jobs)["status"] == "failed"


@without(naive.raises_what_anybody_catches)
def test_the_users_own_except_does_not_swallow_a_cancel(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        jobs.request_cancel(JOB)
        try:
            for _ in job.rows(iter(int, 1)):  # pragma: no branch
                wait_for(lambda: job.interrupt, "the worker to know")
        except Exception:  # As users do.  # pragma: no cover - for the control
            pytest.fail("It was swallowed.")
    assert state(jobs)["status"] == "cancelled"
