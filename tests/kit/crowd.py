"""Many clients of event streams in one event loop: raw ones, and ones that do as browsers do."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket

from . import waiting
from .sse import Event, parse

LINGER_FOR_NOTHING = struct.pack("ii", 1, 0)
_CUT = (OSError, asyncio.IncompleteReadError)


class Stream:
    """One connection with one answer on it, read by hand; made by `Stream.open`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.status = 0
        self.is_chunked = False
        self.retry_seconds: float | None = None
        self.blocks = self._blocks()
        """What is between two empty lines: an event, a comment, a `retry:`."""

    @classmethod
    async def open(
        cls, port: int, path: str, headers: dict[str, str] | None = None, host: str = "127.0.0.1"
    ) -> Stream:
        """Send the request, and read the head of the answer."""
        reader, writer = await asyncio.open_connection(host, port)
        stream = cls(reader, writer)
        try:
            writer.write(request(path, headers).encode())
            async with asyncio.timeout(waiting.PATIENCE_SECONDS):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        except BaseException:
            stream.reset()
            raise
        stream.status = int(head.split()[1])
        stream.is_chunked = "transfer-encoding: chunked" in head
        return stream

    async def __aenter__(self) -> Stream:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reset()

    async def _chunks(self) -> AsyncIterator[bytes]:
        if not self.is_chunked:
            while data := await self._reader.read(65536):
                yield data
            return
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            yield (await self._reader.readexactly(size + 2))[:-2]

    async def _blocks(self) -> AsyncIterator[str]:
        rest = b""
        async for chunk in self._chunks():
            *blocks, rest = (rest + chunk).split(b"\n\n")
            for block in blocks:
                yield block.decode()

    async def next_event(self) -> Event | None:
        """Return the next event; None where the server has closed in good order."""
        async for block in self.blocks:
            if block.startswith("retry: "):
                self.retry_seconds = int(block.removeprefix("retry: ")) / 1000
            for event in parse(iter([*block.split("\n"), ""])):
                return event
        return None

    async def event(self) -> Event:
        """Return the next event, for which nobody waits for ever."""
        async with asyncio.timeout(waiting.PATIENCE_SECONDS):
            event = await self.next_event()
        assert event is not None, "the server has closed"
        return event

    async def is_over(self) -> bool:
        """Tell whether the server closes in good order, with no event before."""
        async with asyncio.timeout(waiting.PATIENCE_SECONDS):
            return await self.next_event() is None

    def finish(self) -> None:
        """Go as a browser does: a FIN."""
        self._writer.close()

    def reset(self) -> None:
        """Go as a client does that crashes: a RST."""
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_FOR_NOTHING)
        self._writer.transport.abort()


def path_of(job_id: str) -> str:
    """Return where whoever holds a ticket finds the stream of this job."""
    return f"/progress/jobs/{make_ticket(job_id)}/stream/"


def request(path: str, headers: dict[str, str] | None = None) -> str:
    """Return the text of a GET for an event stream."""
    fields = {"Host": "127.0.0.1", "Accept": "text/event-stream", **(headers or {})}
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""])


def deaf_client(port: int, path: str, headers: dict[str, str] | None = None) -> socket.socket:
    """Return a connection that has asked for a stream, with little room, and is never read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(request(path, headers).encode())
    return connection


class Visitor:
    """What an `EventSource` does: it waits as `retry:` says, and comes back with the last id.

    It comes back after a 502 as well, which an `EventSource` does not, and the widget does.
    """

    def __init__(self, port: int, path: str, host: str = "127.0.0.1") -> None:
        self._host = host
        self._port = port
        self._path = path
        self._last_id = ""
        self._retry_seconds = 3.0
        self.attempts: list[float] = []
        """For when it meant to connect; on a busy machine it comes later."""
        self.statuses: list[int] = []
        self.events: list[Event] = []

    @property
    def shown(self) -> dict[str, Any]:
        """The newest snapshot."""
        return next((event.json for event in reversed(self.events) if event.data), {})

    async def run(self) -> None:
        """Stay until the server says that there is nothing more to come."""
        due = time.monotonic()
        while True:
            self.attempts.append(due)
            with suppress(*_CUT):
                await self._stay()
            if 204 in self.statuses:
                return
            due = time.monotonic() + self._retry_seconds
            await asyncio.sleep(self._retry_seconds)

    async def _stay(self) -> None:
        headers = {"Last-Event-ID": self._last_id} if self._last_id else {}
        async with await Stream.open(self._port, self._path, headers, self._host) as stream:
            self.statuses.append(stream.status)
            while stream.status == 200 and (event := await stream.next_event()):
                self.events.append(event)
                self._last_id = event.id or self._last_id
                self._retry_seconds = stream.retry_seconds or self._retry_seconds


@asynccontextmanager
async def crowd(visitors: Iterable[Visitor]) -> AsyncIterator[list[Visitor]]:
    """Have these visitors stay as long as the context lasts."""
    present = list(visitors)
    tasks = [asyncio.ensure_future(visitor.run()) for visitor in present]
    try:
        yield present
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def all_comes_through(port: int, jobs: SyncProgressManager, prefix: str = "") -> None:
    """See each update of a new job, and its end, at once.

    Args:
        port: the server's.
        jobs: the manager of the jobs.
        prefix: where the site is.
    """
    job_id, headers = jobs.create(), {"Accept-Encoding": "gzip"}
    async with await Stream.open(port, prefix + path_of(job_id), headers) as stream:
        assert stream.status == 200
        assert (await stream.event()).json["status"] == "queued"
        for n in range(3):
            jobs.update(job_id, {"n": n})
            assert (await stream.event()).json["n"] == n
        jobs.update(job_id, {"status": "done"})
        assert (await stream.event()).json["status"] == "done"
        assert (await stream.event()).type == "end"
        assert await stream.is_over()
