"""Watchers of one job whose views note what they know and when: the real ones, and a slow one."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal

from django_import_progress import ProgressManager, SyncProgressManager
from django_import_progress.core.job_state import State
from django_import_progress.core.reducer import JobStateReducer, JunkMessage, ReadStart
from django_import_progress.core.snapshot import Fields, Stored, Written
from django_import_progress.watch.hub import Watcher
from django_import_progress.watch.watched_job import WatchedJob
from django_import_progress.web.event_stream import Source
from tests.kit.sse import parse

from .watcher import ADDED
from .wire import LoopThread

BARRIER = b'{"_db":99,"barrier":%d}'
"""A message of no database that is watched: it changes nothing, and comes after all before it."""


class NotedView(JobStateReducer):
    """A view that notes what was known when a message came in."""

    def __init__(self, job_id: str, on_change: Callable[[], None]) -> None:
        super().__init__(job_id)
        self.known_at: dict[bytes, Written] = {}
        self.reads = 0
        self.barrier = b""
        self._on_change = on_change

    def apply_message(self, payload: bytes | str) -> bool:
        assert isinstance(payload, bytes)
        self.known_at[payload] = self.order[:2]
        try:
            return super().apply_message(payload)
        finally:
            if payload.startswith(BARRIER[:9]):
                self.barrier = payload
            self._on_change()

    def apply_read(
        self, stored: Stored | None, since: ReadStart, *, heartbeat: bool = False
    ) -> bool:
        try:
            return super().apply_read(stored, since, heartbeat=heartbeat)
        finally:
            self.reads += 1
            self._on_change()


class Observer:
    """What all kinds share. What is shown comes in another thread."""

    view: NotedView

    def __init__(self, opened: int, changed: threading.Condition) -> None:
        self.opened = opened
        self.changed = changed
        self.last: Fields | None = None
        self.ended = False

    def __repr__(self) -> str:
        return type(self).__name__

    @property
    def is_stored(self) -> bool:
        """See `Judged`."""
        return self.view.is_stored

    @property
    def known_at(self) -> dict[bytes, Written]:
        """See `Judged`."""
        return self.view.known_at

    def is_ready(self) -> bool:
        """Tell whether it is subscribed."""
        return self.view.reads > 0

    def is_quiet(self, barrier: bytes) -> bool:
        """Tell whether it has received the barrier, and been shown all that its view knows."""
        if self.ended:
            return True
        state = self.view.state
        is_settled = self.view.barrier == barrier and not self.view.needs_read
        shown = None if state is None else dict(state.fields)
        return is_settled and self.last == shown and (state is None or not state.ended)

    def notify(self) -> None:
        """Wake up whoever waits for a change."""
        with self.changed:
            self.changed.notify_all()

    def show(self, fields: Fields | None, *, ended: bool) -> None:
        """Take note of what it was shown."""
        self.last, self.ended = fields, ended
        self.notify()


class HubObserver(Observer):
    """Uses `ProgressManager.watcher`."""

    def __init__(self, manager: ProgressManager, job_id: str, loop: LoopThread, *rest: Any) -> None:
        super().__init__(*rest)
        self._loop = loop
        loop.run(self._open(manager, job_id))

    async def _open(self, manager: ProgressManager, job_id: str) -> None:
        self.watcher = manager.watcher(job_id)
        slot = self.watcher._job
        if not isinstance(slot.view, NotedView):
            slot.view = NotedView(job_id, self.notify)
        self.view = slot.view
        self._begin(self.watcher)

    def _begin(self, watcher: Watcher) -> None:
        self._task = asyncio.get_running_loop().create_task(self._follow(watcher))

    async def _follow(self, watcher: Watcher) -> None:
        while (state := await watcher.next()) is not None:
            self.show(None if state.gone else dict(state.fields), ended=state.ended)

    def close(self) -> None:
        """Stop watching."""
        self._loop.run(self._close())

    async def _close(self) -> None:
        self.watcher._close()
        await asyncio.sleep(0)


class SseObserver(HubObserver):
    """Receives the frames of an event stream."""

    def _begin(self, watcher: Watcher) -> None:
        self._source = Source([watcher])
        self._source.listen(self._poll)
        self._poll()

    def _poll(self) -> None:
        text = "" if self._source.is_over else self._source.poll().decode()
        if text:
            event, *rest = parse(iter(text.split("\n")))
            is_gone = event.type == "gone"
            fields = {name: value for name, value in event.json.items() if name not in ADDED}
            assert [end.type for end in rest] == ["end"] * (self._source.is_over and not is_gone)
            self.show(None if is_gone else fields, ended=self._source.is_over)


class SyncObserver(Observer):
    """Iterates over `watch` in a thread."""

    def __init__(self, manager: SyncProgressManager, job_id: str, *rest: Any) -> None:
        super().__init__(*rest)
        slot = WatchedJob(manager.calls, job_id)
        slot.view = self.view = NotedView(job_id, self.notify)
        self._thread = threading.Thread(target=self._watch, args=(manager, slot))
        self._thread.start()

    def _watch(self, manager: SyncProgressManager, slot: WatchedJob) -> None:
        for fields in manager._watch(slot):
            self.show(fields, ended=False)
        state = self.view.state
        assert state is not None
        self.show(None if state.gone else self.last, ended=True)

    def stop(self) -> None:
        """Have it take the job for gone, as soon as the next message comes in."""
        self.view._mark_gone()

    def close(self) -> None:
        """Wait for the thread."""
        self._thread.join()


Turn = Literal["wait", "send", "execute", "apply"]


class SlowObserver:
    """A view by hand: messages and answers of reads come in when the schedule says so."""

    def __init__(self, job_id: str, opened: int, read: Callable[[], Stored | None]) -> None:
        self.opened = opened
        self.view = NotedView(job_id, lambda: None)
        self._queue: deque[bytes] = deque()
        self._read = read
        self._since: ReadStart | None = self.view.begin_read()
        self._found: list[Stored | None] = []

    def __repr__(self) -> str:
        return type(self).__name__

    @property
    def _state(self) -> State | None:
        return self.view.state

    @property
    def last(self) -> Fields | None:
        """See `Judged`."""
        state = self._state
        return None if state is None or state.gone else dict(state.fields)

    @property
    def ended(self) -> bool:
        """See `Judged`."""
        return self._state is not None and self._state.ended

    @property
    def is_stored(self) -> bool:
        """See `Judged`."""
        return self.view.is_stored

    @property
    def known_at(self) -> dict[bytes, Written]:
        """See `Judged`."""
        return self.view.known_at

    def queue(self, payloads: list[bytes]) -> None:
        """Have messages wait."""
        self._queue += payloads

    def hear(self, count: int) -> None:
        """Receive so many of them."""
        while count and self._queue and not self.ended:
            count -= 1
            try:
                self.view.apply_message(self._queue.popleft())
            except JunkMessage:
                continue

    def turn(self, turn: Turn, *, heartbeat: bool) -> None:
        """Go on with a read: send one, have Redis execute it, or apply its answer."""
        if turn == "send" and self._since is None:
            self._since = self.view.begin_read()
        if turn in {"execute", "apply"} and self._since is not None and not self._found:
            self._found = [self._read()]
        if turn == "apply" and self._since is not None and not self.ended:
            self.view.apply_read(self._found[0], self._since, heartbeat=heartbeat)
            self._since, self._found = None, []

    def catch_up(self, *, beats: int) -> None:
        """Receive and read all that there is."""
        self.turn("apply", heartbeat=False)
        self.hear(len(self._queue))
        while (self.view.needs_read or beats > 0) and not self.ended:
            self.turn("send", heartbeat=False)
            self.turn("apply", heartbeat=beats > 0)
            beats -= 1


def barrier(number: int) -> bytes:
    """Return a message that changes nothing."""
    return BARRIER % number
