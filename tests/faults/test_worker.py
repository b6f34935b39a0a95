"""Redis fails while an import runs, or as it ends: the import is not affected."""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from django_import_progress import SyncProgressManager, create_sync_redis_client, track_import
from django_import_progress.tracker import awaitable_event, writer
from django_import_progress.tracker.process_exit import wait_for_finishing
from django_import_progress.tracker.reporting_thread import LEAVE_SECONDS
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.processes import DURABLE, RedisProcess, valkey_binary
from tests.kit.tracked import JOB, end_writers, shows, state
from tests.kit.waiting import wait_for

from . import naive_worker
from .noted import impatient, noted
from .outages import OUTAGES, Outage, away_until, hung, killed

each_outage = pytest.mark.parametrize("outage", OUTAGES.values(), ids=OUTAGES)
BUSY_SECONDS = 3.0
"""Extra time for a busy machine."""
MANY = 10_000
"""So many rows take far less time than one time-out."""


class OwnError(Exception):
    pass


@pytest.fixture
def process() -> Iterator[RedisProcess]:
    """A server for one test, which keeps its data when restarted."""
    end_writers()  # Of earlier tests, which may still have something to log.
    with RedisProcess(valkey_binary(), *DURABLE) as process:
        yield process


@pytest.fixture
def only_the_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write only when the import starts and ends."""
    monkeypatch.setattr(writer, "INTERVAL_SECONDS", 3600)


@pytest.fixture
def no_retries_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not retry after the `with` block."""
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0)


@without(naive_worker.writes_in_the_loops_own_thread)
def test_rows_go_on_while_the_writer_waits_for_a_frozen_redis(process: RedisProcess) -> None:
    with noted(process.url) as (manager, client), track_import(JOB, manager=manager) as job:
        passed = 0
        with process.frozen():
            for _ in job.rows(itertools.count()):  # pragma: no branch
                passed += client.waiting > 0
                if passed == MANY or client.failures == 2:
                    break
        assert passed == MANY
        shows(manager, status="importing", processed_rows=job.processed)
    with impatient(process.url) as manager:
        assert (state(manager)["status"], state(manager)["attempt"]) == ("done", 1)


def _imported(manager: SyncProgressManager) -> tuple[list[int], int]:
    with track_import(JOB, manager=manager) as job:
        rows = [row * row for row in job.rows(range(MANY))]
    return rows, job.processed


@without(naive_worker.lets_refusals_through, fails_with=(Exception,))
def test_an_imports_result_is_the_same_with_redis_healthy_frozen_and_dead(
    process: RedisProcess, no_retries_after_the_block: None
) -> None:
    nobody = RedisProcess(process.binary)  # It is not started.
    with impatient(process.url) as there, impatient(nobody.url) as away:
        there.jobs()  # It is connected before Redis falls silent.
        with process.frozen(), concurrent.futures.ThreadPoolExecutor(2) as threads:
            frozen, dead = threads.map(_imported, (there, away))
        end_writers()
        healthy = _imported(there)  # The last, for the control would take its time for it.
    assert healthy == frozen == dead


@pytest.mark.parametrize("comes_back", [True, False])
def test_the_last_chance_is_taken_or_logged(
    process: RedisProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    comes_back: bool,
) -> None:
    monkeypatch.setattr(writer, "FINAL_SECONDS", 20.0 if comes_back else 0.1)
    process.kill()
    with impatient(process.url) as manager:
        with track_import(JOB, manager=manager):
            pass
        if comes_back:
            process.start()
        wait_for_finishing()
        assert ("could not be saved" in caplog.text) is not comes_back
        end_writers()


@each_outage
@without(naive_worker.writes_the_final_status_once)
def test_a_final_status_that_redis_missed_is_written_after_the_outage(
    process: RedisProcess, only_the_ends: None, outage: Outage
) -> None:
    with noted(process.url) as (manager, client):
        with ExitStack() as stack, track_import(JOB, owner=7, manager=manager) as job:
            rows = list(job.rows("abc"))
            stack.enter_context(away_until(outage(process), lambda: client.failures))
        assert rows == ["a", "b", "c"]
        assert (state(manager)["status"], state(manager)["processed_rows"]) == ("done", 3)
        assert [listed["attempt"] for listed in manager.jobs(owner=7)] == [1]


@without(naive_worker.writes_the_final_status_once)
def test_a_final_status_is_written_to_a_redis_that_came_back_empty(only_the_ends: None) -> None:
    with RedisProcess(valkey_binary()) as process, noted(process.url) as (manager, client):
        error = OwnError("No header.")
        manager.create(JOB, owner=7, data={"label": "Products"})
        with (
            ExitStack() as stack,
            pytest.raises(OwnError) as raised,
            track_import(JOB, expose=OwnError, manager=manager),
        ):
            stack.enter_context(away_until(killed(process), lambda: client.failures))
            raise error
        assert raised.value is error
        ended = state(manager)
        assert (ended["status"], ended["error_message"]) == ("failed", "No header.")
        assert [listed["label"] for listed in manager.jobs(owner=7)] == ["Products"]


