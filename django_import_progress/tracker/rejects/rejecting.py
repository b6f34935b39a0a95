"""Rejects rows: counts and keeps them, limits their number, and ends an import as failed."""

from __future__ import annotations

from collections.abc import Collection
from itertools import chain
from typing import Any, TypeVar

from ...conf import settings
from ...core.errors import ImportFailed, InvalidProgress, TooManyRejects
from ...core.rejects import Reject
from ...core.snapshot import Fields
from ..fields import as_count
from ..interrupts import Stoppable
from ..sentences import failed, too_many_rejects
from ..user_texts import given_text
from .guard import Exposed, Guard, exception_classes
from .log import RejectLog
from .values import MAX_ENTRY_BYTES, reason_text, row_values

T = TypeVar("T")


class Rejecting(Stoppable):
    """A tracker that keeps the rows which could not be imported.

    Args:
        job_id: the job.
        total: the number of rows, if known.
        stage: the first stage.
        expose: exceptions that reject a row in a guard, and whose message the end user may see.
        max_rejects: how many rows may be rejected; None: any number.
        redact: columns whose values are not kept.
    """

    def __init__(
        self,
        job_id: str,
        total: int | None,
        stage: str | None,
        *,
        expose: Exposed,
        max_rejects: int | None,
        redact: Collection[str],
    ) -> None:
        super().__init__(job_id, total, stage)
        if max_rejects is not None and (type(max_rejects) is not int or max_rejects < 0):
            raise InvalidProgress(
                f"Invalid max_rejects {max_rejects!r}: pass a number of rows, or None for any"
            )
        if isinstance(redact, str) or not all(isinstance(name, str) for name in redact):
            raise InvalidProgress(
                f"Invalid redact {redact!r}: pass a tuple of column names, such as ('iban',)"
            )
        self._expose = exception_classes(expose)
        self._max_rejects = max_rejects
        self._redact = frozenset(redact)
        self._reject_log = RejectLog(settings.rejects_max_bytes)
        self._rejected = 0
        self._unfinished: set[int] = set()
        """Numbers of rejected rows that were not counted as processed yet."""
        self._place = -1
        """Where in the batch the last rejected row was found."""
        self._processed_before = 0
        """How many rows had been processed when the last row was rejected."""
        self._last_row: object = None
        """The row that was rejected last."""
        self._failure: str | None = None
        """The error message of an import that this tracker itself has failed."""
        self._overflow: TooManyRejects | None = None

    @property
    def rejected(self) -> int:
        """The number of rejected rows."""
        return self._rejected

    def reject(self, row: Any, reason: object, *, line: int | None = None) -> None:
        """Count a row as rejected, and keep it for the report. Safe in threads.

        A row of `rows()` or `batches()` that is rejected more than once counts once, with its first
        reason.

        Args:
            row: the row: a mapping, a sequence, or one value.
            reason: why, for the end user: a text, an exception whose message it is, or errors such
                as `form.errors`.
            line: the line in the file on which the row ends, such as `csv.reader().line_num`.

        Raises:
            TooManyRejects: this row is one more than `max_rejects`.
            InvalidProgress: `reason` or `line` has a wrong type.
            NotTracking: outside the `with` block, or in another process.
        """
        text, line = reason_text(reason), None if line is None else as_count(line)
        self._check_tracking()
        values = self._values_of(row)
        with self._lock:
            processed = self.processed
            if processed != self._processed_before:  # A loop counts the rows of a batch together.
                self._processed_before, self._place = processed, -1
                self._unfinished.clear()
            number = self._number_of(row, processed)
            if self._was_rejected(number, row):
                return
            self._last_row = row
            reject = Reject(row=number, line=line, reason=text, data=values)
            self._keep(reject)
            self._rejected += 1
            if number is not None:
                self._unfinished.add(number)
        if self._max_rejects is not None and self._rejected > self._max_rejects:
            raise self._too_many(self._max_rejects)

    def guard(
        self,
        row: Any,
        *,
        line: int | None = None,
        expose: Exposed = (),
        atomic: bool = True,
        using: str | None = None,
    ) -> Guard:
        """Return a context manager that rejects a row whose body raises `ValidationError`.

        ::

            for row in job.rows(reader):
                with job.guard(row, line=reader.line_num):
                    save(row)

        The body runs in a transaction or savepoint, which is rolled back if the row is rejected.
        Other exceptions propagate. Works with `async with` as well.

        Args:
            row: the row.
            line: its line in the file.
            expose: further exceptions that reject the row, besides those of `track_import`.
            atomic: whether to use a savepoint.
            using: the alias of the database.

        Raises:
            TooManyRejects: see `reject`.
            TypeError: `expose` is not an exception class.
        """
        kinds = (*self._expose, *exception_classes(expose))
        return Guard(self, row, line, kinds, using=using, is_atomic=atomic)

    def fail(self, message: object) -> None:
        """End the import as failed: no further row is run.

        Args:
            message: why, for the end user: like a `reason` of `reject`.

        Raises:
            ImportFailed: always; the `with` block absorbs it.
            InvalidProgress: `message` has a wrong type.
            NotTracking: outside the `with` block, or in another process.
        """
        text = given_text(message).strip()
        self._check_tracking()
        self._failure = text or failed(self.job_id, self._kind)
        self.interrupt = self._failed_by_caller
        raise self._failed_by_caller()

    def _failed_by_caller(self) -> BaseException:
        error = ImportFailed(self._failure)
        error.tracker = self
        return error

    def _too_many(self, limit: int) -> TooManyRejects:
        self._failure = too_many_rejects(limit, self._kind)
        self._overflow = TooManyRejects(self._failure)
        self.interrupt = self._raise_overflow_again
        return self._overflow

    def _raise_overflow_again(self) -> BaseException:
        assert self._overflow is not None
        return self._overflow

    def _number_of(self, row: Any, processed: int) -> int | None:
        """Return the number of the row that is being processed; None if it is not known.

        In a batch it is found by identity, also as a part of a tuple such as its line and itself.
        """
        if self.batch is None:
            return processed + 1
        if isinstance(self.batch, list | tuple):
            # Behind the last one first: rows are mostly rejected in their order, and equal rows
            # may be the same object.
            size = len(self.batch)
            behind = min(self._place + 1, size)
            for place in chain(range(behind, size), range(behind)):
                item = self.batch[place]
                parts = item if isinstance(item, tuple) else ()
                if item is row or any(part is row for part in parts):
                    self._place = place
                    return processed + place + 1
        return None

    def _was_rejected(self, number: int | None, row: Any) -> bool:
        """Return whether a row of a loop was rejected before.

        Threads may reject several rows while the loop is at one of them: then numbers do not tell.
        """
        is_known = bool(self._cells) and number in self._unfinished
        return is_known and (self.batch is not None or row is self._last_row)

    def _values_of(self, row: Any) -> Fields:
        try:
            return row_values(row, self._redact)
        except Exception:  # A row of the user's own class may do anything.
            self._warn_once("row", f"the values of a rejected row cannot be read: {type(row)!r}")
            return {}

    def _keep(self, reject: Reject) -> None:
        entry = reject.encode()
        if len(entry) > MAX_ENTRY_BYTES:
            entry = Reject(row=reject.row, line=reject.line, reason=reject.reason, data={}).encode()
        self._reject_log.add(entry)

    def _count_unfinished(self) -> None:
        """Count rejected rows whose body was left by an exception: they have been processed."""
        with self._lock:
            processed = self.processed
            self._counted += sum(number > processed for number in self._unfinished)
            self._unfinished.clear()

    def _current_fields(self) -> Fields:
        fields = super()._current_fields()
        return {**fields, "rejected_rows": self._rejected} if self._rejected else fields
