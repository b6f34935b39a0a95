"""`track_import` in Django's own tasks: the result's id is the job's."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import django
import pytest
from django.core.management import call_command

from django_import_progress import ImportSuperseded, JobExists, SyncProgressManager, track_import

tasks: Any = import_module("django.tasks" if django.VERSION >= (6, 0) else "django_tasks")
IMMEDIATE = f"{tasks.__name__}.backends.immediate.ImmediateBackend"
DATABASE = "django_tasks_db.DatabaseBackend"
Run = Callable[[], object]


@tasks.task(takes_context=True)
def import_rows(context: Any, rows: int) -> None:
    with track_import(context.task_result.id, total=rows) as job:
        for _ in job.rows(range(rows)):
            pass


@tasks.task
def import_under(job_id: str, error: str = "") -> None:
    with track_import(job_id) as job:
        for _ in job.rows("ab"):
            if error:
                raise {"superseded": ImportSuperseded, "other": ValueError}[error]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make tasks write to the test's server."""


@pytest.fixture
def immediately(settings: Any) -> None:
    """Run tasks eagerly."""
    settings.TASKS = {"default": {"BACKEND": IMMEDIATE}}


@pytest.fixture
def run_worker(settings: Any, transactional_db: None) -> Iterator[Run]:
    """Runs the tasks that are queued in the database until none is left."""
    settings.TASKS = {"default": {"BACKEND": DATABASE}}
    caught = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT)
    handlers = [signal.getsignal(number) for number in caught]
    yield partial(
        call_command, "db_worker", batch=True, interval=0, startup_delay=False, verbosity=0
    )
    for number, handler in zip(caught, handlers, strict=True):
        signal.signal(number, handler)


def ended(jobs: SyncProgressManager, job_id: str) -> tuple[Any, ...]:
    snapshot = jobs.get_progress(job_id) or {}
    return snapshot.get("status"), snapshot.get("processed_rows")


def test_the_results_id_is_the_jobs(jobs: SyncProgressManager, immediately: None) -> None:
    result = import_rows.enqueue(5)
    with pytest.raises(JobExists):
        jobs.create(result.id, owner=7)
    assert ended(jobs, result.id) == ("done", 5)


def test_queued_in_the_database(jobs: SyncProgressManager, run_worker: Run) -> None:
    result = import_rows.enqueue(5)
    with suppress(JobExists):
        jobs.create(result.id, owner=7)
    assert ended(jobs, result.id) == ("queued", None)
    run_worker()
    assert ended(jobs, result.id) == ("done", 5)
    assert [job["job_id"] for job in jobs.jobs(owner=7)] == [result.id]


def test_a_job_that_is_made_first(jobs: SyncProgressManager, run_worker: Run) -> None:
    job_id = jobs.create(owner=7)
    import_under.enqueue(job_id)
    run_worker()
    assert ended(jobs, job_id) == ("done", 2)


@pytest.mark.parametrize("error", ["superseded", "other"])
def test_a_worker_lives_on(jobs: SyncProgressManager, run_worker: Run, error: str) -> None:
    broken = import_under.enqueue(jobs.create(), error)
    whole = import_rows.enqueue(3)
    run_worker()
    broken.refresh()
    assert broken.status.name == "FAILED"
    assert ended(jobs, whole.id) == ("done", 3)


def test_one_that_is_asked_to_stop_is_no_failure(
    jobs: SyncProgressManager, run_worker: Run
) -> None:
    job_id = jobs.create()
    result = import_under.enqueue(job_id)
    jobs.request_cancel(job_id)
    run_worker()
    result.refresh()
    assert (result.status.name, ended(jobs, job_id)) == ("SUCCESSFUL", ("cancelled", 0))
