"""Reading watched jobs: a queue for each server, in chunks as large as the link is fast."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import islice

from ..cancellation import end_tasks
from ..core.errors import ProgressUnavailable
from .watched_job import WatchedJob

logger = logging.getLogger("django_import_progress")

FIRST_CHUNK = 20
"""How many jobs are read at first: ever more as long as that is quick. A slow link must not spend
its first seconds on a pipeline that is given up before it has been answered."""
LARGEST_CHUNK = 500
EASY_SECONDS = 0.5
"""A chunk that was read within this time is followed by a larger one."""

Read = Callable[[list[WatchedJob], bool], Awaitable[None]]


class _Queue:
    """Which jobs of one server are to be read, and how many of them at once."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self._slots: dict[WatchedJob, None] = {}
        self._beats: dict[WatchedJob, None] = {}
        """The same at a heartbeat."""
        self._sizes = {False: FIRST_CHUNK, True: FIRST_CHUNK}
        """How many are read at once, and at a heartbeat, which is quick where nothing changed."""
        self._is_beats_turn = False

    def __bool__(self) -> bool:
        return bool(self._slots or self._beats)

    def add(self, slot: WatchedJob, *, heartbeat: bool) -> None:
        (self._beats if heartbeat else self._slots)[slot] = None

    def take(self) -> tuple[list[WatchedJob], bool]:
        """Return the next chunk, and whether it is read at a heartbeat; both have their turns."""
        heartbeat = bool(self._beats) and (self._is_beats_turn or not self._slots)
        self._is_beats_turn = not heartbeat
        wanted = self._beats if heartbeat else self._slots
        chunk = list(islice(wanted, self._sizes[heartbeat]))
        for slot in chunk:
            del wanted[slot]
        return chunk, heartbeat

    def was_easy(self, count: int, *, heartbeat: bool) -> None:
        if count == self._sizes[heartbeat]:  # Fewer say nothing of how many are too many.
            self._sizes[heartbeat] = min(2 * count, LARGEST_CHUNK)

    def was_too_large(self, count: int, *, heartbeat: bool) -> None:
        self._sizes[heartbeat] = max(count // 2, 1)


class JobReader:
    """Reads jobs, those of each server by a task of its own.

    A chunk that could not be read is tried again as two smaller ones; a single job that could not
    be read is put off, and the others go on.

    Args:
        read: reads a chunk, and takes note of what was found.
        is_fatal: whether a failed read means that the connection has broken.
        put_off: called with a job that could not be read.
    """

    def __init__(
        self,
        read: Read,
        is_fatal: Callable[[ProgressUnavailable], bool],
        put_off: Callable[[WatchedJob], None],
    ) -> None:
        self._read = read
        self._is_fatal = is_fatal
        self._put_off = put_off
        self._queues: dict[str, _Queue] = {}
        self._loop = asyncio.get_running_loop()
        self._fault: BaseException | None = None
        self._has_failed = asyncio.Event()
        self._has_logged = False

    def add(self, server: str, slot: WatchedJob, *, heartbeat: bool) -> None:
        """Have a job read soon."""
        queue = self._queues.setdefault(server, _Queue())
        queue.add(slot, heartbeat=heartbeat)
        if queue.task is None:
            queue.task = self._loop.create_task(self._drain(queue))
            queue.task.add_done_callback(self._note_the_end)

    async def fail(self) -> None:
        """Wait until a read has failed for good, and raise why: `ProgressUnavailable`."""
        await self._has_failed.wait()
        assert self._fault is not None
        raise self._fault

    async def aclose(self) -> None:
        """End all reads."""
        await end_tasks([queue.task for queue in self._queues.values() if queue.task is not None])

    def _note_the_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._fault = task.exception()
            self._has_failed.set()

    async def _drain(self, queue: _Queue) -> None:
        while queue:
            chunk, heartbeat = queue.take()
            began = self._loop.time()
            try:
                await self._read(chunk, heartbeat)
            except ProgressUnavailable as error:
                if self._is_fatal(error):
                    raise
                queue.was_too_large(len(chunk), heartbeat=heartbeat)
                self._try_again(queue, chunk, error, heartbeat=heartbeat)
            else:
                self._has_logged = False
                if self._loop.time() - began < EASY_SECONDS:
                    queue.was_easy(len(chunk), heartbeat=heartbeat)
        queue.task = None

    def _try_again(
        self, queue: _Queue, chunk: list[WatchedJob], error: ProgressUnavailable, *, heartbeat: bool
    ) -> None:
        if len(chunk) > 1:
            for slot in chunk:
                queue.add(slot, heartbeat=heartbeat)
            return
        self._put_off(chunk[0])
        if not self._has_logged:
            self._has_logged = True
            logger.warning(
                "Cannot read the progress of import %s (%s); trying again",
                chunk[0].view.job_id,
                type(error.__cause__).__name__,
            )
