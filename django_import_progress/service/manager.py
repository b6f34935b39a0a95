"""`ProgressManager`: reads, writes and watches jobs with `redis.asyncio`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import IO, Any, TypeVar

from ..cancellation import result_of
from ..core.command import RedisCommand
from ..core.commands import ENDED_SECONDS, QUEUED_SECONDS, clean_owner
from ..core.errors import HistoryUnavailable
from ..core.job_index import snapshots
from ..core.job_state import description_of
from ..core.keys import JobId, clean_job_id
from ..core.rejects import Report
from ..core.snapshot import Fields, Stored
from ..redis.circuit_breaker import SharedBreaker
from ..redis.executor import AsyncClient, perform, perform_plan, read_all
from ..signals import Send, arguments_of, import_queued, send, send_async
from ..watch import archive
from ..watch.hub import Hub, Watcher
from .base import KnownVersions, calls_for, now_text, plain

T = TypeVar("T")
UseArchive = Callable[..., Awaitable[Any]]


class ProgressManager:
    """Stores the latest snapshot of each job in Redis and publishes it to watchers.

    Args:
        redis: a `redis.asyncio` client; it belongs to the event loop in which it is first used.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot is kept after its last write.
        queued_seconds: how long a queued job is kept after its last write.
        ended_seconds: how long the outcome of a job is kept after its snapshot has expired.
        heartbeat_seconds: interval at which watched jobs are read again.
        hub: shared with other managers of the same client; default: a hub of its own.
        breaker: circuit breaker shared with other managers of the same Redis; without one, each
            call waits for its own time-out.
        use_archive: how to call a function that queries the database.

    Every method takes a job id: a `uuid.UUID`, or a `str` of 1 to 128 of
    ``A-Z a-z 0-9 . _ : ~ -``. It raises `InvalidJobId` for an invalid one before it sends anything
    to Redis, `InvalidProgress` for data that cannot be a snapshot, and `ProgressUnavailable` if
    Redis is unavailable.
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
        use_archive: UseArchive = archive.in_a_thread,
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
        self._use_archive = use_archive

    def __repr__(self) -> str:
        return f"<ProgressManager: {self.calls.keys.namespace}>"

    async def set_progress(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Replace the stored snapshot by `data`; return it with `updated_at` set.

        Publishes nothing: watchers see the change with the next message or heartbeat. Keeps the
        owner. If the job has ended, it starts again.
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
        """Return the representation of a job, for your own templates and APIs.

        If the snapshot of a finished job has expired, this returns its outcome (``expired`` is
        true) for `ended_seconds`; with the history app, what that knows. None if the job does not
        exist or was deleted.

        Raises:
            HistoryUnavailable: Redis does not have the job, and the history's database is
                unavailable.
        """
        [stored] = await self.find([job_id])
        return description_of(clean_job_id(job_id), stored)

    async def publish_update(
        self, job_id: JobId, data: Mapping[str, Any], ensure_timestamp: bool = True
    ) -> int:
        """Publish `data` on the job's channel without storing it; return the subscriber count.

        Current watchers see `data` merged over the last snapshot, until a newer version is stored.
        If it contains a terminal status, watching ends with the snapshot that is stored then.

        The message builds on the version of the job that this manager last wrote or read, or else
        on the current one. So watchers drop a late message of an earlier run.

        Args:
            job_id: the job.
            data: fields to publish.
            ensure_timestamp: add `updated_at` if `data` has none.
        """
        job_id, now = clean_job_id(job_id), now_text() if ensure_timestamp else None
        call = self.calls.publish(job_id, data, now, self._written.of(job_id))
        return await self._perform(call)

    async def update(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Merge `data` into the snapshot and publish the whole snapshot, in one atomic step.

        Raises:
            JobNotFound: the job does not exist.
            JobFinished: the job has ended.
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
        """Create a job with status ``queued``; return its id.

        Args:
            job_id: the id; default: a new UUID4.
            owner: a user or a primary key; by default the owner may watch the job.
            data: further fields, or another status.
            ttl_seconds: how long this job is kept after its last write, now and later.

        Raises:
            JobExists: a job with this id exists.
        """
        text = clean_job_id(uuid.uuid4() if job_id is None else job_id)
        fields = {} if data is None else data
        owner, now = clean_owner(owner), now_text()
        call = self.calls.create(text, owner, fields, now, ttl_seconds)
        self._written.forget(text)
        await self._perform(call)
        if import_queued.has_listeners(ProgressManager):
            stored = {**plain({"status": "queued", **fields}), "updated_at": now}
            await self.send_queued(text, owner, stored)
        return text

    async def send_queued(self, job_id: str, owner: str | None, snapshot: Fields) -> None:
        """Send `import_queued` for a job that waits for a worker."""
        arguments = arguments_of(
            job_id=job_id,
            namespace=self.calls.keys.namespace,
            owner=owner or None,
            status=snapshot["status"],
            snapshot=snapshot,
        )
        notify: Send = send_async if isinstance(self.redis, AsyncClient) else send
        await result_of(notify(import_queued, ProgressManager, arguments))

    async def request_cancel(self, job_id: JobId, *, owner: Any = None) -> bool:
        """Request cancellation; return False if the job is unknown or has finished.

        The worker stops between two rows. A queued job ends as soon as a worker starts it.

        Args:
            job_id: the job.
            owner: if given, the job must have this owner.
        """
        return await self._perform(self.calls.cancel(clean_job_id(job_id), clean_owner(owner)))

    async def delete(self, job_id: JobId) -> bool:
        """Delete a job and notify its watchers; return whether it existed.

        Its worker cannot recreate it.
        """
        return await self._perform(self.calls.delete(clean_job_id(job_id)))

    async def jobs(self, owner: Any = None, limit: int = 50) -> list[dict[str, Any]]:
        """Return the snapshots of jobs made by `create` and `track_import`, newest first.

        Args:
            owner: a user or a primary key: only return this owner's jobs.
            limit: maximum number of jobs.

        With the history app it includes jobs that Redis has forgotten, unless the database is
        unavailable.
        """
        try:
            return snapshots(await self.newest(owner, limit))
        except HistoryUnavailable as error:
            return snapshots(error.read)

    async def listed(self, owner: Any = None, limit: int = 50) -> dict[str, Stored]:
        """Return the jobs that Redis lists, as they are stored, by job id."""
        plan = self.calls.jobs(clean_owner(owner), limit)
        with self._guard():
            return await perform_plan(self.redis, plan)

    async def newest(self, owner: Any = None, limit: int = 50) -> dict[str, Stored]:
        """Return the same jobs as `jobs`, as they are stored, by job id.

        Raises:
            HistoryUnavailable: the history's database is unavailable.
        """
        found = await self.listed(owner, limit)
        history = archive.current()
        if history is None:
            return found
        owned = history.newest, self._namespace, clean_owner(owner), limit
        try:
            runs = await self._use_archive(*owned)
        except HistoryUnavailable as error:
            error.read = found
            raise
        others = [job_id for job_id in runs if job_id not in found]
        # Jobs that are in no list, and deleted ones.
        read = dict(zip(others, await self.read(others), strict=True)) if others else {}
        return history.merged({**found, **read}, runs, limit)

    async def read(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs in one pipeline; None for each job that does not exist."""
        calls = [self.calls.get(clean_job_id(job_id)) for job_id in job_ids]
        with self._guard():
            return await read_all(self.redis, calls)

    async def find(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs; those that Redis has forgotten come from the history, if it is installed.

        Raises:
            HistoryUnavailable: Redis does not have one of the jobs, and the history's database is
                unavailable.
        """
        ids = [clean_job_id(job_id) for job_id in job_ids]
        found = dict(zip(ids, await self.read(ids), strict=True))
        if archive.has_to_look_up(found.values()):
            found = await self._use_archive(archive.complete, self._namespace, found)
        return [found[job_id] for job_id in ids]

    async def past_report(self, job_id: JobId, stored: Stored) -> IO[Any] | None:
        """Open the report that the history has of a job's rejected rows; None if it has none.

        Args:
            job_id: the job.
            stored: the job as it is shown. A report of an earlier attempt is not its report.

        Raises:
            HistoryUnavailable: the database or the storage is unavailable.
        """
        history = archive.current()
        attempt = None if stored.expired else stored.fields.get("attempt")
        if history is None or not (stored.expired or type(attempt) is int):
            return None
        report: IO[Any] | None = await self._use_archive(
            history.report, self._namespace, clean_job_id(job_id), attempt
        )
        return report

    @property
    def _namespace(self) -> str:
        return self.calls.keys.namespace

    def rejects(self, job_id: JobId) -> AsyncIterator[dict[str, Any]]:
        """Yield the rejected rows of the last attempt at a job, in their order.

        Each has the keys ``row`` (its number in the input, from 1, or None), ``line`` (in the file,
        or None), ``reason`` and ``data`` (its values by column). They expire with the job, and at
        most `REJECTS_MAX_BYTES` are kept; the snapshot's ``rejected_rows`` counts all of them.

        Raises:
            InvalidJobId: `job_id` is invalid.
            ProgressUnavailable: Redis cannot be reached; raised at the first row.
        """
        return self._rejects(clean_job_id(job_id))

    async def _rejects(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        for reject in (await self.report(job_id)).rejects:
            yield reject.as_dict()

    async def report(self, job_id: JobId) -> Report:
        """Return the report of a job's rejected rows."""
        return await self._perform(self.calls.read_rejects(clean_job_id(job_id)))

    async def _perform(self, call: RedisCommand[T]) -> T:
        with self._guard():
            return await perform(self.redis, call)

    def watch(self, job_id: JobId) -> AsyncIterator[dict[str, Any]]:
        """Yield the current snapshot, then each newer one; end after a terminal one.

        No update is lost between the two. The iterator also ends when the job is deleted or
        expires. It waits for a job that does not exist yet, and during any outage. A slow reader
        only gets the latest snapshot.
        """
        return self._watch(clean_job_id(job_id))

    async def _watch(self, job_id: str) -> AsyncIterator[dict[str, Any]]:
        watcher = self.watcher(job_id)
        shown: Mapping[str, Any] | None = None
        try:
            while (state := await watcher.next()) is not None:
                # A stalled worker changes the state but not the snapshot.
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
        """Return a watcher of the job, for views and consumers. The caller closes it.

        Args:
            job_id: the job.
            max_per_second: maximum rate of updates, of which only the latest are kept; 0: no
                limit.
            may_see: called with the job's owner; if it returns False, this watcher sees the job
                as deleted.
        """
        if self._hub is None or self._hub.loop is not asyncio.get_running_loop():
            self._hub = Hub(self.redis, heartbeat_seconds=self._heartbeat_seconds)
        return self._hub.watch(
            self.calls, clean_job_id(job_id), max_per_second=max_per_second, may_see=may_see
        )

    async def aclose(self) -> None:
        """End all watching by this manager, and wait until it has released its connections.

        Call this before you close the client: a hub that still reads would reconnect. Does nothing
        if the hub is shared, as with `get_progress_manager`.
        """
        hub = self._hub
        if hub is not None and not self._shares_hub and hub.loop is asyncio.get_running_loop():
            await hub.aclose()
