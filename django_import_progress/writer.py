"""The thread that tells Redis how far an import is, beside the loop that does the work."""

from __future__ import annotations

import atexit
import logging
import random
import secrets
import threading
import time
from collections.abc import Callable

from .clients import perform_sync
from .core.attempt import Attempt, Lease, Told
from .core.errors import InvalidProgress, ProgressError, ProgressUnavailable
from .core.pacing import backoff_seconds
from .core.snapshot import MAX_BYTES, Fields, is_terminal
from .flag import Flag
from .samples import own_fields, steady
from .sync import SyncProgressManager
from .verbs import now_text

logger = logging.getLogger("django_import_progress")

INTERVAL_SECONDS = 0.5
"""How often something that changes is told."""
LAST_SECONDS = 5.0
"""How long the `with`, or a process that ends, waits for the last state to be told."""
BESIDE_SECONDS = 30.0
"""How long it is tried in all, beside what comes after the `with`: a fail-over takes its time."""

END_BYTES = 16 * MAX_BYTES
"""How large a snapshot may be that tells the end, or the tracker's own fields: they get through."""
END_SECONDS = LAST_SECONDS + 2 * INTERVAL_SECONDS
"""How long leaving waits at most, for the end to stand in Redis."""

AWAY_TURNS = 10
"""How long it waits where Redis is known to be away: it may be back by now."""

_leaving: dict[threading.Thread, Writer] = {}
"""Those that may still have an end to tell, by the thread that does."""


