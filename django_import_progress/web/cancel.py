"""Requests cancellation of a job, after checking permission."""

from __future__ import annotations

from ..access.permissions import admit
from ..access.visitors import User
from ..core.job_state import State, state_of
from ..service.manager import ProgressManager


async def cancel(
    reference: str, *, user: User, manager: ProgressManager
) -> tuple[State | None, bool]:
    """Request cancellation of a job.

    Args:
        reference: the job's id or a ticket, as in the request.
        user: the request's user; may be anonymous.
        manager: the manager of the job's namespace.

    Returns:
        The job's state, None if it does not exist or `user` may not cancel it; and whether
        cancellation was requested, which is False if the job has ended.

    Raises:
        ProgressUnavailable: Redis is unavailable.
    """
    grant = await admit(reference, "cancel", user=user, manager=manager)
    if grant is None:
        return None, False
    job_id, owner = grant.job_id, None
    if grant.owners:
        before = grant.seen(*await manager.find([job_id]))
        if before is None or before.deleted:
            return None, False
        owner = before.owner  # Meanwhile the job may be replaced by another owner's.
    is_requested = await manager.request_cancel(job_id, owner=owner)
    stored = grant.seen(*await manager.find([job_id]))
    # Only its own worker could end a job that Redis has forgotten.
    is_lost = stored is not None and stored.is_forgotten and not stored.ended
    if stored is None or stored.deleted or is_lost:
        return None, False
    return state_of(job_id, stored), is_requested
