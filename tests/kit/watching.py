"""Somebody who watches a job with `watch()` while the test goes on."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django_import_progress.cancellation import end_tasks

from .facade import AsyncFacade
from .managers import versions_of
from .waiting import until


class Watching:
    """Collects what `watch` yields; to be used as an asynchronous context manager.

    It is left once the watching has ended, or at once where the test has failed.

    Args:
        progress: a manager of either kind; see `AsyncFacade`.
        job_id: the job.
        ender: who ends the watching where the test has not, if `progress` cannot.
    """

    def __init__(self, progress: Any, job_id: str = "j1", ender: Any = None) -> None:
        self.seen: list[dict[str, Any]] = []
        self.orders: list[tuple[int, int]] = []
        """Life and version of each; what a watcher is not told, but must be able to rely on."""
        self._progress = progress
        self._job_id = job_id
        self._ender = ender or progress

    def _note(self, snapshot: dict[str, Any], frame: Any) -> None:
        self.orders.append(frame.f_locals["state"].order[:2])
        self.seen.append(snapshot)

    async def _watch(self) -> None:
        snapshots = self._progress.watch(self._job_id)
        async for snapshot in snapshots:
            self._note(snapshot, snapshots.ag_frame)

    async def _watch_in_a_thread(self) -> None:
        snapshots = self._progress.manager.watch(self._job_id)

        def watch() -> None:
            for snapshot in snapshots:
                self._note(snapshot, snapshots.gi_frame)

        # A thread of its own: asyncio's are few, and this one is taken all the time.
        with ThreadPoolExecutor(1) as thread:
            watching = asyncio.get_running_loop().run_in_executor(thread, watch)
            try:
                await asyncio.shield(watching)
            except asyncio.CancelledError:
                # It goes through any outage, by design: let it take the job for gone.
                snapshots.gi_frame.f_locals["slot"].view._mark_gone()
                await asyncio.wait([watching])
                raise

    async def __aenter__(self) -> Watching:
        is_sync = isinstance(self._progress, AsyncFacade)
        self._task = asyncio.create_task(self._watch_in_a_thread() if is_sync else self._watch())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await until(self._is_over, "the watching to end")
            await self._task
        else:
            await end_tasks([self._task])

    async def _is_over(self) -> bool:
        if not self._task.done():
            # Others have written since it did: a late end of an earlier run would end nobody.
            versions_of(self._ender).forget(self._job_id)
            await self._ender.publish_update(self._job_id, {"status": "cancelled"})
            await asyncio.wait([self._task], timeout=0.1)
        return self._task.done()

    @property
    def over(self) -> bool:
        """Whether `watch` has ended by itself."""
        return self._task.done()

    async def ends(self) -> list[dict[str, Any]]:
        """Wait until `watch` ends by itself, and return all that it yielded."""
        await until(lambda: self.over, f"the watching to end by itself; seen: {self.seen[-3:]}")
        await self._task
        return self.seen

    async def sees(self, **fields: Any) -> dict[str, Any]:
        """Wait until the newest snapshot has these fields, and return it."""

        def is_seen() -> bool:
            return bool(self.seen) and fields.items() <= self.seen[-1].items()

        await until(lambda: is_seen() or self.over, f"{fields}; seen: {self.seen[-3:]}")
        assert is_seen(), f"ended before {fields}; seen: {self.seen[-3:]}"
        return self.seen[-1]

    async def seconds_until_it_sees(self, **fields: Any) -> float:
        """Wait for the same, and return how long that took."""
        began = time.monotonic()
        await self.sees(**fields)
        return time.monotonic() - began
