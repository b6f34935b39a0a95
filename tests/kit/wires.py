"""The two ways in which progress reaches a browser, alike for a test that is run over both."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import Any, ClassVar, Protocol, TypeVar

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from django_import_progress.access import make_ticket
from tests.site.asgi import HANDED

from . import waiting
from .crowd import LINGER_FOR_NOTHING, Stream

T = TypeVar("T")

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
"""What a client sends that opens a WebSocket by hand (RFC 6455, section 4.1)."""


class Wire(Protocol):
    """One job's representations, on their way to a client; closed with the context."""

    headers: ClassVar[dict[str, str]]
    """What a request by hand must have."""

    @classmethod
    async def of(
        cls: type[T], port: int, reference: str, headers: dict[str, str] | None = None
    ) -> T:
        """Open the wire of a job, by its id or a ticket."""

    @staticmethod
    def path(reference: str) -> str:
        """Return where it is."""

    async def __aenter__(self: T) -> T: ...

    async def __aexit__(self, *_: object) -> None: ...

    async def shown(self) -> dict[str, Any]:
        """Return the next representation."""

    async def has_ended(self) -> bool:
        """Tell whether the end is told next, in good order."""

    def finish(self) -> None:
        """Go as a browser does: a FIN."""

    def reset(self) -> None:
        """Go as a client does that crashes: a RST."""


class SseWire(Stream):
    """An event stream."""

    headers: ClassVar[dict[str, str]] = {}

    @classmethod
    async def of(cls, port: int, reference: str, headers: dict[str, str] | None = None) -> SseWire:
        """See `Wire`."""
        stream = await cls.open(port, cls.path(reference), headers)
        assert isinstance(stream, SseWire)
        assert stream.status == 200, stream.status
        return stream

    @staticmethod
    def path(reference: str) -> str:
        """See `Wire`."""
        return f"/progress/jobs/{reference}/stream/"

    async def shown(self) -> dict[str, Any]:
        """See `Wire`."""
        event = await self.event()
        assert event.type == "message", event
        shown: dict[str, Any] = event.json
        return shown

    async def has_ended(self) -> bool:
        """See `Wire`."""
        return (await self.event()).type == "end" and await self.is_over()


class HandedWire(SseWire):
    """An event stream that the view has handed over."""

    @staticmethod
    def path(reference: str) -> str:
        """See `Wire`."""
        return HANDED + SseWire.path(reference)


class SocketWire:
    """A WebSocket."""

    headers: ClassVar[dict[str, str]] = HANDSHAKE

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    @classmethod
    async def of(
        cls, port: int, reference: str, headers: dict[str, str] | None = None
    ) -> SocketWire:
        """See `Wire`."""
        url = f"ws://127.0.0.1:{port}{cls.path(reference)}"
        options: dict[str, Any] = {"compression": None, "ping_interval": None, "proxy": None}
        options |= {"close_timeout": 1, "open_timeout": waiting.PATIENCE_SECONDS}
        return cls(await connect(url, additional_headers=headers, **options))

    @staticmethod
    def path(reference: str) -> str:
        """See `Wire`."""
        return f"/ws/progress/jobs/{reference}/"

    async def __aenter__(self) -> SocketWire:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reset()

    async def shown(self) -> dict[str, Any]:
        """See `Wire`; or whatever message comes."""
        async with asyncio.timeout(waiting.PATIENCE_SECONDS):
            try:
                shown: dict[str, Any] = json.loads(await self.connection.recv())
            except ConnectionClosed as error:
                raise AssertionError(f"the server has closed: {error}") from error
        return shown

    async def has_ended(self) -> bool:
        """See `Wire`."""
        async with asyncio.timeout(waiting.PATIENCE_SECONDS):
            try:
                message = await self.connection.recv()
            except ConnectionClosed:
                return self.connection.close_code == 1000
        raise AssertionError(message)

    def finish(self) -> None:
        """See `Wire`."""
        self.connection.transport.close()

    def reset(self) -> None:
        """See `Wire`."""
        connection = self.connection.transport.get_extra_info("socket")
        with suppress(OSError):  # It was closed in good order.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_FOR_NOTHING)
        self.connection.transport.abort()


def ticket_path(wire: type[Wire], job_id: str) -> str:
    """Return where whoever holds a ticket finds this job."""
    return wire.path(make_ticket(job_id))


on_each_wire = pytest.mark.parametrize(
    "wire", [SseWire, HandedWire, SocketWire], ids=["sse", "handed over", "websocket"]
)
"""For tests of how a stream is sent, and left. The fast lane sends what the view hands over, and
what it opens itself, in the same way."""
