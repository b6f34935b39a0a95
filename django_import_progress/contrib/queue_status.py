"""What is told of a job from outside its `with`: that it waits, and how it ended where it cannot.

Redis may be away: then one line is logged, and whatever queues or runs the import goes on. If Redis
does not respond, a process that queues many imports waits for it once; an end is worth a wait each
time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from ..core.errors import JobExists, JobFinished, JobNotFound, ProgressError
from ..core.snapshot import is_terminal
from ..service.registry import get_guarded_sync_manager, get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from ..tracker.outcome import ending_of

logger = logging.getLogger("django_import_progress")

QUEUED: Mapping[str, Any] = {"status": "queued"}
QUEUED_AGAIN: Mapping[str, Any] = {**QUEUED, "rows_per_second": None, "eta_seconds": None}
"""What an attempt leaves that is to be followed by another one; how far it was stays."""


@contextmanager
def or_warn(job_id: str) -> Iterator[None]:
    """Log what Redis refuses; the block is left there."""
    try:
        yield
    except ProgressError as error:
        warn(job_id, error)


def warn(job_id: str, error: ProgressError) -> None:
    """Log that Redis did not take, or give, the state of a job."""
    logger.warning("The state of import %s could not be told: %s", job_id, error)


def queue(namespace: str | None, job_id: str, owner: str | None) -> bool:
    """Make a job that is about to be queued; whether it is new."""
    jobs = get_guarded_sync_manager(namespace)
    with or_warn(job_id):
        try:
            jobs.create(job_id, owner=owner)
        except JobExists:
            # Made beforehand, with fields of its own. One that has ended begins anew.
            if is_terminal(jobs.get_progress(job_id) or {}):
                jobs.set_progress(job_id, QUEUED)
        else:
            return True
    return False


def forget(namespace: str | None, job_id: str) -> None:
    """Delete a job that could not be queued after all."""
    with or_warn(job_id):
        jobs = get_guarded_sync_manager(namespace)
        if is_queued(jobs, job_id):
            jobs.delete(job_id)


def tell(namespace: str | None, job_id: str, fields: Mapping[str, Any]) -> None:
    """Tell something of a job, unless it is not there, or has ended."""
    with or_warn(job_id), suppress(JobNotFound, JobFinished):
        get_impatient_manager(namespace).update(job_id, fields)


def tell_unbegun(namespace: str | None, job_id: str, fields: Mapping[str, Any]) -> None:
    """Tell something of a job that no worker runs."""
    with or_warn(job_id):
        if is_queued(get_impatient_manager(namespace), job_id):
            tell(namespace, job_id, fields)


def tell_untracked(
    namespace: str | None,
    job_id: str,
    error: BaseException | None,
    expose: tuple[type[BaseException], ...],
) -> None:
    """Tell the end of a job whose worker ended before it entered the block that tracks it.

    The job is queued; or it is stalled, where the worker was to continue a lost attempt. Anything
    else is reported by somebody else.
    """
    with or_warn(job_id):
        [stored] = get_impatient_manager(namespace).read([job_id])
        if stored is not None and (stored.stalled or stored.fields.get("status") == "queued"):
            tell(namespace, job_id, ending_of(job_id, error, expose))


def is_queued(jobs: SyncProgressManager, job_id: str) -> bool:
    """Tell whether a job waits for a worker."""
    snapshot = jobs.get_progress(job_id)
    return snapshot is not None and snapshot.get("status") == "queued"
