"""`track_import`: how an import ends, also with faults of Redis."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from django.core.exceptions import ValidationError

from django_import_progress import (
    InvalidProgress,
    SyncProgressManager,
    get_sync_progress_manager,
    track_import,
)
from django_import_progress.tracker import writer

from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, state
from ..kit.waiting import wait_for


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def test_an_exception_ends_the_job_and_goes_on_unchanged(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    error = RuntimeError("postgres://user:secret@host")
    with pytest.raises(RuntimeError) as raised, track_import(JOB) as job:
        for row in job.rows([1, 2]):  # pragma: no branch
            if row == 2:
                raise error
    assert raised.value is error
    ended = state(jobs)
    assert (ended["status"], ended["processed_rows"]) == ("failed", 1)
    assert ended["error_message"] == (
        "The import failed. Please give this number when you ask for help: job"
    )
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[1] is error


class ShownError(Exception):
    pass


class InvalidFile(ShownError, ValidationError):
    """Both listed in `expose=` and a `ValidationError`."""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValidationError(["Row 3.", "Row 4."]), "Row 3. Row 4."),
        (ValidationError({"price": ["A.", "B."], "__all__": "C."}), "price: A. B.; C."),
        (InvalidFile(["No header.", "No rows."]), "No header. No rows."),
        (ShownError("No header."), "No header."),
        (ShownError("x\ud800" + "y" * 3000), "x?" + "y" * 1998),
        (ShownError(), "The import failed. Please give this number when you ask for help: job"),
    ],
)
def test_messages_that_are_for_the_end_user(
    jobs: SyncProgressManager, error: Exception, message: str
) -> None:
    with pytest.raises(type(error)), track_import(JOB, expose=(ShownError,)):
        raise error
    assert state(jobs)["error_message"] == message


def test_with_debug_any_message_is_shown(jobs: SyncProgressManager, settings: Any) -> None:
    settings.DEBUG = True
    with pytest.raises(KeyError), track_import(JOB):
        raise KeyError("icao")
    assert state(jobs)["error_message"] == "'icao'"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_exceptions_that_stop_the_worker_cancel_the_job(
    jobs: SyncProgressManager, error: type[BaseException]
) -> None:
    with pytest.raises(error), track_import(JOB):
        raise error
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("cancelled", None)


def test_the_whole_job_is_written_again_when_redis_was_emptied(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, owner=7, data={"file_name": "a.csv"})
    with track_import(JOB, owner=7, total=9) as job:
        jobs.redis.flushall()
        job.advance()
        wait_for(lambda: jobs.get_progress(JOB), "the job to be written again")
        assert state(jobs)["file_name"] == "a.csv"
        assert (state(jobs)["attempt"], state(jobs)["processed_rows"]) == (1, 1)
        assert [job["job_id"] for job in jobs.jobs(owner=7)] == [JOB]
        assert int(jobs.redis.ttl(f"import_progress:hash:{JOB}")) > 0


async def test_a_cancelled_task_cancels_its_job(jobs: SyncProgressManager) -> None:
    began = asyncio.Event()

    async def run() -> None:
        async with track_import(JOB):
            began.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert state(jobs)["status"] == "cancelled"


def test_an_unavailable_redis_does_not_fail_the_import(
    settings: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    monkeypatch.setattr(writer, "RETRY_SECONDS", 1)
    with track_import(JOB) as job:
        rows = list(job.rows(range(1000)))
    assert len(rows) == 1000
    assert job._writer is not None
    job._writer.join()
    levels = [record.levelname for record in caplog.records]
    assert levels == ["WARNING", "ERROR"]  # One line for the outage, one for the end.


def test_an_import_that_started_without_redis_is_reported_once_it_is_available(
    settings: Any, valkey_server: RedisProcess
) -> None:
    late = RedisProcess(valkey_server.binary)
    settings.IMPORT_PROGRESS = {"REDIS_URL": late.url}
    try:
        with track_import(JOB) as job:
            for _ in job.rows(range(5)):
                pass
            late.start()
        manager = SyncProgressManager(job._manager.redis)
        wait_for(
            lambda: (manager.get_progress(JOB) or {}).get("status") == "done", "the end to be told"
        )
        assert state(manager)["processed_rows"] == 5
    finally:
        late.close()


def test_an_invalid_snapshot_is_logged_and_the_import_continues(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    jobs.create(JOB, data={"large": "x" * 60_000})
    with track_import(JOB) as job:
        job.set(larger="y" * 60_000)
        wait_for(lambda: caplog.records, "a line in the log")
    assert "bytes of JSON" in caplog.text


def test_a_fault_of_the_writer_is_logged_and_does_not_affect_the_import(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    with track_import(JOB) as job:
        counters, broken = job._counters, cast(dict[str, int], None)
        job._counters = broken
        wait_for(lambda: any(record.exc_info for record in caplog.records), "a traceback")
        job._counters = counters
    assert state(jobs)["status"] == "done"


def test_the_final_status_is_written_if_added_fields_are_too_large(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB) as job:
        job.set(note="x" * 65_400)  # It would fit alone.
        job.advance(3)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 3)
    assert "note" not in state(jobs)


def test_the_final_status_is_written_if_the_job_was_large_before(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"note": "x" * 65_480})
    with track_import(JOB) as job:
        job.advance(3)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 3)


@pytest.mark.parametrize("n", [1e308, float("inf"), "1", None])
def test_only_whole_numbers_are_counted(n: Any) -> None:
    with track_import(JOB) as job:
        for count in (job.advance, lambda n: job.count("created", n)):
            with pytest.raises(InvalidProgress, match="whole number"):
                count(n)


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    "error", [UnreadableError(), ValidationError("%(x)s is wrong", params={"y": 1})]
)
def test_an_exception_whose_message_cannot_be_read_goes_on_unchanged(
    jobs: SyncProgressManager, error: Exception
) -> None:
    with pytest.raises(type(error)) as raised, track_import(JOB, expose=[UnreadableError]):  # type: ignore[arg-type]
        raise error
    assert raised.value is error
    assert state(jobs)["error_message"].startswith("The import failed.")


def test_expose_takes_exception_classes() -> None:
    with pytest.raises(TypeError, match="exception class"):
        track_import(JOB, expose="ValueError")  # type: ignore[arg-type]


def test_the_jobs_earlier_fields_survive_an_emptied_redis(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, owner=5, ttl_seconds=7777)
    with track_import(JOB, owner=6) as job:  # Another one's job stays theirs.
        jobs.redis.flushall()
        job.advance()
    assert [found["job_id"] for found in jobs.jobs(owner=5)] == [JOB]
    assert jobs.jobs(owner=6) == []
    assert 7000 < int(jobs.redis.ttl(f"import_progress:hash:{JOB}")) <= 7777


class StoppedError(SystemExit):
    pass


def left_by_a_signal() -> None:
    """Enter while Redis does not respond, and be interrupted."""

    def interrupt(number: int, frame: Any) -> None:
        raise StoppedError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(StoppedError), track_import(JOB):
            pytest.fail("It was entered.")  # pragma: no cover
    finally:
        signal.signal(signal.SIGALRM, before)


async def left_by_a_cancellation() -> None:
    async def run() -> None:
        async with track_import(JOB):
            pytest.fail("It was entered.")  # pragma: no cover

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(run(), 0.3)


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_interruption_while_entering_leaves_a_cancelled_job_and_no_thread(
    settings: Any,
    valkey_server: RedisProcess,
    asynchronous: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("django_import_progress.tracker.tracker.ENTER_TURNS", math.inf)
    frozen = RedisProcess(valkey_server.binary).start()
    settings.IMPORT_PROGRESS = {"REDIS_URL": frozen.url}
    try:
        frozen.signal(signal.SIGSTOP)
        if asynchronous:
            asyncio.run(left_by_a_cancellation())
        else:
            left_by_a_signal()
        frozen.signal(signal.SIGCONT)
        wait_for(lambda: not writer.writers(), "the writer to end")
        manager = get_sync_progress_manager()
        assert state(manager)["status"] == "cancelled"
    finally:
        frozen.close()


async def test_asyncios_own_threads_are_not_needed(jobs: SyncProgressManager) -> None:
    loop = asyncio.get_running_loop()
    release = threading.Event()
    executor = ThreadPoolExecutor(1)
    loop.set_default_executor(executor)
    taken = loop.run_in_executor(None, release.wait)
    async with asyncio.timeout(10), track_import(JOB) as job:
        job.advance()
    release.set()
    await taken
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 1)
