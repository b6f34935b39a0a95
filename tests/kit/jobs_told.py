"""What is told of a job by workers in other processes."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import groupby
from typing import Any

from django_import_progress import SyncProgressManager
from django_import_progress.core.snapshot import TERMINAL

from .waiting import wait_for


def state(jobs: SyncProgressManager, job_id: str) -> dict[str, Any]:
    """Return the snapshot of a job; empty where there is none."""
    return jobs.get_progress(job_id) or {}


def shows(jobs: SyncProgressManager, job_id: str, **fields: Any) -> dict[str, Any]:
    """Wait until the snapshot has these fields, and return it."""
    wait_for(
        lambda: fields.items() <= state(jobs, job_id).items(), f"the snapshot to show {fields}"
    )
    return state(jobs, job_id)


def history(jobs: SyncProgressManager, job_id: str) -> list[tuple[str, int | None]]:
    """Return a job's statuses and attempts until its end, each once: all that is told of it."""
    seen = []
    with closing(jobs.redis.pubsub()) as channel:
        channel.subscribe(jobs.calls.keys.channel(job_id))
        snapshot = state(jobs, job_id) if channel.get_message(timeout=10) else {}
        while True:
            seen.append((snapshot["status"], snapshot.get("attempt")))
            if snapshot["status"] in TERMINAL:
                return [each for each, _ in groupby(seen)]
            message = wait_for(lambda: channel.get_message(timeout=1), "what is told")
            snapshot = json.loads(message["data"])
