"""The link between the site and Redis, with all that can befall it; one thread for any number."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own; to be used as a context manager."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name=name)

    def __enter__(self) -> LoopThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` in the loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(20)

    def tasks(self) -> int:
        """Return how many tasks there are, the one that counts left out."""
        return self.run(count_tasks())


async def count_tasks() -> int:
    """Return how many tasks the running loop has beside this one."""
    return len(asyncio.all_tasks()) - 1


class _Connection:
    def __init__(self, near: asyncio.StreamWriter, far: asyncio.StreamWriter) -> None:
        self.ends = (near, far)
        self.is_dead = False
        """Nothing passes any more, and nobody is told, as when a cable is pulled."""
        self.hears = False
        """Whether it is a subscription."""

    def cut(self) -> None:
        for end in self.ends:
            end.transport.abort()


class Wire:
    """Passes bytes between clients and a server that may be away. All is called in its loop."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._connections: set[_Connection] = set()
        self._serving: set[asyncio.Future[Any]] = set()
        self._swallow = False
        self._let_go = asyncio.Event()
        self._passing = asyncio.Event()
        self._passing.set()

    async def start(self) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def blackhole(self) -> None:
        """Have nothing pass any more on what is open now; what is opened later is well."""
        for connection in self._connections:
            connection.is_dead = True

    async def cut(self) -> None:
        """Close all connections, with a reset."""
        for connection in tuple(self._connections):
            connection.cut()

    async def swallow(self) -> None:
        """Let the server do what it is asked next, and cut the link in place of its answer."""
        self._swallow = True

    async def hold(self) -> None:
        """Have what is told to subscribers wait, until `calm`."""
        self._passing.clear()

    async def calm(self) -> None:
        """End what goes on. Connections that are dead stay so."""
        self._swallow = False
        self._passing.set()

    async def bury(self) -> None:
        """Have both sides of dead connections know; what they were to pass is lost."""
        for connection in tuple(self._connections):
            if connection.is_dead:
                connection.cut()
        self._let_go.set()
        self._let_go = asyncio.Event()

    async def close(self) -> None:
        """Close all, and listen no more."""
        self._server.close()
        await self.cut()
        await self.bury()
        await asyncio.gather(*self._serving)

    async def _serve(self, reader: asyncio.StreamReader, near: asyncio.StreamWriter) -> None:
        try:
            answers, far = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            near.transport.abort()
            return
        connection = _Connection(near, far)
        self._connections.add(connection)
        passing = asyncio.gather(
            self._up(connection, reader, far), self._down(connection, answers, near)
        )
        self._serving.add(passing)
        await passing
        self._connections.discard(connection)
        self._serving.discard(passing)

    async def _up(
        self, connection: _Connection, reader: asyncio.StreamReader, far: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                connection.hears |= b"SUBSCRIBE" in data
                if not connection.is_dead:
                    far.write(data)
        await self._end(connection)

    async def _down(
        self, connection: _Connection, reader: asyncio.StreamReader, near: asyncio.StreamWriter
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(65536):
                if connection.hears:
                    await self._passing.wait()
                if connection.is_dead:
                    continue  # pragma: no cover - it depends on the moment
                if self._swallow:
                    self._swallow = False
                    break
                near.write(data)
        await self._end(connection)

    async def _end(self, connection: _Connection) -> None:
        if connection.is_dead and not all(end.transport.is_closing() for end in connection.ends):
            await self._let_go.wait()  # Neither side learns that the other has closed.
        connection.cut()
