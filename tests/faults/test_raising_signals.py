"""A signal handler that raises at any moment of an import: the writer stops, and the job ends."""

from __future__ import annotations

import _thread
import gc
import logging
import random
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import close_old_connections, connections, transaction
from django.test import TestCase

import django_import_progress
from django_import_progress import SyncProgressManager, track_import
from django_import_progress.cancellation import without_waiting
from django_import_progress.core.snapshot import TERMINAL
from django_import_progress.tracker import ImportTracker, tracker, transactions
from django_import_progress.tracker.transactions import TransactionEnd
from django_import_progress.tracker.writer import Writer, writers
from tests.kit.controls import without
from tests.kit.tracked import JOB, shows, state
from tests.kit.waiting import wait_for

PACKAGE = str(Path(django_import_progress.__file__).parent / "tracker")
PARTS = [
    f"{PACKAGE}/{name}.py" for name in ("tracker", "interrupts", "reporting_thread", "transactions")
]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


class StoppedError(Exception):
    """The exception of a soft time limit."""


def _import(job_id: str) -> None:
    with track_import(job_id) as job:
        for _ in job.rows(range(3)):
            pass


def _all_ended(jobs: SyncProgressManager, job_ids: list[str]) -> bool:
    gc.collect()
    running = writers()
    snapshots = [jobs.get_progress(job_id) or {"status": "failed"} for job_id in job_ids]
    return not running and all(snapshot["status"] in TERMINAL for snapshot in snapshots)


def _raise(*_: object, **__: object) -> None:
    raise StoppedError


@contextmanager
def _alarms() -> Iterator[None]:
    before, tracer = signal.signal(signal.SIGALRM, _raise), sys.gettrace()
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, before)
        sys.settrace(tracer)  # What is raised while it runs ends coverage's.


def _at_random_moments(  # pragma: no cover - what is raised ends the tracing
    jobs: SyncProgressManager, imports: int
) -> None:
    chance = random.Random(5)
    job_ids = [f"{JOB}-{number}" for number in range(imports)]
    with _alarms():
        for job_id in job_ids:
            with suppress(StoppedError):
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.00001, 0.015))
                try:
                    _import(job_id)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
    wait_for(lambda: _all_ended(jobs, job_ids), "all writers and jobs to have ended")


def test_at_some_random_moments(jobs: SyncProgressManager) -> None:
    _at_random_moments(jobs, 150)


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_at_many_random_moments(jobs: SyncProgressManager) -> None:
    _at_random_moments(jobs, 2000)


class Tracer:  # pragma: no cover - it takes the place of coverage's
    """Raises after a number of steps in the modules that enter and leave the block.

    A step is a line, or the beginning of a function: there Python looks for signals as well.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self, frame: Any, event: str, argument: object) -> Any:
        if frame.f_code.co_filename not in PARTS:
            return None
        if event in {"call", "line"}:
            self.left -= 1
            if self.left == 0:
                raise StoppedError
        return self


def _stopped_after(steps: int, job_id: str) -> bool:  # pragma: no cover - without coverage's tracer
    """Import, and raise after `steps` steps; return whether the import ended before."""
    tracer, before = Tracer(steps), sys.gettrace()
    sys.settrace(tracer)
    try:
        with suppress(StoppedError):
            _import(job_id)
    finally:
        sys.settrace(before)
    return tracer.left > 0


def leaves_without_care(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the writer only if nothing is interrupted; it keeps its tracker alive."""

    def leave(  # pragma: no cover - without coverage's tracer, as all below the test
        self: Any, kind: object, error: BaseException | None, trace: object
    ) -> bool:
        self._finish(error)
        without_waiting(self._writer.wait_until_ended(in_loop=False))
        return False

    start = Writer.start

    def begin(self: Any) -> bool:  # pragma: no cover - the same
        self._kept_alive = self._sample().__self__
        return start(self)

    monkeypatch.setattr(ImportTracker, "__exit__", leave)
    monkeypatch.setattr(Writer, "start", begin)


@without(leaves_without_care)
def test_at_each_step_into_and_out_of_the_block(jobs: SyncProgressManager) -> None:
    job_ids: list[str] = []
    is_through = False
    while not is_through:
        job_ids.append(f"{JOB}-{len(job_ids)}")
        is_through = _stopped_after(len(job_ids), job_ids[-1])
    assert len(job_ids) > 50
    wait_for(lambda: _all_ended(jobs, job_ids), "all writers and jobs to have ended")


