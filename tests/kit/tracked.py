"""The one job that the tracker's tests track."""

from __future__ import annotations

from typing import Any

from django_import_progress import SyncProgressManager

from .waiting import wait_for

JOB = "job"


def state(jobs: SyncProgressManager) -> dict[str, Any]:
    """Return the snapshot of the job, which is there."""
    snapshot = jobs.get_progress(JOB)
    assert snapshot is not None
    return snapshot


def shows(jobs: SyncProgressManager, **fields: Any) -> None:
    """Wait until the snapshot has these fields."""
    wait_for(lambda: fields.items() <= state(jobs).items(), f"the snapshot to show {fields}")
