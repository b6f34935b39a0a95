"""In Celery's main process: what happens to a task whose child process was lost."""

from __future__ import annotations

from typing import Any

from celery.worker.request import Request

from .queue_status import QUEUED_AGAIN, tell


class ImportRequest(Request):  # type: ignore[misc, unused-ignore]
    """One message of an `ImportTask`."""

    _has_failed = False

    def on_failure(self, *args: Any, **options: Any) -> Any:
        """Note that the task is over: it may be rejected now, to be delivered again."""
        self._has_failed = True
        return super().on_failure(*args, **options)

    def reject(self, requeue: bool = False) -> None:
        """Show the job as queued before its message is back in the queue.

        Otherwise the next worker would wait for the lease of the lost one.
        """
        if requeue and self._has_failed:
            task: Any = self.task
            tell(task.progress_namespace, self.id, QUEUED_AGAIN)
        super().reject(requeue)
