"""Asking a job to stop, by who may."""

from __future__ import annotations

from ..access.permissions import admit
from ..access.visitors import User
from ..core.job_state import State, state_of
from ..service.manager import ProgressManager


async def cancel(
    reference: str, *, user: User, manager: ProgressManager
) -> tuple[State | None, bool]:
    """Ask a job to stop.

    Args:
        reference: its id, or a ticket, as it stood in the request.
        user: who asks; may be anonymous.
        manager: of the namespace in question.

    Returns:
        The job's state, None where it is not there or `user` may not; and whether it goes on, and
        so was asked.

    Raises:
        ProgressUnavailable: Redis is out of reach.
    """
    grant = await admit(reference, "cancel", user=user, manager=manager)
    if grant is None:
        return None, False
    job_id, owner = grant.job_id, None
    if grant.owners:
        before = grant.seen(*await manager.read([job_id]))
        if before is None or before.deleted:
            return None, False
        owner = before.owner  # The request is for this owner's job, whatever happens meanwhile.
    is_asked = await manager.request_cancel(job_id, owner=owner)
    stored = grant.seen(*await manager.read([job_id]))
    if stored is None or stored.deleted:
        return None, False
    return state_of(job_id, stored), is_asked
