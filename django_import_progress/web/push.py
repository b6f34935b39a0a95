"""Event streams sent to an ASGI server with no task for each: one pump for all that have news."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from ..cancellation import end_tasks
from .open_stream import OpenStream
from .stream_opening import HEADERS
from .stream_sources import Source

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

AT_ONCE = 50
"""So many streams are sent to before others in the event loop have their turn."""


_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(name.encode(), value.encode()) for name, value in HEADERS.items()],
}


class Pump:
    """Sends, in one task, to all streams that have news: most servers take a chunk at once.

    While it waits for one that does not, another task goes on with the others. So each send runs
    in a task of asyncio's, whatever the server does in it, and there is one more of them than
    there are clients that are slow.
    """

    def __init__(self) -> None:
        self._ready: deque[PushedStream] = deque()
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def add(self, stream: PushedStream) -> None:
        """Have a stream sent to."""
        self._ready.append(stream)
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        task = asyncio.current_task()
        while self._ready:
            relief = self._loop.call_soon(self._relieve)
            for _ in range(min(len(self._ready), AT_ONCE)):
                await self._ready.popleft().tell()
                if self._task is not task:
                    return
            relief.cancel()
            await asyncio.sleep(0)
        self._task = None

    def _relieve(self) -> None:
        """Go on in another task: the present one waits."""
        self._task = self._loop.create_task(self._run()) if self._ready else None


_pumps: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Pump] = weakref.WeakKeyDictionary()


def _pump() -> Pump:
    """Return the running event loop's."""
    loop = asyncio.get_running_loop()
    return _pumps.get(loop) or _pumps.setdefault(loop, Pump())


class PushedStream(OpenStream):
    """A stream that is sent whatever there is to tell, as soon as it is there.

    Args:
        open_source: see `OpenStream`, as for the others.
    """

    __slots__ = ("_error", "_has_news", "_pump", "_send", "_teller", "_until_over")

    def __init__(self, open_source: Callable[[], Source], **how: Any) -> None:
        super().__init__(open_source, **how)
        self._has_news = False
        self._teller: asyncio.Task[Any] | None = None
        """What is sending at the moment."""
        self._until_over: asyncio.Timeout | None = None
        self._error: Exception | None = None

    async def run(self, receive: Receive, send: Send) -> None:
        """Send all of it, as long as there is a client.

        The server's own task waits whether the client goes.

        Source: https://asgi.readthedocs.io/en/stable/specs/www.html#http
        """
        self._send, self._pump = send, _pump()
        try:
            with suppress(OSError):  # The client is gone: so servers say to who sends on.
                await send(dict(_START))
                with suppress(TimeoutError):
                    async with asyncio.timeout(None) as self._until_over:
                        self.open(self._wake)
                        self._wake()
                        while (await receive())["type"] != "http.disconnect":
                            pass  # What a GET has for a body is of no interest.
                        return
                if self._error is not None:
                    raise self._error
                await send({"type": "http.response.body"})
        finally:
            # Also where the server has cancelled us.
            self._until_over = None
            self.close()
            if self._teller is not None:
                await end_tasks([self._teller])

    def _wake(self) -> None:
        if not self._has_news:
            self._has_news = True
            if self._teller is None:
                self._pump.add(self)

    async def tell(self) -> None:
        """Send what there is to tell, and what has come up meanwhile: only ever the newest."""
        self._teller = asyncio.current_task()
        try:
            while self._has_news:
                self._has_news = False
                if chunk := self.poll():
                    await self._send(
                        {"type": "http.response.body", "body": chunk, "more_body": True}
                    )
                    self._has_news |= self.taken()
                elif chunk is not None:
                    self._finish()
        except Exception as error:
            self._error = error
            self._finish()
        finally:
            self._teller = None

    def _finish(self) -> None:
        if self._until_over is not None:
            self._until_over.reschedule(0)
            self._until_over = None
