"""Runs what must be written to the database in a thread, and repeats it while that fails."""

from __future__ import annotations

import _thread
import dataclasses
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from django.db import DataError, Error, IntegrityError, connections

from ..core.pacing import backoff_seconds
from ..tracker.process_exit import finishing, note_finishing

logger = logging.getLogger("django_import_progress")

RETRY_SECONDS = 300.0
"""How long a task is repeated."""
EXIT_SECONDS = 5.0
"""How long an exiting process waits for the tasks."""
OUTAGE_SECONDS = 1.0
"""The same if the database or the storage is known to be unavailable."""
MOST_TASKS = 1000
"""How many tasks wait at most, for example while a database is away."""


@dataclasses.dataclass(eq=False)
class Task:
    """Something to do in the thread."""

    job_id: str
    run: Callable[[], object]
    deadline: float = dataclasses.field(default_factory=lambda: time.monotonic() + RETRY_SECONDS)


class BackgroundThread:
    """A thread that runs tasks in their order, while there are any.

    It uses connections of its own, and closes them when it ends. It is started by `_thread`, as
    `ReportingThread` is: a signal handler that raises leaves no lock behind. Queue and lock are
    those of this process: a fork has new ones.
    """

    def __init__(self) -> None:
        self.forget()
        if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Forget all tasks: after a fork they belong to the parent."""
        self._tasks = SimpleQueue[Task]()
        self._is_running = _thread.allocate_lock()
        self._is_failing = False

    def add(self, task: Task) -> None:
        """Run a task soon."""
        if self._tasks.qsize() >= MOST_TASKS:
            self._give_up(task, "too many wait")
            return
        self._tasks.put(task)
        self._start()

    def _start(self) -> None:
        if not self._is_running.acquire(blocking=False):
            return
        note_finishing(self)
        try:
            _thread.start_new_thread(self._trace_and_run, ())
        except RuntimeError as error:  # A limit of threads, or the interpreter is shutting down.
            self._is_running.release()
            logger.warning("The history of imports cannot be written now: %s", error)

    def _trace_and_run(self) -> None:  # pragma: no cover - traced only from here on
        # `threading` does the same: debuggers, profilers and coverage register there.
        sys.settrace(threading.gettrace())
        sys.setprofile(threading.getprofile())
        self._run()

    def _run(self) -> None:
        try:
            while True:
                self._perform(self._tasks.get_nowait())
        except Empty:
            pass
        finally:
            connections.close_all()
            finishing.discard(self)
            self._is_running.release()
            if not self._tasks.empty():  # Added since.
                self._start()

    def _perform(self, task: Task) -> None:
        failures = 0
        while not self._try(task):
            failures += 1
            pause = backoff_seconds(failures, random.random())
            if time.monotonic() + pause > task.deadline:
                self._give_up(task, "the database or the storage is unavailable")
                return
            time.sleep(pause)

    def _try(self, task: Task) -> bool:
        """Run a task; return whether it is done with."""
        try:
            task.run()
        except (DataError, IntegrityError):
            logger.exception("The database refuses the history of import %s", task.job_id)
            return True
        except (Error, OSError) as error:
            if not self._is_failing:
                self._is_failing = True
                logger.warning(
                    "Cannot write the history of import %s; retrying: %s", task.job_id, error
                )
            connections.close_all()  # A new connection may work.
            return False
        except Exception:  # It would only fail again, and all others wait for it.
            logger.exception("Cannot write the history of import %s", task.job_id)
            return True
        self._is_failing = False
        return True

    @staticmethod
    def _give_up(task: Task, reason: str) -> None:
        logger.error(
            "The history of import %s was not written, because %s:"
            " `manage.py import_progress reconcile` repairs it from Redis",
            task.job_id,
            reason,
        )

    def is_alive(self) -> bool:
        """Return whether tasks wait or run."""
        return self._is_running.locked()

    def join(self, seconds: float | None = None) -> None:
        """Wait for up to `seconds` until there are no tasks."""
        if self._is_running.acquire(timeout=-1 if seconds is None else seconds):
            self._is_running.release()

    @property
    def exit_deadline(self) -> float:
        """Until when an exiting process waits, by `time.monotonic`."""
        return time.monotonic() + (OUTAGE_SECONDS if self._is_failing else EXIT_SECONDS)

    def give_up(self) -> None:
        """Log that the process exits before everything was written."""
        logger.error(
            "The process exits before the history of all imports was written:"
            " `manage.py import_progress reconcile` repairs it from Redis"
        )


background = BackgroundThread()
"""The thread of this process."""
