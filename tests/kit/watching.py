"""Somebody who watches a job with `watch()` while the test goes on."""

from __future__ import annotations

import asyncio
from typing import Any

from .waiting import until


class Watching:
    """Collects what `watch` yields; to be used as an asynchronous context manager.

    Args:
        progress: a manager of either kind; see `AsyncFacade`.
        job_id: the job.
        ender: who ends the watching where the test has not, if `progress` cannot.
    """

    def __init__(self, progress: Any, job_id: str = "j1", ender: Any = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._progress = progress
        self._job_id = job_id
        self._ender = ender or progress

    async def _watch(self) -> None:
        async for snapshot in self._progress.watch(self._job_id):
            self.seen.append(snapshot)

    async def __aenter__(self) -> Watching:
        self._task = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        await until(self._is_over, "the watching to end")
        await self._task

    async def _is_over(self) -> bool:
        if not self._task.done():
            await self._ender.publish_update(self._job_id, {"status": "cancelled"})
            await asyncio.wait([self._task], timeout=0.1)
        return self._task.done()

    @property
    def over(self) -> bool:
        """Whether `watch` has ended by itself."""
        return self._task.done()

    async def ends(self) -> list[dict[str, Any]]:
        """Wait until `watch` ends by itself, and return all that it yielded."""
        await until(lambda: self.over, f"the watching to end by itself; seen: {self.seen}")
        await self._task
        return self.seen

    async def sees(self, **fields: Any) -> dict[str, Any]:
        """Wait until the newest snapshot has these fields, and return it."""

        def is_seen() -> bool:
            return bool(self.seen) and fields.items() <= self.seen[-1].items()

        await until(lambda: is_seen() or self.over, f"{fields}; seen: {self.seen}")
        assert is_seen(), f"ended before {fields}; seen: {self.seen}"
        return self.seen[-1]
