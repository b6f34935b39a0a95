"""What an ASGI application is doing, seen from where the server calls it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]


class Observed:
    """Passes everything on to the application, and takes notes."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._sending: dict[object, float] = {}
        self.requests = 0
        """How many it is serving."""
        self.loop: asyncio.AbstractEventLoop | None = None

    async def __call__(
        self, scope: Message, receive: Any, send: Callable[[Message], Awaitable[None]]
    ) -> None:
        self.loop = asyncio.get_running_loop()

        async def noted(message: Message) -> None:
            sending = object()
            self._sending[sending] = time.monotonic()
            try:
                await send(message)
            finally:
                del self._sending[sending]

        self.requests += 1
        try:
            await self._application(scope, receive, noted)
        finally:
            self.requests -= 1

    def stuck(self, seconds: float) -> int:
        """Return how many messages have waited as long as that to be taken."""
        return sum(time.monotonic() - since >= seconds for since in list(self._sending.values()))

    def tasks(self) -> int:
        """Return how many tasks the server's loop has."""
        assert self.loop is not None
        return len(asyncio.all_tasks(self.loop))
