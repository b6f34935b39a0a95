"""From Redis into the channel layer: each update of a namespace, for a project's own consumers."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from functools import partial
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from .cancellation import raise_if_cancelled, run_together
from .conf import settings
from .core.errors import ProgressUnavailable
from .core.job_index import LENGTH
from .core.job_state import State
from .core.keys import JobId, Keys, clean_job_id, is_clean
from .core.pacing import backoff_seconds
from .core.snapshot import Stored
from .redis.executor import CALL_SECONDS, read_all
from .redis.pipelines import read_each
from .service.manager import ProgressManager
from .watch.hub import Watcher
from .watch.pattern_hub import PatternHub
from .watch.pubsub_connection import chunks
from .watch.subscriber import AGAIN_SECONDS

logger = logging.getLogger("django_import_progress")

MESSAGE_TYPE = "import_progress.update"
"""Channels calls a consumer's method `import_progress_update` with it."""
TIMES_AN_END_IS_TOLD = 2
"""A layer delivers at most once, and its own readers may be away just after an outage."""
SKEW_MICROSECONDS = 60_000_000
"""By how much the clocks of two Redis servers may differ: see `Relay._look`."""
_UNCARRIABLE = (TypeError, ValueError, OverflowError)
"""What a layer raises that cannot write a message: one with an int beyond 64 bits, say."""


def progress_group(job_id: JobId | None = None, *, namespace: str | None = None) -> str:
    """Return the channel layer's group in which a job is told; without one, all jobs are.

    It is legal whatever the id is (https://channels.readthedocs.io/en/stable/topics/
    channel_layers.html#groups): a digest stands for what is not, or is too long.

    Args:
        job_id: the job; None for the group of all jobs.
        namespace: another one than the setting's.

    Raises:
        InvalidJobId: `job_id` cannot be one.
        ValueError: `namespace` cannot be one.
    """
    keys = Keys(settings.namespace if namespace is None else namespace)
    return keys.group() if job_id is None else keys.group(clean_job_id(job_id))


class Layer(Protocol):
    """What the relay needs of a channel layer."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to all channels of a group."""


@dataclasses.dataclass(slots=True, eq=False)
class _Job:
    """What is known of a job that goes on, or whose end was told just now."""

    watcher: Watcher
    state: State | None = None
    """The newest, told or to be told."""
    state_before: State | None = None
    """The newest at the last heartbeat."""
    times_told: int = 0
    """How often the newest was told."""
    is_refused: bool = False
    """Whether the layer could not carry it, and that was logged."""


