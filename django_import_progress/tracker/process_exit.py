"""Wait at the end of a process for final statuses that are not saved in Redis yet.

The threads that write them end with the process. How a process ends depends on what started it:

- a Python program, and children of `multiprocessing` (thus `ProcessPoolExecutor`, dramatiq, huey,
  django-q2) and of `billiard`, run the finalizers of these packages;
- Celery's prefork pool exits by `os._exit`, and sends `worker_process_shutdown` before;
- RQ's work horse exits by `os._exit` as soon as its job returns: the job itself has to wait.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.util import Finalize
from typing import Any, Protocol


class FinishingThread(Protocol):
    """A thread whose import has ended, and whose final status may not be in Redis yet."""

    def join(self, seconds: float | None = None) -> None:
        """Wait for the thread: see `threading.Thread`."""

    def is_alive(self) -> bool:
        """Return whether the thread runs: see `threading.Thread`."""

    @property
    def exit_deadline(self) -> float:
        """Until when an exiting process waits for the thread, by `time.monotonic`."""

    def give_up(self) -> None:
        """Log that the final status is lost."""


finishing: set[FinishingThread] = set()
"""The threads that have a final status to write."""

_finalizers: dict[str, int] = {}
"""Packages whose finalizers call `wait_for_finishing`; the process in which each was registered."""

if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    # A fork copies the registry, but not the threads.
    os.register_at_fork(after_in_child=finishing.clear)


def note_finishing(thread: FinishingThread) -> None:
    """Register a thread that is about to write a final status."""
    finishing.add(thread)
    _wait_at_exit()


def _wait_at_exit() -> None:
    """Register `wait_for_finishing` for every way in which this process may end.

    Called in the process itself: children of `multiprocessing` discard their parent's finalizers.
    """
    _finalize("multiprocessing.util", Finalize)
    if util := sys.modules.get("billiard.util"):
        _finalize("billiard.util", util.Finalize)
    if signals := sys.modules.get("celery.signals"):
        signals.worker_process_shutdown.connect(
            wait_for_finishing, dispatch_uid=__name__, weak=False
        )


def _finalize(package: str, finalizer: Any) -> None:
    if _finalizers.get(package) != os.getpid():
        _finalizers[package] = os.getpid()
        finalizer(None, wait_for_finishing, exitpriority=0)


def wait_for_finishing(**_: Any) -> None:
    """Wait for each final status until its deadline, and log those that are lost."""
    for thread in list(finishing):
        thread.join(max(thread.exit_deadline - time.monotonic(), 0))
        if thread.is_alive():  # pragma: no branch - depends on timing
            thread.give_up()


def wait_in_rq_job() -> None:
    """Wait now if this is a job of RQ, whose process exits right after it without any call."""
    rq = sys.modules.get("rq")
    if rq is not None and rq.get_current_job() is not None:
        wait_for_finishing()
