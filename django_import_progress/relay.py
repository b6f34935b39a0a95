"""Forwards each update of a namespace to the channel layer, for a project's own consumers."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
from functools import partial
from typing import Any, Protocol

from django.core.exceptions import ImproperlyConfigured

from .cancellation import ignore, raise_if_cancelled, run_together
from .conf import settings
from .core.errors import ProgressUnavailable
from .core.job_index import LENGTH
from .core.job_state import State
from .core.keys import JobId, Keys, clean_job_id, is_clean
from .core.pacing import backoff_seconds
from .core.snapshot import Stored
from .redis.executor import CALL_SECONDS, read_all, read_each
from .service.manager import ProgressManager
from .watch.hub import Hub, Watcher
from .watch.pubsub_connection import chunks
from .watch.subscriber import RETRY_SECONDS, Pattern

logger = logging.getLogger("django_import_progress")

MESSAGE_TYPE = "import_progress.update"
"""Channels calls a consumer's method `import_progress_update` with it."""
END_SENDS = 2
"""How often an end is sent: a layer may lose a message, and its readers may still be reconnecting
after an outage."""
SKEW_MICROSECONDS = 60_000_000
"""How much the clocks of two Redis servers may differ: see `Relay._scan`."""
_UNSERIALIZABLE = (TypeError, ValueError, OverflowError)
"""What a layer raises that cannot serialize a message, for example one with an int over 64 bits."""


def progress_group(job_id: JobId | None = None, *, namespace: str | None = None) -> str:
    """Return the channel layer's group that receives a job's updates, or those of all jobs.

    The name is valid for every id (https://channels.readthedocs.io/en/stable/topics/
    channel_layers.html#groups): an id that is too long or has other characters is hashed.

    Args:
        job_id: the job; None for the group of all jobs.
        namespace: a namespace other than the setting's.

    Raises:
        InvalidJobId: `job_id` is not a valid job id.
        ValueError: `namespace` is not a valid namespace.
    """
    keys = Keys(settings.namespace if namespace is None else namespace)
    return keys.group() if job_id is None else keys.group(clean_job_id(job_id))


class Layer(Protocol):
    """The part of a channel layer that the relay uses."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send a message to all channels of a group."""


@dataclasses.dataclass(slots=True, eq=False)
class _Job:
    """A job that is running, or whose end has just been sent."""

    watcher: Watcher
    state: State | None = None
    """The newest state, sent or queued."""
    state_before: State | None = None
    """The newest state at the last heartbeat."""
    times_sent: int = 0
    """How often the newest state was sent."""
    has_logged_error: bool = False
    """Whether the layer could not serialize a state, and that was logged."""


