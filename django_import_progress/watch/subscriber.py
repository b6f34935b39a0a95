"""Subscribes to the watched jobs over one connection, and reads them from Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from redis.asyncio.client import PubSub
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..cancellation import Tasks, run_together, safe_callback
from ..core.command import RedisCommand
from ..core.digests import PORTION, check
from ..core.errors import ProgressUnavailable
from ..core.keys import Keys
from ..core.pacing import PING_SECONDS, READ_INTERVAL_SECONDS, SILENCE_SECONDS
from ..core.snapshot import Stored, as_text
from ..metrics import process_metrics
from ..redis.causes import is_exhausted
from ..redis.cluster import server_of
from ..redis.executor import AsyncClient, drop_idle_connections, is_clustered, read_all
from ..redis.pubsub import check_primary, subscription
from . import archive
from .archive_reader import Absence, ArchiveReader
from .job_reader import JobReader
from .pubsub_connection import Message, PubSubConnection
from .reconnect import ReconnectPolicy
from .watched_job import PendingRead, WatchedJob

READ_SECONDS = 3.0
"""Time limit of one pipeline of reads."""
RETRY_SECONDS = 2.0
"""Pause before a job is read again that could not be read while others could."""


class Pattern:
    """All channels of a namespace, watched or not.

    Args:
        keys: the names of the namespace. No character in them is special in a pattern.
        on_subscribed: called after each (re)subscription. Earlier messages may be lost: watched
            jobs are read again, the others are up to the callback.
        on_unknown: called with the id of an unwatched job that a message has come for. A watcher
            that is created in the callback misses nothing.
    """

    def __init__(
        self, keys: Keys, on_subscribed: Callable[[], None], on_unknown: Callable[[str], None]
    ) -> None:
        self.prefix = keys.channel("")
        self.on_subscribed = safe_callback(on_subscribed)
        self.on_unknown = safe_callback(on_unknown)


class Subscriber:
    """One connection, subscribed to the channels of `jobs`, which the hub changes.

    Several tasks share the work, so that none waits for another: one subscribes and pings, one
    receives, one for each server reads hashes, one requests all of them at each heartbeat, one
    those whose worker is overdue, and one asks the sentinels, if there are any. The first that
    fails ends them all.

    Args:
        redis: the client.
        policy: notes that Redis has responded to a read.
        jobs: a live view of the watched jobs, by channel.
        heartbeat_seconds: how often each job is read again.
        pattern: what to subscribe to instead of the channels of `jobs`.
    """

    def __init__(
        self,
        redis: AsyncClient,
        policy: ReconnectPolicy,
        jobs: dict[str, WatchedJob],
        heartbeat_seconds: float,
        pattern: Pattern | None = None,
    ) -> None:
        self._redis = redis
        self.policy = policy
        self._pattern = pattern
        self._jobs = jobs
        self._heartbeat_seconds = heartbeat_seconds
        self._connection: PubSubConnection | None = None
        self._tasks = Tasks()
        self._is_over = False
        self._reader = JobReader(
            self._tasks.start, self._read_chunk, self._is_fatal, self._read_later
        )
        self._archive_reader = ArchiveReader(self._tasks.start, self._apply_read)
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._clock_offset = 0.0
        """Microseconds by which Redis's clock is ahead of the event loop's."""
        self.is_subscribed = False
        """Whether Redis has confirmed the pattern."""

    def channel_changed(self, channel: str) -> None:
        """Subscribe to a channel that is watched now, or unsubscribe from one that is not."""
        if self._pattern is not None:  # It is subscribed to already.
            if channel in self._jobs:
                self._read_kept(channel)
        elif self._connection is not None:  # Otherwise `run` will subscribe to it.
            self._connection.channel_changed(channel)

    def request_read(self, job: WatchedJob, *, heartbeat: bool = False) -> None:
        """Read a job soon; at a heartbeat a job that is absent is counted as missing once more."""
        if not self._is_over:
            self._reader.add(self._server_of(job), job, heartbeat=heartbeat)

    async def run(self) -> None:
        """Watch the jobs until there are none.

        Raises:
            RedisError, OSError, TimeoutError, ProgressUnavailable: the connection is broken.
        """
        self._tasks.start(self._request_heartbeats())
        self._tasks.start(self._request_overdue())
        try:
            await run_together([self._watch(), self._tasks.wait_for_failure()])
        finally:
            self._is_over = True
            await self._tasks.aclose()

    async def _watch(self) -> None:
        async with subscription(self._redis) as pubsub:
            pattern = self._pattern
            wanted: Collection[str] = self._jobs if pattern is None else [f"{pattern.prefix}*"]
            kind = "" if pattern is None else "P"
            self._connection = connection = PubSubConnection(
                pubsub, wanted, self._handle_message, self._read_kept, kind
            )
            share = [connection.manage_subscriptions(), connection.receive()]
            await run_together([*share, self._check_primary(pubsub)])

    def _read_kept(self, channel: str) -> None:
        self.request_read(self._jobs[channel])

    def _handle_message(self, message: Message) -> bool:
        kind, channel = message["type"], as_text(message["channel"] or "")
        if self._pattern is not None and kind == "psubscribe":
            self.is_subscribed = True
            self._request_reads(self._jobs.values())
            self._pattern.on_subscribed()
        elif self._pattern is not None and kind == "pmessage" and channel not in self._jobs:
            self._pattern.on_unknown(channel.removeprefix(self._pattern.prefix))
        job = self._jobs.get(channel)
        if job is not None and kind in {"subscribe", "ssubscribe"}:
            self._request_reads([job])
        is_update = job is not None and kind in {"message", "smessage", "pmessage"}
        return job is not None and is_update and self._apply_message(job, message["data"])

    def _request_reads(self, jobs: Iterable[WatchedJob]) -> None:
        """Read jobs whose earlier messages are lost, as are reads that were scheduled for them."""
        for job in jobs:
            job.has_scheduled_read = False
            self.request_read(job)

    def _apply_message(self, job: WatchedJob, payload: bytes | str) -> bool:
        changed = job.apply_message(payload)
        if job.view.needs_read and not job.has_scheduled_read:
            self._schedule_read(job)
        if changed:
            self._wake_watchers(job)
        return changed

    def _schedule_read(self, job: WatchedJob) -> None:
        now = self._clock()
        if now < job.next_read_at:
            job.has_scheduled_read = True
            self._loop.call_at(job.next_read_at, self._run_scheduled_read, job)
        else:
            job.next_read_at = now + READ_INTERVAL_SECONDS
            self.request_read(job)

    def _run_scheduled_read(self, job: WatchedJob) -> None:
        job.has_scheduled_read = False
        job.next_read_at = self._clock() + READ_INTERVAL_SECONDS
        if job.view.needs_read:
            self._read_if_watched(job)

    def _read_if_watched(self, job: WatchedJob) -> None:
        if self._jobs.get(job.channel) is job:
            self.request_read(job)

    def _wake_watchers(self, job: WatchedJob) -> None:
        state = job.view.state
        if state is not None and state.gone and self._jobs.get(job.channel) is job:
            # New watchers wait for the job to be created again. So do those that joined while the
            # news of its end was on its way: it may have been created before that.
            del self._jobs[job.channel]
            late = [watcher for watcher in job.watchers if not watcher.is_confirmed]
            if late:
                self._jobs[job.channel] = again = WatchedJob(job.calls, job.view.job_id)
                for watcher in late:
                    watcher.move_to(again)
            self.channel_changed(job.channel)
        for watcher in tuple(job.watchers):
            watcher.wake()

    def _server_of(self, job: WatchedJob) -> str:
        key = job.calls.keys.hash(job.view.job_id)
        return server_of(self._redis, key) if is_clustered(self._redis) else ""

    async def _read_chunk(self, jobs: list[WatchedJob], heartbeat: bool) -> None:
        try:
            await (self._read_changed(jobs) if heartbeat else self._read_in_full(jobs))
        except ProgressUnavailable:
            await drop_idle_connections(self._redis)  # They may be broken, too.
            raise

    def _is_fatal(self, error: ProgressUnavailable) -> bool:
        """Return whether a failed read ends the connection.

        A slow server does not: whether it is silent is found out by pings. One unavailable server
        of a Cluster and an exhausted pool do not, either.
        """
        cause = error.__cause__
        is_slow = isinstance(cause, TimeoutError | RedisTimeoutError)
        return not (is_slow or is_clustered(self._redis) or is_exhausted(self._redis, cause))

    async def _read_in_full(self, jobs: list[WatchedJob]) -> None:
        reads = [[PendingRead.of(job)] for job in jobs]
        commands = [job.calls.get(job.view.job_id) for job in jobs]
        for [read], stored in await self._perform(reads, commands):
            if stored is not None:
                self._note_redis_clock(stored.read_at)
            read.job.known = None
            self._note_read(read, stored, heartbeat=False)

    async def _read_changed(self, jobs: list[WatchedJob]) -> None:
        """Read the jobs that differ from their known digests: at a heartbeat, few of them."""
        now = self._redis_now()
        reads = [PendingRead.of(job) for job in jobs]
        size = 1 if is_clustered(self._redis) else PORTION
        portions = [reads[start : start + size] for start in range(0, len(reads), size)]
        commands = [check(*_known_digests(portion, now)) for portion in portions]
        for portion, reply in await self._perform(portions, commands):
            self._note_redis_clock(reply.read_at)
            for place, read in enumerate(portion):
                if place in reply.found:
                    stored, read.job.known = reply.found[place]
                    self._note_read(read, stored, heartbeat=True)
                elif read.confirm():
                    self._wake_watchers(read.job)

    async def _perform(
        self, portions: list[list[PendingRead]], commands: list[RedisCommand[Any]]
    ) -> list[tuple[list[PendingRead], Any]]:
        """Perform a command for each portion."""
        replies = await read_all(self._redis, commands, seconds=READ_SECONDS)
        self.policy.note_response()
        return list(zip(portions, replies, strict=True))

    def _note_read(self, read: PendingRead, stored: Stored | None, *, heartbeat: bool) -> None:
        if archive.has_to_look_up([stored]):
            self._archive_reader.add(Absence(read, stored, heartbeat))
        else:
            self._apply_read(read, stored, heartbeat)

    def _apply_read(self, read: PendingRead, stored: Stored | None, heartbeat: bool) -> None:
        job, was_waiting = read.job, read.confirm()
        was_known = job.view.state is not None
        has_changed = job.view.apply_read(stored, read.since, heartbeat=heartbeat)
        process_metrics.resyncs += has_changed and was_known
        if has_changed or was_waiting:
            self._wake_watchers(job)

    def _read_later(self, job: WatchedJob) -> None:
        self._loop.call_later(RETRY_SECONDS, self._read_if_watched, job)

    async def _request_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            for job in self._jobs.values():
                self.request_read(job, heartbeat=True)

    async def _request_overdue(self) -> None:
        """Read a job as soon as its worker is overdue: the response shows whether it is stalled."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            now = self._redis_now()
            for job in self._jobs.values():
                if job.view.is_lease_over(now, self._clock()):
                    self.request_read(job)

    def _redis_now(self) -> int:
        return int(self._clock() * 1e6 + self._clock_offset)

    def _note_redis_clock(self, now: int) -> None:
        self._clock_offset = now - self._clock() * 1e6

    async def _check_primary(self, pubsub: PubSub) -> None:
        while True:
            await asyncio.sleep(SILENCE_SECONDS)
            await check_primary(self._redis, pubsub)


def _known_digests(
    reads: list[PendingRead], redis_now: int
) -> tuple[list[tuple[Keys, str]], list[str]]:
    """Return the jobs to compare, and their known digests; empty for one to be read in full."""
    jobs = [(job.calls.keys, job.view.job_id) for job, _, _ in reads]
    now = time.monotonic()
    # Whether an overdue worker's job is stalled depends on the time, too.
    digests = ["" if job.view.is_lease_over(redis_now, now) else job.digest for job, _, _ in reads]
    return jobs, digests
