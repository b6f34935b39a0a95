"""Asking a job to stop, by who may."""

from __future__ import annotations

from .access import admit
from .core.view import State, state_of
from .manager import ProgressManager
from .visitors import User


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
    is_asked = await manager.request_cancel(grant.job_id)
    [stored] = await manager.read([grant.job_id])
    return (None if stored is None else state_of(grant.job_id, stored)), is_asked
