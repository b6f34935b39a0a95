"""What the history has of the jobs of a test."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from typing import Any

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.history.background import background
from django_import_progress.history.models import ImportRun
from django_import_progress.signals import import_finished
from django_import_progress.tracker.tracker import ImportTracker

from . import waiting
from .stalling import now
from .tracked import JOB


def runs(job_id: str = JOB) -> list[ImportRun]:
    """Return a job's runs in the order of their attempts, once all that waits is written."""
    background.join(waiting.PATIENCE_SECONDS)
    return list(ImportRun.objects.filter(job_id=job_id).order_by("attempt"))


def the_run(job_id: str = JOB) -> ImportRun:
    """Return the job's only run."""
    [run] = runs(job_id)
    return run


def ends_of(job_id: str = JOB) -> list[tuple[int, str]]:
    """Return number and status of each run."""
    return [(run.attempt, str(run.status)) for run in runs(job_id)]


def report_of(run: ImportRun) -> list[list[str]]:
    """Return the lines of a run's report."""
    with run.report.open() as file:
        return list(csv.reader(StringIO(file.read().decode("utf-8-sig"))))


def abandon(tracker: ImportTracker) -> None:
    """Leave a job as a killed process does: nothing more is written, also no end."""
    tracker._writer._is_over = True
    tracker._writer.stop()
    tracker._writer.join()


def begin_and_die(job_id: str = JOB, **options: Any) -> ImportTracker:
    """Begin an attempt that is never heard of again."""
    tracker = track_import(job_id, **options)
    tracker.__enter__()
    abandon(tracker)
    return tracker


def expire_lease(jobs: SyncProgressManager, seconds: float, job_id: str = JOB) -> None:
    """Have the job's lease expired that long ago, by Redis's clock."""
    jobs.redis.hset(jobs.calls.keys.hash(job_id), "_d", int(now(jobs) - seconds * 1e6))


@contextmanager
def finished() -> Iterator[list[dict[str, Any]]]:
    """Collect the arguments with which `import_finished` is sent."""
    sent: list[dict[str, Any]] = []

    def receive(**arguments: Any) -> None:
        sent.append(arguments)

    import_finished.connect(receive)
    yield sent
    import_finished.disconnect(receive)