class Relay:
    """Sends each update of a namespace to two groups of a channel layer: all jobs', and the job's.

    Each message is ``{"type": "import_progress.update", "job_id": …, "data": <representation>}``;
    for a job that was deleted or has expired, `data` is ``{"job_id": …, "gone": True}``. A layer
    may lose a message, so at each heartbeat the states of running jobs are sent again, and each end
    is sent once more.

    Args:
        manager: manager of the namespace, created in the running event loop.
        layer: a channel layer, such as `channels.layers.get_channel_layer()` returns.
        heartbeat_seconds: how often all jobs are read and sent again.
        max_per_second: maximum updates per job; an end is never held back.

    Raises:
        ImproperlyConfigured: the manager uses sharded pub/sub.
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
                "The relay subscribes to a pattern, which sharded channels do not support:"
                " remove sharded_pubsub=yes from REDIS_URL, for the relay and for all workers"
            )
        self._redis, self._calls = manager.redis, manager.calls
        self._layer = layer
        self._heartbeat_seconds = heartbeat_seconds
        self._max_per_second = max_per_second
        pattern = Pattern(manager.calls.keys, self._request_full_scan, self._handle_unknown)
        self._hub = Hub(manager.redis, heartbeat_seconds=heartbeat_seconds, pattern=pattern)
        self._jobs: dict[str, _Job] = {}
        self._unsent: dict[str, State] = {}
        self._has_unsent = asyncio.Event()
        self._ends: dict[str, tuple[int, int]] = {}
        """The last write of jobs whose end was sent; of the newest `LENGTH`."""
        self._scan_is_due = asyncio.Event()
        self._next_scan_is_full = False
        self._newest_life = 0

    def __repr__(self) -> str:
        return f"<Relay: {len(self._jobs)} jobs, {len(self._unsent)} unsent>"

    async def run(self) -> None:
        """Relay until cancelled, through any outage of Redis and of the layer."""
        await run_together(
            [self._hub.run(), self._scan_when_due(), self._send(), self._send_heartbeats()]
        )

    # Updates from Redis.

    def _handle_unknown(self, job_id: str) -> None:
        # A job of another database is found nowhere, and unwatched at the next heartbeat.
        if is_clean(job_id):
            self._watch(job_id)

    def _watch(self, job_id: str) -> None:
        self._unwatch(job_id)  # A watched job that was unknown to the hub is gone, and recreated.
        watcher = self._hub.watch(self._calls, job_id, max_per_second=self._max_per_second)
        job = self._jobs[job_id] = _Job(watcher)
        watcher.on_update = partial(self._handle_update, job)

    def _handle_update(self, job: _Job) -> None:
        state = job.watcher.poll()
        assert state is not None  # `on_update` is called only if there is one.
        job.state, job.times_sent = state, 0
        self._enqueue(state)

    def _unwatch(self, job_id: str) -> None:
        job = self._jobs.pop(job_id, None)
        if job is not None:
            job.watcher.on_update = ignore
            job.watcher.close()

    # Jobs whose messages were lost.

    def _request_full_scan(self) -> None:
        self._next_scan_is_full = True
        self._scan_is_due.set()

    async def _scan_when_due(self) -> None:
        while True:
            await self._scan_is_due.wait()
            self._scan_is_due.clear()
            is_full, self._next_scan_is_full = self._next_scan_is_full, False
            try:
                await self._scan(0 if is_full else self._newest_life - SKEW_MICROSECONDS)
            except ProgressUnavailable:
                self._next_scan_is_full |= is_full
                self._scan_is_due.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _scan(self, since: int) -> None:
        """Find the jobs that began or ended during an outage.

        Args:
            since: life of the oldest job to read; 0 for all that are listed.
        """
        (listed,) = await read_all(self._redis, [self._calls.jobs_since(max(since, 0))])
        self._hub.note_response()
        entries = listed or []
        unknown = [job_id for job_id, _ in reversed(entries) if job_id not in self._jobs]
        for chunk in chunks(unknown):
            found = await read_each(self._redis, [self._calls.get(job_id) for job_id in chunk])
            for job_id, stored in zip(chunk, found, strict=True):
                # A job that could not be read is watched, so that the hub reads it again.
                is_new = isinstance(stored, BaseException) or self._is_new(job_id, stored)
                # A job that the hub has received meanwhile is newer than the result of this read.
                if is_new and job_id not in self._jobs:
                    self._watch(job_id)
        self._newest_life = max([self._newest_life, *(life for _, life in entries)])

    def _is_new(self, job_id: str, stored: Stored | None) -> bool:
        # The end of an expired job was published long ago.
        if stored is None or stored.expired:
            return False
        return stored.written != self._ends.get(job_id)

    # Messages to the layer.

    def _enqueue(self, state: State) -> None:
        self._unsent[state.job_id] = state  # It replaces an older one that was not sent yet.
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
                except _UNSERIALIZABLE as error:
                    self._log_unserializable(state, error)
                except Exception as error:
                    raise_if_cancelled(error)
                    self._unsent.setdefault(state.job_id, state)  # Unless there is a newer one.
                    failures += 1
                    if failures == 1:
                        logger.warning(
                            "Cannot send to the channel layer (%s); retrying", type(error).__name__
                        )
                    await asyncio.sleep(backoff_seconds(failures, random.random()))
                    continue
                failures = 0
                self._note_sent(state)

    async def _send_one(self, state: State) -> None:
        job_id = state.job_id
        data = {"job_id": job_id, "gone": True} if state.gone else state.representation
        message = {"type": MESSAGE_TYPE, "job_id": job_id, "data": data}
        # A layer has no time limit of its own for a server that does not respond.
        async with asyncio.timeout(CALL_SECONDS):
            await self._layer.group_send(self._calls.keys.group(), message)
            await self._layer.group_send(self._calls.keys.group(job_id), message)

    def _note_sent(self, state: State) -> None:
        job = self._jobs.get(state.job_id)
        if job is not None and job.state is state:
            job.times_sent += 1

    def _log_unserializable(self, state: State, error: Exception) -> None:
        job = self._jobs.get(state.job_id)
        if job is not None and not job.has_logged_error:
            job.has_logged_error = True
            logger.error("The channel layer cannot serialize job %s: %s", state.job_id, error)

    async def _send_heartbeats(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            ended = [job_id for job_id, job in tuple(self._jobs.items()) if self._send_again(job)]
            # Ended jobs must not accumulate while the layer is unavailable.
            for job_id in ended[:-LENGTH]:
                self._unwatch(job_id)
                self._unsent.pop(job_id, None)
            self._scan_is_due.set()

    def _send_again(self, job: _Job) -> bool:
        """Send the newest state again, or unwatch the job.

        Returns:
            Whether the job has ended and is still watched.
        """
        state, before, job.state_before = job.state, job.state_before, job.state
        job_id = job.watcher.job_id
        if state is not None and state.ended:
            if job.times_sent >= END_SENDS:
                self._unwatch(job_id)
                self._note_end(state)
                return False
        elif job.watcher.found_nothing and state is before:
            # Its publisher stores nothing, and has published nothing since the last heartbeat.
            self._unwatch(job_id)
            return False
        if state is not None:
            self._enqueue(state)
        return state is not None and state.ended

    def _note_end(self, state: State) -> None:
        self._ends.pop(state.job_id, None)
        if not state.gone:
            self._ends[state.job_id] = state.order[:2]
        if len(self._ends) > LENGTH:
            del self._ends[next(iter(self._ends))]
