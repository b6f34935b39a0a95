"""When the one tracked job's worker is overdue, by the clock that counts: Redis's."""

from __future__ import annotations

import asyncio
from typing import Any

from django_import_progress import SyncProgressManager
from django_import_progress.core.job_state import State
from django_import_progress.core.snapshot import Stored
from django_import_progress.redis.executor import perform_sync
from django_import_progress.watch.hub import Watcher

from . import waiting
from .tracked import JOB

STALLED_AFTER_SECONDS = 1.0
"""How long a worker is believed alive."""
NEVER = 3600
"""A heartbeat by which nothing is noticed."""
LATEST_SECONDS = 2.5
"""How long after the deadline it must be shown: a second or so, and what a busy machine adds."""


def stored(jobs: SyncProgressManager) -> Stored:
    """Return what is stored of the job, which is there."""
    found = perform_sync(jobs.redis, jobs.calls.get(JOB))
    assert found is not None
    return found


def now(jobs: SyncProgressManager) -> int:
    """Return the moment by Redis's clock, in µs."""
    answer: Any = jobs.redis.time()
    return int(answer[0]) * 1_000_000 + int(answer[1])


def seconds_late(jobs: SyncProgressManager) -> float:
    """Return since when the worker is overdue."""
    return (now(jobs) - stored(jobs).lease) / 1e6


async def becomes(watcher: Watcher, *, stalled: bool) -> State:
    """Return the first state from now on that says so."""
    async with asyncio.timeout(waiting.PATIENCE_SECONDS):
        while (state := await watcher.next()) is not None:
            if state.stalled is stalled:
                return state
    raise AssertionError("the watching has ended")
