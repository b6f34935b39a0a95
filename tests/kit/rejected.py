"""A running job with a rejected row: each endpoint has something to show of it."""

from __future__ import annotations

from typing import Any

from django_import_progress import SyncProgressManager
from django_import_progress.core.lease import Lease
from django_import_progress.core.rejects import Reject
from django_import_progress.redis.executor import perform_sync
from django_import_progress.service.base import now_text


def begin_with_a_reject(jobs: SyncProgressManager, job_id: str, owner: Any = None) -> None:
    """Create a job and begin an attempt that has rejected a row."""
    jobs.create(job_id, owner=owner)
    lease = Lease("token", 3600)
    begin = jobs.calls.begin(job_id, None, lease, {"status": "importing"}, now_text())
    perform_sync(jobs.redis, begin)
    entry = Reject(row=1, line=None, reason="no", data={}).encode()
    perform_sync(jobs.redis, jobs.calls.add_rejects(job_id, lease.args[0], [entry], stored=0))
