"""One Redis subscription for all who watch in one process and event loop.

A watcher is a wake-up, not a queue: the hub keeps one newest state a job, and a watcher that is
slow finds only the newest when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import suppress

from redis.exceptions import RedisError

from .clients import AsyncClient, drop_idle_connections
from .core.calls import Calls
from .core.errors import ProgressUnavailable
from .core.pacing import backoff_seconds
from .core.view import State
from .link import Link
from .slot import Slot

logger = logging.getLogger("django_import_progress")

LINK_ERRORS = (ProgressUnavailable, RedisError, OSError, TimeoutError)
"""What a broken link raises. Anything else is a fault of ours, and logged with its traceback; the
watchers are served on all the same."""


class Watcher:
    """One who watches one job. Made by `Hub.watch`; must be closed."""

    __slots__ = ("_hub", "_joined", "_seen", "_slot", "_waiter", "closed")

    def __init__(self, hub: Hub, slot: Slot) -> None:
        self._hub = hub
        self._slot = slot
        self._joined = slot.asked
        self._seen: State | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.closed = False

    async def next(self, timeout_seconds: float | None = None) -> State | None:
        """Return the newest state as soon as it is another one than was returned last.

        None once nothing more will come: the job ended or is gone, or the watcher was closed.

        Raises:
            TimeoutError: there was none within `timeout_seconds`.
        """
        if self._seen is not None and self._seen.ended:
            return None
        async with asyncio.timeout(timeout_seconds):
            while not self.closed and not self._has_news():
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        if self.closed:
            return None
        self._seen = self._slot.view.state
        return self._seen

    def _has_news(self) -> bool:
        state = self._slot.view.state
        # A job that is gone is not read again, and there is nothing newer to wait for.
        is_fresh = self._slot.answered >= self._joined or (state is not None and state.gone)
        return is_fresh and state is not self._seen

    def wake(self) -> None:
        """Let `next` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Stop watching. May be called from any thread, and more than once."""
        with suppress(RuntimeError):  # The loop is closed, and so is all that was in it.
            self._hub.loop.call_soon_threadsafe(self._close)

    def _close(self) -> None:
        if not self.closed:
            self.closed = True
            self._hub.leave(self._slot, self)
            self.wake()


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
        self._slots: dict[str, Slot] = {}
        self._task: asyncio.Task[None] | None = None
        self._link: Link | None = None

    def __repr__(self) -> str:
        watchers = sum(len(slot.watchers) for slot in self._slots.values())
        return f"<Hub: {len(self._slots)} jobs, {watchers} watchers>"

    def watch(self, calls: Calls, job_id: str) -> Watcher:
        """Begin to watch a job, there or not yet. The watcher must be closed."""
        channel = calls.keys.channel(job_id)
        slot = self._slots.get(channel)
        if slot is None:
            slot = self._slots[channel] = Slot(calls, job_id)
            self._changed(channel)
        else:
            # Something may be stored that nobody was told of: what is known may be old.
            slot.asked += 1
            if self._link is not None:
                self._link.ask_to_read(slot)
        watcher = Watcher(self, slot)
        slot.watchers.add(watcher)
        if self._task is None or self._task.done():
            self._task = self.loop.create_task(self._serve())
        return watcher

    def leave(self, slot: Slot, watcher: Watcher) -> None:
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

    async def _serve(self) -> None:
        failures = 0
        while self._slots:
            self._link = link = Link(self._redis, self._slots, self._heartbeat_seconds)
            try:
                await link.run()
            except Exception as error:
                task = asyncio.current_task()
                if task is not None and task.cancelling():
                    raise asyncio.CancelledError from error  # It was eaten on the way (redis-py).
                await drop_idle_connections(self._redis)
                failures = 1 if link.confirmed else failures + 1
                if failures == 1:
                    logger.warning(
                        "Lost the subscription to Redis (%s); trying again",
                        type(error).__name__,
                        exc_info=None if isinstance(error, LINK_ERRORS) else error,
                    )
                await asyncio.sleep(backoff_seconds(failures, random.random()))
            finally:
                self._link = None
