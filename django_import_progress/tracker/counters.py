"""Counters and fields of a running import."""

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
from ..kinds import kind_of, link_field
from .fields import (
    DIGITS,
    OWN_BYTES,
    OWN_LENGTH,
    FieldLimit,
    as_count,
    as_field,
    as_name,
    as_processed,
    as_total,
)
from .iterators import Batches, Counted, Rows

logger = logging.getLogger("django_import_progress")

T = TypeVar("T")


class _ForbiddenAttribute:
    """An attribute that raises: setting a known field like this would not write it to Redis."""

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
"""Further fields that the package knows."""


def _forbid_field_attributes(counts: type[T]) -> type[T]:
    """Add a `_ForbiddenAttribute` for each known field to a class."""
    for name in KNOWN | TRACKED | OPTIONAL:
        setattr(counts, name, _ForbiddenAttribute(name))
    return counts


@_forbid_field_attributes
class ProgressCounters:
    """The part of `ImportTracker` that counts rows and sets fields. Thread-safe.

    Data never raises here: a value that JSON cannot express is cleaned, and fields that are too
    large are left out, with a line in the log. Arguments of a wrong type do raise.

    Args:
        job_id: the job.
        total: the number of rows, if known.
        stage: the first stage.
    """

    def __init__(self, job_id: str, total: int | None, stage: str | None) -> None:
        self.job_id = job_id
        self._total = as_total(total)
        self._total_is_given = self._total is not None
        self._stored: Fields = {}
        """The job's fields before this attempt; empty until they are known."""
        self._lock = threading.RLock()  # Reentrant: a signal handler may count as well.
        self._counted = 0
        """Processed rows, without those in cells."""
        self._cells: list[list[int]] = []
        """Processed rows of each running loop."""
        self._limit = FieldLimit()
        self._warned: set[str] = set()
        self._counters: dict[str, int] = {}
        self._fields: Fields = {}
        if stage is not None:
            self._set_fields({"stage": stage})
        self._final: Fields = {}
        """The fields of the final status; empty until the import has ended."""
        self._rate, self._eta = Rate(), Eta()
        self._is_tracking = False
        """Whether the `with` block is active, in the process that entered it."""
        self._has_left = False
        """Whether the `with` block was left; the final status may still wait for a commit."""
        self.interrupt: Callable[[], BaseException] | None = NotTracking
        """Creates the exception to raise after the running row; set by the writer's thread."""
        self.batch: Any = None
        """See `Counter`."""

    @property
    def processed(self) -> int:
        """The number of processed rows."""
        with self._lock:
            return self._counted + sum(cell[0] for cell in self._cells)

    def open_cell(self) -> list[int]:
        """See `Counter`. With a cell of its own, a loop needs no lock for each row."""
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
        """The number of rows; None if unknown. May be set at any time."""
        if self._total is None and not self._total_is_given:
            stored = self._stored.get("total_rows")
            return stored if type(stored) is int else None
        return self._total

    @total.setter
    def total(self, rows: int | None) -> None:
        self._total = as_total(rows)
        self._total_is_given = True

    def rows(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each row of `iterable`, and count it when the loop asks for the next one.

        Rows are streamed. Without a total, the length of `iterable` is the total, if it has one.

        Args:
            iterable: the rows, iterated with `for`, or with `async for`.
        """
        if isinstance(iterable, Sized) and not self._total_is_given:
            # `len()` of a lazy object may raise, or query a database.
            with suppress(Exception):
                self._total = (self._total or 0) + len(iterable)
        return Rows(self, iterable)

    def batches(self, iterable: Iterable[T] | AsyncIterable[T]) -> Counted[T]:
        """Yield each batch of `iterable`, and count its rows when the loop asks for the next one.

        Args:
            iterable: batches that have a length.
        """
        return Batches(self, iterable)

    def advance(self, n: int = 1) -> None:
        """Count `n` rows, in any thread.

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
        """Add `n` to a named counter, a field of the snapshot that starts at 0.

        Names may come from the data: an empty one becomes ``?``. Counters that do not fit into the
        snapshot are dropped.

        Raises:
            InvalidProgress: the name is a known field's or not a `str`, or `n` is not a whole
                number.
            NotTracking: outside the `with` block, or in another process.
        """
        n = n if type(n) is int else as_count(n)
        self._check_tracking()
        with self._lock:
            try:
                self._counters[name] += n
            except (KeyError, TypeError):
                self._start_counter(as_name(name), n)

    def _start_counter(self, name: str, n: int) -> None:
        if name in KNOWN | TRACKED:
            raise InvalidProgress(f"{name!r} is a known field and cannot be a counter")
        if name in self._counters:  # The name was cleaned.
            self._counters[name] += n
        elif (field := as_field(name, n)) and self._limit.reserve({name: field.size + DIGITS}):
            self._counters[name] = n
        else:
            self._warn_of_size([name])

    def set(self, **fields: Any) -> None:
        """Set fields of the snapshot: `job.set(stage="indexing")`.

        A resumed import may also set `total_rows` and `processed_rows`. A value that does not fit
        into the snapshot is ignored: the last one that fits stays.

        Raises:
            InvalidProgress: a value's type has no JSON form, or the tracker maintains the field
                itself.
            NotTracking: outside the `with` block, or in another process.
        """
        self._check_tracking()
        for name in TRACKED | {"updated_at", "error_message"}:
            if name in fields:
                raise InvalidProgress(f"{name!r} is maintained by the tracker and cannot be set")
        if is_terminal(fields):
            raise InvalidProgress(
                "The job ends with its `with` block: leave the block, or raise an exception"
            )
        has_total, total = "total_rows" in fields, as_total(fields.pop("total_rows", None))
        processed = None
        if "processed_rows" in fields:
            processed = as_processed(fields.pop("processed_rows"))
        self._set_fields(fields)
        # All arguments are valid by now: an invalid call changes nothing.
        if has_total:
            self.total = total
        if processed is not None:
            self._rate.rebase()
            self._set_processed(processed)
            self._rate.rebase()  # Again: a sample may have been taken in between.

    def link(self, text: object, url: object) -> None:
        """Add a link to the result, which the bar shows once the job has ended.

        Args:
            text: what the user reads, such as "Download".
            url: an http or https URL, or a path of this site that starts with a slash.

        Raises:
            ValueError: `text` is empty, or `url` is another kind of URL.
            NotTracking: outside the `with` block, or in another process.
        """
        link = link_field(text, url)
        self._check_tracking()
        self._set_fields({"link": link})

    @property
    def _kind(self) -> str:
        return kind_of({**self._stored, **self._fields})

    def _set_processed(self, rows: int) -> None:
        with self._lock:
            self._counted += rows - self.processed

    def _set_fields(self, fields: Fields) -> None:
        """Store fields as Redis will return them, if they fit."""
        values, sizes, left_out = Fields(), dict[str, int](), []
        for given, value in fields.items():
            if given.startswith("_"):
                raise InvalidProgress(
                    f"The field name {given!r} starts with an underscore; choose another"
                )
            name = as_name(given)
            is_own_text = name in KNOWN and isinstance(value, str)
            if (field := as_field(name, value[:OWN_LENGTH] if is_own_text else value)) is None:
                left_out.append(name)
                continue
            if field.is_cleaned:
                self._warn_once(
                    "cleaned", f"the value of {name!a} was changed to fit JSON: {field.value!a:.80}"
                )
            values[name], sizes[name] = field.value, field.size
        own = {name for name in values if name in KNOWN and sizes[name] < OWN_BYTES}
        others = {name: size for name, size in sizes.items() if name not in own}
        with self._lock:
            fit = own.union(self._limit.reserve(others))
            self._fields = {**self._fields, **{n: value for n, value in values.items() if n in fit}}
        if left_out := [*left_out, *(name for name in values if name not in fit)]:
            self._warn_of_size(left_out)

    def _warn_of_size(self, names: list[str]) -> None:
        left_out = ", ".join(map(ascii, names))[:200]
        limit = f"a snapshot is limited to {MAX_BYTES} bytes of JSON"
        self._warn_once("size", f"{left_out} and later fields may be left out: {limit}")

    def _warn_once(self, kind: str, text: str) -> None:
        """Log a warning, once per kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            logger.warning("Import %s: %s", self.job_id, text)

    def _note_stored(self, fields: Fields) -> None:
        """Note the job's fields before this attempt. Called in the writer's thread, once."""
        self._stored = fields
        with self._lock:
            names = self._limit.note_stored(fields)
            for name in names:
                self._counters.pop(name, None)
            self._fields = {n: value for n, value in self._fields.items() if n not in names}
        if names:
            self._warn_of_size(names)

    def _current_fields(self) -> Fields:
        """Return the current fields, without the rates."""
        # Read first: rows that are counted after the end do not belong to it.
        final = self._final
        # Fields of an earlier attempt are not written again, so that a later attempt finds them.
        unknown = {
            n: None for n in ("stage", "total_rows") if self._stored and n not in self._stored
        }
        total = self._total
        return {
            "status": "importing",
            "error_message": None,
            **unknown,
            **({"link": None} if self._stored.get("link") else {}),  # To an earlier result.
            **self._fields,
            **self._counters.copy(),  # Copied in one step: the loop runs on.
            **({"total_rows": total} if total is not None or self._total_is_given else {}),
            "processed_rows": self.processed,
            **final,
        }

    def _sample(self) -> Fields:
        """Return all current fields. Called in the writer's thread."""
        is_over = self._has_left or bool(self._final)
        fields, now = self._current_fields(), time.monotonic()
        processed = fields["processed_rows"]
        rate = self._rate.sample(now, processed)
        eta = None if is_over else self._eta.sample(now, rate, self.total, processed)
        return {
            "rows_per_second": None if rate is None else round(rate, 1),
            "eta_seconds": eta,
            **fields,
        }
