"""What it takes to open an event stream, at whichever door: its headers, its room, its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .conf import settings
from .core import sse
from .core.answers import NOT_CACHED, TOO_MANY_OF_YOURS, TOO_MANY_STREAMS
from .limits import open_streams
from .manager import ProgressManager
from .sources import Source
from .tickets import Grant

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


def source_of(
    manager: ProgressManager, grants: Sequence[Grant], refused: Sequence[str] = ()
) -> Callable[[], Source]:
    """Return what opens the source of a stream's events.

    Args:
        manager: of the namespace in question.
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

    return open_source


def limits() -> dict[str, Any]:
    """Return the arguments of `OpenStream` that are settings."""
    return {
        "heartbeat_seconds": settings.heartbeat_seconds,
        "stream_seconds": settings.stream_seconds,
    }
