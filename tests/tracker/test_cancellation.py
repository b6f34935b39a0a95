"""To which tracker a cancellation belongs, and what happens if other code swallows or wraps it."""

from __future__ import annotations

import asyncio
import gc
import pickle
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from django_import_progress import (
    ImportCancelled,
    ImportSuperseded,
    SyncProgressManager,
    track_import,
)
from django_import_progress.tracker import interrupts, iterators, tracker
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.tracked import JOB, state
from ..kit.waiting import until, wait_for

__all__ = ["defence"]

ROWS = 1000
OUTER = "outer"


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def _status(jobs: SyncProgressManager, job_id: str) -> Any:
    snapshot = jobs.get_progress(job_id)
    assert snapshot is not None
    return snapshot["status"]


def _cancel(jobs: SyncProgressManager, job: Any) -> None:
    assert jobs.request_cancel(job.job_id)
    wait_for(lambda: job.interrupt, "the worker to know")


def absorbs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat each cancellation as one's own."""
    monkeypatch.setattr(
        tracker, "was_raised_by", lambda error, job, kind: isinstance(error, ImportCancelled)
    )


@without(absorbs_all)
def test_of_nested_imports_the_one_that_was_cancelled_absorbs_it(
    jobs: SyncProgressManager,
) -> None:
    files = []
    with track_import(OUTER, total=300) as outer:
        for number in range(300):  # pragma: no branch
            files.append(number)
            with track_import(f"file-{number}") as inner:
                inner.advance()
                if number == 2:
                    _cancel(jobs, outer)
                outer.advance()
    assert files == [0, 1, 2]
    statuses = [_status(jobs, job_id) for job_id in ("file-0", "file-2", OUTER)]
    assert statuses == ["done", "cancelled", "cancelled"]


def test_an_inner_import_that_is_cancelled_leaves_the_outer_one_running(
    jobs: SyncProgressManager,
) -> None:
    with track_import(OUTER) as outer:
        with track_import(JOB) as inner:
            _cancel(jobs, inner)
            inner.advance()
        outer.advance()
    assert (_status(jobs, JOB), _status(jobs, OUTER)) == ("cancelled", "done")


