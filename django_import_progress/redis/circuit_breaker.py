"""A circuit breaker: while Redis does not respond, calls fail at once and a thread probes it.

`Breaker` decides, with time as an argument; `SharedBreaker` runs it for a whole process.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto

from ..core.errors import ProgressError, ProgressUnavailable

SLOW_SECONDS = 0.5
"""A failure that took at least this long opens the breaker: a time-out of any layer, or a name that
cannot be resolved. A refused connection fails at once, and costs nothing."""
OPEN_SECONDS = 3.0
"""How long calls are refused after the last slow failure."""
TRIAL_SECONDS = 15.0
"""A trial that takes longer is given up: its thread may not exist any more."""
INTEREST_SECONDS = 60.0
"""How long probing continues after the last call."""
PAUSE_SECONDS = 1.0
"""The pause between two probes."""
PROBE = "import-progress-probe"
"""The name of the thread that probes."""


class Admission(Enum):
    """The decision about a call."""

    CALL = auto()
    """Make it."""
    TRIAL = auto()
    """Make it; all others are refused until it has ended."""
    REFUSED = auto()
    """Do not make it."""


class Breaker:
    """The state of a circuit breaker: opened by a slow failure, closed by any other result.

    While it is open there is one trial at a time: a probe, or, if nothing has failed for
    `OPEN_SECONDS`, a call. So calls of a rarely visited site are not refused because of an outage
    that ended long ago.
    """

    def __init__(self) -> None:
        self._failed_at: float | None = None
        self._trial_at: float | None = None
        self._called_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last result was a slow failure."""
        return self._failed_at is not None

    def admit(self, now: float) -> Admission:
        """Decide about a call. Report the result of an admitted one to `end`.

        Args:
            now: seconds of a monotonic clock.
        """
        self._called_at = now
        if self._failed_at is None:
            return Admission.CALL
        if now - self._failed_at < OPEN_SECONDS or not self.begin_trial(now):
            return Admission.REFUSED
        return Admission.TRIAL

    def begin_trial(self, now: float) -> bool:
        """Start a trial if the breaker is open and no other trial runs; whether it started."""
        if self._failed_at is None:
            return False
        if self._trial_at is not None and now - self._trial_at < TRIAL_SECONDS:
            return False
        self._trial_at = now
        return True

    def end(self, now: float, waited: float, *, failed: bool) -> None:
        """Record the result of a call.

        Args:
            now: seconds.
            waited: seconds that the call took.
            failed: whether the server could not be reached, or refused to serve.
        """
        self._failed_at = now if failed and waited >= SLOW_SECONDS else None

    def end_trial(self) -> None:
        """End a trial, so that another one may start. Report its result, if any, to `end`."""
        self._trial_at = None

    def end_probe(self, now: float, waited: float, *, failed: bool) -> bool:
        """Record the result of a probe; whether to repeat it.

        If so, it remains the only trial.
        """
        self.end(now, waited, failed=failed)
        repeat = self.is_open and now - self._called_at < INTEREST_SECONDS
        self._trial_at = now if repeat else None
        return repeat


class SharedBreaker:
    """A circuit breaker for the threads and event loops of a process, with a thread that probes.

    Args:
        ping: makes a call with short time-outs; raises `ProgressUnavailable` if it fails.
    """

    def __init__(self, ping: Callable[[], object]) -> None:
        self._ping = ping
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._breaker = Breaker()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Make a call inside the `with` block, sync or async.

        Raises:
            ProgressUnavailable: Redis did not respond to an earlier call; the block is not run.
        """
        if self._pid != os.getpid():
            # After a fork: a thread of the parent may have held the lock, or made a probe.
            self._reset()
        breaker = self._breaker
        began = time.monotonic()
        with self._lock:
            admission = breaker.admit(began)
        if admission is Admission.REFUSED:
            self._probe_in_a_thread(breaker)
            raise ProgressUnavailable(
                "Redis did not respond to an earlier call; calls fail at once until it responds"
            ) from TimeoutError("an earlier call timed out")
        failed: bool | None = None
        try:
            yield
            failed = False
        except ProgressUnavailable:
            failed = True
            raise
        except ProgressError:  # Redis has responded.
            failed = False
            raise
        finally:  # Also if the caller was cancelled, which is not a result of Redis.
            now = time.monotonic()
            with self._lock:
                if failed is not None:
                    breaker.end(now, now - began, failed=failed)
                if admission is Admission.TRIAL:
                    breaker.end_trial()
            if failed:
                self._probe_in_a_thread(breaker)

    def _probe_in_a_thread(self, breaker: Breaker) -> None:
        """Start a thread that probes, unless there is one, or the breaker is closed."""
        with self._lock:
            if not breaker.begin_trial(time.monotonic()):
                return
        try:
            threading.Thread(target=self._probe, args=(breaker,), name=PROBE, daemon=True).start()
        except RuntimeError:  # No more threads: a later call tries again.
            with self._lock:
                breaker.end_trial()

    def _probe(self, breaker: Breaker) -> None:
        while self._probe_once(breaker):
            time.sleep(PAUSE_SECONDS)

    def _probe_once(self, breaker: Breaker) -> bool:
        """Make a probe; whether to make another one."""
        began = time.monotonic()
        try:
            self._ping()
            failed = False
        except ProgressUnavailable:
            failed = True
        now = time.monotonic()
        with self._lock:
            return breaker.end_probe(now, now - began, failed=failed)
