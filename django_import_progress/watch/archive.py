"""The archive: where jobs are looked up that Redis has forgotten. The history app provides it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any, ParamSpec, Protocol, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

from ..core.errors import HistoryUnavailable
from ..core.snapshot import Stored

P = ParamSpec("P")
T = TypeVar("T")

Read = Mapping[str, Stored | None]
"""What Redis knows of some jobs, by job id."""


class Archive(Protocol):
    """Looks up what a database knows of jobs. Its functions may be called in any thread."""

    def last_runs(self, namespace: str, read: Read) -> Mapping[str, Stored]:
        """Return what is to be shown of those of the jobs that the database knows.

        Raises:
            Exception: the database cannot be reached.
        """

    def newest(self, namespace: str, owner: str | None, limit: int) -> Mapping[str, Stored]:
        """Return the newest jobs, of one owner or of all, newest first."""

    def merged(self, jobs: Read, runs: Mapping[str, Stored], limit: int) -> dict[str, Stored]:
        """Return the newest of both, newest first."""

    def report(self, namespace: str, job_id: str, attempt: int | None) -> IO[Any] | None:
        """Open the report of rejected rows of an attempt; by default of the last one."""


_archives: list[Archive] = []


def use(archive: Archive | None) -> None:
    """Look up forgotten jobs in `archive` from now on; None: nowhere."""
    _archives[:] = [] if archive is None else [archive]


def current() -> Archive | None:
    """Return the archive; None if the history app is not installed."""
    return _archives[0] if _archives else None


def is_forgotten(stored: Stored | None) -> bool:
    """Return whether Redis has forgotten a job, or knows only its outcome."""
    return stored is None or (stored.expired and not stored.deleted)


def complete(namespace: str, read: Read) -> dict[str, Stored | None]:
    """Return the jobs; those that Redis has forgotten as the archive knows them.

    Args:
        namespace: the jobs' namespace.
        read: what Redis knows of them.

    Raises:
        HistoryUnavailable: the archive cannot be reached, and Redis does not have one of the jobs.
    """
    archive = current()
    forgotten = {job_id: stored for job_id, stored in read.items() if is_forgotten(stored)}
    if archive is None or not forgotten:
        return dict(read)
    try:
        return {**read, **archive.last_runs(namespace, forgotten)}
    except HistoryUnavailable as error:
        if None not in forgotten.values():
            return dict(read)
        error.read = dict(read)
        raise


def looked_up(namespace: str, read: Read) -> tuple[dict[str, Stored | None], bool]:
    """Return what `complete` returns, and True; if the archive is unavailable `read`, and False."""
    try:
        return complete(namespace, read), True
    except HistoryUnavailable:
        return dict(read), False


def looked_up_aside(namespace: str, read: Read) -> tuple[dict[str, Stored | None], bool]:
    """Return what `looked_up` returns, in a thread that keeps no database connection."""
    try:
        return looked_up(namespace, read)
    finally:
        connections.close_all()


def has_to_look_up(read: Iterable[Stored | None]) -> bool:
    """Return whether `complete` would use the archive."""
    return current() is not None and any(map(is_forgotten, read))


async def in_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses the archive, in asyncio code."""
    return await sync_to_async(function)(*args, **kwargs)


async def at_once(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that uses the archive, in sync code that runs as a coroutine."""
    return function(*args, **kwargs)
