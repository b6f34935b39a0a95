"""The thread that tells Redis how far an import is, beside the loop that does the work."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from .clients import perform_sync
from .core.calls import Attempt
from .core.errors import ProgressError, ProgressUnavailable
from .core.pacing import backoff_seconds
from .core.snapshot import RATES, Fields
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
        self._manager = manager
        self._job_id = job_id
        self._owner = owner
        self._sample = sample
        self._stopping = threading.Event()
        self._attempt: Attempt | None = None
        self._written: Fields = {}
        self._failing = False

    def finish(self) -> None:
        """Have the last state written, and wait for it, within bounds."""
        self._stopping.set()
        self.join(LAST_SECONDS + 2 * INTERVAL_SECONDS)

    def run(self) -> None:
        """Write until `finish` is called, and then once more."""
        self._try_to_write()
        while not self._stopping.wait(INTERVAL_SECONDS):
            self._try_to_write()
        deadline, failures = time.monotonic() + LAST_SECONDS, 0
        while not self._try_to_write():
            failures += 1
            pause = backoff_seconds(failures, random.random())
            if time.monotonic() + pause > deadline:
                logger.error("The end of import %s could not be told", self._job_id)
                return
            time.sleep(pause)

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
            self._begin()
        fields = self._sample()
        if _steady(fields) != self._written:
            self._write(fields)
            self._written = _steady(fields)

    def _begin(self) -> None:
        fields = self._sample()
        call = self._manager.calls.begin(self._job_id, self._owner, fields, now_text())
        self._attempt = perform_sync(self._manager.redis, call)
        self._written = _steady(fields)
        self.began.set()

    def _write(self, fields: Fields) -> None:
        assert self._attempt is not None
        if not self._perform(fields, self._attempt.number, anew=False):
            # Redis was emptied, or the job has expired or was deleted: the whole of it, anew.
            whole = {**self._attempt.base, **fields}
            self._perform(whole, self._attempt.number, anew=True)

    def _perform(self, fields: Fields, attempt: int, *, anew: bool) -> bool:
        data, calls = {**fields, "attempt": attempt}, self._manager.calls
        call = calls.write(self._job_id, attempt, self._owner, data, now_text(), anew=anew)
        return perform_sync(self._manager.redis, call)


def _steady(fields: Fields) -> Fields:
    """Leave out what changes by the mere passing of time: it is no reason to write."""
    return {name: value for name, value in fields.items() if name not in RATES}
