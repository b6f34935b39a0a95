"""What it takes to open an event stream, at whichever door: its headers, its room, its source."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

from .access import Grant
from .conf import settings
from .core import sse
from .core.answers import NOT_CACHED, TOO_MANY_OF_YOURS, TOO_MANY_STREAMS
from .limits import open_streams
from .manager import ProgressManager
from .sources import OneJob, SeveralJobs

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


def one_job(manager: ProgressManager, grant: Grant) -> Callable[[], OneJob]:
    """Return what opens a source of one job."""
    watch = _watch(manager)
    return lambda: OneJob(watch(grant.job_id))


def several_jobs(
    manager: ProgressManager, job_ids: Collection[str], refused: Iterable[str] = ()
) -> Callable[[], SeveralJobs]:
    """Return what opens a source of several jobs.

    Args:
        manager: of the namespace in question.
        job_ids: what may be watched.
        refused: what was asked for and may not.
    """
    watch = _watch(manager)
    return lambda: SeveralJobs([*map(watch, job_ids)], refused)


def _watch(manager: ProgressManager) -> Callable[[str], Any]:
    return partial(manager.watcher, max_per_second=settings.max_updates_per_second)


def limits() -> dict[str, Any]:
    """Return the arguments of `OpenStream` that are settings."""
    return {
        "heartbeat_seconds": settings.heartbeat_seconds,
        "stream_seconds": settings.stream_seconds,
    }
