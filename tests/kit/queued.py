"""Jobs that have been queued for a while."""

from __future__ import annotations

from typing import Any

from django_import_progress import SyncProgressManager


def queued_for(jobs: SyncProgressManager, seconds: int, **fields: Any) -> str:
    """Make a job that has been queued for as long, by Redis's clock; its id."""
    job_id = jobs.create(data=fields)
    now: Any = jobs.redis.time()
    made = (now[0] - seconds) * 1_000_000 + now[1]
    jobs.redis.hset(jobs.calls.keys.hash(job_id), "_l", str(made))
    return job_id
