"""When to try again, how much is too much, and how fast an import is. Time is an argument."""

from __future__ import annotations

import math

PING_SECONDS = 1.0
"""After so long without a message a subscription is pinged, and pinged again."""
SILENCE_SECONDS = 3.0
"""A subscription whose pings are not answered for so long is dead. redis-py's health check does not
end a read whose peer vanished without a FIN."""

READ_INTERVAL_SECONDS = 0.1
"""How often a job is read at most because of its messages: a flood of them must not become one of
reads."""


def backoff_seconds(
    failures: int, chance: float, *, first: float = 0.1, most: float = 2.0
) -> float:
    """Return how long to wait after so many failures in a row.

    Args:
        failures: 1 or more.
        chance: from 0 to 1, so that many who lost the same server don't come back at once.
        first: seconds after the first failure, at most.
        most: seconds, ever.
    """
    return float(min(most, first * 2 ** min(failures - 1, 30)) * (0.5 + chance / 2))


class TokenBucket:
    """How much somebody may do: so much at once, and so much a second (a token bucket).

    Args:
        at_once: how many.
        per_second: how many more, with the time.
    """

    def __init__(self, at_once: int, per_second: float) -> None:
        self._most = self._left = float(at_once)
        self._per_second = per_second
        self._since: float | None = None

    def take(self, now: float) -> bool:
        """Take one, at `now` (seconds, by a clock that never goes back); whether there was one."""
        since = now if self._since is None else self._since
        self._left = min(self._most, self._left + (now - since) * self._per_second)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class Patience:
    """How long to wait for a Redis that may be frozen, or far: for a moment, by turns.

    One that is well answers within a turn or two. A turn that itself took long shows a busy
    machine, on which the answer takes as long: only those that were in time count.

    Args:
        now: seconds, by a clock that never goes back.
        turns: how many.
        most_seconds: after that it is over in any case.
    """

    TURN_SECONDS = 0.001

    def __init__(self, now: float, turns: int, most_seconds: float) -> None:
        self._left = turns
        self._last = now
        self._deadline = now + most_seconds

    def is_over(self, now: float) -> bool:
        """Tell, after each turn, whether it was the last."""
        self._left -= now - self._last < 1.5 * self.TURN_SECONDS
        self._last = now
        return self._left <= 0 or now >= self._deadline


class Rate:
    """Rows per second: a mean of the last seconds that forgets exponentially.

    It is measured from one arrival of rows to the next, so that slow rows have one as well. The
    first arrival only starts the clock: an import may have prepared for it, or have been resumed.
    A gap much longer than usual is a pause: while it lasts nothing moves, and afterwards it is not
    counted, unless such gaps become usual.
    """

    SETTLE_SECONDS = 2.0
    """What is measured for less would be a guess."""
    MEMORY_SECONDS = 10.0
    PAUSE_SECONDS = 5.0
    """No shorter gap is a pause,"""
    PAUSE_GAPS = 5.0
    """and none of less than so many usual ones."""

    def __init__(self) -> None:
        self._rows: int | None = None
        self._since: float | None = None
        self._usual_gap: float | None = None
        self._measured_seconds = 0.0
        self._mean = 0.0
        self._weight = 0.0

    def rebase(self) -> None:
        """Take the next count for where the import stands: those rows are none that it has done."""
        self._rows = None

    def sample(self, now: float, rows: int) -> float | None:
        """Return rows per second; None if too early, 0 in a pause.

        Args:
            now: seconds, by a clock that never goes back.
            rows: how many are through.
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
    """How long the rest takes; unknown where a total has changed and so may change again."""

    SETTLE_SECONDS = 2.0
    """For so long, at least, a total that has changed is not relied on;"""
    PATIENCE_SECONDS = 60.0
    """and for so long at most. Between the two, for twice as long as the one before has stood."""

    def __init__(self) -> None:
        self._total: int | None = None
        self._since = 0.0
        self._hidden_until = -math.inf

    def sample(
        self, now: float, rate: float | None, total: int | None, processed: int
    ) -> int | None:
        """Return whole seconds; None where nobody knows.

        Args:
            now: seconds, by a clock that never goes back.
            rate: rows per second, None if unknown.
            total: how many rows there are, None if unknown.
            processed: how many are through. More than there should be have no known end.
        """
        if total != self._total:
            if self._total is not None:
                hidden = max(self.SETTLE_SECONDS, 2 * (now - self._since))
                self._hidden_until = now + min(hidden, self.PATIENCE_SECONDS)
            self._total, self._since = total, now
        if not rate or total is None or processed > total or now < self._hidden_until:
            return None
        return math.ceil((total - processed) / rate)
