"""What an import has counted and set: the fields that tell how far it is."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Sized
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from .core.errors import InvalidProgress, NotTracking
from .core.pacing import Eta, Rate
from .core.snapshot import KNOWN, RATES, TERMINAL, TRACKED, Fields
from .counted import Batches, Counted, Rows, checked_count, checked_rows
from .verbs import plain

T = TypeVar("T")

ROWS = frozenset({"total_rows", "processed_rows"})


class _NoAttribute:
    """Refuses to be set: an attribute with the name of a field would not be written to Redis."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, job: object, owner: object = None) -> NoReturn:
        raise AttributeError(self._hint)

    def __set__(self, job: object, value: object) -> None:
        raise AttributeError(self._hint)

    @property
    def _hint(self) -> str:
        instead = {
            "processed_rows": "job.processed, job.advance(n) or job.set(processed_rows=n)",
            "total_rows": "job.total",
        }
        use = instead.get(self._name, f"job.set({self._name}=…)")
        return f"A tracker has no attribute {self._name!r}; use {use}"


def _refusing_fields(counts: type[T]) -> type[T]:
    """Have a class refuse attributes with the names of known fields."""
    for name in KNOWN | TRACKED:
        setattr(counts, name, _NoAttribute(name))
    return counts


@_refusing_fields
class Counts:
    """Counts rows and more: what `ImportTracker` is in the loop. Any thread may count.

    Args:
        total: how many rows there are, where that is known.
        stage: the stage that is shown at first.
    """

    def __init__(self, total: int | None, stage: str | None) -> None:
        self._total = checked_rows("total", total)
        self._total_is_given = total is not None
        self._lock = threading.RLock()  # Not a lock: a signal handler may count as well.
        self._counted = 0
        """How many rows are through, apart from those in cells."""
        self._cells: list[list[int]] = []
        """Rows that loops have counted which are not through: each increments one of its own."""
        self._counters: dict[str, int] = {}
        self._fields = plain({"stage": stage})
        self._end: Fields = {}
        """What tells the end, once there is one."""
        self._rate, self._eta = Rate(), Eta()
        self._is_tracking = False
        """Whether this is inside the `with` block, and in the process that entered it."""
        self._is_through = False
        """Whether the `with` block was left, though its end may have to wait for a commit."""
        self.interrupt: Callable[[], BaseException] | None = NotTracking
        """Makes the exception that is raised after the running row; set by the writer's thread."""

    @property
    def processed(self) -> int:
        """How many rows are through."""
        with self._lock:
            return self._counted + sum(cell[0] for cell in self._cells)

    def open_cell(self) -> list[int]:
        """See `Counter`: with a number of its own a loop needs no lock for each row."""
        cell = [0]
        with self._lock:
            self._cells.append(cell)
        return cell

    def close_cell(self, cell: list[int]) -> None:
        """See `Counter`."""
        with self._lock:
            self._cells = [other for other in self._cells if other is not cell]
            self._counted += cell[0]

    def _check_tracking(self) -> None:
        if not self._is_tracking:
            raise NotTracking

    @property
    def total(self) -> int | None:
        """How many rows there are; None where that is not known. May be set at any time."""
        return self._total

    @total.setter
    def total(self, rows: int | None) -> None:
        self._total = checked_rows("total", rows)
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
        return Rows(self, iterable)

    def batches(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each batch of `iterable`, and count its rows once the loop comes back.

        Args:
            iterable: of batches, each with a length.
        """
        return Batches(self, iterable)

    def advance(self, n: int = 1) -> None:
        """Count `n` rows by hand, in any thread.

        Raises:
            InvalidProgress: `n` is not a whole number.
            NotTracking: outside the `with` block, or in another process.
        """
        n = checked_count(n)
        self._check_tracking()
        with self._lock:
            self._counted += n
        if self.interrupt is not None:
            raise self.interrupt()

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of your own: a field of the snapshot that begins at 0.

        Raises:
            InvalidProgress: the name is a known field's, or cannot be a field's; or `n` is not a
                whole number.
            NotTracking: outside the `with` block, or in another process.
        """
        n = checked_count(n)
        self._check_tracking()
        with self._lock:
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
            NotTracking: outside the `with` block, or in another process.
        """
        self._check_tracking()
        for name in TRACKED | {"updated_at", "error_message"}:
            if name in fields:
                raise InvalidProgress(f"{name!r} is kept up by the tracker and cannot be set")
        if fields.get("status") in TERMINAL:
            raise InvalidProgress("The job ends with its `with` block: leave that, or raise")
        rows = {name: checked_rows(name, fields.pop(name)) for name in ROWS & set(fields)}
        self._fields = plain({**self._fields, **fields})
        # All is checked by now: a call that is refused has changed nothing.
        if "total_rows" in rows:
            self.total = rows["total_rows"]
        if "processed_rows" in rows:
            self._rate.rebase()
            self._recount(rows["processed_rows"] or 0)
            self._rate.rebase()  # Once more, as a sample may have been taken in between.

    def _recount(self, rows: int) -> None:
        with self._lock:
            self._counted += rows - self.processed

    def _facts(self) -> Fields:
        """Return the fields as they are now, but for those that time changes."""
        # The end is read first: rows that are counted once it stands would come too late for it.
        end = self._end
        return {
            "status": "importing",
            "error_message": None,
            **self._fields,
            **self._counters.copy(),  # A copy is made in one step: the loop goes on beside us.
            "total_rows": self._total,
            "processed_rows": self.processed,
            **end,
        }

    def _sample(self) -> Fields:
        """Return all fields as they are now. Called in the writer's thread."""
        is_over = self._is_through or bool(self._end)
        facts, now = self._facts(), time.monotonic()
        processed = facts["processed_rows"]
        rate = self._rate.sample(now, processed)
        left = None if is_over else self._eta.sample(now, rate, facts["total_rows"], processed)
        return {
            "rows_per_second": None if rate is None else round(rate, 1),
            "eta_seconds": left,
            **facts,
        }


def own_fields(fields: Fields) -> Fields:
    """Leave out what the user added."""
    return {name: value for name, value in fields.items() if name in KNOWN | TRACKED}


def steady_fields(fields: Fields) -> Fields:
    """Leave out what changes by the mere passing of time: it is no reason to write.

    That there is a rate now, or none any more, is one.
    """
    return {name: bool(value) if name in RATES else value for name, value in fields.items()}
