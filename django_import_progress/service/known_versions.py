"""Which version of each job a manager last wrote or read, to mark what it publishes."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from typing import Any

from ..core.snapshot import Stored, Written

MOST_JOBS = 1000
"""Of so many jobs it is remembered; of another one the current version is looked up."""


class KnownVersions:
    """Remembers versions of the jobs used last. Safe in threads."""

    def __init__(self) -> None:
        self._by_job: OrderedDict[str, Written] = OrderedDict()

    def note(self, job_id: str, stored: Stored) -> dict[str, Any]:
        """Remember a write or read, and return its fields."""
        # Of two threads the one that wrote first may come last.
        self._by_job[job_id] = max(stored.written, self._by_job.get(job_id, (0, 0)))
        with suppress(KeyError):  # Another thread may have been first.
            self._by_job.move_to_end(job_id)
            while len(self._by_job) > MOST_JOBS:
                self._by_job.popitem(last=False)
        return stored.fields

    def forget(self, job_id: str) -> None:
        """Forget a job that does not exist."""
        self._by_job.pop(job_id, None)

    def of(self, job_id: str) -> Written | None:
        """Return the version of a job; None where it is not known."""
        return self._by_job.get(job_id)
