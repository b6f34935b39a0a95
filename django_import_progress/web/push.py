"""Sends event streams to an ASGI server, with one task for all streams that have updates."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from typing import Any

from ..cancellation import end_tasks
from .event_stream import HEADERS, OpenStream, Source

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

AT_ONCE = 50
"""After this many streams, other tasks of the event loop get their turn."""

RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Pump:
    """Sends updates of all streams in one task, since most servers take a chunk at once.

    While one `send` waits, another task continues with the other streams. So each `send` runs in an
    asyncio task, whatever the server does in it, and there is one task more than there are slow
    clients.
    """

    def __init__(self) -> None:
        self._ready: deque[PushedStream] = deque()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def add(self, stream: PushedStream) -> None:
        """Add a stream that has an update."""
        self._ready.append(stream)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        task = asyncio.current_task()
        while self._ready:
            hand_over = self._loop.call_soon(self._hand_over)
            for _ in range(min(len(self._ready), AT_ONCE)):
                await self._ready.popleft().send_updates()
                if self._task is not task:
                    return
            hand_over.cancel()
            await asyncio.sleep(0)
        self._task = None

    def _hand_over(self) -> None:
        """Continue in another task, since the current one waits."""
        self._task = self._loop.create_task(self._run()) if self._ready else None


_pumps: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pump] = weakref.WeakKeyDictionary()


def _pump() -> Pump:
    """Return the pump of the running event loop."""
    loop = asyncio.get_running_loop()
    return _pumps.get(loop) or _pumps.setdefault(loop, Pump())


class PushedStream(OpenStream):
    """A stream that a `Pump` sends.

    Args:
        open_source: see `OpenStream`, as for the other arguments.
    """

    __slots__ = ("_error", "_has_update", "_pump", "_send", "_sender", "_until_over")

    def __init__(self, open_source: Callable[[], Source], **options: Any) -> None:
        super().__init__(open_source, **options)
        self._has_update = False
        self._sender: asyncio.Task[Any] | None = None
        """The task that is sending at the moment."""
        self._until_over: asyncio.Timeout | None = None
        self._error: Exception | None = None

    async def run(
        self,
        receive: Receive,
        send: Send,
        headers: Sequence[tuple[bytes, bytes]] = RAW_HEADERS,
    ) -> None:
        """Send the whole stream, until the client disconnects.

        The server's own task only waits for the client to disconnect.

        Args:
            receive: as the server gave it to the application, like `send`.
            send: see there.
            headers: of the response.

        Source: https://asgi.readthedocs.io/en/stable/specs/www.html#http
        """
        self._send, self._pump = send, _pump()
        try:
            with suppress(OSError):  # Servers raise it if the client has disconnected.
                await send({"type": "http.response.start", "status": 200, "headers": [*headers]})
                with suppress(TimeoutError):
                    async with asyncio.timeout(None) as self._until_over:
                        self.open(self._wake)
                        self._wake()
                        while (await receive())["type"] != "http.disconnect":
                            pass  # Ignore the request's body.
                        return
                if self._error is not None:
                    raise self._error
                await send({"type": "http.response.body"})
        finally:
            # Also if the server cancels this task.
            self._until_over = None
            self.close()
            if self._sender is not None:
                await end_tasks([self._sender])

    def _wake(self) -> None:
        if not self._has_update:
            self._has_update = True
            if self._sender is None:
                self._pump.add(self)

    async def send_updates(self) -> None:
        """Send the latest update, and then those that have arrived meanwhile."""
        self._sender = asyncio.current_task()
        try:
            while self._has_update:
                self._has_update = False
                if await self.is_lost():
                    self._finish()
                elif chunk := self.poll():
                    await self._send(
                        {"type": "http.response.body", "body": chunk, "more_body": True}
                    )
                    self._has_update |= self.sent()
                elif chunk is not None:
                    self._finish()
        except Exception as error:
            self._error = error
            self._finish()
        finally:
            self._sender = None

    def _finish(self) -> None:
        if self._until_over is not None:
            self._until_over.reschedule(0)
            self._until_over = None
