"""An open event stream: its headers, the events of its jobs, and the body of a response."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from ..access.tickets import Grant
from ..cancellation import raise_if_cancelled
from ..conf import settings
from ..core import sse
from ..core.job_state import gone_event
from ..core.messages import NOT_CACHED
from ..core.sse import NO_JOB, end_id
from ..release import release_request
from ..service.manager import ProgressManager
from ..watch.hub import Watcher
from .limits import open_streams

Stream = TypeVar("Stream")
Lost = Callable[[], Awaitable[Collection[str]]]
"""Returns the jobs that may no longer be watched."""

HEADERS = {
    "Content-Type": sse.MEDIA_TYPE,
    "Cache-Control": f"{NOT_CACHED}, no-transform",
    "Content-Encoding": "identity",  # Keeps GZipMiddleware from buffering events.
    "X-Accel-Buffering": "no",  # The same for nginx.
}
"""Headers of a response that is an event stream."""

RETRY_MILLISECONDS = (500, 1500)
"""Range of the random delay before a client reconnects. It spreads out the clients of a server that
was restarted."""

POLL_MILLISECONDS = (800, 1200)
"""The same if each response is a single snapshot, so that the client polls by reconnecting."""


def retry(between: tuple[int, int] = RETRY_MILLISECONDS) -> bytes:
    """Return the field that tells a client when to reconnect."""
    return sse.retry(random.randint(*between))


class Source:
    """The events of one or several jobs, up to the final state of each, and the `end` event.

    Args:
        watchers: one for each job. `close` closes them, or the end of their job.
        refused: references that may not be watched: their jobs are reported as gone at once.

    Attributes:
        is_over: whether no more events will come.
    """

    __slots__ = ("_ends", "_is_alone", "_open", "_pending", "is_over")

    def __init__(self, watchers: Sequence[Watcher], refused: Sequence[str] = ()) -> None:
        self._pending = [gone_event(reference) for reference in refused]
        self._ends = dict.fromkeys(refused, NO_JOB)
        self._open = tuple(watchers)
        self._is_alone = len(watchers) == 1 and not refused
        """Whether there is only one job: then its final frame ends the stream."""
        self.is_over = False

    def listen(self, on_update: Callable[[], None]) -> None:
        """Call `on_update` whenever `poll` may have an event or the source is over."""
        for watcher in self._open:
            watcher.on_update = on_update

    def poll(self) -> bytes:
        """Return the pending events, including `end`; empty if there are none."""
        events, self._pending = self._pending, []
        for watcher in self._open:
            if watcher.closed:  # By the hub, or by `close`.
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
        """Close all watchers. May be called from any thread, and more than once."""
        for watcher in self._open:
            watcher.close()


class OpenStream:
    """An open stream. The sender asks it for the next chunk; it never waits itself.

    An object with `close()`, which may be called from any thread.

    Args:
        open_source: called by `open`, so that a stream which is never sent leaves no watcher
            behind.
        heartbeat_seconds: a comment is sent after this much silence. If the client reads nothing
            for as long, and all buffers are full, watching stops: once the client reads again, its
            stream ends, and it reconnects.
        stream_seconds: maximum lifetime of the stream.
        client: the client by which the stream is counted, see `Visitor.client`.
        lost: returns the jobs that may no longer be watched; called once a heartbeat. If there is
            one, the stream is closed. None: nothing is checked again.
    """

    __slots__ = (
        "__weakref__",
        "_deadline",
        "_heartbeat_is_due",
        "_heartbeat_seconds",
        "_loop",
        "_lost",
        "_on_update",
        "_open_source",
        "_retry_field",
        "_sending_since",
        "_source",
        "_stream_seconds",
        "_timer",
    )

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        heartbeat_seconds: float,
        stream_seconds: float,
        client: str,
        lost: Lost | None = None,
    ) -> None:
        self._lost = lost
        self._open_source = open_source
        self._source: Source | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._stream_seconds = stream_seconds
        self._deadline = 0.0
        self._retry_field = retry()
        """Sent with the first chunk, so that the client knows at once that the stream is open."""
        self._heartbeat_is_due = False
        """Whether a heartbeat has passed since the last `poll`."""
        self._sending_since: float | None = None
        """When sending the last chunk began; None if it has been sent."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        open_streams.add(self, client)

    def open(self, on_update: Callable[[], None]) -> None:
        """Start to watch.

        Args:
            on_update: called whenever `poll` may have a chunk.
        """
        self._loop = asyncio.get_running_loop()
        self._source = self._open_source()
        self._source.listen(on_update)
        self._on_update = on_update
        self._sending_since = self._loop.time()
        self._deadline = self._sending_since + self._stream_seconds
        self._check_at(min(self._sending_since + self._heartbeat_seconds, self._deadline))

    def poll(self) -> bytes | None:
        """Return the next chunk: None if there is nothing to send yet, b"" after the last one."""
        assert self._source is not None
        assert self._loop is not None
        self._sending_since = None
        now = self._loop.time()
        if now >= self._deadline or self._source.is_over:
            return b""
        heartbeat_is_due, self._heartbeat_is_due = self._heartbeat_is_due, False
        chunk, self._retry_field = self._retry_field + self._source.poll(), b""
        if not chunk and not self._source.is_over:
            if not heartbeat_is_due:
                return None
            chunk = sse.KEEP_ALIVE
        self._sending_since = now
        return chunk

    async def is_lost(self) -> bool:
        """Once a heartbeat, check permission again; before each chunk, also of a busy stream."""
        if self._lost is None or not self._heartbeat_is_due:
            return False
        self._sending_since = None  # The check may take a while.
        lost = await self._lost()
        raise_if_cancelled()
        return bool(lost)

    def sent(self) -> bool:
        """Note that the last chunk has been sent; return whether the stream is over."""
        assert self._source is not None
        self._sending_since = None
        return self._source.is_over

    def _check_at(self, due: float) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_at(due, self._check)

    def _check(self) -> None:
        """Once a heartbeat: wake up an idle stream, or stop watching if the client reads nothing.

        Only the server's own task could end a `send` that is stuck. So this closes the watchers,
        and the stream ends with its next chunk.
        """
        assert self._loop is not None
        assert self._source is not None
        assert self._timer is not None
        # A timer may be a little early, by the clock's resolution.
        now = max(self._loop.time(), self._timer.when())
        since = now if self._sending_since is None else self._sending_since
        if since + self._heartbeat_seconds <= now:
            self._source.close()
            return
        self._heartbeat_is_due = True
        self._on_update()
        due = since + self._heartbeat_seconds
        self._check_at(min(due, self._deadline) if now < self._deadline else due)

    def close(self) -> None:
        """Stop watching. May be called from any thread, and more than once."""
        open_streams.discard(self)
        if self._source is not None:
            self._source.close()
            assert self._loop is not None
            with suppress(RuntimeError):  # The loop is closed, and so are its timers.
                self._loop.call_soon_threadsafe(self._cancel_timer)

    def _cancel_timer(self) -> None:
        assert self._timer is not None
        self._timer.cancel()


