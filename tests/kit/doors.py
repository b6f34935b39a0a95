"""Every door of the site, as one who knocks sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx

TOKEN = "t" * 32
CSRF = {"X-CSRFToken": TOKEN}


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What one sees who has knocked, and could compare with another answer."""

    status: int
    headers: tuple[tuple[str, str], ...]
    """Without the date."""
    body: bytes


Door = Callable[[httpx.Client, str, str], Answer]
"""Called with a client, the URL under which the app's are included, and a job's id or a ticket."""


def _answer(response: httpx.Response, body: bytes) -> Answer:
    headers = tuple((name, value) for name, value in response.headers.items() if name != "date")
    return Answer(response.status_code, headers, body)


def _get(client: httpx.Client, url: str) -> Answer:
    """Return the answer; of a stream that is open, its beginning."""
    with client.stream("GET", url) as response:
        is_open = "content-length" not in response.headers
        return _answer(response, next(response.iter_raw()) if is_open else response.read())


def _json(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}jobs/{reference}/")


def _stream(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}jobs/{reference}/stream/")


def _streams(client: httpx.Client, base: str, reference: str) -> Answer:
    return _get(client, f"{base}stream/?job={quote(reference, safe='')}")


def _cancel(client: httpx.Client, base: str, reference: str) -> Answer:
    response = post(client, f"{base}jobs/{reference}/cancel/", **CSRF)
    return _answer(response, response.content)


def post(client: httpx.Client, url: str, **headers: Any) -> httpx.Response:
    """Post as a page of this browser does that was given the token; see `CSRF`."""
    client.cookies.set("csrftoken", TOKEN)
    return client.post(url, headers=headers)


DOORS: dict[str, Door] = {
    "json": _json,
    "stream": _stream,
    "streams": _streams,
    "cancel": _cancel,
}
