"""The tracker of a Celery task: whether another attempt follows is known once the task is over."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded, TimeLimitExceeded
from django.utils.translation import gettext

from ..core.errors import ImportCancelled
from ..tracker.outcome import is_cancellation
from ..tracker.tracker import ImportTracker
from .queue_status import QUEUED_AGAIN


class Replaced(Ignore):  # type: ignore[misc, unused-ignore]
    """Raised by `ImportTask.replace`: another task with the same id continues the import."""


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
    _left_by: BaseException | None = None

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
        if not self.is_in_task or error is None or is_cancellation(error):
            return False
        self._left_by = error
        return True

    @property
    def was_entered(self) -> bool:
        """Whether the import has begun: what becomes of it is not the task's to say."""
        return hasattr(self, "_writer")

    def settle(self, outcome: BaseException | None) -> None:
        """Tell what was put off, now that the task is over.

        Args:
            outcome: what the task has raised.
        """
        error, self._left_by = self._left_by, None
        if error is None:
            return
        if is_tried_again(outcome):
            self._end = dict(QUEUED_AGAIN)
            self._finish(error, is_held_back=True)
        else:
            self._finish(ImportCancelled() if isinstance(outcome, Ignore) else error)
        self._wait_for_the_end(self._announce)

    def _finish(self, error: BaseException | None, *, is_held_back: bool = False) -> None:
        self._expose = (*self._expose, TookTooLong)
        super()._finish(in_words(error), is_held_back=is_held_back)


def is_tried_again(outcome: BaseException | None) -> bool:
    """Tell whether another attempt follows a task that raised `outcome`, with the same id."""
    requeued = isinstance(outcome, Reject) and outcome.requeue  # type: ignore[attr-defined]
    return isinstance(outcome, Retry | Replaced) or bool(requeued)


def in_words(error: BaseException | None) -> BaseException | None:
    """Return the error, in words for the end user if it is a time limit's."""
    gevent: Any = sys.modules.get("gevent")
    by_gevent = gevent is not None and isinstance(error, gevent.Timeout)
    if by_gevent or isinstance(error, SoftTimeLimitExceeded | TimeLimitExceeded):
        return TookTooLong(gettext("The import exceeded its time limit and was stopped."))
    return error
