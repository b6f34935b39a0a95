"""The thread that writes an import's progress to Redis while the loop does its work."""

from __future__ import annotations

import logging
import random
import secrets
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from ..core.errors import InvalidProgress, ProgressError, ProgressUnavailable
from ..core.lease import LOST, Attempt, Lease, WriteResult
from ..core.pacing import backoff_seconds
from ..core.snapshot import MAX_BYTES, Fields, is_terminal
from ..kinds import kind_of
from ..redis.executor import perform_sync
from ..service.base import now_text
from ..service.sync_manager import SyncProgressManager
from .awaitable_event import AwaitableEvent
from .fields import tracker_fields, without_time
from .process_exit import finishing, note_finishing
from .rejects.log import RejectLog
from .reporting_thread import FINAL_SECONDS, ReportingThread, running
from .sentences import failed

logger = logging.getLogger("django_import_progress")

T = TypeVar("T")

INTERVAL_SECONDS = 0.5
"""Interval of writes while something changes."""
RETRY_SECONDS = 30.0
"""How long a final status is retried, also after the `with` block: a fail-over takes time."""

FINAL_BYTES = 16 * MAX_BYTES
"""Limit of a snapshot for a final status and for the tracker's own fields, so that they fit."""


class Writer(ReportingThread):
    """Samples the import and writes what has changed.

    Redis never fails or slows the import: errors are logged here, one line per outage, and the
    write is retried.

    The owner of the methods passed in must be referenced elsewhere. Once it is garbage, nothing
    can call `stop` any more, and the writer ends the import.

    Args:
        manager: where to write.
        job_id: the job.
        owner: its owner's primary key as text.
        sample: a method that returns the current fields; called in this thread.
        reject_log: the rejected rows.
        stalled_after_seconds: how long the worker is considered alive after a write.
        on_result: a method that is called, in this thread, with the result of each write.
        on_start: a method that is called, in this thread, with the job's fields as the attempt
            found them.
    """

    def __init__(
        self,
        manager: SyncProgressManager,
        job_id: str,
        owner: str | None,
        sample: Callable[[], Fields],
        reject_log: RejectLog,
        *,
        stalled_after_seconds: float,
        on_result: Callable[[WriteResult], object],
        on_start: Callable[[Fields], object],
    ) -> None:
        super().__init__(job_id)
        self._manager = manager
        self._owner = owner
        self._sample = weakref.WeakMethod(sample)
        self._reject_log = reject_log
        self._on_result = weakref.WeakMethod(on_result)
        self._on_start = weakref.WeakMethod(on_start)
        self._kept_alive: object = None
        """The owner of these methods, from `stop` until the final status is written."""
        self._last: Fields = {}
        """The fields of the last sample."""
        self._lease = Lease(secrets.token_urlsafe(9), stalled_after_seconds)
        self._renewal_seconds = stalled_after_seconds / 3
        """Interval in which the lease is renewed."""
        self._written_at = 0.0
        self._listed_at = 0.0
        """When the job was last added to its lists."""
        self._reported_at = time.monotonic()
        self._is_stopping = False
        self._wake = AwaitableEvent()
        self._is_cancel_requested = False
        """Whether the tracker knows that cancellation was requested."""
        self.attempt: Attempt | None = None
        """None until Redis has the attempt."""
        self._writes = 0
        self.stopped_at = 0.0
        """Since when only the final status is left to write."""
        self._written: Fields = {}
        self._is_cut_short = False
        """Whether it was logged that the user's fields are not written."""
        self._is_over = False
        """Whether the job has ended or is no longer this attempt's: nothing can be written."""
        self._is_final_written = False
        """Whether Redis has the final status: only rejected rows may still be missing."""
        self._is_inline = False
        """Whether there is no thread, so that the import itself writes."""
        self.is_in_test = False
        """Whether the client keeps everything in memory, for a test."""
        self._exclusively: Callable[[Callable[[], object]], None] = _call_now
        """Calls a function while no other code uses this writer."""

    @property
    def run_id(self) -> str:
        """Identifies the attempt: its fencing token."""
        return self._lease.token

    @property
    def lag_seconds(self) -> float:
        """For how long Redis may lack the latest progress: half a second normally."""
        return time.monotonic() - self._reported_at

    def start(self) -> bool:
        """Start the thread. Without one the import writes as it starts, sets fields, and ends.

        Returns:
            Whether there is a thread. There is none if the system allows no more, or if the client
            writes `inline`, as that of the tests.
        """
        # Not `getattr`: the client of a Cluster connects to find out which attributes it has.
        inline = vars(self._manager.redis).get("inline")
        self.is_in_test = inline is not None
        self._is_inline = self.is_in_test or not super().start()
        if self._is_inline:
            self._exclusively = _call_now if inline is None else inline.exclusively
            self._exclusively(self._try_to_write)
            self.started.set()
            if inline is not None:
                inline.add_writer(self)
        return not self._is_inline

    def write_inline(self) -> None:
        """Write now, if there is no thread; not during an outage, which would slow the import."""
        if self._is_inline and not self._failing:
            self._exclusively(self.write_now)

    def write_now(self) -> bool:
        """Write without a thread; return whether anything may be left to write later.

        An import whose tracker is garbage is ended.
        """
        if self._sample() is None:
            logger.error("Import %s was interrupted", self.job_id)
            self._end_inline()
        else:
            self._try_to_write()
        return not (self.ended.is_set() or self._is_over)

    def flush(self) -> None:
        """Write now, and then set `flushed`. The lease is renewed until `stop`."""
        self._wake.set()
        if self._is_inline:
            self._exclusively(self._try_to_write)
            self.flushed.set()

    def stop(self) -> None:
        """Write the final status and end the thread; wait for `ended` if it matters."""
        self.stopped_at = time.monotonic()
        if self.is_alive() and not self._is_stopping:
            note_finishing(self)
        self._kept_alive = getattr(self._sample(), "__self__", None)
        self._is_stopping = True
        self._wake.set()
        if self._is_inline and not self.ended.is_set():
            self._exclusively(self._end_inline)

    def _end_inline(self) -> None:
        """Write the final status without a thread: once, since retrying would delay the import."""
        try:
            if not self._try_to_write():
                self.give_up()
        finally:
            self.flushed.set()
            self.ended.set()
            self._kept_alive = None

    @property
    def exit_deadline(self) -> float:
        """Until when an exiting process waits for the final status to be written."""
        return self.stopped_at + FINAL_SECONDS

    def run(self) -> None:
        """Write until `stop` is called or the tracker is garbage, then write the final status."""
        try:
            self._try_to_write()
            self.started.set()
            while True:
                is_woken = self._wake.wait(self._interval_seconds)
                self._wake.clear()
                if self._is_stopping:
                    break
                if self._sample() is None:  # The `with` block was never left.
                    logger.error("Import %s was interrupted", self.job_id)
                    break
                self._try_to_write()
                if is_woken:
                    self.flushed.set()
        finally:
            self._end_thread()

    @property
    def _interval_seconds(self) -> float:
        return min(INTERVAL_SECONDS, self._renewal_seconds)

    def _end_thread(self) -> None:
        note_finishing(self)
        self.stopped_at = self.stopped_at or time.monotonic()
        try:
            self._write_final()
        finally:
            self.flushed.set()
            self.ended.set()
            self._kept_alive = None
            finishing.discard(self)

    def _write_final(self) -> None:
        was_failing, failures, started_at = self._failing, 0, time.monotonic()
        retry_seconds = RETRY_SECONDS if was_failing else max(FINAL_SECONDS, RETRY_SECONDS)
        while not self._try_to_write():
            failures += 1
            pause = backoff_seconds(failures, random.random())
            passed = time.monotonic() + pause - started_at
            if passed > retry_seconds:
                self.give_up()
                return
            if was_failing or passed > FINAL_SECONDS:
                self.ended.set()
            time.sleep(pause)

    def _try_to_write(self) -> bool:
        """Write what has changed; return False if it must be retried."""
        try:
            self._write_changes()
        except ProgressError as error:
            self._failed(error, None)
            # Other errors would only occur again.
            return not isinstance(error, ProgressUnavailable)
        except Exception as error:
            self._failed(error, error)
            return False
        self._succeeded()
        return True

    def _failed(self, error: Exception, trace: Exception | None) -> None:
        if not self._failing:
            self._failing = True
            logger.warning(
                "Cannot report progress of import %s; retrying: %s",
                self.job_id,
                error,
                exc_info=trace,
            )

    def _succeeded(self) -> None:
        self._reported_at = time.monotonic()
        if self._failing:
            self._failing = False
            logger.info("Progress of import %s is reported again", self.job_id)

    def _write_changes(self) -> None:
        if self._is_over:
            return
        if self.attempt is None:
            self.attempt = self._start_attempt()
        if self.attempt is None:
            self._handle_result(WriteResult.SUPERSEDED)
            return
        fields = self._take_sample()
        is_final = is_terminal(fields)
        # Before the final status, because its viewers may then download the report.
        written = self._write_rejects(self.attempt, must_renew=is_final)
        if not self._is_final_written:
            self._write_snapshot(self.attempt, fields)
            self._is_final_written = is_final
        if written is not True and not self._is_over:
            written = self._write_rejects(self.attempt, must_renew=True)
        if isinstance(written, ProgressError):
            raise written

    def _write_rejects(self, attempt: Attempt, *, must_renew: bool) -> bool | ProgressError:
        """Write rejected rows; return whether Redis has all of them.

        An error is returned, so that the snapshot is written all the same.
        """
        log, calls = self._reject_log, self._manager.calls

        def write(stored: int, entries: list[bytes]) -> int:
            token = attempt.lease.args[0]
            add = calls.add_rejects(self.job_id, token, entries, stored=stored)
            return perform_sync(self._manager.redis, add)

        if not log.is_due(0 if must_renew else self._renewal_seconds):
            return True
        try:
            return log.send(write)
        except ProgressError as error:
            return error

    def _write_snapshot(self, attempt: Attempt, fields: Fields) -> None:
        if self._is_up_to_date(fields) and not self._has_job_changed():
            return
        try:
            result = self._write(attempt, fields, FINAL_BYTES if is_terminal(fields) else MAX_BYTES)
        except InvalidProgress as error:
            # Other code has filled the snapshot. Rows and lease are still written.
            if not self._is_cut_short:
                self._is_cut_short = True
                logger.warning(
                    "Import %s: only the tracker's own fields are updated: %s", self.job_id, error
                )
            result = self._write(attempt, tracker_fields(fields), FINAL_BYTES)
        self._note_written(fields)
        self._handle_result(result)

    def _take_sample(self) -> Fields:
        if (sample := self._sample()) is not None:
            self._last = sample()
            return self._last
        error_message = failed(self.job_id, kind_of(self._last))
        ended = {"status": "failed", "error_message": error_message, "eta_seconds": None}
        return {**self._last, **ended}

    def _has_job_changed(self) -> bool:
        """Read whether the job was cancelled, ended or taken over since the last write."""
        look = perform_sync(self._manager.redis, self._manager.calls.check_lease(self.job_id))
        return look.differs_from(self._lease, cancel_requested=self._is_cancel_requested)

    def _handle_result(self, result: WriteResult) -> None:
        self._is_over = result in LOST
        self._is_cancel_requested = result is WriteResult.CANCEL
        _call(self._on_result, result)

    def _is_up_to_date(self, fields: Fields) -> bool:
        """Return whether Redis has these fields and a fresh lease.

        Never during an outage: fields that have changed back do not show that it is over.
        """
        must_renew = time.monotonic() - self._written_at >= self._renewal_seconds
        return not (self._failing or must_renew) and without_time(fields) == self._written

    def _note_written(self, fields: Fields) -> None:
        self._written, self._written_at = without_time(fields), time.monotonic()

    def _start_attempt(self) -> Attempt | None:
        # Even if Redis was unavailable throughout the import, an attempt starts before it ends.
        sampled = tracker_fields(self._take_sample())
        fields = {**sampled, "status": "importing", "error_message": None}
        call = self._manager.calls.begin(self.job_id, self._owner, self._lease, fields, now_text())
        if (attempt := perform_sync(self._manager.redis, call)) is None:
            return None
        self._listed_at = time.monotonic()
        _call(self._on_start, attempt.base)
        # A job must not expire between two renewals of its lease.
        ttl_seconds = attempt.ttl_seconds or self._manager.calls.ttl_seconds
        self._renewal_seconds = min(self._renewal_seconds, ttl_seconds / 3)
        # An earlier try, whose response was lost, may have started with other fields.
        self._note_written(fields if fields.items() <= attempt.base.items() else {})
        if attempt.cancel_requested:
            self._handle_result(WriteResult.CANCEL)
        return attempt

    def _write(self, attempt: Attempt, fields: Fields, most_bytes: int) -> WriteResult:
        result = self._perform(attempt, fields, most_bytes, recreate=False)
        if result is WriteResult.MISSING:
            # Redis was emptied, or the job has expired: write all fields.
            result = self._perform(attempt, fields, most_bytes, recreate=True)
        return result

    def _perform(
        self, attempt: Attempt, fields: Fields, most_bytes: int, *, recreate: bool
    ) -> WriteResult:
        data = {**fields, "attempt": attempt.number}
        self._writes += 1
        now = time.monotonic()
        enlist = now - self._listed_at >= self._renewal_seconds
        write = partial(
            self._manager.calls.write, number=self._writes, may_create=recreate, enlist=enlist
        )
        call = write(self.job_id, attempt, data, now_text(), most_bytes=most_bytes)
        result = perform_sync(self._manager.redis, call)
        if enlist:
            self._listed_at = now
        return result


def _call_now(function: Callable[[], object]) -> None:
    function()


def _call(listener: weakref.WeakMethod[Callable[[T], object]], argument: T) -> None:
    """Call a method, unless its object is garbage."""
    if (method := listener()) is not None:  # pragma: no branch - it may be garbage by now
        method(argument)


def writers() -> set[Writer]:
    """Return the writers that run in this process, including those that write a final status."""
    return {writer for writer in list(running) if isinstance(writer, Writer) and writer.is_alive()}
