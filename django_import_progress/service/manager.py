"""`ProgressManager`: the verbs on `redis.asyncio`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from ..core.command import RedisCommand
from ..core.commands import ENDED_SECONDS, QUEUED_SECONDS, clean_owner
from ..core.job_index import snapshots
from ..core.job_state import description_of
from ..core.keys import JobId, clean_job_id
from ..core.snapshot import Stored
from ..redis.circuit_breaker import SharedBreaker
from ..redis.executor import AsyncClient, perform, perform_plan, read_all
from ..watch.hub import Hub, Watcher
from .base import calls_for, now_text
from .known_versions import KnownVersions

T = TypeVar("T")


class ProgressManager:
    """Keeps each job's newest snapshot in Redis and tells it to whoever watches.

    Args:
        redis: a `redis.asyncio` client; it belongs to the event loop in which it is first used.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot is kept after its last write.
        queued_seconds: the same for a job that is still queued.
        ended_seconds: how long the outcome of a job is remembered after its snapshot has expired.
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
        queued_seconds: int = QUEUED_SECONDS,
        ended_seconds: int = ENDED_SECONDS,
        heartbeat_seconds: float = 15,
        hub: Hub | None = None,
        breaker: SharedBreaker | None = None,
    ) -> None:
        self.redis = redis
        self.calls = calls_for(
            redis,
            namespace,
            ttl_seconds,
            queued_seconds=queued_seconds,
            ended_seconds=ended_seconds,
        )
        self._written = KnownVersions()
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
        job_id = clean_job_id(job_id)
        stored = await self._perform(self.calls.set(job_id, data, now_text(), ttl_seconds))
        return self._written.note(job_id, stored)

    async def get_progress(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the stored snapshot: exactly the fields written, and `updated_at`."""
        job_id = clean_job_id(job_id)
        stored = await self._perform(self.calls.get(job_id))
        if stored is None or stored.expired:
            self._written.forget(job_id)
            return None
        return self._written.note(job_id, stored)

    async def describe(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the representation of a job, for templates and APIs of your own.

        A finished job whose snapshot has expired is described by its outcome (``expired`` is
        true) for `ended_seconds`. None for a job that does not exist, or was deleted.
        """
        job_id = clean_job_id(job_id)
        return description_of(job_id, await self._perform(self.calls.get(job_id)))

    async def publish_update(
        self, job_id: JobId, data: Mapping[str, Any], ensure_timestamp: bool = True
    ) -> int:
        """Publish `data` on the job's channel and store nothing; the number of subscribers.

        Current watchers see it merged over the last snapshot, until a newer version is stored. A
        terminal status in it ends the watching, with the snapshot that is stored then.

        The message builds on the version of the job that this manager last wrote or read, or else
        on the current one: a late message of an earlier run is dropped by the watchers.

        Args:
            job_id: the job.
            data: what to tell.
            ensure_timestamp: add `updated_at` where `data` has none.
        """
        job_id, now = clean_job_id(job_id), now_text() if ensure_timestamp else None
        call = self.calls.publish(job_id, data, now, self._written.of(job_id))
        return await self._perform(call)

    async def update(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Merge `data` into the snapshot and publish the whole of it, in one atomic step.

        Raises:
            JobNotFound: there is no such job.
            JobFinished: it has ended.
        """
        job_id = clean_job_id(job_id)
        stored = await self._perform(self.calls.update(job_id, data, now_text(), ttl_seconds))
        return self._written.note(job_id, stored)

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
        self._written.forget(text)
        return await self._perform(call)

    async def request_cancel(self, job_id: JobId, *, owner: Any = None) -> bool:
        """Request cancellation; False if the job is unknown or has finished.

        Its worker stops at a row's boundary. A job that is still queued ends as soon as its worker
        takes it.

        Args:
            job_id: the job.
            owner: where given, the job must be this owner's.
        """
        return await self._perform(self.calls.cancel(clean_job_id(job_id), clean_owner(owner)))

    async def delete(self, job_id: JobId) -> bool:
        """Delete a job and notify its watchers; its worker cannot create it again."""
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
            return await perform_plan(self.redis, plan)

    async def read(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs in one pipeline; None for a job that does not exist."""
        calls = [self.calls.get(clean_job_id(job_id)) for job_id in job_ids]
        with self._guard():
            return await read_all(self.redis, calls)

    async def _perform(self, call: RedisCommand[T]) -> T:
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

    def watcher(
        self,
        job_id: JobId,
        *,
        max_per_second: float = 0,
        may_see: Callable[[str | None], bool] | None = None,
    ) -> Watcher:
        """Return a watcher of the job, to be closed: what views and consumers build on.

        Args:
            job_id: the job.
            max_per_second: what comes faster is thinned to the newest; 0: nothing is thinned.
            may_see: called with the job's owner; where it returns False the job is gone for this
                watcher.
        """
        if self._hub is None or self._hub.loop is not asyncio.get_running_loop():
            self._hub = Hub(self.redis, heartbeat_seconds=self._heartbeat_seconds)
        return self._hub.watch(
            self.calls, clean_job_id(job_id), max_per_second=max_per_second, may_see=may_see
        )

    async def aclose(self) -> None:
        """End all watching by this manager, and wait until it has let go of its connections.

        Before its client is closed by who made it: a hub that still reads would open a connection
        anew. Where the hub is shared, as by `get_progress_manager`, nothing is done.
        """
        hub = self._hub
        if hub is not None and not self._shares_hub and hub.loop is asyncio.get_running_loop():
            await hub.aclose()
