"""What an import has counted and set: the fields that tell how far it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncIterable, Callable, Iterable, Sized
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

from ..core.errors import InvalidProgress, NotTracking
from ..core.pacing import Eta, Rate
from ..core.snapshot import KNOWN, MAX_BYTES, TRACKED, Fields, is_terminal
from .cleaning import OWN_LENGTH, as_count, as_field, as_name, as_processed, as_total
from .field_limit import DIGITS, OWN_BYTES, FieldLimit
from .iterators import Batches, Counted, Rows

logger = logging.getLogger("django_import_progress")

T = TypeVar("T")


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


OPTIONAL = {"label", "kind", "rejected_rows", "queued_at", "ended_at"}
"""Further fields with a meaning of their own."""


def _refusing_fields(counts: type[T]) -> type[T]:
    """Have a class refuse attributes with the names of known fields."""
    for name in KNOWN | TRACKED | OPTIONAL:
        setattr(counts, name, _NoAttribute(name))
    return counts


@_refusing_fields
class ProgressCounters:
    """Counts rows and more: what `ImportTracker` is in the loop. Any thread may count.

    What an import's data hold never raises here: a value that JSON cannot express is cleaned, and
    fields that are too large are left out, with a line in the log. Wrong types do raise.

    Args:
        job_id: the job.
        total: how many rows there are, where that is known.
        stage: the stage that is shown at first.
    """

    def __init__(self, job_id: str, total: int | None, stage: str | None) -> None:
        self.job_id = job_id
        self._total = as_total(total)
        self._total_is_given = self._total is not None
        self._stored: Fields = {}
        """What the job had before this attempt; empty until that is known."""
        self._lock = threading.RLock()  # Not a lock: a signal handler may count as well.
        self._counted = 0
        """How many rows are through, apart from those in cells."""
        self._cells: list[list[int]] = []
        """Rows that loops have counted which are not through: each increments one of its own."""
        self._room = FieldLimit()
        self._warned: set[str] = set()
        self._counters: dict[str, int] = {}
        self._fields: Fields = {}
        if stage is not None:
            self._put({"stage": stage})
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
        if self._total is None and not self._total_is_given:
            stored = self._stored.get("total_rows")
            return stored if type(stored) is int else None
        return self._total

    @total.setter
    def total(self, rows: int | None) -> None:
        self._total = as_total(rows)
        self._total_is_given = True

    def rows(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each row of `iterable`, and count it once the loop comes back for the next.

        It is streamed. Where no total is given and `iterable` has a length, that is the total.

        Args:
            iterable: rows, for `for`; or of an asynchronous iterable, for `async for`.
        """
        if isinstance(iterable, Sized) and not self._total_is_given:
            # Something that is lazy can claim to have a length, and have none, or ask a database.
            with suppress(Exception):
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
        n = n if type(n) is int else as_count(n)
        self._check_tracking()
        with self._lock:
            self._counted += n
        if self.interrupt is not None:
            raise self.interrupt()

    def count(self, name: str, n: int = 1) -> None:
        """Add `n` to a counter of your own: a field of the snapshot that begins at 0.

        Names may come from the data: an empty one becomes ``?``. Counters for which the snapshot
        has no room left are not kept.

        Raises:
            InvalidProgress: the name is a known field's, or no `str`; or `n` is not a whole number.
            NotTracking: outside the `with` block, or in another process.
        """
        n = n if type(n) is int else as_count(n)
        self._check_tracking()
        with self._lock:
            try:
                self._counters[name] += n
            except (KeyError, TypeError):
                self._begin_counter(as_name(name), n)

    def _begin_counter(self, name: str, n: int) -> None:
        if name in KNOWN | TRACKED:
            raise InvalidProgress(f"{name!r} is a known field and no counter")
        if name in self._counters:  # By a name that had to be cleaned.
            self._counters[name] += n
        elif (field := as_field(name, n)) and self._room.takes({name: field.size + DIGITS}):
            self._counters[name] = n
        else:
            self._warn_of_size([name])

    def set(self, **fields: Any) -> None:
        """Set fields of the snapshot: `job.set(stage="indexing")`.

        `total_rows` and `processed_rows` may be set too: where a resumed import goes on from. A
        value that is too large for the snapshot is left out: the last one that fits stays.

        Raises:
            InvalidProgress: a value is of a type that has no JSON, or is kept up by the tracker
                itself.
            NotTracking: outside the `with` block, or in another process.
        """
        self._check_tracking()
        for name in TRACKED | {"updated_at", "error_message"}:
            if name in fields:
                raise InvalidProgress(f"{name!r} is kept up by the tracker and cannot be set")
        if is_terminal(fields):
            raise InvalidProgress("The job ends with its `with` block: leave that, or raise")
        has_total, total = "total_rows" in fields, as_total(fields.pop("total_rows", None))
        processed = None
        if "processed_rows" in fields:
            processed = as_processed(fields.pop("processed_rows"))
        self._put(fields)
        # All is checked by now: a call that is refused has changed nothing.
        if has_total:
            self.total = total
        if processed is not None:
            self._rate.rebase()
            self._recount(processed)
            self._rate.rebase()  # Once more, as a sample may have been taken in between.

    def _recount(self, rows: int) -> None:
        with self._lock:
            self._counted += rows - self.processed

    def _put(self, fields: Fields) -> None:
        """Keep fields as they will come back from Redis, if they fit."""
        values, sizes, left_out = Fields(), dict[str, int](), []
        for given, value in fields.items():
            if given.startswith("_"):
                raise InvalidProgress(
                    f"The field {given!r} begins with an underscore; choose another"
                )
            name = as_name(given)
            is_own_text = name in KNOWN and isinstance(value, str)
            if (field := as_field(name, value[:OWN_LENGTH] if is_own_text else value)) is None:
                left_out.append(name)
                continue
            if field.is_cleaned:
                self._warn(
                    "cleaned", f"the field {name!a} was made fit for JSON: {field.value!a:.80}"
                )
            values[name], sizes[name] = field.value, field.size
        own = {name for name in values if name in KNOWN and sizes[name] < OWN_BYTES}
        others = {name: size for name, size in sizes.items() if name not in own}
        with self._lock:
            fit = own.union(self._room.takes(others))
            self._fields = {**self._fields, **{n: value for n, value in values.items() if n in fit}}
        if left_out := [*left_out, *(name for name in values if name not in fit)]:
            self._warn_of_size(left_out)

    def _warn_of_size(self, names: list[str]) -> None:
        left_out = ", ".join(map(ascii, names))[:200]
        most = f"a snapshot is {MAX_BYTES} bytes of JSON at most"
        self._warn("size", f"{left_out} and what is added later may be left out: {most}")

    def _warn(self, kind: str, text: str) -> None:
        """Log the first of its kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("Import %s: %s", self.job_id, text)

    def _note_stored(self, fields: Fields) -> None:
        """Take note of what the job had before. Called in the writer's thread, once."""
        self._stored = fields
        with self._lock:
            names = self._room.note_stored(fields)
            for name in names:
                self._counters.pop(name, None)
            self._fields = {n: value for n, value in self._fields.items() if n not in names}
        if names:
            self._warn_of_size(names)

    def _facts(self) -> Fields:
        """Return the fields as they are now, but for those that time changes."""
        # The end is read first: rows that are counted once it stands would come too late for it.
        end = self._end
        # What the job had before is not written again: a further attempt is to find it, too.
        unknown = {
            n: None for n in ("stage", "total_rows") if self._stored and n not in self._stored
        }
        total = self._total
        return {
            "status": "importing",
            "error_message": None,
            **unknown,
            **self._fields,
            **self._counters.copy(),  # A copy is made in one step: the loop goes on beside us.
            **({"total_rows": total} if total is not None or self._total_is_given else {}),
            "processed_rows": self.processed,
            **end,
        }

    def _sample(self) -> Fields:
        """Return all fields as they are now. Called in the writer's thread."""
        is_over = self._is_through or bool(self._end)
        facts, now = self._facts(), time.monotonic()
        processed = facts["processed_rows"]
        rate = self._rate.sample(now, processed)
        left = None if is_over else self._eta.sample(now, rate, self.total, processed)
        return {
            "rows_per_second": None if rate is None else round(rate, 1),
            "eta_seconds": left,
            **facts,
        }
