"""Wrong use of `track_import`: an error at once, which names the fix."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import (
    InvalidJobId,
    InvalidProgress,
    NotTracking,
    ProgressManager,
    SyncProgressManager,
    track_import,
)
from django_import_progress.tracker import counters, interrupts

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.tracked import JOB, state

__all__ = ["defence"]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def test_arguments_are_checked_before_anything_begins(jobs: SyncProgressManager) -> None:
    with pytest.raises(InvalidJobId):
        track_import("no id")
    for wrong in ({"total": "5"}, {"total": True}, {"stage": object()}, {"owner": ""}):
        with pytest.raises(InvalidProgress):
            track_import(JOB, **wrong)
    asynchronous: Any = ProgressManager.__new__(ProgressManager)
    with pytest.raises(TypeError, match="SyncProgressManager"):
        track_import(JOB, manager=asynchronous)
    assert jobs.get_progress(JOB) is None


@pytest.mark.usefixtures("jobs")
def test_rows_of_an_object_that_is_not_iterable_raise() -> None:
    with (
        pytest.raises(TypeError, match="'NoneType' object is not iterable"),
        track_import(JOB) as job,
    ):
        list(job.rows(None))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("misuse", "says"),
    [
        (lambda job: len(job.rows([1])), r"'job\.rows\(\)' has no len"),
        (lambda job: next(job.rows([1])), r"'job\.rows\(\)' object is not an iterator"),
        (lambda job: job.batches([[1]])[0], r"'job\.batches\(\)' object is not subscriptable"),
        (lambda job: list(job.batches([1])), r"job\.batches\(\) counts .* int has none"),
    ],
)
def test_errors_of_rows_and_batches_name_the_method(misuse: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says), track_import(JOB) as job:
        misuse(job)


def _counts_wherever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters.ProgressCounters, "_check_tracking", lambda _: None)
    monkeypatch.setattr(counters, "NotTracking", None)
    monkeypatch.setattr(interrupts, "NotTracking", None)


@without(_counts_wherever_it_is_called)
def test_rows_are_not_counted_outside_of_the_with(jobs: SyncProgressManager) -> None:
    job = track_import(JOB)
    with pytest.raises(NotTracking, match="with track_import"):
        next(iter(job.rows([1])))
    assert jobs.get_progress(JOB) is None
    with job:
        early, late = job.rows([1, 2]), job.rows([3])
        assert list(early) == [1, 2]
    with pytest.raises(NotTracking):
        next(iter(late))
    with pytest.raises(NotTracking):
        job.advance()
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 2)


@without(_counts_wherever_it_is_called)
async def test_outside_of_the_block_nothing_is_counted_in_an_event_loop() -> None:
    async with track_import(JOB) as job:
        rows = job.batches([[1]])
    with pytest.raises(NotTracking):
        await anext(aiter(rows))
