"""The one job that the tracker's tests track."""

from __future__ import annotations

from typing import Any

from django_import_progress import SyncProgressManager
from django_import_progress.tracker.writer import writers

from .waiting import wait_for

JOB = "job"


def state(jobs: SyncProgressManager) -> dict[str, Any]:
    """Return the snapshot of the job, which is there."""
    snapshot = jobs.get_progress(JOB)
    assert snapshot is not None
    return snapshot


class _Told:
    """What is waited for, and what there was instead: said only if it is waited for in vain."""

    def __init__(self, jobs: SyncProgressManager, fields: dict[str, Any]) -> None:
        self._jobs = jobs
        self._fields = fields

    def __str__(self) -> str:  # pragma: no cover - only where a test fails
        return f"the snapshot to show {self._fields}, which is {state(self._jobs)}"


def shows(jobs: SyncProgressManager, **fields: Any) -> None:
    """Wait until the snapshot has these fields."""
    wait_for(lambda: fields.items() <= (jobs.get_progress(JOB) or {}).items(), _Told(jobs, fields))


def end_writers() -> None:
    """Have the writers of earlier tests write no more: some try for long what cannot succeed."""
    for writer in writers():
        writer._is_over = True
        writer.stop()
        writer.join()
