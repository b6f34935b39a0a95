"""The rejected rows of one attempt, as they wait to be written to Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice

from ...core.rejects import ENTRY_OVERHEAD, REFUSED, Report, decoded

CHUNK_BYTES = 128 * 1024
"""How much one command carries: other clients of Redis wait while it is executed."""


class RejectLog:
    """Keeps what fits into the report, also what Redis has already: it may be emptied.

    Rows are added by the loop, and read by the writer's thread.

    Args:
        max_bytes: the maximum size of the report.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: list[bytes] = []
        self._bytes = 0
        self._is_full = False
        self._stored = 0
        """How many entries Redis has."""
        self._written_at = 0.0
        """When Redis last accepted entries; monotonic."""

    def add(self, entry: bytes) -> bool:
        """Keep an entry if it fits. After the first that does not fit, none is kept."""
        self._is_full = self._is_full or self._bytes + len(entry) + ENTRY_OVERHEAD > self._max_bytes
        if not self._is_full:
            self._bytes += len(entry) + ENTRY_OVERHEAD
            self._entries.append(entry)
        return not self._is_full

    def report(self, total: int) -> Report:
        """Return the report.

        Args:
            total: how many rows were rejected.
        """
        return decoded(self._entries, total)

    def is_due(self, renewal_seconds: float) -> bool:
        """Return whether entries are waiting, or their expiry must be renewed."""
        if not self._entries:
            return False
        is_old = time.monotonic() - self._written_at >= renewal_seconds
        return is_old or self._stored < len(self._entries)

    def send(self, write: Callable[[int, list[bytes]], int]) -> bool:
        """Write what Redis lacks, and renew the expiry.

        Args:
            write: called with the number of entries that Redis has and the next ones; returns how
                many it has then: see `core.rejects.add`.

        Returns:
            Whether Redis has all entries. False: the job is not this attempt's, or not in Redis.
        """
        while True:
            count = write(self._stored, self._chunk())
            if count == REFUSED:
                return False
            self._stored, self._written_at = count, time.monotonic()
            if count >= len(self._entries):
                return True

    def _chunk(self) -> list[bytes]:
        entries, size = [], 0
        for entry in islice(self._entries, self._stored, None):
            entries.append(entry)
            size += len(entry)
            if size >= CHUNK_BYTES:
                break
        return entries
