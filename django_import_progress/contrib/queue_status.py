"""Writes to a job outside of its `with` block: that it is queued, or how it ended.

If Redis is unavailable, one line is logged, and the code that queues or runs the import continues.
If Redis does not respond, a process that queues many imports waits only once; a final status may
wait each time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..core.errors import JobExists, JobFinished, JobNotFound, ProgressError
from ..core.snapshot import is_terminal
from ..kinds import kind_of
from ..service.registry import get_guarded_sync_manager, get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from ..tracker.outcome import final_fields

logger = logging.getLogger("django_import_progress")

QUEUED: Mapping[str, Any] = {"status": "queued"}
QUEUED_AGAIN: Mapping[str, Any] = {**QUEUED, "rows_per_second": None, "eta_seconds": None}
"""Written after an attempt that another one will follow; its counters stay."""


@contextmanager
def log_errors(job_id: str) -> Iterator[None]:
    """Log a `ProgressError` of the block, and suppress it."""
    try:
        yield
    except ProgressError as error:
        log_error(job_id, error)


def log_error(job_id: str, error: ProgressError) -> None:
    """Log that the state of a job could not be read or written."""
    logger.warning("Cannot read or write the state of import %s: %s", job_id, error)


def create_queued(
    namespace: str | None, job_id: str, owner: str | None, fields: Mapping[str, Any]
) -> bool:
    """Create a job that is about to be queued; return whether it is new.

    Args:
        namespace: the job's namespace.
        job_id: the job.
        owner: its owner, if it is new.
        fields: further fields of the job.
    """
    jobs = get_guarded_sync_manager(namespace)
    with log_errors(job_id):
        try:
            jobs.create(job_id, owner=owner, data=fields)
        except JobExists:
            # Created by the user, with fields of its own. If it has ended, it starts again.
            if is_terminal(jobs.get_progress(job_id) or {}):
                snapshot = jobs.set_progress(job_id, {**fields, **QUEUED})
                jobs.send_queued(job_id, owner, snapshot)
            elif fields:
                jobs.update(job_id, fields)
        else:
            return True
    return False


def delete_queued(namespace: str | None, job_id: str) -> None:
    """Delete a job whose message could not be sent."""
    with log_errors(job_id):
        jobs = get_guarded_sync_manager(namespace)
        if is_queued(jobs, job_id):
            jobs.delete(job_id)


def update(namespace: str | None, job_id: str, fields: Mapping[str, Any]) -> None:
    """Update a job, unless it does not exist or has ended."""
    with log_errors(job_id), suppress(JobNotFound, JobFinished):
        get_impatient_manager(namespace).update(job_id, fields)


def update_queued(namespace: str | None, job_id: str, fields: Mapping[str, Any]) -> None:
    """Update a job if it is still queued."""
    with log_errors(job_id):
        if is_queued(get_impatient_manager(namespace), job_id):
            update(namespace, job_id, fields)


def end_untracked(
    namespace: str | None,
    job_id: str,
    outcome: Callable[[str], BaseException | None],
    expose: tuple[type[BaseException], ...],
) -> None:
    """Write the final status of a job whose task ended before it entered the `with` block.

    The job is queued, or stalled if the task was to continue a lost attempt. In any other state,
    other code reports the job.

    Args:
        namespace: the job's namespace.
        job_id: the job.
        outcome: returns what the task raised, for a job of this kind.
        expose: exceptions whose message the end user may see.
    """
    with log_errors(job_id):
        [stored] = get_impatient_manager(namespace).read([job_id])
        if stored is not None and (stored.stalled or stored.fields.get("status") == "queued"):
            kind = kind_of(stored.fields)
            update(namespace, job_id, final_fields(job_id, outcome(kind), expose, kind))


def stored_kind(namespace: str | None, job_id: str) -> str:
    """Return the kind of a job; an import if it cannot be read."""
    snapshot = None
    with log_errors(job_id):
        snapshot = get_impatient_manager(namespace).get_progress(job_id)
    return kind_of(snapshot or {})


def is_queued(jobs: SyncProgressManager, job_id: str) -> bool:
    """Return whether a job waits for a worker."""
    snapshot = jobs.get_progress(job_id)
    return snapshot is not None and snapshot.get("status") == "queued"
