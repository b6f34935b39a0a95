"""Celery: a task's id is its import's, from the moment it is queued until the task is over."""

from __future__ import annotations

import os
import uuid
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.contrib.django.task import DjangoTask
from celery.exceptions import (
    Ignore,
    Reject,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.result import AsyncResult
from django.utils.translation import gettext

from ..core.commands import clean_owner
from ..core.errors import ImportSuperseded
from ..core.keys import clean_job_id
from ..core.snapshot import Fields
from ..service.registry import get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from ..tracker.outcome import ending_of
from ..tracker.tracker import Exposed
from .celery_tracker import Replaced, TaskTracker, TookTooLong, in_words, is_tried_again
from .queue_status import QUEUED_AGAIN, forget, queue, tell, tell_unbegun, tell_untracked
from .redelivery import SEEN_HEADER, Delivery, Judgement, Verdict, following, judge, take_over

if TYPE_CHECKING:
    Base = DjangoTask[..., Any]
else:
    Base = DjangoTask  # It cannot be subscripted.

OWNER_HEADER = "progress_owner"

VISIBILITY_SECONDS = 3600.0
"""The visibility timeout of a broker whose settings don't name one: what Redis's is."""

_trackers: ContextVar[list[TaskTracker] | None] = ContextVar("trackers of this task", default=None)


class ImportTask(Base):
    """The base of a task that imports: ``@shared_task(bind=True, base=ImportTask)``.

    ::

        @shared_task(bind=True, base=ImportTask)
        def import_file(self, path):
            with self.track() as job:
                for row in job.rows(read(path)):
                    ...

        job_id = import_file.delay(path).id

    The job is there as ``queued`` before the message is sent. A retry is a new attempt, and in
    between the job is queued once more. A task that was revoked ends its job as ``cancelled``; one
    that took too long, or whose process was lost, as ``failed``.
    """

    abstract = True
    Request = "django_import_progress.contrib.celery_worker:ImportRequest"
    progress_namespace: str | None = None
    """Another namespace than the setting's; an option of the decorator."""

    def track(
        self,
        *,
        total: int | None = None,
        owner: Any = None,
        stage: str | None = None,
        expose: Exposed = (),
        manager: SyncProgressManager | None = None,
    ) -> TaskTracker:
        """Track the import that this task does: `track_import` with the task's id.

        The arguments are those of `track_import`. The owner is the one that `apply_async` was
        given, where it was.
        """
        named = (self.request.headers or {}).get(OWNER_HEADER)
        tracker = TaskTracker(
            self.request.id or uuid.uuid4(),  # Called as a function, a task has no id.
            total=total,
            owner=owner if named is None else named,
            stage=stage,
            expose=expose,
            manager=manager or get_impatient_manager(self.progress_namespace),
        )
        trackers = _trackers.get()
        if trackers is not None:
            tracker.is_in_task = True
            trackers.append(tracker)
        return tracker

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: Any = None,
        *others: Any,
        progress_owner: Any = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Make the job, and send the message: see `celery.Task.apply_async`.

        Args:
            args: positional arguments of the task.
            kwargs: keyword arguments of the task.
            task_id: the task's id, which is the job's; a UUID4 where not given.
            others: as Celery has them.
            progress_owner: the job's owner: a user, or a primary key.
            options: as Celery has them.

        Raises:
            InvalidJobId: `task_id` cannot be a job's.
            InvalidProgress: `progress_owner` cannot be an owner.
        """
        job_id = clean_job_id(uuid.uuid4() if task_id is None else task_id)
        owner = clean_owner(progress_owner) or None
        if owner is not None:
            options["headers"] = {**(options.get("headers") or {}), OWNER_HEADER: owner}
        is_retry = bool(options.get("retries"))
        if is_retry:
            headers = options.get("headers") or {}
            options["headers"] = following(self.progress_namespace, job_id, headers)
        is_new = not is_retry and queue(self.progress_namespace, job_id, owner)
        try:
            result: AsyncResult[Any] = super().apply_async(args, kwargs, job_id, *others, **options)
        except Exception:
            if is_new:
                forget(self.progress_namespace, job_id)
            raise
        if is_retry:
            take_over(self.progress_namespace, job_id, options["headers"])
        if is_retry and _trackers.get() is None:
            # Not by the task itself, but for it: the process that ran it was lost.
            tell(self.progress_namespace, job_id, QUEUED_AGAIN)
        return result

    def replace(self, sig: Any) -> Any:
        """Continue in another task with the same id: see `celery.Task.replace`.

        The job is queued until that one begins.
        """
        try:
            return super().replace(sig)
        except Ignore as ignored:
            raise Replaced(*ignored.args) from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the import, and tell how it ended once Celery will have decided on it."""
        is_direct = self.request.called_directly
        job_id = self.request.id
        if not is_direct and job_id is not None:
            self._judge_delivery(job_id)
        pid = os.getpid()
        trackers: list[TaskTracker] = []
        token = _trackers.set(trackers)
        outcome: BaseException | None = None
        try:
            # Celery's own puts a request of its own on the stack, which has no id.
            return (super().__call__ if is_direct else self.run)(*args, **kwargs)
        except BaseException as raised:
            outcome = raised
            if is_direct or not isinstance(raised, ImportSuperseded):
                raise
            # Of a BaseException Celery makes a failure, and in a pool of threads it never learns
            # that the task is over.
            raise Ignore(str(raised) or "another attempt has taken the import") from None
        finally:
            _trackers.reset(token)
            if pid == os.getpid():  # Else this is a copy in a forked child that leaves.
                self._settle(trackers, job_id, outcome)

    def _settle(
        self, trackers: list[TaskTracker], job_id: str | None, outcome: BaseException | None
    ) -> None:
        for tracker in trackers:
            tracker.settle(outcome)
        goes_on = isinstance(outcome, Ignore) or is_tried_again(outcome)
        has_begun = any(tracker.was_entered for tracker in trackers)
        if job_id is not None and not has_begun and not goes_on:
            error = in_words(outcome)
            tell_untracked(self.progress_namespace, job_id, error, (TookTooLong,))

    def _judge_delivery(self, job_id: str) -> None:
        """Return if this message is to run the import.

        Raises:
            Ignore: it is not, or not now.
            Reject: it could not be sent again.
        """
        judgement = judge(self.progress_namespace, job_id, Delivery.of(self.request))
        if judgement.verdict is Verdict.DROP:
            raise Ignore("the import has ended, or another message continues it")
        if judgement.verdict is Verdict.WAIT:
            try:
                self._come_back_later(job_id, judgement)
            except Exception as error:
                raise Reject(error, requeue=True) from error
            raise Ignore("the import is running; the message comes back later")

    def _come_back_later(self, job_id: str, judgement: Judgement) -> None:
        """Send this message once more, with a delay; it counts as the same try."""
        headers = following(self.progress_namespace, job_id, self.request.headers or {})
        headers[SEEN_HEADER] = judgement.seen
        options = self.app.conf.broker_transport_options or {}
        visible = float(options.get("visibility_timeout", VISIBILITY_SECONDS))
        again = self.signature_from_request(
            self.request,
            headers=headers,
            # A worker holds it meanwhile: it must not be delivered twice, in turn.
            countdown=min(judgement.seconds, visible / 2),
            expires=None,  # The import has begun in time.
        )
        super().apply_async(again.args, again.kwargs, **again.options)
        take_over(self.progress_namespace, job_id, headers)


@signals.task_revoked.connect
def _on_revoked(
    sender: Any, request: Any, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    """Report a task that will not run, or was ended by a signal. Called in the main process.

    A copy of a message that is revoked or has expired ends no import that runs.
    """
    if isinstance(sender, ImportTask):
        fields: Fields = {"status": "cancelled"}
        if expired:
            message = gettext("The import waited too long in the queue and was not started.")
            fields = {"status": "failed", "error_message": message}
        report = tell if terminated else tell_unbegun
        report(sender.progress_namespace, request.id, {**fields, "eta_seconds": None})


@signals.task_failure.connect
def _on_lost(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """Tell of a task whose process was ended, and could not. Called in the main process."""
    if isinstance(sender, ImportTask) and isinstance(
        exception, TimeLimitExceeded | WorkerLostError
    ):
        fields = ending_of(task_id, in_words(exception), (TookTooLong,))
        tell(sender.progress_namespace, task_id, {**fields, "eta_seconds": None})
