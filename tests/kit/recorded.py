"""What the history has of the jobs of a test."""

from __future__ import annotations

from django_import_progress.history.background import background
from django_import_progress.history.models import ImportRun

from . import waiting
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
