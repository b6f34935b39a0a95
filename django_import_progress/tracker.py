"""`track_import`: an existing loop reports itself."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import Any, Generic, TypeVar, cast

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from .conf import settings
from .connections import get_impatient_manager
from .core.calls import clean_owner
from .core.errors import InvalidProgress
from .core.keys import JobId, clean_job_id
from .core.pacing import Rate, eta_seconds
from .core.snapshot import KNOWN, TERMINAL, TRACKED, Fields
from .sync import SyncProgressManager
from .verbs import now_text, plain
from .writer import Writer

logger = logging.getLogger("django_import_progress")

T = TypeVar("T")
Exposed = type[BaseException] | tuple[type[BaseException], ...]

BEGIN_SECONDS = 2.0
"""How long entering waits until the job stands in Redis, before the import begins without it."""
MESSAGE_LENGTH = 2000
"""How much of an exception's message is shown, in characters."""


class ImportTracker:
    """Makes an existing loop report itself: it counts, and a thread beside the loop tells.

    ::

        with track_import(job_id, total=100_000) as job:
            for row in job.rows(reader):
                ...

    Entering writes ``importing``, leaving ``done``; an exception writes ``failed`` and is raised
    on; `SystemExit`, `KeyboardInterrupt` and `asyncio.CancelledError` write ``cancelled`` and are
    raised on. Redis, away or slow, never fails the import. Count in one thread or task only.

    Args:
        job_id: the job; made where it is not there yet. Used again, it is a new attempt.
        total: how many rows there are, where that is known.
        owner: a user, or a primary key; recorded where the job has none yet.
        stage: the stage that is shown at first.
        expose: exceptions whose message the end user may read; of others only a neutral sentence
            is shown (with `DEBUG` on, any message).
        manager: where to write; made from settings where not given.

    Raises:
        InvalidJobId: `job_id` cannot be one.
        InvalidProgress: another argument cannot be what it should.
        TypeError: `manager` is of the asynchronous kind.
    """

    def __init__(
        self,
        job_id: JobId,
        *,
        total: int | None = None,
        owner: Any = None,
        stage: str | None = None,
        expose: Exposed = (),
        manager: SyncProgressManager | None = None,
    ) -> None:
        if manager is not None and not isinstance(manager, SyncProgressManager):
            raise TypeError(
                f"manager must be a SyncProgressManager, not {type(manager).__name__}:"
                " the tracker writes from a thread, beside asyncio code as well"
            )
        self.job_id = clean_job_id(job_id)
        self._total = _checked_rows("total", total)
        self._total_is_given = total is not None
        self.processed = 0
        """How many rows are through."""
        self._counters: dict[str, int] = {}
        self._fields = plain({"stage": stage})
        self._end: Fields = {}
        self._expose = expose
        self._rate = Rate(time.monotonic(), 0)
        self._manager = manager or get_impatient_manager()
        self._owner = clean_owner(owner)
        self._writer: Writer | None = None

    def __repr__(self) -> str:
        return f"<ImportTracker {self.job_id}: {self.processed} of {self._total}>"

    @property
    def total(self) -> int | None:
        """How many rows there are; None where that is not known. May be set at any time."""
        return self._total

    @total.setter
    def total(self, rows: int | None) -> None:
        self._total = _checked_rows("total", rows)
        self._total_is_given = True

    def rows(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each row of `iterable`, and count it once the loop comes back for the next.

        It is streamed. Where no total is given and `iterable` has a length, that is the total.

        Args:
            iterable: rows, for `for`; or of an asynchronous iterable, for `async for`.
        """
        if isinstance(iterable, Sized) and not self._total_is_given:
            self._total = (self._total or 0) + len(iterable)
        return Counted(self, iterable, None)

    def batches(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each batch of `iterable`, and count its rows once the loop comes back.

        Args:
            iterable: of batches, each with a length.
        """
        return Counted(self, iterable, cast(Callable[[T], int], len))

    def advance(self, n: int = 1) -> None:
        """Count `n` rows by hand."""
        self.processed += n

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of your own: a field of the snapshot that begins at 0.

        Raises:
            InvalidProgress: the name is a known field's, or cannot be a field's.
        """
        try:
            self._counters[name] += n
        except KeyError:
            if name in KNOWN | TRACKED:
                raise InvalidProgress(f"{name!r} is a known field and no counter") from None
            plain({name: n})
            self._counters[name] = n

    def set(self, **fields: Any) -> None:
        """Set fields of the snapshot: `job.set(stage="indexing")`.

        `total_rows` and `processed_rows` may be set too: where a resumed import goes on from.

        Raises:
            InvalidProgress: a value has no JSON, or is kept up by the tracker itself.
        """
        for name in TRACKED | {"updated_at", "error_message"}:
            if name in fields:
                raise InvalidProgress(f"{name!r} is kept up by the tracker and cannot be set")
        if fields.get("status") in TERMINAL:
            raise InvalidProgress("The job ends with its `with` block: leave that, or raise")
        if "total_rows" in fields:
            self.total = fields.pop("total_rows")
        if "processed_rows" in fields:
            self.processed = _checked_rows("processed_rows", fields.pop("processed_rows")) or 0
        self._fields = plain({**self._fields, **fields})

    def __enter__(self) -> ImportTracker:
        if self._writer is not None:
            raise RuntimeError("A tracker tracks one attempt: call track_import for another")
        self._rate = Rate(time.monotonic(), self.processed)
        self._fields["started_at"] = now_text()
        self._writer = Writer(self._manager, self.job_id, self._owner, self._sample)
        self._writer.start()
        self._writer.began.wait(BEGIN_SECONDS)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._writer is not None
        self._end = self._ending(error)
        self._writer.finish()

    async def __aenter__(self) -> ImportTracker:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)

    def _sample(self) -> Fields:
        """Return the fields as they are now. Called in the writer's thread."""
        # The end is read first: rows that are counted once it stands would come too late for it.
        end, processed = self._end, self.processed
        rate = self._rate.sample(time.monotonic(), processed)
        return {
            "status": "importing",
            "error_message": None,
            **self._fields,
            **self._counters.copy(),  # A copy is made in one step: the loop goes on beside us.
            "total_rows": self._total,
            "processed_rows": processed,
            "rows_per_second": None if rate is None else round(rate, 1),
            "eta_seconds": None if end else eta_seconds(rate, self._total, processed),
            **end,
        }

    def _ending(self, error: BaseException | None) -> Fields:
        if error is None:
            return {"status": "done"}
        if not isinstance(error, Exception):
            return {"status": "cancelled"}  # SystemExit, KeyboardInterrupt, CancelledError.
        return {"status": "failed", "error_message": self._message(error)}

    def _message(self, error: Exception) -> str:
        """Return what the end user may read of an error; the log has the rest."""
        if isinstance(error, ValidationError):
            message = " ".join(map(str, error.messages))
        elif isinstance(error, self._expose):
            message = str(error)
        else:
            logger.error("Import %s failed", self.job_id, exc_info=error)
            message = str(error) if settings.debug else ""
        message = message or gettext(
            "The import failed. Please give this number when you ask for help: %(job_id)s"
        ) % {"job_id": self.job_id}
        # What cannot be encoded must not keep the end from being told.
        return message[:MESSAGE_LENGTH].encode("utf-8", "replace").decode()


class Counted(Generic[T]):
    """What `rows` and `batches` give: to be iterated once, with `for` or `async for`."""

    __slots__ = ("_job", "_size", "_source")

    def __init__(
        self,
        job: ImportTracker,
        source: Iterable[T] | AsyncIterable[T],
        size: Callable[[T], int] | None,
    ) -> None:
        self._job = job
        self._source = source
        self._size = size
        """How many rows an item is; None: one."""

    def __iter__(self) -> Iterator[T]:
        job, size = self._job, self._size
        if not isinstance(self._source, Iterable):
            raise TypeError("This is asynchronous: iterate with `async for`")
        if size is None:
            for item in self._source:
                yield item
                job.processed += 1
        else:
            for item in self._source:
                rows = size(item)  # Before the body, which may empty it.
                yield item
                job.processed += rows

    async def __aiter__(self) -> AsyncIterator[T]:
        job, size, source = self._job, self._size, self._source
        async for item in source if isinstance(source, AsyncIterable) else _in_turn(source):
            rows = 1 if size is None else size(item)
            yield item
            job.processed += rows


async def _in_turn(source: Iterable[T]) -> AsyncIterator[T]:
    for item in source:
        yield item


def _checked_rows(name: str, rows: object) -> int | None:
    if rows is None or (type(rows) is int and rows >= 0):
        return rows
    raise InvalidProgress(f"{name} is {rows!r}: pass a whole number of rows, or None if unknown")


track_import = ImportTracker
