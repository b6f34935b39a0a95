"""Reads watched jobs: a queue for each server, and larger chunks the faster the connection is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from itertools import islice
from typing import Any

from ..core.errors import ProgressUnavailable
from .watched_job import WatchedJob

logger = logging.getLogger("django_import_progress")

FIRST_CHUNK = 20
"""Jobs in the first chunk. Small, so that a slow connection does not spend its first seconds on a
pipeline that times out."""
LARGEST_CHUNK = 500
FAST_SECONDS = 0.5
"""A chunk that was read within this time is followed by a larger one."""

Read = Callable[[list[WatchedJob], bool], Awaitable[None]]


class _Queue:
    """Jobs of one server that are to be read in the same way, and the size of the next chunk."""

    def __init__(self, *, heartbeat: bool) -> None:
        self.heartbeat = heartbeat
        self.is_being_read = False
        self.jobs: dict[WatchedJob, None] = {}
        self._size = FIRST_CHUNK

    def take(self) -> list[WatchedJob]:
        """Return the next chunk."""
        chunk = list(islice(self.jobs, self._size))
        for job in chunk:
            del self.jobs[job]
        return chunk

    def grow(self, count: int) -> None:
        """Double the chunk size after a full chunk of `count` jobs was fast."""
        if count == self._size:
            self._size = min(2 * count, LARGEST_CHUNK)

    def shrink(self, count: int) -> None:
        """Halve the chunk size after a chunk of `count` jobs has failed."""
        self._size = max(count // 2, 1)


class JobReader:
    """Reads jobs, those of each server in a task of its own, and at a heartbeat in another one.

    At a heartbeat unchanged jobs are quick to read, so the chunks may be larger.
    A chunk that fails is read again as two smaller ones. A single job that fails is read later,
    and the reader continues with the others.

    Args:
        start: starts a task. Its exception means that the connection is broken.
        read: reads a chunk and applies the result; called with the jobs, and whether it is a
            heartbeat.
        is_fatal: whether a failed read means that the connection is broken.
        read_later: called with a job that could not be read.
    """

    def __init__(
        self,
        start: Callable[[Coroutine[Any, Any, None]], None],
        read: Read,
        is_fatal: Callable[[ProgressUnavailable], bool],
        read_later: Callable[[WatchedJob], None],
    ) -> None:
        self._start = start
        self._read = read
        self._is_fatal = is_fatal
        self._read_later = read_later
        self._queues: dict[tuple[str, bool], _Queue] = {}
        """By server, and whether it is for heartbeats."""
        self._loop = asyncio.get_running_loop()
        self._has_logged = False

    def add(self, server: str, job: WatchedJob, *, heartbeat: bool) -> None:
        """Read a job soon."""
        queue = self._queues.setdefault((server, heartbeat), _Queue(heartbeat=heartbeat))
        queue.jobs[job] = None
        if not queue.is_being_read:
            queue.is_being_read = True
            self._start(self._drain(queue))

    async def _drain(self, queue: _Queue) -> None:
        while chunk := queue.take():
            began = self._loop.time()
            try:
                await self._read(chunk, queue.heartbeat)
            except ProgressUnavailable as error:
                if self._is_fatal(error):
                    raise
                queue.shrink(len(chunk))
                self._retry(queue, chunk, error)
            else:
                self._has_logged = False
                if self._loop.time() - began < FAST_SECONDS:
                    queue.grow(len(chunk))
        queue.is_being_read = False

    def _retry(self, queue: _Queue, chunk: list[WatchedJob], error: ProgressUnavailable) -> None:
        if len(chunk) > 1:
            queue.jobs |= dict.fromkeys(chunk)
            return
        self._read_later(chunk[0])
        if not self._has_logged:
            self._has_logged = True
            logger.warning(
                "Cannot read the progress of import %s (%s); retrying",
                chunk[0].view.job_id,
                type(error.__cause__).__name__,
            )
