"""Celery integration: `ImportTask`, a task whose id is also the id of its job."""

from __future__ import annotations

import os
import uuid
from collections.abc import Collection, Mapping
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any

from celery import signals
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore, Reject, TimeLimitExceeded, WorkerLostError
from celery.result import AsyncResult

from ..core.commands import clean_owner
from ..core.errors import ImportSuperseded
from ..core.keys import clean_job_id
from ..core.snapshot import Fields
from ..kinds import description_fields
from ..service.registry import get_impatient_manager
from ..service.sync_manager import SyncProgressManager
from ..tracker.fields import as_total
from ..tracker.outcome import final_fields
from ..tracker.rejects.guard import Exposed
from ..tracker.sentences import waited_too_long
from .celery_tracker import ImportTimedOut, TaskReplaced, TaskTracker, for_end_user, will_run_again
from .message_namespace import NAMESPACE_HEADER, namespace_of, with_namespace
from .queue_status import (
    QUEUED_AGAIN,
    create_queued,
    delete_queued,
    end_untracked,
    stored_kind,
    update,
    update_queued,
)
from .redelivery import (
    SEEN_HEADER,
    Action,
    Decision,
    Delivery,
    decide_and_claim,
    next_headers,
    take_over,
)

if TYPE_CHECKING:
    Base = DjangoTask[..., Any]
else:
    Base = DjangoTask  # It cannot be subscripted.

OWNER_HEADER = "progress_owner"
FIELDS_HEADER = "progress_fields"
"""Label, kind and total of the job, in case Redis was unavailable when the message was sent."""

VISIBILITY_SECONDS = 3600.0
"""Visibility timeout if the broker's settings have none: the default of Redis."""

_trackers: ContextVar[list[TaskTracker] | None] = ContextVar("trackers of this task", default=None)


