"""Celery's view of a message, for tasks whose process was lost. Only workers import this module."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from .queue_status import QUEUED_AGAIN, update


class ImportRequest(Request):  # type: ignore[misc, unused-ignore]
    """One message of an `ImportTask`."""

    _has_failed = False

    def on_failure(self, *args: Any, **options: Any) -> Any:
        """Note that the task has failed: `reject` may now put its message back into the queue."""
        self._has_failed = True
        return super().on_failure(*args, **options)

    def reject(self, requeue: bool = False) -> None:
        """Write ``queued`` before the message is back in the queue.

        Otherwise the next worker would wait until the lease of the lost one expires.
        """
        if requeue and self._has_failed:
            task: Any = self.task
            update(task.progress_namespace, self.id, QUEUED_AGAIN)
        super().reject(requeue)
