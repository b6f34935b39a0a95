"""The thread that tells Redis how far an import is, beside the loop that does the work."""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

from .clients import perform_sync
from .core.calls import Attempt
from .core.errors import InvalidProgress, ProgressError, ProgressUnavailable
from .core.pacing import backoff_seconds
from .core.snapshot import KNOWN, RATES, TRACKED, Fields, is_terminal
from .sync import SyncProgressManager
from .verbs import now_text

logger = logging.getLogger("django_import_progress")

INTERVAL_SECONDS = 0.5
"""How often something that changes is told."""
LAST_SECONDS = 5.0
"""How long the last state is tried to be told, before the `with` ends without it."""


class Writer(threading.Thread):
    """Samples the import and writes what changed.

    Nothing that Redis does fails or slows the import: whatever goes wrong here is logged, one line
    an outage, and tried again.

    Args:
        manager: where to write.
        job_id: the job.
        owner: its owner's primary key as text.
        sample: returns the fields as they are now; called in this thread.
    """

    def __init__(
        self,
        manager: SyncProgressManager,
        job_id: str,
        owner: str | None,
        sample: Callable[[], Fields],
    ) -> None:
        super().__init__(name=f"import-progress-{job_id}", daemon=True)
        self.began = threading.Event()
        """Set when the attempt stands in Redis."""
        self.ended = threading.Event()
        """Set when nothing more will be written."""
        self.on_change: Callable[[], object] = lambda: None
        """Called, in this thread, when one of the two was set."""
        self._manager = manager
        self._job_id = job_id
        self._owner = owner
        self._sample = sample
        self._stopping = threading.Event()
        self._worker = uuid.uuid4().hex
        self._attempt: Attempt | None = None
        self._writes = 0
        self._written: Fields = {}
        self._failing = False
        self._gave_up = False

    def stop(self) -> None:
        """Have the last state written, and end; wait for `ended` if it matters."""
        self._stopping.set()

    def give_up(self) -> None:
        """Say that the end is not told: nobody waits for it any longer."""
        if not self._gave_up:
            self._gave_up = True
            logger.error("The end of import %s could not be told", self._job_id)

    def run(self) -> None:
        """Write until `stop` is called, and then once more."""
        try:
            self._try_to_write()
            while not self._stopping.wait(INTERVAL_SECONDS):
                self._try_to_write()
            self._write_the_last()
        finally:
            self._note(self.ended)

    def _write_the_last(self) -> None:
        deadline, failures = time.monotonic() + LAST_SECONDS, 0
        while not self._try_to_write():
            failures += 1
            pause = backoff_seconds(failures, random.random())
            if time.monotonic() + pause > deadline:
                self.give_up()
                return
            time.sleep(pause)

    def _note(self, event: threading.Event) -> None:
        event.set()
        with suppress(RuntimeError):  # The event loop that waited has been closed.
            self.on_change()

    def _try_to_write(self) -> bool:
        """Write what changed; False where that must be tried again."""
        try:
            self._write_changes()
        except ProgressError as error:
            self._failed(error, None)
            return not isinstance(error, ProgressUnavailable)  # Else it would not be better later.
        except Exception as error:
            self._failed(error, error)
            return False
        self._failing = False
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

    def _write_changes(self) -> None:
        if self._attempt is None:
            self._attempt = self._begin()
        fields = self._sample()
        if _steady(fields) == self._written:
            return
        try:
            self._write(self._attempt, fields)
        except InvalidProgress:
            if not is_terminal(fields):
                raise
            # What the user added is too large, or has no JSON. The end must be told all the same.
            self._write(self._attempt, _own(fields))
        self._written = _steady(fields)

    def _begin(self) -> Attempt:
        # An end comes after a beginning, though Redis was away all the time in between.
        fields = {**_own(self._sample()), "status": "importing", "error_message": None}
        begin = self._manager.calls.begin
        call = begin(self._job_id, self._owner, fields, now_text(), self._worker)
        attempt = perform_sync(self._manager.redis, call)
        # Not where an earlier try, whose answer was lost, has begun with other fields.
        begun = fields.items() <= attempt.base.items()
        self._written = _steady(fields) if begun else {}
        self._note(self.began)
        return attempt

    def _write(self, attempt: Attempt, fields: Fields) -> None:
        if not self._perform(attempt, fields, anew=False):
            # Redis was emptied, or the job has expired or was deleted: the whole of it, anew.
            self._perform(attempt, {**attempt.base, **fields}, anew=True)

    def _perform(self, attempt: Attempt, fields: Fields, *, anew: bool) -> bool:
        data = {**fields, "attempt": attempt.number}
        self._writes += 1
        write = self._manager.calls.write
        call = write(self._job_id, attempt, data, now_text(), number=self._writes, anew=anew)
        return perform_sync(self._manager.redis, call)


def _own(fields: Fields) -> Fields:
    """Leave out what the user added."""
    return {name: value for name, value in fields.items() if name in KNOWN | TRACKED}


def _steady(fields: Fields) -> Fields:
    """Leave out what changes by the mere passing of time: it is no reason to write."""
    return {name: value for name, value in fields.items() if name not in RATES}