def forgets_what_it_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judge only by the exception that leaves the block."""
    cancelled = interrupts.Stoppable._cancelled

    def make(self: Any) -> BaseException:
        error = cancelled(self)
        self._has_seen_cancel = False
        return error

    monkeypatch.setattr(interrupts.Stoppable, "_cancelled", make)


def _with_a_bare_except(job: Any) -> None:
    with suppress(BaseException):
        list(job.rows(range(ROWS)))


def _with_a_return_in_finally(job: Any) -> None:
    try:
        list(job.rows(range(ROWS)))
    finally:
        return  # noqa: B012


def _in_a_future_that_nobody_awaits(job: Any) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: list(job.rows(range(ROWS))))


def _turned_into_another(job: Any) -> None:
    try:
        list(job.rows(range(ROWS)))
    except BaseException as error:
        raise RuntimeError("cannot import") from error


SWALLOWING = [
    _with_a_bare_except,
    _with_a_return_in_finally,
    _in_a_future_that_nobody_awaits,
    _turned_into_another,
]


@pytest.mark.parametrize("loop", SWALLOWING)
@without(forgets_what_it_raised)
def test_it_ends_cancelled_though_other_code_swallowed_or_replaced_that(
    jobs: SyncProgressManager, loop: Any
) -> None:
    with suppress(RuntimeError), track_import(JOB, total=ROWS) as job:
        _cancel(jobs, job)
        loop(job)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("cancelled", 0)


def test_an_exception_that_has_nothing_to_do_with_it_is_a_failure(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(ValidationError), track_import(JOB) as job:
        _cancel(jobs, job)
        _with_a_bare_except(job)
        raise ValidationError("No header.")
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "No header.")


async def _advance_in_tasks(job: Any) -> None:
    async def chunk() -> None:
        job.advance()

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(chunk())


@without(absorbs_all, fails_with=(BaseExceptionGroup,))
async def test_a_group_of_nothing_else_is_absorbed(jobs: SyncProgressManager) -> None:
    async with track_import(JOB) as job:
        assert jobs.request_cancel(JOB)
        await until(lambda: job.interrupt, "the worker to know")
        await _advance_in_tasks(job)
    assert state(jobs)["status"] == "cancelled"


def test_a_group_with_another_exception_is_a_failure_and_raised_on(
    jobs: SyncProgressManager,
) -> None:
    mixed = BaseExceptionGroup("both", [ImportCancelled(), ValidationError("Row 3.")])
    with pytest.raises(BaseExceptionGroup) as raised, track_import(JOB):
        raise mixed
    assert raised.value is mixed
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "Row 3.")


class ShownError(Exception):
    pass


def test_messages_for_the_end_user_are_found_inside_groups(jobs: SyncProgressManager) -> None:
    inner = ExceptionGroup("inner", [ShownError("Row 4."), ValidationError("Row 3.")])
    group = ExceptionGroup("outer", [ValidationError("Row 3."), inner, KeyError("secret")])
    with pytest.raises(ExceptionGroup), track_import(JOB, expose=ShownError):
        raise group
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "Row 3. Row 4.")


def test_a_group_of_cancellations_cancels_the_job(jobs: SyncProgressManager) -> None:
    with pytest.raises(BaseExceptionGroup), track_import(JOB):
        raise BaseExceptionGroup("", [SystemExit(), asyncio.CancelledError()])
    assert state(jobs)["status"] == "cancelled"


async def test_superseded_in_a_group_it_is_raised_by_itself(jobs: SyncProgressManager) -> None:
    with pytest.raises(ImportSuperseded, match="was deleted"):
        async with track_import(JOB) as job:
            jobs.delete(JOB)
            await until(lambda: job.interrupt, "the worker to know")
            await _advance_in_tasks(job)


def test_the_exceptions_know_their_tracker_and_can_be_pickled(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        _cancel(jobs, job)
        with pytest.raises(ImportCancelled, match="import job was requested") as raised:
            job.advance()
    assert raised.value.tracker is job
    copy = pickle.loads(pickle.dumps(raised.value))  # noqa: S301
    assert (str(copy), copy.tracker) == (str(raised.value), None)


class Source:
    """Knows whether its generators were closed."""

    def __init__(self) -> None:
        self.is_open = False

    def rows(self) -> Iterator[int]:
        self.is_open = True
        try:
            yield from range(ROWS)
        finally:
            self.is_open = False

    async def rows_in_loop(self) -> AsyncIterator[int]:
        for row in self.rows():  # pragma: no branch
            yield row

    def badly(self) -> Iterator[int]:
        try:
            yield from self.rows()
        finally:
            raise RuntimeError("cannot close")


def closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iterators, "_close", lambda source: None)
    monkeypatch.setattr(iterators, "AsyncGeneratorType", ())


def _cancelled_at_the_third_row(jobs: SyncProgressManager, rows: Iterator[int]) -> None:
    with track_import(JOB) as job:
        for row in job.rows(rows):  # pragma: no branch
            if row == 2:
                _cancel(jobs, job)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("cancelled", 3)


@without(closes_nothing)
def test_a_generator_is_closed_though_something_still_refers_to_it(
    jobs: SyncProgressManager,
) -> None:
    source = Source()
    rows = source.rows()
    _cancelled_at_the_third_row(jobs, rows)
    assert not source.is_open


def test_exceptions_of_a_closing_generator_are_suppressed(
    jobs: SyncProgressManager,
) -> None:
    source = Source()
    _cancelled_at_the_third_row(jobs, source.badly())
    assert not source.is_open


@without(closes_nothing)
def test_so_are_those_of_batches(jobs: SyncProgressManager) -> None:
    source = Source()
    batches = ([row, row] for row in source.rows())
    with track_import(JOB) as job:
        for _ in job.batches(batches):  # pragma: no branch
            _cancel(jobs, job)
    assert (source.is_open, state(jobs)["processed_rows"]) == (False, 2)


@pytest.mark.parametrize("kind", ["rows", "rows_in_loop"])
@without(closes_nothing)
async def test_so_are_those_of_asynchronous_imports(jobs: SyncProgressManager, kind: str) -> None:
    source = Source()
    rows = getattr(source, kind)()
    async with track_import(JOB) as job:
        async for _ in job.rows(rows):  # pragma: no branch
            assert jobs.request_cancel(JOB)
            await until(lambda: job.interrupt, "the worker to know")
    gc.disable()  # What it has open must not depend on the garbage collection.
    try:
        assert (source.is_open, state(jobs)["processed_rows"]) == (False, 1)
    finally:
        gc.enable()


class Row:
    pass


def _keep(job: Any, error: BaseException | None) -> None:
    job.__dict__["error"] = error or job.__dict__.get("error")


def keeps_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the import's exception as long as the tracker."""
    never = property(lambda self: self.__dict__["error"], _keep)
    monkeypatch.setattr(tracker.ImportTracker, "_error", never, raising=False)


def _import_one(jobs: SyncProgressManager) -> tuple[Any, weakref.ref[Row]]:
    row = Row()
    with suppress(KeyboardInterrupt), track_import(JOB) as job:
        raise KeyboardInterrupt
    return job, weakref.ref(row)


@without(keeps_the_error)
def test_the_traceback_of_an_import_that_has_ended_is_released(jobs: SyncProgressManager) -> None:
    gc.disable()
    try:
        job, row = _import_one(jobs)
        assert row() is None
        assert job.processed == 0
    finally:
        gc.enable()
