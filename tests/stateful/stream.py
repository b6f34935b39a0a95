"""Frames of an event stream, read strictly: each is one event, each event is one line of JSON."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import AsyncIterator
from typing import Any

_ID = re.compile(r"(\d+)-(\d+)-(\d+)|end-[0-9a-f]{32}", re.ASCII)
_SILENT = re.compile(rb":|retry: \d+")
"""What is no event: a comment, and when to come back."""
_EVENT = re.compile(rb"(?:event: (?P<event>\w+)\n)?(?:id: (?P<id>[\w-]+)\n)?data: (?P<data>.*)")


@dataclasses.dataclass(frozen=True)
class Frame:
    """One event."""

    event: str
    id: str
    data: str


async def frames_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """Yield the events of a stream."""
    rest = b""
    async for chunk in chunks:
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            if _SILENT.fullmatch(block):
                continue
            match = _EVENT.fullmatch(block)
            assert match is not None, block
            assert b"\r" not in block, block
            event, event_id, data = (match[name] or b"" for name in ("event", "id", "data"))
            yield Frame(event.decode(), event_id.decode(), data.decode())


def order_of(event_id: str) -> tuple[int, ...] | None:
    """Return life, version and number of partial messages; None for an end, whose id is opaque."""
    match = _ID.fullmatch(event_id)
    assert match is not None, event_id
    return None if match[1] is None else tuple(map(int, match.groups()))


def _refuse_constant(name: str) -> Any:
    raise AssertionError(f"{name} is not JSON")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    assert len(values) == len(pairs), pairs
    return values


def strict_json(text: str | bytes) -> Any:
    """Parse JSON in which no name comes twice, and no NaN at all."""
    return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_without_twins)
