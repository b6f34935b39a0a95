"""Every door of the site, as one who knocks sees it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
from websockets.exceptions import InvalidStatus

from tests.site.asgi import HANDED, LANE

from .sockets import ask, open_socket, told

TOKEN = "t" * 32
CSRF = {"X-CSRFToken": TOKEN}


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one sees who has knocked, and could compare with another answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Without the date."""
    body: bytes


Knock = Callable[[httpx.Client, str, str], Answer]
"""Called with a client, the URL of the site, and a job's id or a ticket."""


@dataclasses.dataclass(frozen=True, slots=True)
class Door:
    """One way in."""

    knock: Knock
    action: str
    yes: int
    no: int
    decides_first: bool = True
    """Whether it is known before anything is opened who wants what."""


def _answer(response: httpx.Response, body: bytes) -> Answer:
    headers = tuple((name, value) for name, value in response.headers.items() if name != "date")
    return Answer(response.status_code, headers, body)


def _get(client: httpx.Client, url: str) -> Answer:
    """Return the answer; of a stream that is open, its beginning."""
    with client.stream("GET", url) as response:
        is_open = "content-length" not in response.headers
        return _answer(response, next(response.iter_raw()) if is_open else response.read())


def _json(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}/progress/jobs/{reference}/")


def _rejects(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}/progress/jobs/{reference}/rejects/")


def _stream(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}/progress/jobs/{reference}/stream/")


def _streams(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}/progress/stream/?job={quote(reference, safe='')}")


def _lane(client: httpx.Client, base: str, reference: str) -> Answer:
    return _stream(client, base + LANE, reference)


def _handed(client: httpx.Client, base: str, reference: str) -> Answer:
    return _stream(client, base + HANDED, reference)


def _lane_streams(client: httpx.Client, base: str, reference: str) -> Answer:
    return _streams(client, base + LANE, reference)


def _cancel(client: httpx.Client, base: str, reference: str) -> Answer:
    response = post(client, f"{base}/progress/jobs/{reference}/cancel/", **CSRF)
    return _answer(response, response.content)


def post(client: httpx.Client, url: str, **headers: Any) -> httpx.Response:
    """Post as a page of this browser does that was given the token; see `CSRF`."""
    client.cookies.set("csrftoken", TOKEN)
    return client.post(url, headers=headers)


def _socket(client: httpx.Client, base: str, reference: str) -> Answer:
    path = f"/ws/progress/jobs/{quote(reference, safe='@:')}/"
    try:
        with open_socket(f"{base}{path}", client) as connection:
            first = next(told(connection), None)
            if first is None:
                return Answer(connection.close_code or 0, (), b"")
            return Answer(101, (), first.data.encode())
    except InvalidStatus as refusal:
        headers = refusal.response.headers.raw_items()
        sent = tuple((name.lower(), value) for name, value in headers if name.lower() != "date")
        return Answer(refusal.response.status_code, sent, bytes(refusal.response.body))


def _command(action: str) -> Knock:
    def knock(client: httpx.Client, base: str, reference: str) -> Answer:
        with open_socket(f"{base}/ws/progress/", client) as connection:
            answer = ask(connection, action, reference)
        error = answer.get("error")
        if error is None:
            return Answer(200, (), json.dumps(answer).encode())
        assert answer == {"error": error, "job": reference}
        return Answer(404, (), error.encode())

    return knock


DOORS: dict[str, Door] = {
    "json": Door(_json, "watch", 200, 404),
    "rejects": Door(_rejects, "watch", 200, 404),
    "stream": Door(_stream, "watch", 200, 404),
    "streams": Door(_streams, "watch", 200, 404),
    "lane": Door(_lane, "watch", 200, 404),
    "handed over": Door(_handed, "watch", 200, 404),
    "lane streams": Door(_lane_streams, "watch", 200, 404),
    "cancel": Door(_cancel, "cancel", 202, 404),
    "websocket": Door(_socket, "watch", 101, 403),
    "websocket watch": Door(_command("watch"), "watch", 200, 404, decides_first=False),
    "websocket cancel": Door(_command("cancel"), "cancel", 200, 404, decides_first=False),
}