def treats_interrupted_as_rolled_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions._Wait, "_end", TransactionEnd.ROLLED_BACK)


@pytest.mark.django_db(transaction=True)
@without(treats_interrupted_as_rolled_back)
def test_interrupted_right_after_its_transaction_was_committed_it_is_done(
    jobs: SyncProgressManager,
) -> None:
    with pytest.MonkeyPatch.context() as handler, suppress(StoppedError), transaction.atomic():
        User.objects.create(username="one")
        with track_import(JOB):
            pass
        handler.setitem(vars(connections["default"]), "set_autocommit", _raise)
    assert state(jobs)["status"] == "importing"
    close_old_connections()  # As Celery does after a task, and Django after a request.
    assert User.objects.count() == 1
    assert state(jobs)["status"] == "done"


def _forgotten() -> None:
    job = track_import(JOB).__enter__()
    job.advance(3)


def keeps_its_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Writer.start

    def begin(self: Any) -> bool:
        self._kept_alive = self._sample().__self__
        return start(self)

    monkeypatch.setattr(Writer, "start", begin)


@without(keeps_its_tracker)
def test_an_import_whose_block_is_never_left_ends_with_its_tracker(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    _forgotten()
    shows(jobs, status="failed")
    assert state(jobs)["error_message"].startswith("The import failed.")
    assert state(jobs)["eta_seconds"] is None
    assert caplog.messages == ["Import job was interrupted"]


@pytest.fixture
def no_more_threads() -> Iterator[None]:
    """Make the system refuse new threads: no memory is large enough for their stack."""
    before = threading.stack_size(2**47)
    yield
    threading.stack_size(before)


def starts_a_thread_for_certain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Writer, "start", lambda self: _thread.start_new_thread(self.run, ()))


@pytest.mark.usefixtures("no_more_threads")
@without(starts_a_thread_for_certain, fails_with=(RuntimeError,))
def test_without_a_thread_the_import_itself_reports_and_a_line_says_so(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    with track_import(JOB) as job:
        assert state(jobs)["status"] == "importing"
        rows = list(job.rows("abc"))
        job.count("created")
        job.set(stage="indexing")
        assert (state(jobs)["stage"], state(jobs)["processed_rows"]) == ("indexing", 3)
    assert (rows, job.processed) == (["a", "b", "c"], 3)
    assert (state(jobs)["status"], state(jobs)["created"]) == ("done", 1)
    [line] = caplog.messages
    assert line.startswith("Import job reports only its start, set fields and its end")


@pytest.mark.usefixtures("no_more_threads")
def test_without_a_thread_a_commit_ends_the_import(jobs: SyncProgressManager, db: None) -> None:
    with TestCase.captureOnCommitCallbacks(execute=True), track_import(JOB) as job:
        job.advance(2)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 2)


@pytest.mark.usefixtures("no_more_threads")
def test_without_a_thread_and_redis_the_import_runs_without_waiting(
    jobs: SyncProgressManager, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with track_import(JOB) as job:
        job.set(stage="indexing")
        assert job.processed == 0
    assert caplog.messages[-1] == "Final status of import job could not be saved to Redis"
    assert sum("Cannot report progress" in line for line in caplog.messages) == 1


def test_an_exception_of_a_signal_handler_at_thread_start_propagates(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object) -> None:
        raise RuntimeError("by a signal handler")

    monkeypatch.setattr(_thread, "start_new_thread", interrupt)
    with pytest.raises(RuntimeError, match="by a signal handler"), track_import(JOB):
        pytest.fail("It was entered.")  # pragma: no cover


def test_interrupted_while_it_looks_for_transactions_it_is_not_done(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker, "after_transactions", _raise)
    with pytest.raises(StoppedError), track_import(JOB):
        pass
    shows(jobs, status="failed")


class Row:
    pass


def _interrupted_with_a_row() -> weakref.ref[Row]:
    row = Row()
    with suppress(StoppedError), track_import(JOB):
        pass
    return weakref.ref(row)


def test_an_interruption_keeps_nothing_of_the_import_alive(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # What is logged refers to frames.
    monkeypatch.setattr(tracker, "after_transactions", _raise)
    gc.disable()
    try:
        assert _interrupted_with_a_row()() is None
    finally:
        gc.enable()