class Relay:
    """Tells each update of a namespace to two groups of a channel layer: all jobs', and the job's.

    Each message is ``{"type": "import_progress.update", "job_id": …, "data": <representation>}``;
    of a job that was deleted or has expired `data` is ``{"job_id": …, "gone": True}``. At each
    heartbeat what goes on is told again, and each end once more, for a layer may lose a message.

    Args:
        manager: of the namespace; of the event loop that is running.
        layer: a channel layer, such as `channels.layers.get_channel_layer()` returns.
        heartbeat_seconds: how often the jobs are read, and told, again.
        max_per_second: how many updates of one job are told; an end is never held back.

    Raises:
        ImproperlyConfigured: a Cluster tells of its jobs by sharded pub/sub.
    """

    def __init__(
        self,
        manager: ProgressManager,
        layer: Layer,
        *,
        heartbeat_seconds: float = 15,
        max_per_second: float = 10,
    ) -> None:
        if manager.calls.keys.sharded:
            raise ImproperlyConfigured(
                "The relay hears of all jobs, and sharded channels have no patterns: take"
                " sharded_pubsub=yes out of REDIS_URL, for the relay and for whoever writes"
            )
        self._redis, self._calls = manager.redis, manager.calls
        self._layer = layer
        self._heartbeat_seconds = heartbeat_seconds
        self._max_per_second = max_per_second
        self._feed = PatternHub(
            manager.redis,
            manager.calls,
            heartbeat_seconds=heartbeat_seconds,
            on_subscribed=self._look_at_all,
            on_unknown=self._hear_of,
        )
        self._jobs: dict[str, _Job] = {}
        self._unsent: dict[str, State] = {}
        self._has_unsent = asyncio.Event()
        self._ends: dict[str, tuple[int, int]] = {}
        """Which write was the end of jobs that are told no more; of the newest `LENGTH`."""
        self._has_to_look = asyncio.Event()
        self._everything = False
        self._newest_life = 0

    def __repr__(self) -> str:
        return f"<Relay: {len(self._jobs)} jobs, {len(self._unsent)} to be told>"

    async def run(self) -> None:
        """Relay until cancelled, through any outage of Redis and of the layer."""
        await run_together([self._feed.run(), self._find(), self._send(), self._beat()])

    # What comes in.

    def _hear_of(self, job_id: str) -> None:
        # Of another database's job there is nothing to be read: it is left at the next heartbeat.
        if is_clean(job_id):
            self._follow(job_id)

    def _follow(self, job_id: str) -> None:
        self._leave(job_id)  # It is gone, then, and comes anew.
        watcher = self._feed.watch(self._calls, job_id, max_per_second=self._max_per_second)
        job = self._jobs[job_id] = _Job(watcher)
        watcher.on_update = partial(self._take, job)

    def _take(self, job: _Job) -> None:
        state = job.watcher.poll()
        assert state is not None  # It has news: only for that we are called.
        job.state, job.times_told = state, 0
        self._tell(state)

    def _leave(self, job_id: str) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None:
            job.watcher.on_update = _nothing
            job.watcher.close()

    # What nobody told us of.

    def _look_at_all(self) -> None:
        self._everything = True
        self._has_to_look.set()

    async def _find(self) -> None:
        while True:
            await self._has_to_look.wait()
            self._has_to_look.clear()
            everything, self._everything = self._everything, False
            try:
                await self._look(0 if everything else self._newest_life - SKEW_MICROSECONDS)
            except ProgressUnavailable:
                self._everything |= everything
                self._has_to_look.set()
                await asyncio.sleep(AGAIN_SECONDS)

    async def _look(self, since: int) -> None:
        """Find the jobs that began, or ended, while the link was away.

        Args:
            since: the life of the oldest to look at; 0 for all that are listed.
        """
        (listed,) = await read_all(self._redis, [self._calls.jobs_since(max(since, 0))])
        self._feed.was_answered()
        entries = listed or []
        unknown = [job_id for job_id, _ in reversed(entries) if job_id not in self._jobs]
        for chunk in chunks(unknown):
            found = await read_each(self._redis, [self._calls.get(job_id) for job_id in chunk])
            for job_id, stored in zip(chunk, found, strict=True):
                # One that could not be read is followed: it is read again and again.
                is_news = isinstance(stored, BaseException) or self._is_news(job_id, stored)
                # What was received meanwhile is newer than what was read.
                if is_news and job_id not in self._jobs:
                    self._follow(job_id)
        self._newest_life = max([self._newest_life, *(life for _, life in entries)])

    def _is_news(self, job_id: str, stored: Stored | None) -> bool:
        # Of a job that has expired the end was published long ago.
        if stored is None or stored.expired:
            return False
        return stored.written != self._ends.get(job_id)

    # What goes out.

    def _tell(self, state: State) -> None:
        self._unsent[state.job_id] = state  # In the place of an older one that still waits.
        self._has_unsent.set()

    async def _send(self) -> None:
        failures = 0
        while True:
            await self._has_unsent.wait()
            self._has_unsent.clear()
            while self._unsent:
                state = self._unsent.pop(next(iter(self._unsent)))
                try:
                    await self._send_one(state)
                except _UNCARRIABLE as error:
                    self._refuse(state, error)
                except Exception as error:
                    raise_if_cancelled(error)
                    self._unsent.setdefault(state.job_id, state)  # Unless there is a newer one.
                    failures += 1
                    if failures == 1:
                        logger.warning(
                            "The channel layer takes nothing (%s); trying again",
                            type(error).__name__,
                        )
                    await asyncio.sleep(backoff_seconds(failures, random.random()))
                    continue
                failures = 0
                self._note_told(state)

    async def _send_one(self, state: State) -> None:
        job_id = state.job_id
        data = {"job_id": job_id, "gone": True} if state.gone else state.representation
        message = {"type": MESSAGE_TYPE, "job_id": job_id, "data": data}
        # Of its own a layer may wait without an end for a server that says nothing.
        async with asyncio.timeout(CALL_SECONDS):
            await self._layer.group_send(self._calls.keys.group(), message)
            await self._layer.group_send(self._calls.keys.group(job_id), message)

    def _note_told(self, state: State) -> None:
        job = self._jobs.get(state.job_id)
        if job is not None and job.state is state:
            job.times_told += 1

    def _refuse(self, state: State, error: Exception) -> None:
        job = self._jobs.get(state.job_id)
        if job is not None and not job.is_refused:
            job.is_refused = True
            logger.error("The channel layer cannot carry job %s: %s", state.job_id, error)

    # Trust, but tell again.

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            ended = [job_id for job_id, job in tuple(self._jobs.items()) if self._tell_again(job)]
            # A layer that is away for long must not cost more with each job that ends.
            for job_id in ended[:-LENGTH]:
                self._leave(job_id)
                self._unsent.pop(job_id, None)
            self._has_to_look.set()

    def _tell_again(self, job: _Job) -> bool:
        """Tell the newest once more, or let the job go; whether it has ended and is kept."""
        state, before, job.state_before = job.state, job.state_before, job.state
        job_id = job.watcher.job_id
        if state is not None and state.ended:
            if job.times_told >= TIMES_AN_END_IS_TOLD:
                self._leave(job_id)
                self._note_end(state)
                return False
        elif job.watcher.found_nothing and state is before:
            # It was told of by somebody who stores nothing, and has fallen silent.
            self._leave(job_id)
            return False
        if state is not None:
            self._tell(state)
        return state is not None and state.ended

    def _note_end(self, state: State) -> None:
        self._ends.pop(state.job_id, None)
        if not state.gone:
            self._ends[state.job_id] = state.order[:2]
        if len(self._ends) > LENGTH:
            del self._ends[next(iter(self._ends))]


def _nothing() -> None:
    """Tell nobody."""
