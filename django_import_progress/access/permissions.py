"""Permission to watch and cancel a job: by a ticket, or by the rule for bare ids."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured

from ..conf import settings
from ..core.errors import ProgressUnavailable
from ..core.keys import is_clean
from ..core.snapshot import Stored
from ..release import borrowed_thread
from ..service.manager import ProgressManager
from .tickets import TICKET_MARK, Action, Grant, make_ticket, read_ticket
from .visitors import User, Visitor

__all__ = ["Job", "Permission", "admit", "admit_all", "make_ticket", "owner_or_staff"]

logger = logging.getLogger("django_import_progress")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What an `AUTHORIZE` rule is asked about."""

    job_id: str
    namespace: str
    owner: str | None
    """The owner's primary key as text."""
    snapshot: Mapping[str, Any] | None
    """None: the job is not there."""


def owner_or_staff(user: User, job: Job, action: Action) -> bool:
    """Say yes to the job's owner and to staff: the default of `AUTHORIZE`."""
    if not user.is_authenticated or user.pk is None:
        return False
    # A user model of one's own need not know of staff.
    return bool(getattr(user, "is_staff", False)) or job.owner == str(user.pk)


async def admit_all(
    references: Sequence[str],
    action: Action,
    *,
    user: User,
    manager: ProgressManager,
    before: Mapping[str, Stored] = MappingProxyType({}),
) -> list[Grant | None]:
    """Decide whether `user` may do `action` with each of the jobs that `references` name.

    Args:
        references: jobs' ids or tickets, as they stood in the request.
        action: what is to be done.
        user: who asks; may be anonymous.
        manager: of the namespace in question.
        before: what was stored of jobs that may be absent by now, by their ids.

    Returns:
        None for no, whatever the reason: an id that cannot be one, a ticket that is forged, too
        old or for something else, or a rule that refused, or failed.

    Raises:
        ProgressUnavailable: a bare id needs a look into Redis.
    """
    namespace = manager.calls.keys.namespace
    grants: dict[str, Grant | None] = dict.fromkeys(references)
    asked = []
    for reference in grants:
        if reference.startswith(TICKET_MARK):
            grants[reference] = read_ticket(reference, action, namespace)
        elif is_clean(reference):
            asked.append(reference)
    if asked:
        for job_id, stored in zip(asked, await manager.read(asked), strict=True):
            known = before.get(job_id) if stored is None else stored
            job = Job(
                job_id=job_id,
                namespace=namespace,
                owner=None if known is None else known.owner,
                snapshot=None if known is None or known.expired else known.fields,
            )
            if await _says_yes(user, job, action):
                grants[job_id] = Grant(job_id=job_id, by_ticket=False, stored=stored)
    return [grants[reference] for reference in references]


async def admit(
    reference: str, action: Action, *, user: User, manager: ProgressManager
) -> Grant | None:
    """Decide about one job: see `admit_all`."""
    (grant,) = await admit_all([reference], action, user=user, manager=manager)
    return grant


class Permission:
    """By what the jobs of an open stream are watched: to be asked for again while it is open.

    A ticket's end closes no stream: it was good when it was opened.

    Args:
        visitor: who watches.
        manager: of the namespace in question.
        grants: what was allowed.
    """

    def __init__(
        self, visitor: Visitor, manager: ProgressManager, grants: Iterable[Grant] = ()
    ) -> None:
        self._by_rule: dict[str, Stored | None] = {}
        self._by_ticket: set[str] = set()
        self._visitor = visitor
        self._manager = manager
        for grant in grants:
            self.add(grant)

    def add(self, grant: Grant) -> None:
        """Watch one more job, or the same by another right: a ticket's holds whatever the rule."""
        if grant.by_ticket:
            self._by_ticket.add(grant.job_id)
            self._by_rule.pop(grant.job_id, None)
        elif grant.job_id not in self._by_ticket:
            self._by_rule[grant.job_id] = grant.stored

    def discard(self, job_id: str) -> None:
        """Watch a job no more."""
        self._by_ticket.discard(job_id)
        self._by_rule.pop(job_id, None)

    async def lost(self) -> list[str]:
        """Ask the rule again, about the user and the jobs as they are by now.

        Returns:
            The ids of jobs that may not be watched any more.
        """
        asked = list(self._by_rule)
        if not asked:
            return []
        try:
            async with borrowed_thread():
                grants = await self._admitted(asked)
        except ProgressUnavailable:
            return []  # Nobody is told anything before Redis is back, and then it is asked again.
        except Exception:
            logger.exception("A stream is closed, as it cannot be told who may watch")
            return asked
        for grant in grants:
            if grant is not None and grant.job_id in self._by_rule and grant.stored is not None:
                self._by_rule[grant.job_id] = grant.stored
        # A job may have been left meanwhile, or be watched by a ticket by now.
        return [
            job_id
            for job_id, grant in zip(asked, grants, strict=True)
            if grant is None and job_id in self._by_rule
        ]

    async def _admitted(self, asked: list[str]) -> list[Grant | None]:
        # A job that is absent is as it was: whether it is gone is for its watcher to find out.
        before = {job_id: stored for job_id, stored in self._by_rule.items() if stored is not None}
        return await admit_all(
            asked,
            "watch",
            user=await self._visitor.user_now(),
            manager=self._manager,
            before=before,
        )


async def _says_yes(user: User, job: Job, action: Action) -> bool:
    """Tell whether the rule says yes. One that fails says no.

    It may fail for a job that is not there and refuse one that is, or the other way round: an
    answer of its own would tell which.
    """
    try:
        return await rule_allows(user, job, action)
    except (ProgressUnavailable, ImproperlyConfigured):
        raise
    except Exception:
        logger.exception("AUTHORIZE has failed, which is a no (%s, job %s)", action, job.job_id)
        return False


async def rule_allows(user: User, job: Job, action: Action) -> bool:
    """Ask `AUTHORIZE`, sync or async. Raises what the rule raises."""
    rule = settings.authorize
    if any(map(inspect.iscoroutinefunction, (rule, type(rule).__call__))):
        answer = await rule(user, job, action)
    else:
        # In a thread: a sync rule may ask the database.
        answer = await sync_to_async(rule)(user, job, action)
    if inspect.isawaitable(answer):
        answer = await answer
    # Whether there is anything in a QuerySet is for the database to say, too.
    return answer if isinstance(answer, bool) else await sync_to_async(bool)(answer)
