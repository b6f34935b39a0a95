"""Celery's view of a message, for tasks whose process was lost. Only workers import this module."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from .message_namespace import handling, namespace_of
from .queue_status import QUEUED_AGAIN, update


class ImportRequest(Request):  # type: ignore[misc, unused-ignore]
    """One message of an `ImportTask`."""

    _context: Any
    _has_failed = False

    def on_failure(self, *args: Any, **options: Any) -> Any:
        """Note that the task has failed: `reject` may now put its message back into the queue."""
        self._has_failed = True
        with handling(self._context.headers):
            return super().on_failure(*args, **options)

    def on_timeout(self, soft: bool, timeout: float) -> None:
        """Let the signal's receivers know the job's namespace."""
        with handling(self._context.headers):
            super().on_timeout(soft, timeout)

    def reject(self, requeue: bool = False) -> None:
        """Write ``queued`` before the message is back in the queue.

        Otherwise the next worker would wait until the lease of the lost one expires.
        """
        if requeue and self._has_failed:
            task: Any = self.task
            update(namespace_of(task, self._context.headers), self.id, QUEUED_AGAIN)
        super().reject(requeue)
