"""WebSockets of the site, as a thread of a test has them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from .asgi import AsgiServer
from .sse import Event

PATIENCE_SECONDS = 60.0


@contextmanager
def open_socket(
    url: str, client: httpx.Client | None = None, **headers: str
) -> Iterator[ClientConnection]:
    """Give an open WebSocket; closed at the end.

    Args:
        url: where it is, with ``http:``.
        client: whose cookies are sent along.
        headers: more to send.
    """
    cookies = {} if client is None else dict(client.cookies)
    if cookies:
        headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
    with connect(
        url.replace("http", "ws", 1),
        additional_headers=headers,
        compression=None,
        ping_interval=None,
        proxy=None,
        open_timeout=PATIENCE_SECONDS,
        close_timeout=1,
    ) as connection:
        yield connection


@contextmanager
def of_job(live: AsgiServer, reference: str, **how: Any) -> Iterator[ClientConnection]:
    """Give the WebSocket of one job."""
    with open_socket(f"{live.url}/ws/progress/jobs/{reference}/", **how) as connection:
        yield connection


def say(connection: ClientConnection, action: str, job: str) -> None:
    """Send a command."""
    connection.send(json.dumps({"action": action, "job": job}))


def hear(connection: ClientConnection) -> Any:
    """Return the next message."""
    return json.loads(connection.recv(timeout=PATIENCE_SECONDS))


def ask(connection: ClientConnection, action: str, job: str) -> Any:
    """Send a command, and return what comes next."""
    say(connection, action, job)
    return hear(connection)


def told(connection: ClientConnection) -> Iterator[Event]:
    """Yield what is told until the server closes."""
    while True:
        try:
            message = connection.recv(timeout=PATIENCE_SECONDS)
        except ConnectionClosed:
            return
        yield Event("message", str(message), "")


def close_code(connection: ClientConnection) -> int | None:
    """Return with which code the server closes, and no message before."""
    assert next(told(connection), None) is None
    return connection.close_code
