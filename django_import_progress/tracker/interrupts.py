"""Stops a loop: after a cancellation, when the job is lost, or in a forked process."""

from __future__ import annotations

import os
import threading
import weakref

from ..core.errors import ImportCancelled, ImportSuperseded, NotTracking
from ..core.lease import LOST, WriteResult
from .counters import ProgressCounters

REASONS = {
    WriteResult.SUPERSEDED: (
        "Another worker has started import {job_id} again, so this attempt was stopped. Use a"
        " unique id for each import."
    ),
    WriteResult.DELETED: (
        "Job {job_id} was deleted, so its import was stopped. To stop an import and keep its"
        " outcome, use request_cancel()."
    ),
    WriteResult.ENDED: (
        "Job {job_id} was ended by other code, so its import was stopped. While an import runs,"
        " only its `with` block should end the job."
    ),
}
"""Messages of `ImportSuperseded`."""


class Stoppable(ProgressCounters):
    """Counters that stop the loop by an exception after the running row."""

    def __init__(self, job_id: str, total: int | None, stage: str | None) -> None:
        super().__init__(job_id, total, stage)
        self._is_cancel_requested = False
        self._has_seen_cancel = False
        """Whether the loop knows of the requested cancellation: then it ends ``cancelled``."""
        self._lost: WriteResult | None = None
        """Why the job is no longer this attempt's."""
        self._is_forked_copy = False
        """Whether this is a copy in a forked process."""

    @property
    def cancelled(self) -> bool:
        """Whether cancellation was requested. A loop that has read it ends ``cancelled``."""
        self._has_seen_cancel = self._has_seen_cancel or self._is_cancel_requested
        return self._has_seen_cancel

    def _start_tracking(self) -> None:
        _tracking[id(self)] = weakref.ref(self)
        self._is_tracking, self.interrupt = True, None

    def _stop_tracking(self) -> None:
        self._is_tracking, self._has_left = False, True
        self.interrupt = NotTracking

    def _unregister(self) -> None:
        """Remove this tracker from those that a fork deactivates."""
        _tracking.pop(id(self), None)

    def _on_write_result(self, result: WriteResult) -> None:
        """Handle the result of a write. Called in the writer's thread."""
        if result in LOST:
            self._lost = result
        elif result is WriteResult.CANCEL:
            self._is_cancel_requested = True
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
        self._has_seen_cancel = True  # Even if the exception is swallowed.
        error = ImportCancelled(f"Cancellation of import {self.job_id} was requested")
        error.tracker = self
        return error

    def deactivate(self) -> None:
        """Turn this copy in a forked process off: it counts and writes nothing."""
        self._is_forked_copy, self._is_tracking = True, False
        self.interrupt = NotTracking
        self._lock = threading.RLock()  # A thread of the parent may hold the old one.


def _deactivate_copies() -> None:
    for reference in list(_tracking.values()):
        if (tracker := reference()) is not None:  # pragma: no branch - it may be garbage
            tracker.deactivate()


_tracking: dict[int, weakref.ref[Stoppable]] = {}
"""The active trackers of this process, by `id`.

Not a `WeakSet`: an exception that a signal handler raises in its callbacks would be lost.
"""
if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(after_in_child=_deactivate_copies)
