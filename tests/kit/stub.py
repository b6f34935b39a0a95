"""A stub of an ASGI server: one request, made by hand, in the loop of the test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from .waiting import until

Message = dict[str, Any]


def scope_of(path: str, **changes: Any) -> Message:
    """Return what a server says of a request."""
    path, _, query = path.partition("?")
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode(),
        "headers": [(b"host", b"localhost")],
        "client": ("192.0.2.1", 40000),
        "server": ("127.0.0.1", 80),
        **changes,
    }


class Connection:
    """One request to an ASGI application, and what is sent for it."""

    def __init__(self, scope: Message) -> None:
        self.scope = scope
        self.sent: list[Message] = []
        self.takes = asyncio.Event()
        """Whether the server takes what it is sent; else it waits."""
        self.takes.set()
        self.raises: Exception | None = None
        """What it does instead."""
        self._said: asyncio.Queue[Message] = asyncio.Queue()
        self._said.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    async def send(self, message: Message) -> None:
        """Take a message of the application's."""
        await self.takes.wait()
        if self.raises is not None:
            raise self.raises
        self.sent.append(message)

    def leave(self) -> None:
        """Go."""
        self._said.put_nowait({"type": "http.disconnect"})

    @property
    def body(self) -> str:
        """All that was sent."""
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    async def shows(self, text: str) -> None:
        """Wait until that has been sent."""
        await until(lambda: text in self.body, f"{text} in {self.sent}")

    @asynccontextmanager
    async def on(self, application: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Have it served."""
        task = asyncio.ensure_future(application(self.scope, self._said.get, self.send))
        try:
            yield task
        finally:
            self.leave()
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()


async def nobody(*_: Any) -> None:
    """Stand for Django where it is not to be asked."""
    raise AssertionError("Django is asked")
