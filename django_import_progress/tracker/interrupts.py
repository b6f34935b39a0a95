"""What stops a loop: a requested cancellation, the loss of the job, a fork."""

from __future__ import annotations

import os
import threading
import weakref

from ..core.errors import ImportCancelled, ImportSuperseded, NotTracking
from ..core.lease import LOST, WriteResult
from .counters import ProgressCounters

REASONS = {
    WriteResult.SUPERSEDED: (
        "Another worker has started import {job_id} again, so this attempt was stopped. Give each"
        " import an id of its own."
    ),
    WriteResult.DELETED: (
        "Job {job_id} was deleted, so its import was stopped. To stop one and keep its outcome, use"
        " request_cancel()."
    ),
    WriteResult.ENDED: (
        "Job {job_id} was ended by other code, so its import was stopped. While an import runs, let"
        " its `with` block end the job."
    ),
}
"""What the message of `ImportSuperseded` says."""


class Stoppable(ProgressCounters):
    """Counts, and raises after the running row what is to stop the loop."""

    def __init__(self, job_id: str, total: int | None, stage: str | None) -> None:
        super().__init__(job_id, total, stage)
        self._is_asked_to_stop = False
        self._has_noticed = False
        """Whether the loop knows that cancellation was requested: then it ends ``cancelled``."""
        self._lost: WriteResult | None = None
        """How the job ceased to be this attempt's."""
        self._is_elsewhere = False
        """Whether this is a copy in a forked process."""

    @property
    def cancelled(self) -> bool:
        """Whether cancellation was requested. A loop that has read it ends ``cancelled``."""
        self._has_noticed = self._has_noticed or self._is_asked_to_stop
        return self._has_noticed

    def _begin_counting(self) -> None:
        _tracking[id(self)] = weakref.ref(self)
        self._is_tracking, self.interrupt = True, None

    def _stop_counting(self) -> None:
        self._is_tracking, self._is_through = False, True
        self.interrupt = NotTracking

    def _forget(self) -> None:
        """End: a fork need not think of this any more."""
        _tracking.pop(id(self), None)

    def _listen(self, told: WriteResult) -> None:
        """Take note of the result of a write. Called in the writer's thread."""
        if told in LOST:
            self._lost = told
        elif told is WriteResult.CANCEL:
            self._is_asked_to_stop = True
        else:
            return
        if self._is_tracking:
            self.interrupt = self._superseded if self._lost else self._cancelled

    def _superseded(self) -> BaseException:
        assert self._lost is not None
        error = ImportSuperseded(REASONS[self._lost].format(job_id=self.job_id))
        error.tracker = self
        return error

    def _cancelled(self) -> BaseException:
        self._has_noticed = True  # Whatever becomes of the exception.
        error = ImportCancelled(f"Cancellation of import {self.job_id} was requested")
        error.tracker = self
        return error

    def leave_to_parent(self) -> None:
        """Do nothing any more: this is a copy in a forked process."""
        self._is_elsewhere, self._is_tracking = True, False
        self.interrupt = NotTracking
        self._lock = threading.RLock()  # Another thread of the parent may have held it.


def _leave_to_parent() -> None:
    for reference in list(_tracking.values()):
        if (tracker := reference()) is not None:  # pragma: no branch - it may be garbage
            tracker.leave_to_parent()


_tracking: dict[int, weakref.ref[Stoppable]] = {}
"""All that were entered in this process and have not ended, by their `id`.

No `WeakSet`: what a signal handler raises in a callback of a weak reference would be lost.
"""
if hasattr(os, "register_at_fork"):  # pragma: no branch - it is not on Windows, which has no fork
    os.register_at_fork(after_in_child=_leave_to_parent)
