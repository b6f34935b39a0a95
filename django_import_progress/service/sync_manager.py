"""`SyncProgressManager`: the same methods as `ProgressManager`, with `redis`."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, TypeVar

from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from ..core.command import RedisCommand
from ..core.commands import ENDED_SECONDS, QUEUED_SECONDS, clean_owner
from ..core.errors import ProgressUnavailable
from ..core.job_index import snapshots
from ..core.job_state import State, description_of
from ..core.keys import JobId, clean_job_id
from ..core.pacing import PING_SECONDS, READ_INTERVAL_SECONDS, SILENCE_SECONDS, backoff_seconds
from ..core.rejects import Report
from ..core.snapshot import Stored
from ..redis.causes import REDIS_ERRORS
from ..redis.circuit_breaker import SharedBreaker
from ..redis.executor import (
    SyncClient,
    drop_idle_connections_sync,
    perform_plan_sync,
    perform_sync,
    read_all_sync,
)
from ..redis.pubsub import check_primary_sync, subscription_sync
from ..watch.watched_job import WatchedJob
from .base import KnownVersions, calls_for, now_text

T = TypeVar("T")

MAX_DELAY_SECONDS = 0.1
"""Maximum delay of a new state while more messages are arriving."""


class SyncProgressManager:
    """`ProgressManager` without await; each method does and raises the same.

    Args:
        redis: a `redis` client; may be shared by threads.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot is kept after its last write.
        queued_seconds: how long a queued job is kept after its last write.
        ended_seconds: how long the outcome of a job is kept after its snapshot has expired.
        heartbeat_seconds: interval at which a watched job is read again.
        breaker: circuit breaker shared with other managers of the same Redis; without one, each
            call waits for its own time-out.
    """

    def __init__(
        self,
        redis: SyncClient,
        namespace: str = "import_progress",
        ttl_seconds: int = 3600,
        *,
        queued_seconds: int = QUEUED_SECONDS,
        ended_seconds: int = ENDED_SECONDS,
        heartbeat_seconds: float = 15,
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
        self._guard = nullcontext if breaker is None else breaker.guard

    def __repr__(self) -> str:
        return f"<SyncProgressManager: {self.calls.keys.namespace}>"

    def set_progress(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Replace the stored snapshot: see `ProgressManager.set_progress`."""
        job_id = clean_job_id(job_id)
        stored = self._perform(self.calls.set(job_id, data, now_text(), ttl_seconds))
        return self._written.note(job_id, stored)

    def get_progress(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the stored snapshot: see `ProgressManager.get_progress`."""
        job_id = clean_job_id(job_id)
        stored = self._perform(self.calls.get(job_id))
        if stored is None or stored.expired:
            self._written.forget(job_id)
            return None
        return self._written.note(job_id, stored)

    def describe(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the representation of a job: see `ProgressManager.describe`."""
        job_id = clean_job_id(job_id)
        return description_of(job_id, self._perform(self.calls.get(job_id)))

    def publish_update(
        self, job_id: JobId, data: Mapping[str, Any], ensure_timestamp: bool = True
    ) -> int:
        """Publish without storing: see `ProgressManager.publish_update`."""
        job_id, now = clean_job_id(job_id), now_text() if ensure_timestamp else None
        call = self.calls.publish(job_id, data, now, self._written.of(job_id))
        return self._perform(call)

    def update(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Merge and publish in one atomic step: see `ProgressManager.update`."""
        job_id = clean_job_id(job_id)
        stored = self._perform(self.calls.update(job_id, data, now_text(), ttl_seconds))
        return self._written.note(job_id, stored)

    def create(
        self,
        job_id: JobId | None = None,
        *,
        owner: Any = None,
        data: Mapping[str, Any] | None = None,
        ttl_seconds: int | None = None,
    ) -> str:
        """Create a job: see `ProgressManager.create`."""
        text = clean_job_id(uuid.uuid4() if job_id is None else job_id)
        fields = {} if data is None else data
        call = self.calls.create(text, clean_owner(owner), fields, now_text(), ttl_seconds)
        self._written.forget(text)
        return self._perform(call)

    def request_cancel(self, job_id: JobId, *, owner: Any = None) -> bool:
        """Request cancellation: see `ProgressManager.request_cancel`."""
        return self._perform(self.calls.cancel(clean_job_id(job_id), clean_owner(owner)))

    def delete(self, job_id: JobId) -> bool:
        """Delete a job: see `ProgressManager.delete`."""
        return self._perform(self.calls.delete(clean_job_id(job_id)))

    def jobs(self, owner: Any = None, limit: int = 50) -> list[dict[str, Any]]:
        """List jobs, newest first: see `ProgressManager.jobs`."""
        return snapshots(self.listed(owner, limit))

    def listed(self, owner: Any = None, limit: int = 50) -> dict[str, Stored]:
        """Return the same jobs as `jobs`, as they are stored, by job id."""
        plan = self.calls.jobs(clean_owner(owner), limit)
        with self._guard():
            return perform_plan_sync(self.redis, plan)

    def read(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs in one pipeline; None for each job that does not exist."""
        calls = [self.calls.get(clean_job_id(job_id)) for job_id in job_ids]
        with self._guard():
            return read_all_sync(self.redis, calls)

    def rejects(self, job_id: JobId) -> Iterator[dict[str, Any]]:
        """Yield the rejected rows of a job: see `ProgressManager.rejects`."""
        return self._rejects(clean_job_id(job_id))

    def _rejects(self, job_id: str) -> Iterator[dict[str, Any]]:
        for reject in self.report(job_id).rejects:
            yield reject.as_dict()

    def report(self, job_id: JobId) -> Report:
        """Return the report of a job's rejected rows."""
        return self._perform(self.calls.read_rejects(clean_job_id(job_id)))

    def _perform(self, call: RedisCommand[T]) -> T:
        with self._guard():
            return perform_sync(self.redis, call)

    def watch(self, job_id: JobId) -> Iterator[dict[str, Any]]:
        """Yield the current snapshot, then each newer one: see `ProgressManager.watch`.

        Each iterator uses its own connection while it runs.
        """
        return self._watch(WatchedJob(self.calls, clean_job_id(job_id)))

    def _watch(self, slot: WatchedJob) -> Iterator[dict[str, Any]]:
        failures = 0
        last: State | None = None
        while (state := slot.view.state) is None or not state.ended:
            try:
                key = self.calls.keys.hash(slot.view.job_id)
                with subscription_sync(self.redis, key) as pubsub:
                    for state in self._follow(pubsub, slot):
                        failures = 0
                        # A stalled worker changes the state but not the snapshot.
                        if not state.gone and (last is None or state.fields != last.fields):
                            yield dict(state.fields)
                        last = state
            except (ProgressUnavailable, *REDIS_ERRORS, UnicodeDecodeError):
                failures += 1
                drop_idle_connections_sync(self.redis)
                time.sleep(backoff_seconds(failures, random.random()))
        if not state.gone:
            yield dict(state.fields)

    def _follow(self, pubsub: PubSub, slot: WatchedJob) -> Iterator[State]:
        """Yield new states, except the final one, until the connection is lost."""
        (pubsub.ssubscribe if self.calls.keys.sharded else pubsub.subscribe)(slot.channel)
        wait = min(PING_SECONDS, self._heartbeat_seconds)
        read_at = primary_checked_at = waiting_since = time.monotonic()
        pings = 0  # Unanswered ones. Their number, since a clock also counts the caller's own work.
        clock_offset = 0.0  # How many µs Redis's clock is ahead of ours.
        has_read, yielded = False, None
        while (state := slot.view.state) is None or not state.ended:
            # Process all waiting messages before yielding, so a slow caller only gets the latest.
            unseen = None if state is yielded else state
            timeout = READ_INTERVAL_SECONDS if slot.view.needs_read else wait
            message = pubsub.get_message(timeout=timeout if unseen is None else 0)
            now = time.monotonic()
            if unseen is None:
                waiting_since = now
            elif message is None or now - waiting_since > MAX_DELAY_SECONDS:
                yield unseen
                yielded = unseen
                now = waiting_since = time.monotonic()
                if message is None:
                    continue
            if message is not None:
                pings = 0
                _raise_if_moved(message)
                if message["type"] in {"message", "smessage"}:
                    slot.apply_message(message["data"])
            elif pings * wait >= SILENCE_SECONDS:
                raise TimeoutError("Redis does not respond on the subscription")
            else:
                pubsub.ping()
                pings += 1
            if now - primary_checked_at > SILENCE_SECONDS:
                check_primary_sync(self.redis, pubsub)
                primary_checked_at = time.monotonic()  # The check may have taken a while.
            # Only once on a silent connection: such a read may take the client's whole time-out.
            is_due = now - read_at >= self._heartbeat_seconds
            heartbeat = is_due and (message is not None or not has_read)
            confirmed = message is not None and message["type"] in {"subscribe", "ssubscribe"}
            now_at_redis = int(now * 1e6 + clock_offset)
            late = message is not None and slot.view.is_lease_over(now_at_redis, now)
            uncertain = slot.view.needs_read and now - read_at >= READ_INTERVAL_SECONDS
            if confirmed or heartbeat or late or uncertain:
                has_read, read_at, since = True, now, slot.view.begin_read()
                (stored,) = read_all_sync(self.redis, [self.calls.get(slot.view.job_id)])
                if stored is not None:
                    clock_offset = stored.read_at - now * 1e6
                slot.view.apply_read(stored, since, heartbeat=heartbeat)


def _raise_if_moved(message: Mapping[str, Any]) -> None:
    """Raise if the server unsubscribed us: the job's slot has moved to another server."""
    if message["type"] == "sunsubscribe":
        raise RedisConnectionError("the job's slot has moved to another server")
