"""What an event stream tells: one job, or several on one connection."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .core import sse
from .core.resume import NO_JOB, end_id
from .core.state import gone_event
from .hub import Watcher


class Source(Protocol):
    """Gives events as soon as they are due; must be closed."""

    is_over: bool
    """Whether nothing more will come."""

    def listen(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called whenever `poll` has something, or it is over."""

    def poll(self) -> bytes:
        """Return the events that are due; none where there is nothing new."""

    def close(self) -> None:
        """Let go of what is watched; from any thread, and more than once."""


class OneJob:
    """One job: its states until the last."""

    __slots__ = ("_watcher", "is_over")

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.is_over = False

    def listen(self, on_news: Callable[[], None]) -> None:
        """See `Source`."""
        self._watcher.on_news = on_news

    def poll(self) -> bytes:
        """See `Source`."""
        if self._watcher.closed:  # With the hub, or by `close`.
            self.is_over = True
            return b""
        state = self._watcher.poll()
        if state is None:
            return b""
        self.is_over = state.ended
        return state.frame

    def close(self) -> None:
        """See `Source`."""
        self._watcher.close()


class SeveralJobs:
    """Several jobs, each until its last state, then the end of all.

    Args:
        watchers: one for each job.
        refused: what was asked for and is not to be watched: said to be gone at once.
    """

    __slots__ = ("_ends", "_open", "_refused", "is_over")

    def __init__(self, watchers: Sequence[Watcher], refused: Iterable[str]) -> None:
        self._refused = list(refused)
        self._ends = dict.fromkeys(self._refused, NO_JOB)
        self._open = set(watchers)
        self.is_over = False

    def listen(self, on_news: Callable[[], None]) -> None:
        """See `Source`."""
        for watcher in self._open:
            watcher.on_news = on_news

    def poll(self) -> bytes:
        """See `Source`; the end of all included."""
        events = [gone_event(reference) for reference in self._refused]
        self._refused = []
        for watcher in tuple(self._open):
            if watcher.closed:  # With the hub, or by `close`.
                self.is_over = True
                return b""
            state = watcher.poll()
            if state is not None:
                events.append(state.event)
                if state.ended:
                    self._ends[watcher.job_id] = state.end
                    self._open.discard(watcher)
                    watcher.close()
        if not self._open:
            self.is_over = True
            events.append(sse.end(end_id(self._ends)))
        return b"".join(events)

    def close(self) -> None:
        """See `Source`."""
        for watcher in tuple(self._open):
            watcher.close()
