"""One open event stream: chunks of bytes, for as long as somebody takes them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any

from ..cancellation import raise_if_cancelled
from ..core import sse
from ..release import release_request
from .limits import open_streams
from .stream_sources import Source

RETRY_MILLISECONDS = (500, 1500)
"""Between these a client waits before it reconnects; at random, so that the viewers of a server
that was restarted don't come back all at once."""

POLL_MILLISECONDS = (800, 1200)
"""The same where each stream is one snapshot only, and the client polls by reconnecting."""


def retry(between: tuple[int, int] = RETRY_MILLISECONDS) -> bytes:
    """Return the field by which a client is told when to reconnect."""
    return sse.retry(random.randint(*between))


class OpenStream:
    """One open stream, asked for its next chunk by who sends it. It waits for nothing itself.

    An object with `close()`, which may be called from any thread.

    Args:
        open_source: called by `open`, so that a stream which is never sent leaves no watcher
            behind.
        heartbeat_seconds: after so much silence a comment is sent. For a client that takes
            nothing for as long, all buffers to it being full, nothing is watched any more: once
            it reads on, its stream ends, and it comes back.
        stream_seconds: the longest that the stream lives.
        client: whose stream it is, see `Visitor.client`.
    """

    __slots__ = (
        *("__weakref__", "_deadline", "_greeting", "_has_beaten", "_heartbeat_seconds"),
        *("_loop", "_on_update", "_open_source", "_sent_since", "_source", "_stream_seconds"),
        "_timer",
    )

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        heartbeat_seconds: float,
        stream_seconds: float,
        client: str,
    ) -> None:
        self._open_source = open_source
        self._source: Source | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._stream_seconds = stream_seconds
        self._deadline = 0.0
        self._greeting = retry()
        """Sent with the first chunk: it says at once that the stream is open."""
        self._has_beaten = False
        """Whether a heartbeat has passed since it was told."""
        self._sent_since: float | None = None
        """Since when the last chunk is on its way, None while the next is waited for."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        open_streams.add(self, client)

    def open(self, on_update: Callable[[], None]) -> None:
        """Begin to watch.

        Args:
            on_update: called whenever `poll` may have something.
        """
        self._loop = asyncio.get_running_loop()
        self._source = self._open_source()
        self._source.listen(on_update)
        self._on_update = on_update
        self._sent_since = self._loop.time()
        self._deadline = self._sent_since + self._stream_seconds
        self._look_again_at(min(self._sent_since + self._heartbeat_seconds, self._deadline))

    def poll(self) -> bytes | None:
        """Return what is to be sent now: None where that is nothing yet, b"" after the last."""
        assert self._source is not None
        assert self._loop is not None
        self._sent_since = None
        now = self._loop.time()
        if now >= self._deadline or self._source.is_over:
            return b""
        has_beaten, self._has_beaten = self._has_beaten, False
        chunk, self._greeting = self._greeting + self._source.poll(), b""
        if not chunk and not self._source.is_over:
            if not has_beaten:
                return None
            chunk = sse.KEEP_ALIVE
        self._sent_since = now
        return chunk

    def taken(self) -> bool:
        """Note that the last chunk has been sent; whether there is something to send at once."""
        assert self._source is not None
        self._sent_since = None
        return self._source.is_over

    def _look_again_at(self, due: float) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        """Once a heartbeat: see to who is told nothing; watch no more for who takes nothing.

        While the server's task is stuck in `send`, it alone could end that: what is ended is all
        that is ours, and with the next chunk the stream.
        """
        assert self._loop is not None
        assert self._source is not None
        assert self._timer is not None
        # A timer may come a little early, by the clock's resolution.
        now = max(self._loop.time(), self._timer.when())
        since = now if self._sent_since is None else self._sent_since
        if since + self._heartbeat_seconds <= now:
            self._source.close()
            return
        self._has_beaten = True
        self._on_update()
        due = since + self._heartbeat_seconds
        self._look_again_at(min(due, self._deadline) if now < self._deadline else due)

    def close(self) -> None:
        """Let go of what is watched; more than once, if need be."""
        open_streams.discard(self)
        if self._source is not None:
            self._source.close()
            assert self._loop is not None
            with suppress(RuntimeError):  # The loop is closed, and its timers with it.
                self._loop.call_soon_threadsafe(self._look_no_more)

    def _look_no_more(self) -> None:
        assert self._timer is not None
        self._timer.cancel()


class EventStream(OpenStream):
    """The body of a streaming response: an asynchronous iterator.

    Not a generator with `finally`: a server that is blocked in `send` when the client goes lets the
    garbage collector find the generator, some time.

    Args:
        open_source: see `OpenStream`, as for the others.
        lost: asked each heartbeat which jobs may not be watched any more; if there is one, the
            stream is closed.
    """

    __slots__ = ("_lost", "_news")

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        lost: Callable[[], Awaitable[Collection[str]]],
        **how: Any,
    ) -> None:
        super().__init__(open_source, **how)
        self._lost = lost
        self._news: asyncio.Future[None] | None = None
        """What is waited for while there is nothing to send."""

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._source is None:
            # Here all middleware is through: none of it will ask for the thread again.
            await release_request()
            # Last, and not waited after: a request that is cancelled on the way opens nothing. Its
            # server cancels once only, and would keep a stream whose client has gone for an hour.
            raise_if_cancelled()
            self.open(self._wake)
        while not self._has_beaten or not await self._is_lost():
            if (chunk := self.poll()) is None:
                assert self._loop is not None
                self._news = self._loop.create_future()
                await self._news
            elif chunk:
                return chunk
            else:
                break
        self.close()
        raise StopAsyncIteration

    async def _is_lost(self) -> bool:
        """Ask before the next chunk, for one to whom there is always something to tell, too."""
        self._sent_since = None  # It may take its time.
        lost = await self._lost()
        raise_if_cancelled()
        return bool(lost)

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
