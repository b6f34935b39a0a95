"""`SyncProgressManager`: the same verbs on `redis`."""

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
from ..core.snapshot import Stored
from ..redis.breakers import SharedBreaker
from ..redis.executor import (
    REDIS_ERRORS,
    SyncClient,
    carry_out_sync,
    drop_idle_connections_sync,
    perform_sync,
    read_all_sync,
)
from ..redis.pubsub import check_primary_sync, subscription_sync
from ..watch.watched_job import WatchedJob
from .base import calls_for, now_text
from .known_versions import KnownVersions

T = TypeVar("T")

MOST_HELD_SECONDS = 0.1
"""How long news may wait while more is coming in."""


class SyncProgressManager:
    """`ProgressManager` without await; each verb does and raises the same.

    Args:
        redis: a `redis` client; safe to be shared by threads.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot is kept after its last write.
        queued_seconds: the same for a job that is still queued.
        ended_seconds: how long the outcome of a job is remembered after its snapshot has expired.
        heartbeat_seconds: how often a watched job is read again.
        breaker: shared with other managers of the same Redis; without one, each call waits for
            Redis by itself.
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
        """Publish and store nothing: see `ProgressManager.publish_update`."""
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
        """Make a new job: see `ProgressManager.create`."""
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
        """Return what `jobs` does as it is stored, by the jobs' ids."""
        plan = self.calls.jobs(clean_owner(owner), limit)
        with self._guard():
            return carry_out_sync(self.redis, plan)

    def read(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs in one pipeline; None for a job that does not exist."""
        calls = [self.calls.get(clean_job_id(job_id)) for job_id in job_ids]
        with self._guard():
            return read_all_sync(self.redis, calls)

    def _perform(self, call: RedisCommand[T]) -> T:
        with self._guard():
            return perform_sync(self.redis, call)

    def watch(self, job_id: JobId) -> Iterator[dict[str, Any]]:
        """Yield the current snapshot, then each newer one: see `ProgressManager.watch`.

        Each iterator holds a connection of its own while it runs.
        """
        return self._watch(WatchedJob(self.calls, clean_job_id(job_id)))

    def _watch(self, slot: WatchedJob) -> Iterator[dict[str, Any]]:
        failures = 0
        told: State | None = None
        while (state := slot.view.state) is None or not state.ended:
            try:
                key = self.calls.keys.hash(slot.view.job_id)
                with subscription_sync(self.redis, key) as pubsub:
                    for state in self._follow(pubsub, slot):
                        failures = 0
                        # That its worker has stalled is no newer snapshot.
                        if not state.gone and (told is None or state.fields != told.fields):
                            yield dict(state.fields)
                        told = state
            except (ProgressUnavailable, *REDIS_ERRORS, UnicodeDecodeError):
                failures += 1
                drop_idle_connections_sync(self.redis)
                time.sleep(backoff_seconds(failures, random.random()))
        if not state.gone:
            yield dict(state.fields)

    def _follow(self, pubsub: PubSub, slot: WatchedJob) -> Iterator[State]:
        """Yield each new state before the last, over one life of the connection."""
        (pubsub.ssubscribe if self.calls.keys.sharded else pubsub.subscribe)(slot.channel)
        wait = min(PING_SECONDS, self._heartbeat_seconds)
        read = asked = held_since = time.monotonic()
        pings = 0  # Without an answer. They are counted, for a clock also counts what we did else.
        ahead = 0.0  # By how many µs Redis's clock is ahead of ours.
        has_read, told = False, None
        while (state := slot.view.state) is None or not state.ended:
            # What waits is heard before anything is told: who is slow gets only the newest.
            news = None if state is told else state
            waits = READ_INTERVAL_SECONDS if slot.view.needs_read else wait
            message = pubsub.get_message(timeout=waits if news is None else 0)
            now = time.monotonic()
            if news is None:
                held_since = now
            elif message is None or now - held_since > MOST_HELD_SECONDS:
                yield news
                told = news
                now = held_since = time.monotonic()
                if message is None:
                    continue
            if message is not None:
                pings = 0
                _raise_if_moved(message)
                if message["type"] in {"message", "smessage"}:
                    slot.apply_message(message["data"])
            elif pings * wait >= SILENCE_SECONDS:
                raise TimeoutError("the link to Redis is silent")
            else:
                pubsub.ping()
                pings += 1
            if now - asked > SILENCE_SECONDS:
                check_primary_sync(self.redis, pubsub)
                asked = time.monotonic()  # Sentinels that don't answer take their time.
            # Over a silent link only once: such a read may wait for as long as the client does.
            is_due = now - read >= self._heartbeat_seconds
            heartbeat = is_due and (message is not None or not has_read)
            confirmed = message is not None and message["type"] in {"subscribe", "ssubscribe"}
            late = message is not None and slot.view.lease_is_over(int(now * 1e6 + ahead), now)
            doubtful = slot.view.needs_read and now - read >= READ_INTERVAL_SECONDS
            if confirmed or heartbeat or late or doubtful:
                has_read, read, since = True, now, slot.view.begin_read()
                (stored,) = read_all_sync(self.redis, [self.calls.get(slot.view.job_id)])
                if stored is not None:
                    ahead = stored.read_at - now * 1e6
                slot.view.apply_read(stored, since, heartbeat=heartbeat)


def _raise_if_moved(message: Mapping[str, Any]) -> None:
    """Raise where a server has given away the job that it told of; nobody else unsubscribes."""
    if message["type"] == "sunsubscribe":
        raise RedisConnectionError("another server has the job now")
