"""The tracker of a Celery task, which learns only after the task whether it will be retried."""

from __future__ import annotations

import sys
from typing import Any

from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TimeLimitExceeded

from ..core.errors import ImportCancelled
from ..tracker.outcome import is_cancellation
from ..tracker.sentences import timed_out
from ..tracker.tracker import ImportTracker
from .queue_status import QUEUED_AGAIN


class TaskReplaced(Ignore):  # type: ignore[misc, unused-ignore]
    """Raised by `ImportTask.replace`: another task with the same id continues the import."""


class ImportTimedOut(Exception):
    """A time limit was exceeded; the message is for the end user."""


class TaskTracker(ImportTracker):
    """Tracks an import in a Celery task; returned by `ImportTask.track`.

    If an exception leaves the `with` block, the task may still be retried: by `autoretry_for`, or
    because it catches the exception and calls `self.retry`. So the final status is written once
    the task is over. Until then watchers see a running import.
    """

    is_in_task = False
    """Whether `end_deferred` will be called when the task is over."""
    _deferred_error: BaseException | None = None

    def _defers_end(self, error: BaseException | None) -> bool:
        if not self.is_in_task or error is None or is_cancellation(error):
            return False
        self._deferred_error = error
        return True

    @property
    def was_entered(self) -> bool:
        """Whether the `with` block was entered: then the tracker reports how the import ends."""
        return hasattr(self, "_writer")

    def end_deferred(self, outcome: BaseException | None) -> None:
        """Write the final status that was deferred, now that the task is over.

        Args:
            outcome: the exception that the task raised.
        """
        error, self._deferred_error = self._deferred_error, None
        if error is None:
            return
        if will_run_again(outcome):
            self._final = dict(QUEUED_AGAIN)
        elif isinstance(outcome, Ignore):
            error = ImportCancelled()
        self._finish(error)
        self._wait_and_notify()

    def _finish(self, error: BaseException | None) -> None:
        self._expose = (*self._expose, ImportTimedOut)
        super()._finish(for_end_user(error, self._kind))


def will_run_again(outcome: BaseException | None) -> bool:
    """Return whether another attempt with the same id follows a task that raised `outcome`."""
    requeued = isinstance(outcome, Reject) and outcome.requeue  # type: ignore[attr-defined]
    return isinstance(outcome, Retry | TaskReplaced) or bool(requeued)


def for_end_user(error: BaseException | None, kind: str) -> BaseException | None:
    """Return `error`, or an `ImportTimedOut` if it is a time limit's."""
    gevent: Any = sys.modules.get("gevent")
    by_gevent = gevent is not None and isinstance(error, gevent.Timeout)
    if by_gevent or isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
        return ImportTimedOut(timed_out(kind))
    return error
