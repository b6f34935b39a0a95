"""One Redis subscription for all watchers in one process and event loop.

The hub keeps only the newest state of each job. A slow watcher skips the states in between and
costs no memory.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from contextlib import suppress

from ..cancellation import CALLBACK_ERRORS, ignore
from ..core.commands import JobCommands
from ..core.job_state import State, gone_state
from ..metrics import process_metrics
from ..redis.executor import AsyncClient, is_sharded
from .reconnect import ReconnectPolicy
from .sharded_subscriber import ShardedSubscriber
from .subscriber import Pattern, Subscriber
from .watched_job import WatchedJob

logger = logging.getLogger("django_import_progress")


class Watcher:
    """Watches one job. Created by `Hub.watch`; must be closed.

    Attributes:
        on_update: called when `poll` has a new state, or when the watcher was closed. Only the
            first exception that it raises is logged; it is called again after each.
        closed: whether the watcher was closed, by its owner or with the hub.
    """

    __slots__ = (
        *("_confirming_read", "_has_failed", "_hold_until", "_hub", "_job", "_may_see", "_owner"),
        *("_refusal", "_seconds_between", "_seen", "_timer", "closed", "on_update"),
    )

    def __init__(
        self,
        hub: Hub,
        job: WatchedJob,
        seconds_between: float,
        may_see: Callable[[str | None], bool] | None,
    ) -> None:
        self._hub = hub
        self._job = job
        self._confirming_read = job.requested_read
        """Number of the read that must be confirmed before any state is returned."""
        self._may_see = may_see
        self._owner: object = self
        """The owner for whom `may_see` last returned True."""
        self._refusal: State | None = None
        self._seen: State | None = None
        self._seconds_between = seconds_between
        self._hold_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False
        """Whether `on_update` has raised an exception."""
        self.on_update: Callable[[], None] = ignore
        self.closed = False

    @property
    def job_id(self) -> str:
        """The job that is watched."""
        return self._job.view.job_id

    @property
    def found_nothing(self) -> bool:
        """Whether Redis was read since the watcher joined and does not have the job."""
        return self.is_confirmed and not self._job.view.is_stored

    @property
    def is_confirmed(self) -> bool:
        """Whether Redis was read since the watcher joined."""
        return self._job.confirmed_read >= self._confirming_read

    def move_to(self, job: WatchedJob) -> None:
        """Go on with the same job, of which nothing is known yet."""
        self._job.watchers.discard(self)
        self._job, self._confirming_read = job, job.requested_read
        job.watchers.add(self)

    async def next(self, timeout_seconds: float | None = None) -> State | None:
        """Return the newest state as soon as it differs from the one returned last.

        None if no more states will come: the job has ended or is gone, or the watcher was closed.

        Raises:
            TimeoutError: no new state within `timeout_seconds`.
        """
        if self._seen is not None and self._seen.ended:
            return None
        async with asyncio.timeout(timeout_seconds):
            while not self.closed:
                state = self.poll()
                if state is not None:
                    return state
                has_update = asyncio.Event()
                self.on_update = has_update.set
                await has_update.wait()
        return None

    def poll(self) -> State | None:
        """Return the newest state if it is due and differs from the one returned last."""
        state = self._due_state()
        if state is not None:
            self._seen = state
            process_metrics.events += 1
            if self._seconds_between:
                self._hold_until = self._hub.loop.time() + self._seconds_between
        return state

    def _due_state(self) -> State | None:
        state = self._job.view.state
        if state is None or state is self._seen:
            return None
        if not self.is_confirmed:
            return None
        if self._may_see is not None and not state.gone and state.owner != self._owner:
            if not self._may_see(state.owner):
                return self._refusal_for(state)
            self._owner = state.owner
        if self._hold_until and not state.ended and self._hub.loop.time() < self._hold_until:
            if self._timer is None:
                self._timer = self._hub.loop.call_at(self._hold_until, self._end_hold)
            return None
        return state

    def _refusal_for(self, state: State) -> State | None:
        """Return that the job is gone for this watcher, as soon as its owner is known."""
        if self._refusal is None and self._job.view.is_stored:
            self._refusal = gone_state(state.job_id)
        return None if self._seen is self._refusal else self._refusal

    def _end_hold(self) -> None:
        self._timer, self._hold_until = None, 0.0
        self.wake()

    def wake(self) -> None:
        """Call `on_update` if there is a new state, or if the watcher was closed."""
        if self.closed or self._due_state() is not None:
            self._notify()

    def _notify(self) -> None:
        try:
            self.on_update()
        except CALLBACK_ERRORS:  # It must not affect other watchers or the connection.
            if not self._has_failed:  # One log line per watcher: it may fail at each update.
                self._has_failed = True
                logger.exception("A listener of import %s raised an exception", self.job_id)

    def repeat(self) -> None:
        """Return the newest state once more, as soon as a read that begins now confirms it."""
        self._hub.refresh(self._job)
        self._confirming_read = self._job.requested_read
        self._seen, self._hold_until = None, 0.0

    def close(self) -> None:
        """Stop watching. May be called from any thread, and more than once."""
        with suppress(RuntimeError):  # The loop is closed, and so is everything in it.
            self._hub.loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._hub.remove_watcher(self._job, self)
            self.wake()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """Number of jobs and watchers of a hub."""

    jobs: int
    watchers: int
    stalled: int
    """Jobs whose worker is overdue."""


class Hub:
    """Watches jobs for any number of watchers over one pub/sub connection.

    Args:
        redis: a client of the running event loop, used to subscribe and to read.
        heartbeat_seconds: how often each watched job is read again.
        pattern: channels to be subscribed to in any case; `run` the hub then.
    """

    def __init__(
        self, redis: AsyncClient, *, heartbeat_seconds: float = 15, pattern: Pattern | None = None
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self._redis = redis
        self._heartbeat_seconds = heartbeat_seconds
        self._pattern = pattern
        self._jobs: dict[str, WatchedJob] = {}
        """Watched jobs by channel."""
        self._task: asyncio.Task[None] | None = None
        self._subscriber: Subscriber | None = None

    def __repr__(self) -> str:
        watched = self.watched()
        return f"<Hub: {watched.jobs} jobs, {watched.watchers} watchers>"

    def watched(self) -> Watched:
        """Return the current number of jobs and watchers. May be called from any thread."""
        jobs = list(self._jobs.values())
        states = [job.view.state for job in jobs]
        return Watched(
            jobs=len(jobs),
            watchers=sum(len(job.watchers) for job in jobs),
            stalled=sum(state is not None and state.stalled for state in states),
        )

    def watch(
        self,
        calls: JobCommands,
        job_id: str,
        *,
        max_per_second: float = 0,
        may_see: Callable[[str | None], bool] | None = None,
    ) -> Watcher:
        """Start watching a job, which need not exist yet. The watcher must be closed.

        Args:
            calls: commands of the job's namespace.
            job_id: the job.
            max_per_second: faster updates are thinned to the newest; an end is never held back.
                0: nothing is thinned.
            may_see: called with the job's owner; if it returns False, this watcher is shown that
                the job is gone.
        """
        channel = calls.keys.channel(job_id)
        job = self._jobs.get(channel)
        if job is None:
            job = self._jobs[channel] = WatchedJob(calls, job_id)
            self._notify_subscriber(channel)
        else:
            self.refresh(job)
        watcher = Watcher(self, job, 1 / max_per_second if max_per_second else 0.0, may_see)
        job.watchers.add(watcher)
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._stay_subscribed())
        return watcher

    def refresh(self, job: WatchedJob) -> None:
        """Read a job again: the known state may be older than the stored one."""
        job.requested_read += 1
        if self._subscriber is not None:
            self._subscriber.request_read(job)

    def remove_watcher(self, job: WatchedJob, watcher: Watcher) -> None:
        """Remove a watcher, and with its last watcher the job."""
        job.watchers.discard(watcher)
        if not job.watchers and self._jobs.get(job.channel) is job:
            del self._jobs[job.channel]
            self._notify_subscriber(job.channel)

    async def aclose(self) -> None:
        """Close all watchers and the connection."""
        jobs = tuple(self._jobs.values())
        self._jobs.clear()
        for job in jobs:
            for watcher in tuple(job.watchers):
                watcher.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _notify_subscriber(self, channel: str) -> None:
        if self._subscriber is not None:
            self._subscriber.channel_changed(channel)

    async def run(self) -> None:
        """Stay subscribed to the pattern until cancelled, through any outage."""
        self._task = asyncio.current_task()
        await self._stay_subscribed()

    def note_response(self) -> None:
        """Note that Redis has responded to a read of the hub's owner.

        Without watched jobs the hub has no reads of its own to show that the connection works.
        """
        # A read sent before an outage may be answered before the hub is subscribed again.
        if self._subscriber is not None and self._subscriber.is_subscribed and not self._jobs:
            self._subscriber.policy.note_response()

    async def _stay_subscribed(self) -> None:
        policy = ReconnectPolicy(self._redis)
        kind = ShardedSubscriber if is_sharded(self._redis) else Subscriber
        while self._jobs or self._pattern is not None:
            options = (self._jobs, self._heartbeat_seconds, self._pattern)
            try:
                await self._run(kind(self._redis, policy, *options))
            except Exception as error:
                await policy.wait_before_retry(error)

    async def _run(self, subscriber: Subscriber) -> None:
        self._subscriber = subscriber
        try:
            await subscriber.run()
        finally:  # Before the next attempt: a response that arrives until then is not its own.
            self._subscriber = None
