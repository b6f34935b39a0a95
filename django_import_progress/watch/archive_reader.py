"""Looks up watched jobs in the archive that Redis has forgotten, beside everything else."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, NamedTuple

from ..core.snapshot import Stored
from . import archive
from .watched_job import PendingRead

AT_ONCE = 500
"""How many jobs one query looks up."""


class Absence(NamedTuple):
    """The result of a read that did not find a job's snapshot."""

    read: PendingRead
    stored: Stored | None
    """The remembered outcome, if any."""
    heartbeat: bool


class ArchiveReader:
    """Looks up forgotten jobs, many with one query, while Redis is read and updates are sent.

    A slow database delays only these jobs. If it is unavailable, they are not taken for gone, and
    the next heartbeat looks them up again.

    Args:
        start: starts a task.
        apply: called with each read, what is known of the job then, and whether an absence counts.
    """

    def __init__(
        self,
        start: Callable[[Coroutine[Any, Any, None]], None],
        apply: Callable[[PendingRead, Stored | None, bool], None],
    ) -> None:
        self._start = start
        self._apply = apply
        self._waiting: list[Absence] = []
        self._is_running = False

    def add(self, absence: Absence) -> None:
        """Look up a job soon."""
        self._waiting.append(absence)
        if not self._is_running:
            self._is_running = True
            self._start(self._run())

    async def _run(self) -> None:
        try:
            while self._waiting:
                chunk, self._waiting = self._waiting[:AT_ONCE], self._waiting[AT_ONCE:]
                by_namespace = defaultdict(list)
                for absence in chunk:
                    by_namespace[absence.read.job.calls.keys.namespace].append(absence)
                for namespace, absences in by_namespace.items():
                    await self._look_up(namespace, absences)
        finally:  # After an error, the next heartbeat starts it again.
            self._is_running = False

    async def _look_up(self, namespace: str, absences: list[Absence]) -> None:
        read = {each.read.job.view.job_id: each.stored for each in absences}
        # Without the context of the request that started the hub, which may be of another tenant.
        found, is_known = await asyncio.get_running_loop().run_in_executor(
            None, Context().run, archive.looked_up_aside, namespace, read
        )
        for each in absences:
            stored = found[each.read.job.view.job_id]
            self._apply(each.read, stored, each.heartbeat and is_known)