@without(naive_worker.waits_during_a_known_outage)
def test_a_known_outage_is_not_waited_for_and_the_final_status_follows_it(
    process: RedisProcess,
) -> None:
    with noted(process.url) as (manager, client):
        with killed(process):
            with track_import(JOB, manager=manager) as job:
                assert client.failures  # And who enters does not wait until it is over, either.
                rows = list(job.rows("abc"))
                before = client.failures
            assert rows == ["a", "b", "c"]
            assert client.failures <= before + 2  # One may have been under way.
        wait_for(lambda: manager.get_progress(JOB), "the beginning to be told")
        shows(manager, status="done", processed_rows=3)
        assert job._writer is not None
        job._writer.join()


@without(naive_worker.waits_for_each_answer)
def test_a_frozen_redis_is_waited_for_no_longer_than_for_a_moment(
    process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaitable_event, "MOST_SECONDS", 0.5)
    with noted(process.url, timeout_seconds=3) as (manager, client):
        with process.frozen():
            with track_import(JOB, manager=manager) as job:
                rows = list(job.rows("abc"))
            assert rows == ["a", "b", "c"]
            assert (client.waiting, client.failures) == (1, 0)
        wait_for(lambda: manager.get_progress(JOB), "the import to be told of")
        shows(manager, status="done", processed_rows=3)


@without(naive_worker.leaves_nothing_for_the_exit)
def test_a_process_that_ends_in_an_outage_gives_the_end_a_last_chance(
    process: RedisProcess,
) -> None:
    process.kill()
    with LoneWorker(process.url) as worker, impatient(process.url) as manager:
        worker.has_entered().row()
        assert worker.finish() == "through"
        process.start()
        worker.wait()
        wait_for(lambda: manager.get_progress(JOB), "the end to have been told", seconds=1)
        assert (state(manager)["status"], state(manager)["processed_rows"]) == ("done", 1)


@without(naive_worker.gives_up_with_the_block)
def test_a_final_status_is_written_when_redis_is_back_after_the_block(
    process: RedisProcess, only_the_ends: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "FINAL_SECONDS", 0.2)
    with impatient(process.url) as manager:
        with track_import(JOB, manager=manager) as job:
            list(job.rows("abc"))
            process.kill()
        process.start()
        assert job._writer is not None
        job._writer.join(BUSY_SECONDS)
        assert (state(manager)["status"], state(manager)["processed_rows"]) == ("done", 3)


@each_outage
@without(naive_worker.retries_the_final_status_without_limit)
def test_leaving_without_redis_takes_limited_time_keeps_the_result_and_logs_a_line(
    process: RedisProcess,
    only_the_ends: None,
    no_retries_after_the_block: None,
    outage: Outage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    entered, away = threading.Barrier(3), threading.Event()
    error = OwnError("No header.")

    def run(job_id: str, manager: SyncProgressManager, error: Exception | None) -> list[str]:
        with track_import(job_id, expose=OwnError, manager=manager) as job:
            rows = list(job.rows("abc"))
            entered.wait(BUSY_SECONDS)
            away.wait(BUSY_SECONDS)
            if error is not None:
                raise error
        return rows

    with impatient(process.url) as manager, concurrent.futures.ThreadPoolExecutor(2) as threads:
        returning = threads.submit(run, "j1", manager, None)
        raising = threads.submit(run, "j2", manager, error)
        entered.wait(BUSY_SECONDS)
        with outage(process):
            away.set()
            both = (returning, raising)
            _, late = concurrent.futures.wait(both, LEAVE_SECONDS + BUSY_SECONDS)
            assert not late
            lines = [record.getMessage() for record in caplog.records]
        assert returning.result() == ["a", "b", "c"]
        assert raising.exception() is error
    for job_id in ("j1", "j2"):
        assert f"Final status of import {job_id} could not be saved to Redis" in lines
    assert len(lines) == 4  # The outage and the end, of each.


@without(naive_worker.waits_in_the_event_loop)
async def test_the_event_loop_runs_on_while_an_import_is_entered_and_left_without_redis(
    process: RedisProcess, no_retries_after_the_block: None
) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.001)
            turns += 1

    with impatient(process.url) as manager, process.frozen():
        turning = asyncio.create_task(turn())
        async with track_import(JOB, manager=manager) as job:
            while_entering, turns = turns, 0
            job.advance()
        while_leaving = turns
        turning.cancel()
    assert min(while_entering, while_leaving) > 3


@without(naive_worker.writes_the_final_status_once)
async def test_the_final_status_of_an_asynchronous_import_is_written_when_redis_is_back(
    process: RedisProcess, only_the_ends: None
) -> None:
    with noted(process.url) as (manager, client):
        with ExitStack() as stack:
            async with track_import(JOB, manager=manager) as job:
                rows = [row async for row in job.rows("abc")]
                stack.enter_context(away_until(hung(process), lambda: client.failures))
        assert rows == ["a", "b", "c"]
        shows(manager, status="done", processed_rows=3)


@without(naive_worker.leaves_the_log_to_the_writer)
def test_a_client_with_more_patience_is_not_waited_for_and_the_log_says_that_the_end_is_lost(
    process: RedisProcess, only_the_ends: None, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(create_sync_redis_client(process.url, timeout_seconds=3600)) as client:
        with ExitStack() as stack:
            with track_import(JOB, manager=SyncProgressManager(client)) as job:
                stack.enter_context(process.frozen())
            lines = [record.getMessage() for record in caplog.records]
        assert job._writer is not None
        job._writer.join(BUSY_SECONDS)
    assert lines == [f"Final status of import {JOB} could not be saved to Redis"]
