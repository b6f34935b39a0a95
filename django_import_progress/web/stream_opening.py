"""What it takes to open an event stream, at whichever door: its headers, its room, its source."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ..access.tickets import Grant
from ..conf import settings
from ..core import sse
from ..core.messages import NOT_CACHED, TOO_MANY_OF_YOURS, TOO_MANY_STREAMS
from ..service.manager import ProgressManager
from .limits import open_streams
from .stream_sources import Source

Stream = TypeVar("Stream")

HEADERS = {
    "Content-Type": sse.MEDIA_TYPE,
    "Cache-Control": f"{NOT_CACHED}, no-transform",
    "Content-Encoding": "identity",  # GZipMiddleware would hold events back.
    "X-Accel-Buffering": "no",  # nginx would, too.
}
"""Of the answer that is an event stream."""


def too_many(client: str) -> str:
    """Return why this client gets no further stream; nothing where there is room."""
    if len(open_streams) >= settings.max_streams:
        return TOO_MANY_STREAMS
    if open_streams.of(client) >= settings.max_streams_per_client:
        return TOO_MANY_OF_YOURS
    return ""


def open_stream(
    kind: Callable[..., Stream],
    manager: ProgressManager,
    client: str,
    grants: Iterable[Grant],
    refused: Sequence[str] = (),
) -> Stream:
    """Return a stream, which counts as open from now on.

    Args:
        kind: makes it, with the arguments of `OpenStream`.
        manager: of the namespace in question.
        client: whose stream it is.
        grants: what may be watched, one for each job.
        refused: what was asked for and must not be.
    """

    def open_source() -> Source:
        limit = settings.max_updates_per_second
        watchers = [
            manager.watcher(grant.job_id, max_per_second=limit, may_see=grant.may_see)
            for grant in grants
        ]
        return Source(watchers, refused)

    heartbeat, longest = settings.heartbeat_seconds, settings.stream_seconds
    return kind(open_source, client=client, heartbeat_seconds=heartbeat, stream_seconds=longest)