class EventStream(OpenStream):
    """The body of a streaming response: an asynchronous iterator.

    Not a generator with `finally`: if the client disconnects while the server is blocked in `send`,
    a generator is left to the garbage collector.

    Args:
        open_source: see `OpenStream`, as for the other arguments.
    """

    __slots__ = ("_update",)

    def __init__(self, open_source: Callable[[], Source], **options: Any) -> None:
        super().__init__(open_source, **options)
        self._update: asyncio.Future[None] | None = None
        """Awaited while there is nothing to send."""

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._source is None:
            # All middleware has finished here, so none of it will need the thread again.
            await release_request()
            # Last, with no await before `open`: a cancelled request must not open a stream. The
            # server cancels only once, and would keep the stream of a client that has left.
            raise_if_cancelled()
            self.open(self._wake)
        while not await self.is_lost():
            if (chunk := self.poll()) is None:
                assert self._loop is not None
                self._update = self._loop.create_future()
                await self._update
            elif chunk:
                return chunk
            else:
                break
        self.close()
        raise StopAsyncIteration

    def _wake(self) -> None:
        if self._update is not None and not self._update.done():
            self._update.set_result(None)


def open_stream(
    kind: Callable[..., Stream],
    manager: ProgressManager,
    client: str,
    grants: Iterable[Grant],
    *,
    refused: Sequence[str] = (),
    lost: Lost | None = None,
) -> Stream:
    """Create a stream, which counts as open from now on.

    Args:
        kind: creates the stream, from the arguments of `OpenStream`.
        manager: the manager of the jobs' namespace.
        client: the client by which the stream is counted.
        grants: one for each job to watch.
        refused: references that may not be watched.
        lost: see `OpenStream`.
    """

    def open_source() -> Source:
        limit = settings.max_updates_per_second
        watchers = [
            manager.watcher(grant.job_id, max_per_second=limit, may_see=grant.may_see)
            for grant in grants
        ]
        return Source(watchers, refused)

    return kind(
        open_source,
        client=client,
        lost=lost,
        heartbeat_seconds=settings.heartbeat_seconds,
        stream_seconds=settings.stream_seconds,
    )
