"""One watched job: its state, its watchers, and which reads it needs."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

from ..core.commands import JobCommands
from ..core.digests import Known
from ..core.reducer import JobStateReducer, JunkMessage, ReadStart

logger = logging.getLogger("django_import_progress")


class Wakeable(Protocol):
    """A watcher, as a watched job sees it."""

    @property
    def is_confirmed(self) -> bool:
        """Whether Redis was read since the watcher joined."""

    def move_to(self, job: WatchedJob) -> None:
        """Go on with the same job, of which nothing is known yet."""

    def wake(self) -> None:
        """Check whether there is a new state."""

    def close(self) -> None:
        """Stop watching."""


class WatchedJob:
    """The state of one watched job, and its watchers."""

    __slots__ = (
        *("calls", "channel", "confirmed_read", "has_logged_junk", "has_scheduled_read", "known"),
        *("next_read_at", "requested_read", "view", "watchers"),
    )

    def __init__(self, calls: JobCommands, job_id: str) -> None:
        self.calls = calls
        self.channel = calls.keys.channel(job_id)
        self.view = JobStateReducer(job_id, calls.database)
        self.watchers: set[Wakeable] = set()
        self.has_logged_junk = False
        self.known: Known | None = None
        """Digest and version of the job as the last heartbeat read it."""
        self.requested_read = 1  # By the first watcher.
        """Number of the last read that a watcher has requested, to be shown nothing older."""
        self.confirmed_read = 0
        """Number of the last such request that Redis has responded to."""
        self.next_read_at = 0.0
        """When a message may cause the next read, by the event loop's clock."""
        self.has_scheduled_read = False
        """Whether a read is scheduled for that time."""

    @property
    def digest(self) -> str:
        """The digest of the shown state; empty if the job must be read in full."""
        if self.known is None or self.known.order != self.view.order or self.view.needs_read:
            return ""
        return self.known.digest

    def apply_message(self, payload: bytes | str) -> bool:
        """Apply a message of the job's channel; return whether watchers see a change."""
        try:
            return self.view.apply_message(payload)
        except Exception as error:
            # Any exception: one publisher must not break the connection of all watchers.
            if not self.has_logged_junk:  # One log line per job, however many messages are junk.
                self.has_logged_junk = True
                fault = None if isinstance(error, JunkMessage) else error
                logger.warning("Dropped a message on %s: %s", self.channel, error, exc_info=fault)
            return False


class PendingRead(NamedTuple):
    """A read that was sent, with what was known of the job at that moment."""

    job: WatchedJob
    since: ReadStart
    requested_read: int

    @classmethod
    def of(cls, job: WatchedJob) -> PendingRead:
        """Return a read of a job that is sent now."""
        return cls(job, job.view.begin_read(), job.requested_read)

    def confirm(self) -> bool:
        """Note that Redis has responded; return whether a watcher may have waited for that."""
        was_waiting = self.job.confirmed_read < self.requested_read
        self.job.confirmed_read = max(self.job.confirmed_read, self.requested_read)
        return was_waiting
