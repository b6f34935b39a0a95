"""When to try again, and how fast an import is. Time and chance are arguments."""

from __future__ import annotations

import math


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


class Rate:
    """Rows per second, smoothed: a mean of the last seconds that forgets exponentially."""

    SETTLE_SECONDS = 2.0
    """Before that a rate would be a guess."""
    MEMORY_SECONDS = 10.0

    def __init__(self, now: float, rows: int) -> None:
        self._began = self._last = now
        self._rows = rows
        self._mean = 0.0
        self._weight = 0.0

    def sample(self, now: float, rows: int) -> float | None:
        """Take how many rows are through at `now` (seconds); rows per second, None if too early."""
        span = now - self._last
        if span > 0:
            keep = math.exp(-span / self.MEMORY_SECONDS)
            self._mean = keep * self._mean + (1 - keep) * (rows - self._rows) / span
            self._weight = keep * self._weight + (1 - keep)
            self._last, self._rows = now, rows
        if now - self._began < self.SETTLE_SECONDS:
            return None
        return max(self._mean / self._weight, 0.0)


def eta_seconds(rate: float | None, total: int | None, processed: int) -> int | None:
    """Return the whole seconds that the rest takes at `rate`; None where that is unknown."""
    if not rate or total is None:
        return None
    return math.ceil(max(total - processed, 0) / rate)
