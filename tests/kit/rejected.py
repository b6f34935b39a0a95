"""Jobs with rejected rows: one for the endpoints, and what a tracked one has."""

from __future__ import annotations

from typing import Any

from django_import_progress import SyncProgressManager
from django_import_progress.core.lease import Lease
from django_import_progress.core.rejects import Reject
from django_import_progress.redis.executor import perform_sync
from django_import_progress.service.base import now_text

from .tracked import JOB


def begin_with_a_reject(jobs: SyncProgressManager, job_id: str, owner: Any = None) -> None:
    """Create a job and begin an attempt that has rejected a row."""
    jobs.create(job_id, owner=owner)
    lease = Lease("token", 3600)
    begin = jobs.calls.begin(job_id, None, lease, {"status": "importing"}, now_text())
    perform_sync(jobs.redis, begin)
    entry = Reject(row=1, line=None, reason="no", data={}).encode()
    perform_sync(jobs.redis, jobs.calls.add_rejects(job_id, lease.args[0], [entry], stored=0))


def kept(jobs: SyncProgressManager) -> list[dict[str, Any]]:
    """Return the rejected rows of the job that the tracker's tests track."""
    return list(jobs.rejects(JOB))


def numbers(jobs: SyncProgressManager) -> list[Any]:
    """Return the numbers of these rows."""
    return [reject["row"] for reject in kept(jobs)]


def counts(jobs: SyncProgressManager) -> tuple[Any, ...]:
    """Return status, outcome, processed and rejected rows of that job."""
    shown = jobs.describe(JOB)
    assert shown is not None
    names = ("status", "outcome", "processed_rows", "rejected_rows")
    return tuple(shown.get(name) for name in names)
