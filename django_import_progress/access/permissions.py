"""Permission to watch and cancel a job, by ticket or by the `AUTHORIZE` rule."""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from contextvars import copy_context
from types import MappingProxyType
from typing import Any

from asgiref.sync import AsyncToSync, sync_to_async
from django.core.exceptions import ImproperlyConfigured

from ..conf import settings
from ..core.errors import HistoryUnavailable, ProgressUnavailable
from ..core.keys import is_clean
from ..core.snapshot import Stored
from ..release import borrowed_thread
from ..service.manager import ProgressManager
from .tickets import TICKET_PREFIX, Action, Grant, make_ticket, read_ticket
from .visitors import User, Visitor, current_tenant

__all__ = ["Job", "Permission", "admit", "admit_all", "make_ticket", "owner_or_staff"]

logger = logging.getLogger("django_import_progress")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The job that is passed to an `AUTHORIZE` rule."""

    job_id: str
    namespace: str
    owner: str | None
    """The owner's primary key as text."""
    snapshot: Mapping[str, Any] | None
    """None if the job does not exist."""


def owner_or_staff(user: User, job: Job, action: Action) -> bool:
    """Allow the job's owner and staff: the default `AUTHORIZE` rule."""
    if not user.is_authenticated or user.pk is None:
        return False
    # A custom user model need not have `is_staff`.
    return bool(getattr(user, "is_staff", False)) or job.owner == str(user.pk)


async def admit_all(
    references: Sequence[str],
    action: Action,
    *,
    user: User,
    manager: ProgressManager,
    before: Mapping[str, Stored] = MappingProxyType({}),
) -> list[Grant | None]:
    """Decide whether `user` may perform `action` on each of the jobs in `references`.

    Args:
        references: job ids or tickets, as in the request.
        action: the action to authorize.
        user: the request's user; may be anonymous.
        manager: the manager of the jobs' namespace.
        before: the last known state of jobs that may no longer exist, by job id.

    Returns:
        A grant for each reference. None if access is denied, whatever the reason: an invalid id; a
        forged or expired ticket, or one for another action; a rule that denied access or failed.

    Raises:
        ProgressUnavailable: there is a bare id, and Redis is unavailable.
    """
    namespace = manager.calls.keys.namespace
    grants: dict[str, Grant | None] = dict.fromkeys(references)
    bare_ids = []
    for reference in grants:
        if reference.startswith(TICKET_PREFIX):
            grants[reference] = read_ticket(reference, action, namespace)
        elif is_clean(reference):
            bare_ids.append(reference)
    if bare_ids:
        for job_id, stored in zip(bare_ids, await _found(manager, bare_ids), strict=True):
            known = before.get(job_id) if stored is None else stored
            job = Job(
                job_id=job_id,
                namespace=namespace,
                owner=None if known is None else known.owner,
                snapshot=None if known is None or not _is_whole(known) else known.fields,
            )
            if await _is_allowed(user, job, action):
                grants[job_id] = Grant(job_id=job_id, by_ticket=False, stored=stored)
    return [grants[reference] for reference in references]


async def _found(manager: ProgressManager, job_ids: Sequence[str]) -> list[Stored | None]:
    """Return the jobs. While the history is unavailable, those that it has do not exist.

    An error instead of a refusal would reveal that Redis does not have the job.
    """
    try:
        return await manager.find(job_ids)
    except HistoryUnavailable as error:
        return [error.read[job_id] for job_id in job_ids]


def _is_whole(stored: Stored) -> bool:
    """Return whether more is known of a job than its outcome."""
    return stored.archived or not stored.expired


async def admit(
    reference: str, action: Action, *, user: User, manager: ProgressManager
) -> Grant | None:
    """Decide for one job: see `admit_all`."""
    (grant,) = await admit_all([reference], action, user=user, manager=manager)
    return grant


