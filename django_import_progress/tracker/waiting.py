"""Waiting for the thread that writes: in the import's own thread, or in an event loop."""

from __future__ import annotations

import _thread
import logging
import os
import sys
import threading

from .flag import Flag
from .process_exit import wait_if_nothing_else_will

logger = logging.getLogger("django_import_progress")

LAST_SECONDS = 5.0
"""How long the `with`, or a process that ends, waits for the last state to be told."""

END_SECONDS = LAST_SECONDS + 1.0
"""How long leaving waits at most, for the end to stand in Redis."""

AWAY_TURNS = 10
"""How long it waits where Redis is known to be away: it may be back by now."""


running: set[Awaited] = set()
"""Those whose threads run; a forked process takes over the set, and not the threads."""


class Awaited:
    """A thread that writes to Redis, and those who wait for it.

    It is none of `threading`'s: a signal handler that raises while one of these is started leaves
    locks and lists behind in a state from which the thread does not recover.

    Args:
        job_id: the job.
    """

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.ident: int | None = None
        """The thread's, once it runs."""
        self._process = os.getpid()
        self._has_begun = Flag()
        self._has_ended = Flag()
        self.began = Flag()
        """Set when the attempt stands in Redis, or Redis is known to be away."""
        self.ended = Flag()
        """Set when Redis has the final status, or waiting for that is of no use."""
        self.held = Flag()
        """Set when all that had been counted at `hold` stands in Redis."""
        self._failing = False
        """Whether Redis did not take the last write."""
        self._gave_up = False

    def start(self) -> bool:
        """Start the thread; False if there can be no more threads."""
        try:
            _thread.start_new_thread(self._trace_and_run, ())
        except RuntimeError as error:  # A limit of processes, or the interpreter is shutting down.
            if "new thread" not in str(error):
                raise  # By a signal handler.
            logger.warning("Import %s runs, but is not reported: %s", self.job_id, error)
            return False
        self._has_begun.wait()  # A busy machine takes its time: that is not Redis's.
        return True

    def _trace_and_run(self) -> None:  # pragma: no cover - it is traced from here on
        # As `threading` does for its own: debuggers, profilers and coverage ask for it there.
        sys.settrace(threading.gettrace())
        sys.setprofile(threading.getprofile())
        self._run()

    def _run(self) -> None:
        self.ident = threading.get_ident()
        running.add(self)
        self._has_begun.set()
        try:
            self.run()
        finally:
            running.discard(self)
            self._has_ended.set()

    def run(self) -> None:
        """Do what the thread is for."""
        raise NotImplementedError  # pragma: no cover - each kind has its own

    def is_alive(self) -> bool:
        """Whether the thread runs, in this process."""
        return self in running and self._process == os.getpid()

    def join(self, seconds: float | None = None) -> None:
        """Wait for so long at most until a thread that was started has ended."""
        self._has_ended.wait(seconds)

    def give_up(self) -> None:
        """Log that the final status could not be saved; nothing waits for it any longer."""
        if not self._gave_up:
            self._gave_up = True
            logger.error("The end of import %s could not be told", self.job_id)

    def wait_for_the_end(self) -> None:
        """Wait until the end stands in Redis, or for as long as it is tried.

        Where Redis is known to be away it is tried beside, and waited for a moment only.
        """
        if not self._wait_for(self.ended):
            self.give_up()  # It may hang in a client of more patience.
        wait_if_nothing_else_will()

    def wait_until_held(self) -> None:
        """Wait for `held`, or for as long as an end would be waited for."""
        self._wait_for(self.held)

    def _wait_for(self, flag: Flag) -> bool:
        if self._is_away:
            flag.wait_a_moment(AWAY_TURNS)
            return True
        return flag.wait(END_SECONDS)

    async def wait_for_the_end_in_loop(self) -> None:
        """Do the same without a thread."""
        if not await self._wait_in_loop_for(self.ended):
            self.give_up()
        wait_if_nothing_else_will()

    async def wait_until_held_in_loop(self) -> None:
        """Do the same without a thread."""
        await self._wait_in_loop_for(self.held)

    async def _wait_in_loop_for(self, flag: Flag) -> bool:
        if self._is_away:
            await flag.wait_a_moment_in_loop(AWAY_TURNS)
            return True
        return await flag.wait_in_loop(END_SECONDS)

    @property
    def _is_away(self) -> bool:
        """Whether Redis did not take the last write, or has not answered the first one yet."""
        return self._failing or not self.began.is_set()
