"""Circuit breakers shared by the threads and event loops of a process."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..core.errors import ProgressError, ProgressUnavailable
from .circuit_breaker import Admission, Breaker

PAUSE_SECONDS = 1.0
"""Between two probes."""
PROBE = "import-progress-probe"
"""The name of the thread."""


class SharedBreaker:
    """Refuses calls to a Redis that does not respond, and probes it in a thread meanwhile.

    Args:
        ping: makes one call with short time-outs; raises `ProgressUnavailable` if it fails.
    """

    def __init__(self, ping: Callable[[], object]) -> None:
        self._ping = ping
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._breaker = Breaker()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Make one call inside the `with` block, sync or async.

        Raises:
            ProgressUnavailable: Redis did not respond to an earlier call; this one is not made.
        """
        if self._pid != os.getpid():
            # After a fork: the lock may be held, and a probe made, by a thread of the parent.
            self._begin_anew()
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
        finally:  # Also if the caller was cancelled, which says nothing about Redis.
            now = time.monotonic()
            with self._lock:
                if failed is not None:
                    breaker.end(now, now - began, failed=failed)
                if admission is Admission.TRIAL:
                    breaker.end_trial()
            if failed:
                self._probe_in_a_thread(breaker)

    def _probe_in_a_thread(self, breaker: Breaker) -> None:
        """Begin to probe, unless somebody does so already, or the breaker is closed."""
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
        """Make one probe; whether to make another one."""
        began = time.monotonic()
        try:
            self._ping()
            failed = False
        except ProgressUnavailable:
            failed = True
        now = time.monotonic()
        with self._lock:
            return breaker.end_probe(now, now - began, failed=failed)
