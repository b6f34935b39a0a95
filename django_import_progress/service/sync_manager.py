"""`SyncProgressManager`: the methods of `ProgressManager`, run with a sync client."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any, TypeVar

from redis.client import PubSub
from redis.exceptions import ConnectionError as RedisConnectionError

from ..cancellation import without_waiting
from ..core.commands import ENDED_SECONDS, QUEUED_SECONDS
from ..core.errors import ProgressUnavailable
from ..core.job_state import State
from ..core.keys import JobId, clean_job_id
from ..core.pacing import PING_SECONDS, READ_INTERVAL_SECONDS, SILENCE_SECONDS, backoff_seconds
from ..core.rejects import Report
from ..core.snapshot import Fields, Stored
from ..redis.causes import REDIS_ERRORS
from ..redis.circuit_breaker import SharedBreaker
from ..redis.executor import SyncClient, drop_idle_connections, read_all
from ..redis.pubsub import check_primary, subscription_sync
from ..watch import archive
from ..watch.watched_job import WatchedJob
from .manager import ProgressManager

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
        client: Any = redis  # With a sync client, no method of the manager waits for a loop.
        self._manager = ProgressManager(
            client,
            namespace,
            ttl_seconds,
            queued_seconds=queued_seconds,
            ended_seconds=ended_seconds,
            breaker=breaker,
            use_archive=archive.at_once,
        )
        self.redis, self.calls = redis, self._manager.calls
        self._heartbeat_seconds = heartbeat_seconds

    def __repr__(self) -> str:
        return f"<SyncProgressManager: {self.calls.keys.namespace}>"

    def set_progress(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Replace the stored snapshot: see `ProgressManager.set_progress`."""
        return without_waiting(self._manager.set_progress(job_id, data, ttl_seconds))

    def get_progress(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the stored snapshot: see `ProgressManager.get_progress`."""
        return without_waiting(self._manager.get_progress(job_id))

    def describe(self, job_id: JobId) -> dict[str, Any] | None:
        """Return the representation of a job: see `ProgressManager.describe`."""
        return without_waiting(self._manager.describe(job_id))

    def publish_update(
        self, job_id: JobId, data: Mapping[str, Any], ensure_timestamp: bool = True
    ) -> int:
        """Publish without storing: see `ProgressManager.publish_update`."""
        return without_waiting(self._manager.publish_update(job_id, data, ensure_timestamp))

    def update(
        self, job_id: JobId, data: Mapping[str, Any], ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Merge and publish in one atomic step: see `ProgressManager.update`."""
        return without_waiting(self._manager.update(job_id, data, ttl_seconds))

    def create(
        self,
        job_id: JobId | None = None,
        *,
        owner: Any = None,
        data: Mapping[str, Any] | None = None,
        ttl_seconds: int | None = None,
    ) -> str:
        """Create a job: see `ProgressManager.create`."""
        return without_waiting(
            self._manager.create(job_id, owner=owner, data=data, ttl_seconds=ttl_seconds)
        )

    def send_queued(self, job_id: str, owner: str | None, snapshot: Fields) -> None:
        """Send `import_queued`: see `ProgressManager.send_queued`."""
        without_waiting(self._manager.send_queued(job_id, owner, snapshot))

    def request_cancel(self, job_id: JobId, *, owner: Any = None) -> bool:
        """Request cancellation: see `ProgressManager.request_cancel`."""
        return without_waiting(self._manager.request_cancel(job_id, owner=owner))

    def delete(self, job_id: JobId) -> bool:
        """Delete a job: see `ProgressManager.delete`."""
        return without_waiting(self._manager.delete(job_id))

    def jobs(self, owner: Any = None, limit: int = 50) -> list[dict[str, Any]]:
        """List jobs, newest first: see `ProgressManager.jobs`."""
        return without_waiting(self._manager.jobs(owner, limit))

    def listed(self, owner: Any = None, limit: int = 50) -> dict[str, Stored]:
        """Return the jobs that Redis lists, as they are stored, by job id."""
        return without_waiting(self._manager.listed(owner, limit))

    def newest(self, owner: Any = None, limit: int = 50) -> dict[str, Stored]:
        """Return the same jobs as `jobs`: see `ProgressManager.newest`."""
        return without_waiting(self._manager.newest(owner, limit))

    def read(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs in one pipeline; None for each job that does not exist."""
        return without_waiting(self._manager.read(job_ids))

    def find(self, job_ids: Iterable[JobId]) -> list[Stored | None]:
        """Read jobs, from the history as well: see `ProgressManager.find`."""
        return without_waiting(self._manager.find(job_ids))

    def past_report(self, job_id: JobId, stored: Stored) -> IO[Any] | None:
        """Open the history's report of a job: see `ProgressManager.past_report`."""
        return without_waiting(self._manager.past_report(job_id, stored))

    def rejects(self, job_id: JobId) -> Iterator[dict[str, Any]]:
        """Yield the rejected rows of a job: see `ProgressManager.rejects`."""
        return self._rejects(clean_job_id(job_id))

    def _rejects(self, job_id: str) -> Iterator[dict[str, Any]]:
        for reject in self.report(job_id).rejects:
            yield reject.as_dict()

    def report(self, job_id: JobId) -> Report:
        """Return the report of a job's rejected rows."""
        return without_waiting(self._manager.report(job_id))

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
                without_waiting(drop_idle_connections(self.redis))
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
                without_waiting(check_primary(self.redis, pubsub))
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
                job_id = slot.view.job_id
                reads = read_all(self.redis, [self.calls.get(job_id)])
                (stored,) = without_waiting(reads)
                if stored is not None:
                    clock_offset = stored.read_at - now * 1e6
                looked_up, is_known = archive.looked_up(self.calls.keys.namespace, {job_id: stored})
                counts = heartbeat and is_known
                slot.view.apply_read(looked_up[job_id], since, heartbeat=counts)


def _raise_if_moved(message: Mapping[str, Any]) -> None:
    """Raise if the server unsubscribed us: the job's slot has moved to another server."""
    if message["type"] == "sunsubscribe":
        raise RedisConnectionError("the job's slot has moved to another server")
