"""Rejected rows in an `ImportTask`: the same arguments and ends as with `track_import`."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from celery import shared_task

from django_import_progress import SyncProgressManager, TooManyRejects
from django_import_progress.contrib.celery import ImportTask
from django_import_progress.tracker import ImportTracker
from tests.site import tasks

from ..kit.tracked import JOB, state

ROWS = [{"name": "a", "iban": "DE00"}, {"name": "b", "iban": "DE01"}]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make tasks write to the test's server."""


@shared_task(bind=True, base=ImportTask)
def import_and_reject(self: Any, limit: int | None) -> None:
    with self.track(max_rejects=limit, redact=("iban",)) as job:
        for row in job.rows(ROWS):
            job.reject(row, "no")


@shared_task(bind=True, base=ImportTask)
def import_and_fail(self: Any) -> None:
    with self.track() as job:
        job.fail("The column price is missing.")


def test_track_takes_the_arguments_of_track_import() -> None:
    own = set(inspect.signature(ImportTask.track).parameters) - {"self"}
    assert own == set(inspect.signature(ImportTracker).parameters) - {"job_id"}


def test_rejected_rows_are_kept(jobs: SyncProgressManager) -> None:
    assert import_and_reject.apply((None,), task_id=JOB).successful()
    assert [reject["data"] for reject in jobs.rejects(JOB)] == [{"name": "a"}, {"name": "b"}]
    assert state(jobs)["status"] == "done"


def test_too_many_fail_the_task_and_the_job(jobs: SyncProgressManager) -> None:
    result: Any = import_and_reject.apply((1,), task_id=JOB)
    assert isinstance(result.result, TooManyRejects)
    ended = state(jobs)
    assert (ended["status"], ended["rejected_rows"], ended["processed_rows"]) == ("failed", 2, 2)
    assert ended["error_message"].endswith("because more than 1 row was rejected.")


def test_fail_ends_the_job_and_not_the_task(jobs: SyncProgressManager) -> None:
    assert import_and_fail.apply(task_id=JOB).successful()
    ended = state(jobs)
    assert (ended["status"], ended["error_message"]) == ("failed", "The column price is missing.")


assert tasks.app  # The tasks above belong to this application.