class Permission:
    """The grants of an open stream, which are checked again while it is open.

    A ticket that expires does not close the stream: it was valid when the stream was opened.

    Args:
        visitor: the client that watches.
        manager: the manager of the jobs' namespace.
        grants: the grants by which the jobs are watched.
    """

    def __init__(
        self, visitor: Visitor, manager: ProgressManager, grants: Iterable[Grant] = ()
    ) -> None:
        self._by_rule: dict[str, Stored | None] = {}
        self._by_ticket: set[str] = set()
        self._visitor = visitor
        self._manager = manager
        # In which a middleware may have noted the tenant, for a database router as well.
        self._context = copy_context()
        for grant in grants:
            self.add(grant)

    def add(self, grant: Grant) -> None:
        """Add a grant. For a job with a ticket the rule is not checked again."""
        if grant.by_ticket:
            self._by_ticket.add(grant.job_id)
            self._by_rule.pop(grant.job_id, None)
        elif grant.job_id not in self._by_ticket:
            self._by_rule[grant.job_id] = grant.stored

    def discard(self, job_id: str) -> None:
        """Remove the grants for a job."""
        self._by_ticket.discard(job_id)
        self._by_rule.pop(job_id, None)

    async def lost(self) -> list[str]:
        """Apply the rule again to the current user and the current state of the jobs.

        Returns:
            The ids of jobs that may no longer be watched.
        """
        checked = list(self._by_rule)
        if not checked:
            return []
        try:
            check = self._admit_again(checked)
            grants = await asyncio.create_task(check, context=self._context)
        except ProgressUnavailable:
            return []  # Nothing is sent before Redis is available, and then this runs again.
        except Exception:
            logger.exception("Permission could not be checked again; the stream is closed")
            return checked
        for grant in grants:
            if grant is not None and grant.job_id in self._by_rule and grant.stored is not None:
                self._by_rule[grant.job_id] = grant.stored
        # Meanwhile the client may have stopped watching a job, or sent a ticket for it.
        return [
            job_id
            for job_id, grant in zip(checked, grants, strict=True)
            if grant is None and job_id in self._by_rule
        ]

    async def _admit_again(self, job_ids: list[str]) -> list[Grant | None]:
        # Judge an absent job by its last known state: its watcher notices that it has disappeared.
        before = {job_id: stored for job_id, stored in self._by_rule.items() if stored is not None}
        # Sync middleware has called the view from a thread that waits no longer.
        AsyncToSync.executors.current = None
        async with borrowed_thread():
            # The request's thread is gone. If its database connection knew the tenant, the user
            # would be looked up among those of another tenant. The client has to reconnect.
            if await current_tenant() != self._visitor.tenant:
                return [None] * len(job_ids)
            return await admit_all(
                job_ids,
                "watch",
                user=await self._visitor.user_now(),
                manager=self._manager,
                before=before,
            )


async def _is_allowed(user: User, job: Job, action: Action) -> bool:
    """Return whether the rule allows `action`. A rule that raises an exception denies access.

    A rule may fail for jobs that do not exist and deny access to those that do, or vice versa. A
    different response would reveal which jobs exist.
    """
    try:
        return await rule_allows(user, job, action)
    except (ProgressUnavailable, ImproperlyConfigured):
        raise
    except Exception:
        logger.exception(
            "AUTHORIZE raised an exception; access denied (%s, job %s)", action, job.job_id
        )
        return False


async def rule_allows(user: User, job: Job, action: Action) -> bool:
    """Call the `AUTHORIZE` rule, sync or async. Raises what the rule raises."""
    rule = settings.authorize
    if any(map(inspect.iscoroutinefunction, (rule, type(rule).__call__))):
        result = await rule(user, job, action)
    else:
        # In a thread: a sync rule may query the database.
        result = await sync_to_async(rule)(user, job, action)
    if inspect.isawaitable(result):
        result = await result
    # The truth value of a QuerySet needs a database query, too.
    return result if isinstance(result, bool) else await sync_to_async(bool)(result)
