"""The thread that tells Redis how far an import is, beside the loop that does the work."""

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
from ..redis.executor import perform_sync
from ..service.base import now_text
from ..service.sync_manager import SyncProgressManager
from .flag import Flag
from .outcome import neutral_message
from .process_exit import leaving, note_leaving
from .samples import own_fields, steady
from .waiting import LAST_SECONDS, Awaited, running

logger = logging.getLogger("django_import_progress")

T = TypeVar("T")

INTERVAL_SECONDS = 0.5
"""How often something that changes is told."""
BESIDE_SECONDS = 30.0
"""How long it is tried in all, beside what comes after the `with`: a fail-over takes its time."""

END_BYTES = 16 * MAX_BYTES
"""How large a snapshot may be that tells the end, or the tracker's own fields: they get through."""


class Writer(Awaited):
    """Samples the import and writes what changed.

    Nothing that Redis does fails or slows the import: whatever goes wrong here is logged, one line
    an outage, and tried again.

    Args:
        manager: where to write.
        job_id: the job.
        owner: its owner's primary key as text.
        sample: a method that returns the fields as they are now; called in this thread.
        stalled_after_seconds: how long the worker is believed alive after a write.
        on_told: a method that is called, in this thread, with the result of each write.
        on_begun: a method that is called, in this thread, with the job's fields as the attempt
            found them.

    Whose methods these are must be referred to elsewhere: once it is garbage, nobody will call
    `stop`, and the import has ended.
    """

    def __init__(
        self,
        manager: SyncProgressManager,
        job_id: str,
        owner: str | None,
        sample: Callable[[], Fields],
        *,
        stalled_after_seconds: float,
        on_told: Callable[[WriteResult], object],
        on_begun: Callable[[Fields], object],
    ) -> None:
        super().__init__(job_id)
        self._manager = manager
        self._owner = owner
        self._sample = weakref.WeakMethod(sample)
        self._on_told = weakref.WeakMethod(on_told)
        self._on_begun = weakref.WeakMethod(on_begun)
        self._kept: object = None
        """Whose methods these are; kept from `stop` until the end is written."""
        self._last: Fields = {}
        """The fields of the last sample."""
        self._lease = Lease(secrets.token_urlsafe(9), stalled_after_seconds)
        self._beat_seconds = stalled_after_seconds / 3
        self._written_at = 0.0
        self._listed_at = 0.0
        """When the job was last entered into its lists."""
        self._told_at = time.monotonic()
        self._is_stopping = False
        self._wake = Flag()
        self._asked_to_stop = False
        """Whether it is known here that cancellation was requested."""
        self.attempt: Attempt | None = None
        """What Redis has said of it; None until then."""
        self._writes = 0
        self.left_at = 0.0
        """Since when there is nothing more to be told than the end."""
        self._written: Fields = {}
        self._is_cut_short = False
        """Whether it was logged that the import's own fields are not written."""
        self._is_over = False
        """Whether the job is not this attempt's any more, or has ended: nothing can be added."""

    @property
    def lag_seconds(self) -> float:
        """For how long Redis may not have all of the import: half a second where all is well."""
        return time.monotonic() - self._told_at

    def start(self) -> bool:
        """Start the thread; without one the import runs and is not reported."""
        has_started = super().start()
        if not has_started:
            self._is_over = True
            for flag in (self.began, self.held, self.ended):
                flag.set()
        return has_started

    def hold(self) -> None:
        """Write now what there is; `held` is set then. The lease is renewed until `stop`."""
        self._wake.set()

    def stop(self) -> None:
        """Have the last state written, and end; wait for `ended` if it matters."""
        self.left_at = time.monotonic()
        if self.is_alive() and not self._is_stopping:
            note_leaving(self)
        self._kept = getattr(self._sample(), "__self__", None)
        self._is_stopping = True
        self._wake.set()

    @property
    def last_chance_until(self) -> float:
        """Until when a process that ends waits for the end to be written."""
        return self.left_at + LAST_SECONDS

    def run(self) -> None:
        """Write until `stop` is called, or nobody is left to call it, and then once more."""
        try:
            self._try_to_write()
            self.began.set()
            while True:
                is_woken = self._wake.wait(self._interval_seconds)
                self._wake.clear()
                if self._is_stopping:
                    break
                if self._sample() is None:  # The `with` block was not left as it should be.
                    logger.error("Import %s was interrupted", self.job_id)
                    break
                self._try_to_write()
                if is_woken:
                    self.held.set()
        finally:
            self._run_to_the_end()

    @property
    def _interval_seconds(self) -> float:
        return min(INTERVAL_SECONDS, self._beat_seconds)

    def _run_to_the_end(self) -> None:
        note_leaving(self)
        self.left_at = self.left_at or time.monotonic()
        try:
            self._write_the_last()
        finally:
            self.held.set()
            self.ended.set()
            self._kept = None
            leaving.discard(self)

    def _write_the_last(self) -> None:
        was_away, failures, begun = self._failing, 0, time.monotonic()
        tried_seconds = BESIDE_SECONDS if was_away else max(LAST_SECONDS, BESIDE_SECONDS)
        while not self._try_to_write():
            failures += 1
            pause = backoff_seconds(failures, random.random())
            passed = time.monotonic() + pause - begun
            if passed > tried_seconds:
                self.give_up()
                return
            if was_away or passed > LAST_SECONDS:
                self.ended.set()
            time.sleep(pause)

    def _try_to_write(self) -> bool:
        """Write what changed; False where that must be tried again."""
        try:
            self._write_changes()
        except ProgressError as error:
            self._failed(error, None)
            # Of other errors it would not be better later.
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
                "The progress of import %s is not told for now: %s",
                self.job_id,
                error,
                exc_info=trace,
            )

    def _succeeded(self) -> None:
        self._told_at = time.monotonic()
        if self._failing:
            self._failing = False
            logger.info("The progress of import %s is told again", self.job_id)

    def _write_changes(self) -> None:
        if self._is_over:
            return
        if self.attempt is None:
            self.attempt = self._begin()
        if self.attempt is None:
            self._note_told(WriteResult.SUPERSEDED)
            return
        fields = self._take_sample()
        if self._is_told(fields) and not self._has_news():
            return
        try:
            told = self._write(
                self.attempt, fields, END_BYTES if is_terminal(fields) else MAX_BYTES
            )
        except InvalidProgress as error:
            # Others have filled the snapshot. Rows, lease and a request to cancel get through.
            if not self._is_cut_short:
                self._is_cut_short = True
                logger.warning("Import %s: own fields are not updated: %s", self.job_id, error)
            told = self._write(self.attempt, own_fields(fields), END_BYTES)
        self._note_written(fields)
        self._note_told(told)

    def _take_sample(self) -> Fields:
        if (sample := self._sample()) is not None:
            self._last = sample()
            return self._last
        error_message = neutral_message(self.job_id)
        ended = {"status": "failed", "error_message": error_message, "eta_seconds": None}
        return {**self._last, **ended}

    def _has_news(self) -> bool:
        """Read, as often as there could have been a write, whether one would tell something."""
        look = perform_sync(self._manager.redis, self._manager.calls.check_lease(self.job_id))
        return look.differs_from(self._lease, cancel_requested=self._asked_to_stop)

    def _note_told(self, told: WriteResult) -> None:
        self._is_over = told in LOST
        self._asked_to_stop = told is WriteResult.CANCEL
        _call(self._on_told, told)

    def _is_told(self, fields: Fields) -> bool:
        """Tell whether Redis has them all, and has heard of us lately.

        During an outage nothing is told: what has changed back does not show that it is over.
        """
        is_time_to_beat = time.monotonic() - self._written_at >= self._beat_seconds
        return not (self._failing or is_time_to_beat) and steady(fields) == self._written

    def _note_written(self, fields: Fields) -> None:
        self._written, self._written_at = steady(fields), time.monotonic()

    def _begin(self) -> Attempt | None:
        # An end comes after a beginning, though Redis was away all the time in between.
        fields = {**own_fields(self._take_sample()), "status": "importing", "error_message": None}
        call = self._manager.calls.begin(self.job_id, self._owner, self._lease, fields, now_text())
        if (attempt := perform_sync(self._manager.redis, call)) is None:
            return None
        self._listed_at = time.monotonic()
        _call(self._on_begun, attempt.base)
        # A job must not expire between two signs of life.
        ttl_seconds = attempt.ttl_seconds or self._manager.calls.ttl_seconds
        self._beat_seconds = min(self._beat_seconds, ttl_seconds / 3)
        # Not where an earlier try, whose answer was lost, has begun with other fields.
        self._note_written(fields if fields.items() <= attempt.base.items() else {})
        if attempt.cancel_requested:
            self._note_told(WriteResult.CANCEL)
        return attempt

    def _write(self, attempt: Attempt, fields: Fields, most_bytes: int) -> WriteResult:
        told = self._perform(attempt, fields, most_bytes, anew=False)
        if told is WriteResult.MISSING:
            # Redis was emptied, or the job has expired: the whole of it again.
            told = self._perform(attempt, fields, most_bytes, anew=True)
        return told

    def _perform(
        self, attempt: Attempt, fields: Fields, most_bytes: int, *, anew: bool
    ) -> WriteResult:
        data = {**fields, "attempt": attempt.number}
        self._writes += 1
        now = time.monotonic()
        enlist = now - self._listed_at >= self._beat_seconds
        write = partial(
            self._manager.calls.write, number=self._writes, may_create=anew, enlist=enlist
        )
        call = write(self.job_id, attempt, data, now_text(), most_bytes=most_bytes)
        told = perform_sync(self._manager.redis, call)
        if enlist:
            self._listed_at = now
        return told


def _call(listener: weakref.WeakMethod[Callable[[T], object]], news: T) -> None:
    """Call a method, unless its object is garbage."""
    if (method := listener()) is not None:  # pragma: no branch - it may be garbage by now
        method(news)


def writers() -> set[Writer]:
    """Return those that report an import in this process, or its end still."""
    return {writer for writer in list(running) if isinstance(writer, Writer) and writer.is_alive()}
