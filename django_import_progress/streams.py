"""One open event stream: what a watcher sees, as chunks of bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from .core import sse
from .hub import Watcher
from .release import release_request

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
        open_watcher: called when the first chunk is asked for, so that a response which is never
            sent leaves no watcher behind.
        heartbeat_seconds: after so much silence a comment is sent.
        stream_seconds: the longest that the stream lives.
    """

    def __init__(
        self,
        open_watcher: Callable[[], Watcher],
        *,
        heartbeat_seconds: float,
        stream_seconds: float,
    ) -> None:
        self._open_watcher = open_watcher
        self._watcher: Watcher | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._stream_seconds = stream_seconds
        self._deadline = 0.0

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> bytes:
        now = asyncio.get_running_loop().time()
        if self._watcher is None:
            self._watcher = self._open_watcher()
            self._deadline = now + self._stream_seconds
            # Here all middleware is through: none of it will ask for the thread again.
            await release_request()
            return retry()  # At once, so that client and proxies see that the stream is open.
        try:
            state = await self._watcher.next(
                max(min(self._heartbeat_seconds, self._deadline - now), 0)
            )
        except TimeoutError:
            if asyncio.get_running_loop().time() < self._deadline:
                return sse.KEEP_ALIVE
            state = None
        if state is None:
            self.close()
            raise StopAsyncIteration
        return state.frame

    def close(self) -> None:
        """Let go of the watcher."""
        if self._watcher is not None:
            self._watcher.close()
