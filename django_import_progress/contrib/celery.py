"""Celery: a task's id is its import's, from the moment it is queued until the task is over."""

from __future__ import annotations

import uuid
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.contrib.django.task import DjangoTask
from celery.exceptions import (
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TimeLimitExceeded,
    WorkerLostError,
)
from celery.result import AsyncResult
from django.utils.translation import gettext

from ..connections import get_impatient_manager
from ..core.calls import clean_owner
from ..core.errors import ImportCancelled, ImportSuperseded
from ..core.keys import clean_job_id
from ..core.snapshot import Fields
from ..endings import ending_of
from ..sync import SyncProgressManager
from ..tracker import Exposed, ImportTracker
from .queueing import QUEUED_AGAIN, forget, queue, tell, tell_untracked

if TYPE_CHECKING:
    Base = DjangoTask[..., Any]
else:
    Base = DjangoTask  # It cannot be subscripted.

OWNER_HEADER = "progress_owner"

_trackers: ContextVar[list[TaskTracker] | None] = ContextVar("trackers of this task", default=None)


class TookTooLong(Exception):
    """A time limit was exceeded; in words for the end user."""


class TaskTracker(ImportTracker):
    """Tracks an import that a task does; what `ImportTask.track` gives.

    When an exception leaves the `with`, only Celery will know whether the task is tried again: by
    `autoretry_for`, or because the task catches it and calls `self.retry`. So it is told once the
    task is over. Until then the import goes on, for all who watch.
    """

    is_in_task = False
    """Whether somebody calls `settle` when the task is over."""
    _left_by: Exception | None = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return False if self._puts_off(error) else super().__exit__(kind, error, trace)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        return False if self._puts_off(error) else await super().__aexit__(kind, error, trace)

    def _puts_off(self, error: BaseException | None) -> bool:
        if not self.is_in_task or not isinstance(error, Exception):
            return False
        self._left_by = error
        return True

    def settle(self, outcome: BaseException | None) -> None:
        """Tell what was put off, now that the task is over.

        Args:
            outcome: what the task has raised.
        """
        error, self._left_by = self._left_by, None
        if error is None:
            return
        if _is_tried_again(outcome):
            self._end = dict(QUEUED_AGAIN)
            self._finish(error, is_held_back=True)
        else:
            self._finish(ImportCancelled() if isinstance(outcome, Ignore) else error)
        self._wait_for_the_end(self._announce)

    def _finish(self, error: BaseException | None, *, is_held_back: bool = False) -> None:
        self._expose = (*self._expose, TookTooLong)
        super()._finish(_in_words(error), is_held_back=is_held_back)


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
        is_new = not is_retry and queue(self.progress_namespace, job_id, owner)
        try:
            result: AsyncResult[Any] = super().apply_async(args, kwargs, job_id, *others, **options)
        except Exception:
            if is_new:
                forget(self.progress_namespace, job_id)
            raise
        if is_retry and _trackers.get() is None:
            # Not by the task itself, but for it: the process that ran it was lost.
            tell(self.progress_namespace, job_id, QUEUED_AGAIN)
        return result

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Do the import, and tell how it ended once Celery will have decided on it."""
        is_direct = self.request.called_directly
        job_id = self.request.id
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
            raise Ignore("another attempt has taken the import") from None
        finally:
            _trackers.reset(token)
            for tracker in trackers:
                tracker.settle(outcome)
            goes_on = isinstance(outcome, Ignore) or _is_tried_again(outcome)
            if not trackers and job_id is not None and not goes_on:
                error = _in_words(outcome)
                tell_untracked(self.progress_namespace, job_id, error, (TookTooLong,))


def _is_tried_again(outcome: BaseException | None) -> bool:
    requeued = isinstance(outcome, Reject) and outcome.requeue  # type: ignore[attr-defined]
    return isinstance(outcome, Retry) or bool(requeued)


def _in_words(error: BaseException | None) -> BaseException | None:
    if isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
        return TookTooLong(gettext("The import took longer than it may, and was stopped."))
    return error


@signals.task_revoked.connect
def _on_revoked(sender: Any, request: Any, expired: bool = False, **_: Any) -> None:
    """Tell of a task that will not run, or was ended by a signal. Called in the main process."""
    if isinstance(sender, ImportTask):
        fields: Fields = {"status": "cancelled"}
        if expired:
            message = gettext("The import waited for longer than it may, and was not begun.")
            fields = {"status": "failed", "error_message": message}
        tell(sender.progress_namespace, request.id, {**fields, "eta_seconds": None})


@signals.task_failure.connect
def _on_lost(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """Tell of a task whose process was ended, and could not. Called in the main process."""
    if isinstance(sender, ImportTask) and isinstance(
        exception, TimeLimitExceeded | WorkerLostError
    ):
        fields = ending_of(task_id, _in_words(exception), (TookTooLong,))
        tell(sender.progress_namespace, task_id, {**fields, "eta_seconds": None})
