"""One open event stream: chunks of bytes, for as long as somebody takes them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress

from .core import sse
from .limits import open_streams
from .release import release_request
from .sources import Source

RETRY_MILLISECONDS = (1000, 3000)
"""Between these a client waits before it reconnects; at random, so that the viewers of a server
that was restarted don't come back all at once."""

POLL_MILLISECONDS = (800, 1200)
"""The same where each stream is one snapshot only, and the client polls by reconnecting."""


def retry(between: tuple[int, int] = RETRY_MILLISECONDS) -> bytes:
    """Return the field by which a client is told when to reconnect."""
    return sse.retry(random.randint(*between))


class EventStream:
    """The body of a streaming response.

    An object with `close()`, which may be called from any thread, and not a generator with
    `finally`: a server that is blocked in `send` when the client goes lets the garbage collector
    find the generator, some time.

    Args:
        open_source: called when the first chunk is asked for, so that a response which is never
            sent leaves no watcher behind.
        heartbeat_seconds: after so much silence a comment is sent. For a client that takes
            nothing for as long, all buffers to it being full, nothing is watched any more: once
            it reads on, its stream ends, and it comes back.
        stream_seconds: the longest that the stream lives.
        lost: asked each heartbeat which jobs may not be watched any more; if there is one, the
            stream is closed.
        client: whose stream it is, see `Visitor.client`.
    """

    def __init__(
        self,
        open_source: Callable[[], Source],
        *,
        heartbeat_seconds: float,
        stream_seconds: float,
        lost: Callable[[], Awaitable[Collection[str]]],
        client: str,
    ) -> None:
        self._open_source = open_source
        self._lost = lost
        self._client = client
        self._source: Source | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._stream_seconds = stream_seconds
        self._deadline = 0.0
        self._ask_at = 0.0
        self._sent_since: float | None = None
        """Since when the last chunk is on its way, None while the next is waited for."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._check: asyncio.TimerHandle | None = None
        open_streams.add(self, client)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        if self._source is None:
            return await self._begin()
        self._sent_since = None
        chunk = await self._next_chunk(self._source)
        if chunk is None:
            self.close()
            raise StopAsyncIteration
        self._sent_since = self._now()
        return chunk

    async def _begin(self) -> bytes:
        """Open the source, and say at once that the stream is open."""
        # Here all middleware is through: none of it will ask for the thread again.
        await release_request()
        self._loop = asyncio.get_running_loop()
        # Last, and not waited after: a request that is cancelled on the way opens nothing.
        self._source = self._open_source()
        self._sent_since = self._now()
        self._deadline = self._sent_since + self._stream_seconds
        self._ask_at = self._sent_since + self._heartbeat_seconds
        self._check = self._loop.call_later(self._heartbeat_seconds, self._leave_who_takes_nothing)
        return retry()

    async def _next_chunk(self, source: Source) -> bytes | None:
        # Before each chunk, for one to whom there is always something to tell, too.
        if self._now() >= self._ask_at:
            if await self._lost():
                return None
            self._ask_at = self._now() + self._heartbeat_seconds
        remaining = min(self._ask_at, self._deadline) - self._now()
        if remaining <= 0:
            return None
        try:
            return await source.chunk(remaining)
        except TimeoutError:
            return sse.KEEP_ALIVE if self._now() < self._deadline else None

    def _now(self) -> float:
        assert self._loop is not None
        return self._loop.time()

    def _leave_who_takes_nothing(self) -> None:
        """Watch no more for a client that has been sent to for a heartbeat; or look again then.

        The server's task is stuck in `send`, which it alone could end: what is ended is all that
        is ours, and with the next chunk the stream.
        """
        assert self._loop is not None
        assert self._source is not None
        wait = self._heartbeat_seconds
        if self._sent_since is not None:
            wait -= self._now() - self._sent_since
        if wait > 0:
            self._check = self._loop.call_later(wait, self._leave_who_takes_nothing)
        else:
            self._source.close()

    def close(self) -> None:
        """Let go of what is watched."""
        open_streams.discard(self, self._client)
        if self._source is not None:
            self._source.close()
            assert self._loop is not None
            with suppress(RuntimeError):  # The loop is closed, and its timers with it.
                self._loop.call_soon_threadsafe(self._look_no_more)

    def _look_no_more(self) -> None:
        assert self._check is not None
        self._check.cancel()
