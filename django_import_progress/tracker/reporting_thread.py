"""The thread that reports an import, and how to wait for it: in a thread or in an event loop."""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading

from .awaitable_event import AwaitableEvent
from .process_exit import wait_in_rq_job

logger = logging.getLogger("django_import_progress")

FINAL_SECONDS = 5.0
"""How long the `with` block, or a process that exits, waits for the final status to be saved."""

LEAVE_SECONDS = FINAL_SECONDS + 1.0
"""Upper limit for leaving the `with` block, even if the client hangs."""

OUTAGE_TURNS = 10
"""How long leaving waits if Redis is known to be unavailable: it may have just recovered."""


running: set[ReportingThread] = set()
"""The threads that run. A forked process inherits the set, but not the threads."""


class ReportingThread:
    """Base of a thread that writes to Redis, with the events that others wait for.

    It is not a `threading.Thread`: a signal handler that raises while one is started leaves locks
    and lists in a state from which the thread does not recover.

    Args:
        job_id: the job.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.ident: int | None = None
        """The thread's identifier, once it runs."""
        self._process = os.getpid()
        self._has_started = AwaitableEvent()
        self._has_ended = AwaitableEvent()
        self.started = AwaitableEvent()
        """Set when Redis has the attempt, or is known to be unavailable."""
        self.ended = AwaitableEvent()
        """Set when Redis has the final status, or waiting for it is of no use."""
        self.flushed = AwaitableEvent()
        """Set when Redis has everything that had been counted at `flush`."""
        self._failing = False
        """Whether the last write to Redis failed."""
        self._gave_up = False

    def start(self) -> bool:
        """Start the thread; return False if the system allows no more threads."""
        try:
            _thread.start_new_thread(self._trace_and_run, ())
        except RuntimeError as error:  # A limit of processes, or the interpreter is shutting down.
            if "new thread" not in str(error):
                raise  # By a signal handler.
            logger.warning(
                "Import %s reports only its start, set fields and its end: %s", self.job_id, error
            )
            return False
        self._has_started.wait()  # A busy machine may need long; this time is not Redis's.
        return True

    def _trace_and_run(self) -> None:  # pragma: no cover - traced only from here on
        # `threading` does the same: debuggers, profilers and coverage register there.
        sys.settrace(threading.gettrace())
        sys.setprofile(threading.getprofile())
        self._run()

    def _run(self) -> None:
        self.ident = threading.get_ident()
        running.add(self)
        self._has_started.set()
        try:
            self.run()
        finally:
            running.discard(self)
            self._has_ended.set()

    def run(self) -> None:
        """Do the thread's work."""
        raise NotImplementedError  # pragma: no cover - defined by subclasses

    def is_alive(self) -> bool:
        """Return whether the thread runs, in this process."""
        return self in running and self._process == os.getpid()

    def join(self, seconds: float | None = None) -> None:
        """Wait for up to `seconds` until a started thread has ended."""
        self._has_ended.wait(seconds)

    def give_up(self) -> None:
        """Log that the final status could not be saved; nothing waits for it any longer."""
        if not self._gave_up:
            self._gave_up = True
            logger.error("Final status of import %s could not be saved to Redis", self.job_id)

    async def wait_until_ended(self, *, in_loop: bool) -> None:
        """Wait until Redis has the final status, or the `with` block has waited long enough.

        If Redis is known to be unavailable, wait only briefly: the thread keeps trying.

        Args:
            in_loop: whether to wait in the event loop instead of blocking the calling thread.
        """
        if not await self._wait_for(self.ended, in_loop):
            self.give_up()  # A client with longer time-outs may hang.
        wait_in_rq_job()

    async def wait_until_flushed(self, *, in_loop: bool) -> None:
        """Wait for `flushed`, for as long as for a final status."""
        await self._wait_for(self.flushed, in_loop)

    async def _wait_for(self, event: AwaitableEvent, in_loop: bool) -> bool:
        if self._is_redis_unavailable:
            await event.wait_briefly(OUTAGE_TURNS, in_loop=in_loop)
            return True
        return await event.wait_async(LEAVE_SECONDS) if in_loop else event.wait(LEAVE_SECONDS)

    @property
    def _is_redis_unavailable(self) -> bool:
        """Whether the last write failed, or Redis has not responded to the first one yet."""
        return self._failing or not self.started.is_set()
