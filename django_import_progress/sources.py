"""What an event stream tells: one job, or several on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Protocol

from .core import sse
from .core.ends import NO_JOB, end_of, end_of_all
from .core.view import gone_event
from .hub import Watcher


class Source(Protocol):
    """Gives chunks of an event stream; must be closed."""

    async def chunk(self, timeout_seconds: float) -> bytes | None:
        """Return the next events, None after the last.

        Raises:
            TimeoutError: there were none within `timeout_seconds`.
        """

    def close(self) -> None:
        """Let go of what is watched; from any thread, and more than once."""


class OneJob:
    """One job: its states until the last."""

    __slots__ = ("_watcher",)

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    async def chunk(self, timeout_seconds: float) -> bytes | None:
        """See `Source`."""
        state = await self._watcher.next(timeout_seconds)
        return None if state is None else state.frame

    def close(self) -> None:
        """See `Source`."""
        self._watcher.close()


class SeveralJobs:
    """Several jobs, each until its last state, then the end of all.

    Args:
        watchers: one for each job.
        refused: what was asked for and is not to be watched: said to be gone at once.
    """

    def __init__(self, watchers: Sequence[Watcher], refused: Iterable[str]) -> None:
        self._refused = list(refused)
        self._ends = dict.fromkeys(self._refused, NO_JOB)
        self._open = set(watchers)
        self._has_news = asyncio.Event()
        self._has_news.set()  # Those who are refused; and what is known already.
        self._is_over = False
        for watcher in watchers:
            watcher.on_news = self._has_news.set

    async def chunk(self, timeout_seconds: float) -> bytes | None:
        """See `Source`."""
        async with asyncio.timeout(timeout_seconds):
            while not self._is_over:
                await self._has_news.wait()
                if events := self._events():
                    return events
        return None

    def _events(self) -> bytes:
        """Return all that is news, the end of all included."""
        self._has_news.clear()
        events = [gone_event(reference) for reference in self._refused]
        self._refused = []
        for watcher in tuple(self._open):
            if watcher.closed:  # With the hub, or by `close`.
                self._is_over = True
                return b""
            state = watcher.poll()
            if state is not None:
                events.append(state.event)
                if state.ended:
                    self._ends[watcher.job_id] = end_of(state)
                    self._open.discard(watcher)
                    watcher.close()
        if not self._open:
            self._is_over = True
            events.append(sse.frame(b"", event="end", event_id=end_of_all(self._ends)))
        return b"".join(events)

    def close(self) -> None:
        """See `Source`."""
        for watcher in tuple(self._open):
            watcher.close()
