"""An SSE client for tests, as the WHATWG's specification has it; only what a browser would see."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from . import http

_LINE_END = re.compile("\r\n|\n|\r(?!$)")  # One that is last in a chunk may go on with the next.
PATIENCE = httpx.Timeout(60)


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One event."""

    type: str
    data: str
    id: str

    @property
    def json(self) -> Any:
        """The data, parsed."""
        return json.loads(self.data)


def lines_of(chunks: Iterator[str]) -> Iterator[str]:
    """Yield a stream's lines, which end as the specification has it and not as Python does."""
    rest = [""]
    for chunk in chunks:
        rest.append(chunk)
        if rest[-2].endswith("\r") or "\n" in chunk or "\r" in chunk:
            *lines, last = _LINE_END.split("".join(rest))
            yield from lines
            rest = [last]


def parse(lines: Iterator[str]) -> Iterator[Event]:
    """Yield each event of a stream's lines."""
    event_type, data, last_id = "message", None, ""
    for line in lines:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data is not None:
                yield Event(event_type, "\n".join(data), last_id)
            event_type, data = "message", None
        elif field == "event":
            event_type = value
        elif field == "data":
            data = [*(data or []), value]
        elif field == "id":
            last_id = value


@contextmanager
def open_stream(
    url: str, client: httpx.Client | None = None, last_event_id: str = ""
) -> Iterator[tuple[httpx.Response, Iterator[Event]]]:
    """Give the response of an event stream, and its events."""
    headers = {"Accept": "text/event-stream"}
    if last_event_id:
        headers["Last-Event-ID"] = last_event_id
    own = http.Client(timeout=PATIENCE) if client is None else client
    try:
        with own.stream("GET", url, headers=headers, timeout=PATIENCE) as response:
            # Kept here: dropped, it would close the response.
            events = parse(lines_of(response.iter_text()))
            yield response, events
    finally:
        if client is None:
            own.close()
