"""What an event stream tells: one job, or several on one connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..core import sse
from ..core.job_state import gone_event
from ..core.sse import NO_JOB, end_id
from ..watch.hub import Watcher


class Source:
    """The events of one or several jobs, each until its last state, then the end of all.

    Args:
        watchers: one for each job. They are closed by `close`, or as soon as their job has ended.
        refused: what was asked for and is not to be watched: said to be gone at once.

    Attributes:
        is_over: whether nothing more will come.
    """

    __slots__ = ("_due", "_ends", "_is_alone", "_open", "is_over")

    def __init__(self, watchers: Sequence[Watcher], refused: Sequence[str] = ()) -> None:
        self._due = [gone_event(reference) for reference in refused]
        self._ends = dict.fromkeys(refused, NO_JOB)
        self._open = tuple(watchers)
        self._is_alone = len(watchers) == 1 and not refused
        """Whether one job is all: its last frame ends the stream, and is made once for all."""
        self.is_over = False

    def listen(self, on_update: Callable[[], None]) -> None:
        """Have `on_update` called whenever `poll` has something, or it is over."""
        for watcher in self._open:
            watcher.on_update = on_update

    def poll(self) -> bytes:
        """Return the events that are due, the end included; none where there is nothing new."""
        events, self._due = self._due, []
        for watcher in self._open:
            if watcher.closed:  # With the hub, or by `close`.
                self.is_over = True
                return b""
            state = watcher.poll()
            if state is not None:
                events.append(state.frame if self._is_alone else state.event)
                if state.ended:
                    self._ends[watcher.job_id] = state.end
                    self._open = tuple(one for one in self._open if one is not watcher)
                    watcher.close()
        if not self._open:
            self.is_over = True
            if not self._is_alone:
                events.append(sse.end(end_id(self._ends)))
        return b"".join(events)

    def close(self) -> None:
        """Let go of what is watched; from any thread, and more than once."""
        for watcher in self._open:
            watcher.close()
