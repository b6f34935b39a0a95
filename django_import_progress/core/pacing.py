"""Back-off, rate limits, and the rate and time left of an import. Time is an argument."""

from __future__ import annotations

import math

PING_SECONDS = 1.0
"""A subscription without messages is pinged at this interval."""
SILENCE_SECONDS = 3.0
"""A subscription whose pings get no reply for this time is dead. redis-py's health check does not
end a read if the peer has disappeared without a FIN."""

READ_INTERVAL_SECONDS = 0.1
"""Minimum interval between reads of a job that its messages cause: a flood of messages must not
cause a flood of reads."""
LONGEST_FORECAST_SECONDS = 3 * 86_400
"""A longer time left is not shown in the widget and on the command line: it is too uncertain."""


def backoff_seconds(
    failures: int, chance: float, *, first: float = 0.1, most: float = 2.0
) -> float:
    """Return how many seconds to wait before the next attempt.

    Args:
        failures: the number of consecutive failures, 1 or more.
        chance: random, from 0 to 1, so that clients of the same server do not reconnect at once.
        first: maximum seconds after the first failure.
        most: maximum seconds after any failure.
    """
    return float(min(most, first * 2 ** min(failures - 1, 30)) * (0.5 + chance / 2))


class TokenBucket:
    """A token bucket: limits a burst and a rate.

    Args:
        at_once: its capacity.
        per_second: how many tokens are added per second.
    """

    def __init__(self, at_once: int, per_second: float) -> None:
        self._most = self._left = float(at_once)
        self._per_second = per_second
        self._since: float | None = None

    def take(self, now: float) -> bool:
        """Take a token at `now` (seconds of a monotonic clock); whether there was one."""
        since = now if self._since is None else self._since
        self._left = min(self._most, self._left + (now - since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Patience:
    """A short wait, in turns, for a Redis that may be frozen or slow.

    A healthy Redis responds within a turn or two. A turn that itself took long shows that the
    machine is busy, which delays the response as well: only turns that were on time count.

    Args:
        now: seconds of a monotonic clock.
        turns: how many turns on time to wait.
        most_seconds: maximum time in any case.
    """

    TURN_SECONDS = 0.001

    def __init__(self, now: float, turns: int, most_seconds: float) -> None:
        self._left = turns
        self._last = now
        self._deadline = now + most_seconds

    def is_over(self, now: float) -> bool:
        """Call after each turn: tell whether it was the last."""
        self._left -= now - self._last < 1.5 * self.TURN_SECONDS
        self._last = now
        return self._left <= 0 or now >= self._deadline


class Rate:
    """Rows per second: an exponentially weighted mean of the last seconds.

    It is measured from one increase of the count to the next, so that slow rows have a rate as
    well. The first increase only starts the clock: it may include preparations or resumed rows. A
    gap much longer than usual is a pause: the rate is 0 while it lasts, and it is not counted
    afterwards, unless such gaps become usual.
    """

    SETTLE_SECONDS = 2.0
    """No rate is given before this much time was measured."""
    MEMORY_SECONDS = 10.0
    PAUSE_SECONDS = 5.0
    """A pause is longer than this,"""
    PAUSE_GAPS = 5.0
    """and longer than this many usual gaps."""

    def __init__(self) -> None:
        self._rows: int | None = None
        self._since: float | None = None
        self._usual_gap: float | None = None
        self._measured_seconds = 0.0
        self._mean = 0.0
        self._weight = 0.0

    def rebase(self) -> None:
        """Start counting from the next sample: the rows before it were not imported now."""
        self._rows = None

    def sample(self, now: float, rows: int) -> float | None:
        """Return rows per second; None if too early, 0 in a pause.

        Args:
            now: seconds of a monotonic clock.
            rows: how many were processed.
        """
        gap = 0.0 if self._since is None else now - self._since
        if self._rows is None or rows < self._rows:
            self._rows, self._since = rows, None
        elif rows > self._rows:
            if self._since is not None:
                self._arrive(gap, rows - self._rows)
            self._rows, self._since = rows, now
        elif self._is_pause(gap):
            return 0.0
        if self._measured_seconds < self.SETTLE_SECONDS:
            return None
        return self._mean / self._weight

    def _is_pause(self, gap: float) -> bool:
        usual = gap if self._usual_gap is None else self._usual_gap
        return gap > max(self.PAUSE_SECONDS, self.PAUSE_GAPS * usual)

    def _arrive(self, gap: float, rows: int) -> None:
        if gap and not self._is_pause(gap):
            keep = math.exp(-gap / self.MEMORY_SECONDS)
            self._mean = keep * self._mean + (1 - keep) * rows / gap
            self._weight = keep * self._weight + (1 - keep)
            self._measured_seconds += gap
        usual = gap if self._usual_gap is None else self._usual_gap
        self._usual_gap = usual + 0.3 * (gap - usual)


class Eta:
    """The time left; unknown for a while after the total has changed, since it may change again."""

    SETTLE_SECONDS = 2.0
    """Minimum time for which a changed total is not relied on,"""
    PATIENCE_SECONDS = 60.0
    """and maximum time. Between them: twice as long as the previous total was valid."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._since = 0.0
        self._hidden_until = -math.inf

    def sample(
        self, now: float, rate: float | None, total: int | None, processed: int
    ) -> int | None:
        """Return whole seconds; None if unknown.

        Args:
            now: seconds of a monotonic clock.
            rate: rows per second, None if unknown.
            total: total rows, None if unknown.
            processed: processed rows; above the total, the time left is unknown.
        """
        if total != self._total:
            if self._total is not None:
                hidden = max(self.SETTLE_SECONDS, 2 * (now - self._since))
                self._hidden_until = now + min(hidden, self.PATIENCE_SECONDS)
            self._total, self._since = total, now
        if not rate or total is None or processed > total or now < self._hidden_until:
            return None
        return math.ceil((total - processed) / rate)