class ImportTask(Base):
    """Base class of a task that imports: ``@shared_task(bind=True, base=ImportTask)``.

    ::

        @shared_task(bind=True, base=ImportTask)
        def import_file(self, path):
            with self.track() as job:
                for row in job.rows(read(path)):
                    ...

        job_id = import_file.delay(path).id

    The job is ``queued`` before the message is sent. A retry is a new attempt; until it starts,
    the job is ``queued`` again. The job of a revoked task ends ``cancelled``; that of a task that
    exceeded its time limit, or whose process was lost, ends ``failed``.
    """

    abstract = True
    Request = "django_import_progress.contrib.celery_worker:ImportRequest"
    progress_namespace: str | None = None
    """Namespace of the jobs, if not that of the settings; an option of the decorator."""

    def track(
        self,
        *,
        total: int | None = None,
        owner: Any = None,
        stage: str | None = None,
        label: Any = None,
        kind: str | None = None,
        expose: Exposed = (),
        max_rejects: int | None = None,
        redact: Collection[str] = (),
        manager: SyncProgressManager | None = None,
    ) -> TaskTracker:
        """Track this task's import: `track_import` with the task's id.

        The arguments are those of `track_import`. What was passed to `apply_async` wins.
        """
        headers = self.request.headers or {}
        named, fields = headers.get(OWNER_HEADER), headers.get(FIELDS_HEADER) or {}
        tracker = TaskTracker(
            self.request.id or uuid.uuid4(),  # Called as a function, a task has no id.
            total=fields.get("total_rows", total),
            owner=owner if named is None else named,
            stage=stage,
            label=fields.get("label", label),
            kind=fields.get("kind", kind),
            expose=expose,
            max_rejects=max_rejects,
            redact=redact,
            manager=manager or get_impatient_manager(self._namespace()),
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
        progress: Mapping[str, Any] | None = None,
        progress_owner: Any = None,
        **options: Any,
    ) -> AsyncResult[Any]:
        """Create the job and send the message: see `celery.Task.apply_async`.

        Args:
            args: positional arguments of the task.
            kwargs: keyword arguments of the task.
            task_id: the id of the task and of the job; a UUID4 by default.
            others: further arguments of Celery.
            progress: what is known of the job: ``label``, ``owner`` (a user or a primary key),
                ``total`` and ``kind``, as for `track_import`; all optional.
            progress_owner: the same as ``owner`` in `progress`.
            options: further options of Celery.

        Raises:
            InvalidJobId: `task_id` is not a valid job id.
            InvalidProgress: a value of `progress`, or `progress_owner`, is invalid.
            TypeError: `progress` is not a mapping, or has other keys.
        """
        job_id = clean_job_id(uuid.uuid4() if task_id is None else task_id)
        owner, fields = _checked(progress, progress_owner)
        headers = with_namespace(self, options.get("headers") or {})
        if owner is not None:
            headers[OWNER_HEADER] = owner
        if fields:
            headers[FIELDS_HEADER] = fields
        namespace = namespace_of(self, headers)
        is_retry = bool(options.get("retries"))
        if is_retry:
            headers = next_headers(namespace, job_id, headers)
        options["headers"] = headers or None
        is_new = not is_retry and create_queued(namespace, job_id, owner, fields)
        try:
            result: AsyncResult[Any] = super().apply_async(args, kwargs, job_id, *others, **options)
        except Exception:
            if is_new:
                delete_queued(namespace, job_id)
            raise
        if is_retry:
            take_over(namespace, job_id, headers)
        if is_retry and _trackers.get() is None:
            # Not called by the task itself: the process that ran it was lost.
            update(namespace, job_id, QUEUED_AGAIN)
        return result

    def _namespace(self) -> str | None:
        """Return the namespace of the job of the running task."""
        return namespace_of(self, self.request.headers)

    def replace(self, sig: Any) -> Any:
        """Continue in another task with the same id: see `celery.Task.replace`.

        The job is ``queued`` until that task starts.
        """
        if namespace := (self.request.headers or {}).get(NAMESPACE_HEADER):
            headers = sig.options.get("headers") or {}
            sig.set(headers={NAMESPACE_HEADER: namespace, **headers})
        try:
            return super().replace(sig)
        except Ignore as ignored:
            raise TaskReplaced(*ignored.args) from None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task, and then write the final status of its imports."""
        is_direct = self.request.called_directly
        job_id = self.request.id
        if not is_direct and job_id is not None:
            self._check_delivery(job_id)
        pid = os.getpid()
        trackers: list[TaskTracker] = []
        token = _trackers.set(trackers)
        outcome: BaseException | None = None
        try:
            # Celery's `__call__` pushes a request without an id.
            return (super().__call__ if is_direct else self.run)(*args, **kwargs)
        except BaseException as raised:
            outcome = raised
            if is_direct or not isinstance(raised, ImportSuperseded):
                raise
            # Celery turns a BaseException into a failure, and its thread pool never notices that
            # the task is over.
            raise Ignore(str(raised) or "another attempt has taken the import") from None
        finally:
            _trackers.reset(token)
            if pid == os.getpid():  # Otherwise this is a forked child that exits.
                self._end_trackers(trackers, job_id, outcome)

    def _end_trackers(
        self, trackers: list[TaskTracker], job_id: str | None, outcome: BaseException | None
    ) -> None:
        for tracker in trackers:
            tracker.end_deferred(outcome)
        continues = isinstance(outcome, Ignore) or will_run_again(outcome)
        has_started = any(tracker.was_entered for tracker in trackers)
        if job_id is not None and not has_started and not continues:
            end_untracked(
                self._namespace(), job_id, partial(for_end_user, outcome), (ImportTimedOut,)
            )

    def _check_delivery(self, job_id: str) -> None:
        """Check that this message may run the import.

        Raises:
            Ignore: it may not, or not now.
            Reject: it could not be sent again.
        """
        decision = decide_and_claim(self._namespace(), job_id, Delivery.of(self.request))
        if decision.action is Action.DROP:
            raise Ignore("the import has ended, or another message is responsible for it")
        if decision.action is Action.WAIT:
            try:
                self._send_again_later(job_id, decision)
            except Exception as error:
                raise Reject(error, requeue=True) from error
            raise Ignore("the import is running; the message was sent again with a delay")

    def _send_again_later(self, job_id: str, decision: Decision) -> None:
        """Send this message again with a delay; it does not count as a retry."""
        headers = next_headers(self._namespace(), job_id, self.request.headers or {})
        headers[SEEN_HEADER] = decision.seen
        options = self.app.conf.broker_transport_options or {}
        visible = float(options.get("visibility_timeout", VISIBILITY_SECONDS))
        again = self.signature_from_request(
            self.request,
            headers=headers,
            # A worker holds the message during the delay: it must not be delivered again.
            countdown=min(decision.seconds, visible / 2),
            expires=None,  # The import has started in time.
        )
        super().apply_async(again.args, again.kwargs, **again.options)
        take_over(self._namespace(), job_id, headers)


def _checked(progress: Any, progress_owner: Any) -> tuple[str | None, Fields]:
    """Return the job's owner and fields; see `ImportTask.apply_async`."""
    if not isinstance(progress, Mapping | None):
        raise TypeError(f"progress must be a dict, not {type(progress).__name__}")
    given = dict(progress or {})
    owner, total = given.pop("owner", None), as_total(given.pop("total", None))
    fields: Fields = {**description_fields(given.pop("label", None), given.pop("kind", None))}
    if given:
        raise TypeError(
            f"progress has unknown keys {', '.join(map(repr, given))}:"
            " use label, owner, total, kind"
        )
    if owner is not None and progress_owner is not None:
        raise TypeError("Pass the owner once: in progress, or as progress_owner")
    if total is not None:
        fields["total_rows"] = total
    return clean_owner(progress_owner if owner is None else owner) or None, fields


@signals.task_revoked.connect
def _on_revoked(
    sender: Any, request: Any, terminated: bool = False, expired: bool = False, **_: Any
) -> None:
    """Write the final status of a revoked or expired task. Called in the main process.

    If the message is only a copy, a running import is not affected.
    """
    if isinstance(sender, ImportTask):
        namespace = namespace_of(sender, request.headers)
        fields: Fields = {"status": "cancelled"}
        if expired:
            message = waited_too_long(stored_kind(namespace, request.id))
            fields = {"status": "failed", "error_message": message}
        report = update if terminated else update_queued
        report(namespace, request.id, {**fields, "eta_seconds": None})


@signals.task_failure.connect
def _on_process_lost(sender: Any, task_id: str, exception: BaseException, **_: Any) -> None:
    """Write the final status of a task whose process was killed. Called in the main process."""
    if isinstance(sender, ImportTask) and isinstance(
        exception, TimeLimitExceeded | WorkerLostError
    ):
        namespace = namespace_of(sender, None)
        kind = stored_kind(namespace, task_id)
        fields = final_fields(task_id, for_end_user(exception, kind), (ImportTimedOut,), kind)
        update(namespace, task_id, {**fields, "eta_seconds": None})