class Writer(threading.Thread):
    """Samples the import and writes what changed.

    Nothing that Redis does fails or slows the import: whatever goes wrong here is logged, one line
    an outage, and tried again.

    Args:
        manager: where to write.
        job_id: the job.
        owner: its owner's primary key as text.
        sample: returns the fields as they are now; called in this thread.
        stalled_after_seconds: how long the worker is believed alive after a write.
        on_told: called, in this thread, with what Redis says of the job after each write.
        on_begun: called, in this thread, with the job's fields as the attempt found them.
    """

    def __init__(
        self,
        manager: SyncProgressManager,
        job_id: str,
        owner: str | None,
        sample: Callable[[], Fields],
        *,
        stalled_after_seconds: float,
        on_told: Callable[[Told], object],
        on_begun: Callable[[Fields], object] = lambda _: None,
    ) -> None:
        super().__init__(name=f"import-progress-{job_id}", daemon=True)
        self.began = Flag()
        """Set when the attempt stands in Redis, or Redis is known to be away."""
        self.ended = Flag()
        """Set when the end stands in Redis, or nobody has to wait for that."""
        self._manager = manager
        self._job_id = job_id
        self._owner = owner
        self._sample = sample
        self._on_told = on_told
        self._on_begun = on_begun
        self._lease = Lease(secrets.token_urlsafe(9), stalled_after_seconds)
        self._beat_seconds = stalled_after_seconds / 3
        self._written_at = 0.0
        self._told_at = time.monotonic()
        self._stopping = threading.Event()
        self._turn = threading.Lock()
        """An end that was held back has a thread of its own, and the first may still be trying."""
        self.attempt: Attempt | None = None
        """What Redis has said of it; None until then."""
        self._writes = 0
        self.left_at = 0.0
        """Since when there is nothing more to be told than the end."""
        self._gave_up = False
        self._written: Fields = {}
        self._failing = False
        self._is_cut_short = False
        self._is_over = False
        """Whether the job is not this attempt's any more, or has ended: nothing can be added."""

    @property
    def lag_seconds(self) -> float:
        """For how long Redis may not have all of the import: half a second where all is well."""
        return time.monotonic() - self._told_at

    def stop(self) -> None:
        """Have the last state written, and end; wait for `ended` if it matters."""
        self._leave(self)
        self._stopping.set()

    def _leave(self, thread: threading.Thread) -> None:
        """Have this thread tell the end, which may be waited for from now on."""
        self.left_at = time.monotonic()
        _leaving[thread] = self

    def give_up(self) -> None:
        """Say that the end is not told: nobody waits for it any longer."""
        if not self._gave_up:
            self._gave_up = True
            logger.error("The end of import %s could not be told", self._job_id)

    def wait_for_the_end(self) -> None:
        """Wait until the end stands in Redis, or for as long as it is tried.

        Where Redis is known to be away it is tried beside, and waited for a moment only.
        """
        if self._is_away:
            self.ended.wait_a_moment(AWAY_TURNS)
        elif not self.ended.wait(END_SECONDS):
            self.give_up()  # It may hang in a client of more patience.

    async def wait_for_the_end_in_loop(self) -> None:
        """Do the same without a thread."""
        if self._is_away:
            await self.ended.wait_a_moment_in_loop(AWAY_TURNS)
        elif not await self.ended.wait_in_loop(END_SECONDS):
            self.give_up()

    @property
    def _is_away(self) -> bool:
        """Whether Redis did not take the last write, or has not answered the first one yet."""
        return self._failing or not self.began.is_set()

    def run(self) -> None:
        """Write until `stop` is called, and then once more."""
        try:
            self._try_to_write()
            self.began.set()
            while not self._stopping.wait(self._interval_seconds):
                self._try_to_write()
        finally:
            self._run_to_the_end()

    @property
    def _interval_seconds(self) -> float:
        return min(INTERVAL_SECONDS, self._beat_seconds)

    def tell_the_end(self) -> None:
        """Write once more after `ended`, in a thread of its own: wait for `ended` again."""
        self.ended.clear()
        thread = threading.Thread(target=self._run_to_the_end, name=self.name, daemon=True)
        self._leave(thread)
        thread.start()

    def _run_to_the_end(self) -> None:
        try:
            self._write_the_last()
        finally:
            self.ended.set()
            _leaving.pop(threading.current_thread(), None)

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
        with self._turn:
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
                self._job_id,
                error,
                exc_info=trace,
            )

    def _succeeded(self) -> None:
        self._told_at = time.monotonic()
        if self._failing:
            self._failing = False
            logger.info("The progress of import %s is told again", self._job_id)

    def _write_changes(self) -> None:
        if self._is_over:
            return
        if self.attempt is None:
            self.attempt = self._begin()
        fields = self._sample()
        if self._is_told(fields):
            return
        try:
            told = self._write(
                self.attempt, fields, END_BYTES if is_terminal(fields) else MAX_BYTES
            )
        except InvalidProgress as error:
            # Others have filled the snapshot. Rows, lease and a request to cancel get through.
            if not self._is_cut_short:
                self._is_cut_short = True
                logger.warning("Import %s: own fields are not updated: %s", self._job_id, error)
            told = self._write(self.attempt, own_fields(fields), END_BYTES)
        self._note_written(fields)
        self._is_over = told in {Told.ENDED, Told.SUPERSEDED, Told.DELETED}
        self._on_told(told)

    def _is_told(self, fields: Fields) -> bool:
        """Tell whether Redis has them all, and has heard of us lately.

        During an outage nothing is told: what has changed back does not show that it is over.
        """
        is_time_to_beat = time.monotonic() - self._written_at >= self._beat_seconds
        return not (self._failing or is_time_to_beat) and steady(fields) == self._written

    def _note_written(self, fields: Fields) -> None:
        self._written, self._written_at = steady(fields), time.monotonic()

    def _begin(self) -> Attempt:
        # An end comes after a beginning, though Redis was away all the time in between.
        fields = {**own_fields(self._sample()), "status": "importing", "error_message": None}
        call = self._manager.calls.begin(self._job_id, self._owner, self._lease, fields, now_text())
        attempt = perform_sync(self._manager.redis, call)
        self._on_begun(attempt.base)
        # A job must not expire between two signs of life.
        ttl_seconds = attempt.ttl_seconds or self._manager.calls.ttl_seconds
        self._beat_seconds = min(self._beat_seconds, ttl_seconds / 3)
        # Not where an earlier try, whose answer was lost, has begun with other fields.
        self._note_written(fields if fields.items() <= attempt.base.items() else {})
        if attempt.asked_to_stop:
            self._on_told(Told.STOP)
        return attempt

    def _write(self, attempt: Attempt, fields: Fields, most_bytes: int) -> Told:
        told = self._perform(attempt, fields, most_bytes, anew=False)
        if told is Told.GONE:
            # Redis was emptied, or the job has expired: the whole of it again.
            told = self._perform(attempt, fields, most_bytes, anew=True)
        return told

    def _perform(
        self, attempt: Attempt, fields: Fields, most_bytes: int = MAX_BYTES, *, anew: bool
    ) -> Told:
        data = {**fields, "attempt": attempt.number}
        self._writes += 1
        write = self._manager.calls.write
        call = write(
            *(self._job_id, attempt, data, now_text()),
            number=self._writes,
            anew=anew,
            most_bytes=most_bytes,
        )
        return perform_sync(self._manager.redis, call)


def writers() -> set[Writer]:
    """Return those that tell of an import in this process, or of its end still."""
    running = {thread for thread in threading.enumerate() if isinstance(thread, Writer)}
    # A fork takes over the list, and not the threads.
    return running | {writer for thread, writer in list(_leaving.items()) if thread.is_alive()}


@atexit.register
def _wait_for_those_who_leave() -> None:
    """Give what is tried beside a last chance: with the process, its threads will be gone."""
    for thread, writer in list(_leaving.items()):
        thread.join(max(writer.left_at + LAST_SECONDS - time.monotonic(), 0))
        if thread.is_alive():  # pragma: no branch - whether it is depends on the moment
            writer.give_up()
