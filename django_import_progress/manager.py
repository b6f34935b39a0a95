"""`ProgressManager`: the verbs on `redis.asyncio`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from .breakers import SharedBreaker
from .clients import AsyncClient, carry_out, is_clustered, is_sharded, perform, read_all
from .core.call import Call
from .core.calls import clean_owner
from .core.keys import JobId, clean_job_id
from .core.listing import snapshots
from .core.snapshot import Stored
from .hub import Hub, Watcher
from .verbs import calls_for, now_text

T = TypeVar("T")


class ProgressManager:
    """Keeps each job's newest snapshot in Redis and tells it to whoever watches.

    Args:
        redis: a `redis.asyncio` client; it belongs to the event loop in which it is first used.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot outlives its last write.
        heartbeat_seconds: how often watched jobs are read again.
        hub: shared with other managers of the same client; one of its own where not given.
        breaker: shared with other managers of the same Redis; without one, each call waits for
            Redis by itself.

    Every verb takes a job id (`uuid.UUID`, or `str` of 1 to 128 of ``A-Z a-z 0-9 . _ : ~ -``) and
    raises `InvalidJobId` for another one before Redis is touched, `InvalidProgress` for data that
    cannot be a snapshot, and `ProgressUnavailable` where Redis is out of reach.
    """

    def __init__(
        self,
        redis: AsyncClient,
        namespace: str = "import_progress",
        ttl_seconds: int = 3600,
        *,
        heartbeat_seconds: float = 15,
        hub: Hub | None = None,
        breaker: SharedBreaker | None = None,
    ) -> None:
        self.redis = redis
        self.calls = calls_for(
            namespace, ttl_seconds, clustered=is_clustered(redis), sharded=is_sharded(redis)
        )
        self._heartbeat_seconds = heartbeat_seconds
        self._hub = hub
        self._shares_hub = hub is not None
        self._guard = nullcontext if breaker is None else breaker.guard

    def __repr__(self) -> str:
        return f"<ProgressManager: {self.calls.keys.namespace}>"

    async def set_progress(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Replace the stored snapshot by `data`; the snapshot, `updated_at` set.

        Publishes nothing: watchers see it with the next message or heartbeat. Keeps the owner; on
        a job that has ended it begins anew.
        """
        call = self.calls.set(clean_job_id(job_id), data, now_text(), ttl_seconds)
        return await self._perform(call)

    async def get_progress(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the stored snapshot: exactly the fields written, and `updated_at`."""
        stored = await self._perform(self.calls.get(clean_job_id(job_id)))
        return None if stored is None else stored.fields

    async def publish_update(
        self, job_id: JobId, data: Mapping[str, Any], ensure_timestamp: bool = True
    ) -> int:
        """Publish `data` on the job's channel and store nothing; how many subscribers there are.

        Who watches now sees it merged over the last snapshot, until something newer is stored. A
        terminal status in it ends the watching.

        Args:
            job_id: the job.
            data: what to tell.
            ensure_timestamp: add `updated_at` where `data` has none.
        """
        now = now_text() if ensure_timestamp else None
        return await self._perform(self.calls.publish(clean_job_id(job_id), data, now))

    async def update(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Merge `data` into the snapshot and publish the whole of it, in one atomic step.

        Raises:
            JobNotFound: there is no such job.
            JobFinished: it has ended.
        """
        call = self.calls.update(clean_job_id(job_id), data, now_text(), ttl_seconds)
        return await self._perform(call)

    async def create(
        self,
        job_id: JobId | None = None,
        *,
        owner: Any = None,
        data: Mapping[str, Any] | None = None,
        ttl_seconds: int | None = None,
    ) -> str:
        """Make a new job in status ``queued``; its id, a UUID4 where none is given.

        Args:
            job_id: the id, where it is already known.
            owner: a user, or a primary key; who may watch it by default.
            data: further fields, or another status.
            ttl_seconds: how long this job outlives its last write, now and later.

        Raises:
            JobExists: there is a job of this id.
        """
        text = clean_job_id(uuid.uuid4() if job_id is None else job_id)
        fields = {} if data is None else data
        call = self.calls.create(text, clean_owner(owner), fields, now_text(), ttl_seconds)
        return await self._perform(call)

    async def request_cancel(self, job_id: JobId) -> bool:
        """Ask a job to stop, again and again if need be; whether it is there and goes on.

        Its worker stops at a row's boundary. One that is still queued ends as soon as its worker
        takes it.
        """
        return await self._perform(self.calls.cancel(clean_job_id(job_id)))

    async def delete(self, job_id: JobId) -> bool:
        """Forget a job and tell its watchers; whether it was there."""
        return await self._perform(self.calls.delete(clean_job_id(job_id)))

    async def jobs(self, owner: Any = None, limit: int = 50) -> list[dict[str, Any]]:
        """Return the jobs made by `create` and `track_import`, newest first, each a snapshot.

        Args:
            owner: a user, or a primary key, whose jobs alone are wanted.
            limit: how many at most.
        """
        return snapshots(await self.listed(owner, limit))

    async def listed(self, owner: Any = None, limit: int = 50) -> dict[str, Stored]:
        """Return what `jobs` does as it is stored, by the jobs' ids."""
        plan = self.calls.jobs(clean_owner(owner), limit)
        with self._guard():
            return await carry_out(self.redis, plan)

    async def read(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs in one pipeline; None for a job that does not exist."""
        calls = [self.calls.get(clean_job_id(job_id)) for job_id in job_ids]
        with self._guard():
            return await read_all(self.redis, calls)

    async def _perform(self, call: Call[T]) -> T:
        with self._guard():
            return await perform(self.redis, call)

    def watch(self, job_id: JobId) -> AsyncIterator[dict[str, Any]]:
        """Yield the current snapshot, then each newer one; end after a terminal one.

        No update is lost between the two. Ends also when the job is gone; waits for a job that is
        not there yet, and through any outage. Who is slow gets only the newest.
        """
        return self._watch(clean_job_id(job_id))

    async def _watch(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        watcher = self.watcher(job_id)
        shown: Mapping[str, Any] | None = None
        try:
            while (state := await watcher.next()) is not None:
                # That its worker has stalled is no newer snapshot.
                if not state.gone and state.fields != shown:
                    shown = state.fields
                    yield dict(shown)
        finally:
            watcher.close()

    def watcher(self, job_id: JobId, *, max_per_second: float = 0) -> Watcher:
        """Return one who watches the job, to be closed: what views and consumers build on.

        Args:
            job_id: the job.
            max_per_second: what comes faster is thinned to the newest; 0: nothing is thinned.
        """
        if self._hub is None or self._hub.loop is not asyncio.get_running_loop():
            self._hub = Hub(self.redis, heartbeat_seconds=self._heartbeat_seconds)
        return self._hub.watch(self.calls, clean_job_id(job_id), max_per_second=max_per_second)

    async def aclose(self) -> None:
        """End all watching by this manager, and wait until it has let go of its connections.

        Before its client is closed by who made it: a hub that still reads would open a connection
        anew. Where the hub is shared, as by `get_progress_manager`, nothing is done.
        """
        hub = self._hub
        if hub is not None and not self._shares_hub and hub.loop is asyncio.get_running_loop():
            await hub.aclose()
