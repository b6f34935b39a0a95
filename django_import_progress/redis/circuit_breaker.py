"""A circuit breaker: whether to call a server that kept a caller waiting; time is an argument."""

from __future__ import annotations

from enum import Enum, auto

SLOW_SECONDS = 0.5
"""A failure that took at least so long opens the breaker: a time-out of any layer, or a name
that cannot be resolved. A refused connection fails at once, and costs nobody anything."""
OPEN_SECONDS = 3.0
"""How long calls are refused after the last slow failure."""
TRIAL_SECONDS = 15.0
"""A trial that has not ended after so long is not waited for: its thread may be gone."""
INTEREST_SECONDS = 60.0
"""Probing goes on for so long after the last call."""


class Admission(Enum):
    """What becomes of a call."""

    CALL = auto()
    """It is made."""
    TRIAL = auto()
    """It is made, and all others are refused until it has ended."""
    REFUSED = auto()
    """It is not made."""


class Breaker:
    """Closed at first; opened by a slow failure, closed by any other result.

    While it is open there is one trial at a time: a probe, or, if nothing has failed for
    `OPEN_SECONDS`, a caller. So a site that is rarely visited is not refused because of an outage
    that is long over.
    """

    def __init__(self) -> None:
        self._failed_at: float | None = None
        self._trial_at: float | None = None
        self._asked_at = 0.0

    @property
    def is_open(self) -> bool:
        """Whether the last result was a slow failure."""
        return self._failed_at is not None

    def admit(self, now: float) -> Admission:
        """Decide about a call; one that is admitted is reported to `end`, whatever happens.

        Args:
            now: seconds, by a clock that never goes back.
        """
        self._asked_at = now
        if self._failed_at is None:
            return Admission.CALL
        if now - self._failed_at < OPEN_SECONDS or not self.begin_trial(now):
            return Admission.REFUSED
        return Admission.TRIAL

    def begin_trial(self, now: float) -> bool:
        """Begin a trial if the breaker is open and no other trial is running; whether it began."""
        if self._failed_at is None:
            return False
        if self._trial_at is not None and now - self._trial_at < TRIAL_SECONDS:
            return False
        self._trial_at = now
        return True

    def end(self, now: float, waited: float, *, failed: bool) -> None:
        """Take the result of a call.

        Args:
            now: seconds.
            waited: how many of them the call took.
            failed: whether the server could not be reached, or refused to serve.
        """
        self._failed_at = now if failed and waited >= SLOW_SECONDS else None

    def end_trial(self) -> None:
        """Let another trial begin; its result, if it has one, is given to `end`."""
        self._trial_at = None

    def end_probe(self, now: float, waited: float, *, failed: bool) -> bool:
        """Take the result of a trial that nobody waits for; whether it is to be repeated.

        Then it remains the only trial.
        """
        self.end(now, waited, failed=failed)
        repeat = self.is_open and now - self._asked_at < INTEREST_SECONDS
        self._trial_at = now if repeat else None
        return repeat
