"""One Redis subscription for all who watch in one process and event loop.

A watcher is a wake-up, not a queue: the hub keeps one newest state a job, and a watcher that is
slow finds only the newest when it comes back.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..callbacks import CALLBACK_ERRORS, contained
from ..core.commands import JobCommands
from ..core.job_state import State, gone_state
from ..metrics import process_metrics
from ..redis.executor import AsyncClient, is_sharded
from .reconnect import ReconnectPolicy
from .sharded_subscriber import ShardedSubscriber
from .subscriber import Subscriber
from .watched_job import WatchedJob

logger = logging.getLogger("django_import_progress")


class Watcher:
    """One who watches one job. Made by `Hub.watch`; must be closed.

    Attributes:
        on_update: called when `poll` has something, or the watcher was closed. The first exception
            that it raises is logged; it is called again all the same.
        closed: whether it was, by its owner or with the hub.
    """

    __slots__ = (
        *("_has_failed", "_hold_until", "_hub", "_joined", "_may_see", "_owner", "_refusal"),
        *("_seconds_between", "_seen", "_slot", "_timer", "closed", "on_update"),
    )

    def __init__(
        self,
        hub: Hub,
        slot: WatchedJob,
        seconds_between: float,
        may_see: Callable[[str | None], bool] | None,
    ) -> None:
        self._hub = hub
        self._slot = slot
        self._joined = slot.asked
        self._may_see = may_see
        self._owner: object = self
        """The owner for whom `may_see` said yes last."""
        self._refusal: State | None = None
        self._seen: State | None = None
        self._seconds_between = seconds_between
        self._hold_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_failed = False
        """Whether `on_update` has raised an exception."""
        self.on_update: Callable[[], None] = _nothing
        self.closed = False

    @property
    def job_id(self) -> str:
        """The job that is watched."""
        return self._slot.view.job_id

    @property
    def found_nothing(self) -> bool:
        """Whether the job was looked for since the watcher joined, and is nowhere stored."""
        return self._slot.answered >= self._joined and not self._slot.view.is_stored

    async def next(self, timeout_seconds: float | None = None) -> State | None:
        """Return the newest state as soon as it is another one than was returned last.

        None once nothing more will come: the job ended or is gone, or the watcher was closed.

        Raises:
            TimeoutError: there was none within `timeout_seconds`.
        """
        if self._seen is not None and self._seen.ended:
            return None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_seconds):
            while not self.closed:
                state = self.poll()
                if state is not None:
                    return state
                waiter: asyncio.Future[None] = loop.create_future()
                self.on_update = partial(_set, waiter)
                await waiter
        return None

    def poll(self) -> State | None:
        """Return the newest state if it is due, and another one than was returned last."""
        state = self._news()
        if state is not None:
            self._seen = state
            process_metrics.events += 1
            if self._seconds_between:
                self._hold_until = self._hub.loop.time() + self._seconds_between
        return state

    def _news(self) -> State | None:
        state = self._slot.view.state
        if state is None or state is self._seen:
            return None
        # A job that is gone is not read again, and there is nothing newer to wait for.
        if self._slot.answered < self._joined and not state.gone:
            return None
        if self._may_see is not None and not state.gone and state.owner != self._owner:
            if not self._may_see(state.owner):
                return self._refused(state)
            self._owner = state.owner
        if self._hold_until and not state.ended and self._hub.loop.time() < self._hold_until:
            if self._timer is None:
                self._timer = self._hub.loop.call_at(self._hold_until, self._release)
            return None
        return state

    def _refused(self, state: State) -> State | None:
        """Return that the job is gone for this watcher, as soon as its owner is known."""
        if self._refusal is None and self._slot.view.is_stored:
            self._refusal = gone_state(state.job_id)
        return None if self._seen is self._refusal else self._refusal

    def _release(self) -> None:
        self._timer, self._hold_until = None, 0.0
        self.wake()

    def wake(self) -> None:
        """Tell that there is something, if there is."""
        if self.closed or self._news() is not None:
            self._notify()

    def _notify(self) -> None:
        try:
            self.on_update()
        except CALLBACK_ERRORS:  # The other watchers, and the connection, must not suffer from it.
            if not self._has_failed:  # One line a watcher: it may fail at each update.
                self._has_failed = True
                logger.exception("A listener of import %s raised an exception", self.job_id)

    def repeat(self) -> None:
        """Return the newest state once more, as soon as a read that begins now has confirmed it."""
        self._hub.refresh(self._slot)
        self._joined, self._seen, self._hold_until = self._slot.asked, None, 0.0

    def close(self) -> None:
        """Stop watching. May be called from any thread, and more than once."""
        with suppress(RuntimeError):  # The loop is closed, and so is all that was in it.
            self._hub.loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._timer is not None:
                self._timer.cancel()
            self._hub.leave(self._slot, self)
            self.wake()


def _nothing() -> None:
    """Tell nobody."""


def _set(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """How much a hub watches."""

    jobs: int
    watchers: int
    stalled: int
    """Jobs whose worker is overdue."""


class Hub:
    """Watches jobs for any number of watchers over one pub/sub connection.

    Args:
        redis: the client to subscribe and to read with; of the event loop that is running.
        heartbeat_seconds: how often each watched job is read again.
    """

    def __init__(self, redis: AsyncClient, *, heartbeat_seconds: float = 15) -> None:
        self.loop = asyncio.get_running_loop()
        self._redis = redis
        self._heartbeat_seconds = heartbeat_seconds
        self._slots: dict[str, WatchedJob] = {}
        self._task: asyncio.Task[None] | None = None
        self._link: Subscriber | None = None

    def __repr__(self) -> str:
        watched = self.watched()
        return f"<Hub: {watched.jobs} jobs, {watched.watchers} watchers>"

    def watched(self) -> Watched:
        """Return how much is watched at this moment. May be called from any thread."""
        slots = list(self._slots.values())
        states = [slot.view.state for slot in slots]
        return Watched(
            jobs=len(slots),
            watchers=sum(len(slot.watchers) for slot in slots),
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
        """Begin to watch a job, there or not yet. The watcher must be closed.

        Args:
            calls: of the job's namespace.
            job_id: the job.
            max_per_second: what comes faster is thinned to the newest; an end is never held back.
                0: nothing is thinned.
            may_see: called with the job's owner; where it returns False the job is gone for this
                watcher.
        """
        channel = calls.keys.channel(job_id)
        slot = self._slots.get(channel)
        if slot is None:
            slot = self._slots[channel] = WatchedJob(calls, job_id)
            self._changed(channel)
        else:
            self.refresh(slot)
        watcher = Watcher(self, slot, 1 / max_per_second if max_per_second else 0.0, may_see)
        slot.watchers.add(watcher)
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._serve())
        return watcher

    def refresh(self, slot: WatchedJob) -> None:
        """Have a job read again: what is known may be older than what is stored."""
        slot.asked += 1
        if self._link is not None:
            self._link.request_read(slot)

    def leave(self, slot: WatchedJob, watcher: Watcher) -> None:
        """Forget a watcher, and the job with its last one."""
        slot.watchers.discard(watcher)
        if not slot.watchers and self._slots.get(slot.channel) is slot:
            del self._slots[slot.channel]
            self._changed(slot.channel)

    async def aclose(self) -> None:
        """End the watching and let go of the connection. Who watches on is told that it is over."""
        slots = tuple(self._slots.values())
        self._slots.clear()
        for slot in slots:
            for watcher in tuple(slot.watchers):
                watcher.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def _changed(self, channel: str) -> None:
        if self._link is not None:
            self._link.changed(channel)

    @property
    def _is_needed(self) -> bool:
        return bool(self._slots)

    def _new_link(self) -> Subscriber:
        kind = ShardedSubscriber if is_sharded(self._redis) else Subscriber
        return kind(self._redis, self._slots, self._heartbeat_seconds)

    async def _serve(self) -> None:
        losses = ReconnectPolicy(self._redis)
        while self._is_needed:
            link = self._new_link()
            link.on_restored = contained(losses.end)
            try:
                await self._run(link)
            except Exception as error:
                await losses.wait_before_retry(error, served=link.served)

    async def _run(self, link: Subscriber) -> None:
        self._link = link
        try:
            await link.run()
        finally:  # Before the next one is tried: nothing that is answered meanwhile is its merit.
            self._link = None
