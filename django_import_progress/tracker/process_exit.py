"""At the end of a process: wait for final statuses that Redis does not have yet.

The threads that write them end with the process. How a process ends depends on what started it:

- a Python program, and children of `multiprocessing` (thus `ProcessPoolExecutor`, dramatiq, huey,
  django-q2) and of `billiard`, run the finalizers of these packages;
- Celery's prefork pool leaves by `os._exit`, and sends `worker_process_shutdown` before;
- RQ's work horse leaves by `os._exit` as soon as its job returns: the job itself has to wait.
"""

from __future__ import annotations

import os
import sys
import time
from multiprocessing.util import Finalize
from typing import Any, Protocol


class Leaver(Protocol):
    """A thread whose import has ended, and whose final status may not be in Redis yet."""

    def join(self, seconds: float | None = None) -> None:
        """Wait for the thread: see `threading.Thread`."""

    def is_alive(self) -> bool:
        """Tell whether it runs: see `threading.Thread`."""

    @property
    def last_chance_until(self) -> float:
        """Until when a process that ends waits for it, by `time.monotonic`."""

    def give_up(self) -> None:
        """Log that the final status is lost."""


leaving: set[Leaver] = set()
"""The threads that have a final status to write."""

_finalizers: dict[str, int] = {}
"""The packages whose finalizers call `wait_for_leaving`, and in which process."""

if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    # A fork copies the registry, but not the threads.
    os.register_at_fork(after_in_child=leaving.clear)


def note_leaving(thread: Leaver) -> None:
    """Register a thread that is about to write a final status."""
    leaving.add(thread)
    _wait_at_exit()


def _wait_at_exit() -> None:
    """Have `wait_for_leaving` called at the end of this process, whatever ends it.

    Called in the process itself: children of `multiprocessing` forget their parent's finalizers.
    """
    _finalize("multiprocessing.util", Finalize)
    if util := sys.modules.get("billiard.util"):
        _finalize("billiard.util", util.Finalize)
    if signals := sys.modules.get("celery.signals"):
        signals.worker_process_shutdown.connect(wait_for_leaving, dispatch_uid=__name__, weak=False)


def _finalize(package: str, finalizer: Any) -> None:
    if _finalizers.get(package) != os.getpid():
        _finalizers[package] = os.getpid()
        finalizer(None, wait_for_leaving, exitpriority=0)


def wait_for_leaving(**_: Any) -> None:
    """Wait for each final status for as long as it may take, and log those that are lost."""
    for thread in list(leaving):
        thread.join(max(thread.last_chance_until - time.monotonic(), 0))
        if thread.is_alive():  # pragma: no branch - whether it is depends on the moment
            thread.give_up()


def wait_if_nothing_else_will() -> None:
    """Wait now where the process ends right after the job, and calls nobody: in a job of RQ."""
    rq = sys.modules.get("rq")
    if rq is not None and rq.get_current_job() is not None:
        wait_for_leaving()
