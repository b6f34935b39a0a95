"""How much of a job's snapshot the fields of a tracked import may take."""

from __future__ import annotations

from ..core.snapshot import KNOWN, MAX_BYTES, TRACKED, Fields
from ..service.base import plain_value

OWN_BYTES = 4 * 1024
"""What is kept free for the fields of the tracker itself: status, rows, rates and so on."""
DIGITS = 10
"""For how many a counter has room from the start: its size must not depend on its value."""


class FieldLimit:
    """Which fields fit into the snapshot: those that came first stay.

    So the sum never exceeds the limit, and a write has nothing to measure. Threads that share one
    hold a lock meanwhile.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        """What the job had before, which counts as long as it is not replaced."""
        self._taken = OWN_BYTES

    def takes(self, sizes: dict[str, int]) -> list[str]:
        """Return which of these fields fit, in their order, and count them from now on."""
        return [name for name, size in sizes.items() if self._takes(name, size)]

    def _takes(self, name: str, size: int) -> bool:
        taken = self._taken + size - self._sizes.get(name, self._stored.get(name, 0))
        if taken > MAX_BYTES:
            return False
        self._taken, self._sizes[name] = taken, size
        return True

    def note_stored(self, fields: Fields) -> list[str]:
        """Take note of what the job had before; return the newest fields, which now do not fit."""
        self._stored = {
            name: plain_value(name, value)[1]
            for name, value in fields.items()
            if name not in KNOWN | TRACKED
        }
        sizes, self._sizes = self._sizes, {}
        self._taken = OWN_BYTES + sum(self._stored.values())
        return [name for name, size in sizes.items() if not self._takes(name, size)]
