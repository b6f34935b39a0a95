"""`track_import`: an existing loop reports itself."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Sized
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, cast

from .connections import get_impatient_manager
from .core.calls import clean_owner
from .core.errors import InvalidProgress
from .core.keys import JobId, clean_job_id
from .core.pacing import Rate, eta_seconds
from .core.snapshot import KNOWN, TERMINAL, TRACKED, Fields
from .counted import Counted
from .endings import ending_of
from .sync import SyncProgressManager
from .verbs import now_text, plain
from .writer import INTERVAL_SECONDS, LAST_SECONDS, Writer

T = TypeVar("T")
Exposed = type[BaseException] | tuple[type[BaseException], ...]

ROWS = frozenset({"total_rows", "processed_rows"})
BEGIN_SECONDS = 2.0
"""How long entering waits until the job stands in Redis, before the import begins without it."""
END_SECONDS = LAST_SECONDS + 2 * INTERVAL_SECONDS
"""How long leaving waits at most, for the end to stand in Redis."""


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
        TypeError: `manager` is of the asynchronous kind, or `expose` is no exception class.
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
        self._expose = tuple(expose) if isinstance(expose, tuple | list) else (expose,)
        if not all(isinstance(kind, type) for kind in self._expose):
            raise TypeError(f"expose is {expose!r}: pass an exception class, or a tuple of them")
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
            # Something that is lazy can claim to have a length, and have none.
            with suppress(TypeError, OverflowError):
                self._total = (self._total or 0) + len(iterable)
        return Counted(self, iterable, None)

    def batches(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each batch of `iterable`, and count its rows once the loop comes back.

        Args:
            iterable: of batches, each with a length.
        """
        return Counted(self, iterable, cast(Callable[[T], int], len))

    def advance(self, n: int = 1) -> None:
        """Count `n` rows by hand.

        Raises:
            InvalidProgress: `n` is not a whole number.
        """
        self.processed += _checked_count(n)

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of your own: a field of the snapshot that begins at 0.

        Raises:
            InvalidProgress: the name is a known field's, or cannot be a field's; or `n` is not a
                whole number.
        """
        n = _checked_count(n)
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
        rows = {name: _checked_rows(name, fields.pop(name)) for name in ROWS & set(fields)}
        self._fields = plain({**self._fields, **fields})
        # All is checked by now: a call that is refused has changed nothing.
        if "total_rows" in rows:
            self.total = rows["total_rows"]
        if "processed_rows" in rows:
            self.processed = rows["processed_rows"] or 0

    def __enter__(self) -> ImportTracker:
        writer = self._start()
        try:
            writer.began.wait(BEGIN_SECONDS)
        except BaseException as error:  # A signal's: the `with` will not be left, as not entered.
            self._finish(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        writer = self._finish(error)
        if not writer.ended.wait(END_SECONDS):
            writer.give_up()  # It may hang in a client of more patience.

    async def __aenter__(self) -> ImportTracker:
        changed = asyncio.Event()
        writer = self._start(partial(asyncio.get_running_loop().call_soon_threadsafe, changed.set))
        try:
            await _wait(writer.began, changed, BEGIN_SECONDS)
        except BaseException as error:
            self._finish(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        changed = asyncio.Event()
        wake = partial(asyncio.get_running_loop().call_soon_threadsafe, changed.set)
        writer = self._finish(error, wake)
        await _wait(writer.ended, changed, END_SECONDS)
        if not writer.ended.is_set():
            writer.give_up()

    def _start(self, on_change: Callable[[], object] | None = None) -> Writer:
        if self._writer is not None:
            raise RuntimeError("A tracker tracks one attempt: call track_import for another")
        self._rate = Rate(time.monotonic(), self.processed)
        self._fields["started_at"] = now_text()
        self._writer = Writer(self._manager, self.job_id, self._owner, self._sample)
        self._writer.on_change = on_change or self._writer.on_change
        self._writer.start()
        return self._writer

    def _finish(
        self, error: BaseException | None, on_change: Callable[[], object] | None = None
    ) -> Writer:
        assert self._writer is not None
        self._writer.on_change = on_change or self._writer.on_change
        self._end = ending_of(self.job_id, error, self._expose)
        self._writer.stop()
        return self._writer

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


async def _wait(event: threading.Event, changed: asyncio.Event, seconds: float) -> None:
    """Wait for a thread's event without one: asyncio's threads may all be taken."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not event.is_set():
                await changed.wait()
                changed.clear()


def _checked_count(n: object) -> int:
    if isinstance(n, int):
        return n
    raise InvalidProgress(f"{n!r} is no count: pass a whole number")


def _checked_rows(name: str, rows: object) -> int | None:
    if rows is None or (type(rows) is int and rows >= 0):
        return rows
    raise InvalidProgress(f"{name} is {rows!r}: pass a whole number of rows, or None if unknown")


track_import = ImportTracker
