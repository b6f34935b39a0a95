"""What an import has counted and set: the fields that tell how far it is."""

from __future__ import annotations

import time
from collections.abc import AsyncIterable, Iterable, Sized
from contextlib import suppress
from typing import Any, TypeVar

from .core.errors import InvalidProgress, OutsideOfTheWith
from .core.pacing import Eta, Rate
from .core.snapshot import KNOWN, TERMINAL, TRACKED, Fields
from .counted import Batches, Counted, Rows, checked_count, checked_rows
from .verbs import plain

T = TypeVar("T")

ROWS = frozenset({"total_rows", "processed_rows"})


class Counts:
    """Counts rows and more; what `ImportTracker` is in the loop. Count in one thread or task only.

    Args:
        total: how many rows there are, where that is known.
        stage: the stage that is shown at first.
    """

    def __init__(self, total: int | None, stage: str | None) -> None:
        self._total = checked_rows("total", total)
        self._total_is_given = total is not None
        self.processed = 0
        """How many rows are through."""
        self._counters: dict[str, int] = {}
        self._fields = plain({"stage": stage})
        self._end: Fields = {}
        """What tells the end, once there is one."""
        self._rate, self._eta = Rate(), Eta()
        self.interrupt: type[BaseException] | None = OutsideOfTheWith
        """What is raised at the next row's boundary; set by the writer's thread."""

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
        """Count `n` rows by hand.

        Raises:
            InvalidProgress: `n` is not a whole number.
        """
        self.processed += checked_count(n)
        if self.interrupt is not None:
            raise self.interrupt

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of your own: a field of the snapshot that begins at 0.

        Raises:
            InvalidProgress: the name is a known field's, or cannot be a field's; or `n` is not a
                whole number.
        """
        n = checked_count(n)
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
        rows = {name: checked_rows(name, fields.pop(name)) for name in ROWS & set(fields)}
        self._fields = plain({**self._fields, **fields})
        # All is checked by now: a call that is refused has changed nothing.
        if "total_rows" in rows:
            self.total = rows["total_rows"]
        if "processed_rows" in rows:
            self._rate.rebase()
            self.processed = rows["processed_rows"] or 0
            self._rate.rebase()  # Once more, as a sample may have been taken in between.

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
        is_over, facts, now = bool(self._end), self._facts(), time.monotonic()
        processed = facts["processed_rows"]
        rate = self._rate.sample(now, processed)
        left = None if is_over else self._eta.sample(now, rate, facts["total_rows"], processed)
        return {
            "rows_per_second": None if rate is None else round(rate, 1),
            "eta_seconds": left,
            **facts,
        }
