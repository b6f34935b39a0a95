"""What is held of one watched job."""

from __future__ import annotations

import logging
from typing import NamedTuple, Protocol

from ..core.commands import JobCommands
from ..core.digests import Known
from ..core.reducer import JobStateReducer, JunkMessage, ReadStart

logger = logging.getLogger("django_import_progress")


class Wakeable(Protocol):
    """Who waits for a change."""

    def wake(self) -> None:
        """Look again."""

    def close(self) -> None:
        """Wait no more."""


class WatchedJob:
    """What is held of one watched job, and who watches it."""

    __slots__ = (
        *("answered", "asked", "calls", "channel", "has_due_read", "has_logged_junk", "known"),
        *("read_again_at", "view", "watchers"),
    )

    def __init__(self, calls: JobCommands, job_id: str) -> None:
        self.calls = calls
        self.channel = calls.keys.channel(job_id)
        self.view = JobStateReducer(job_id, calls.database)
        self.watchers: set[Wakeable] = set()
        self.has_logged_junk = False
        self.known: Known | None = None
        """By what the job is known that the last heartbeat has read."""
        self.asked = 1  # By the first of them, with whom the slot begins.
        """How often somebody joined who must be shown what a read has confirmed since."""
        self.answered = 0
        """How many of them a read has served."""
        self.read_again_at = 0.0
        """When the job may be read again because of a message, by the event loop's clock."""
        self.has_due_read = False
        """Whether such a read waits for that moment."""

    @property
    def digest(self) -> str:
        """By what Redis can tell that the job is as it is shown; nothing where it is to be read."""
        if self.known is None or self.known.order != self.view.order or self.view.needs_read:
            return ""
        return self.known.digest

    def hear(self, payload: bytes | str) -> bool:
        """Take a message of the job's channel; whether watchers see a change."""
        try:
            return self.view.apply_message(payload)
        except Exception as error:
            # Any: what one publisher sends must not break the connection of all watchers.
            if (
                not self.has_logged_junk
            ):  # One line a job: a flood of junk must not become one of logs.
                self.has_logged_junk = True
                fault = None if isinstance(error, JunkMessage) else error
                logger.warning("Dropped a message on %s: %s", self.channel, error, exc_info=fault)
            return False


class PendingRead(NamedTuple):
    """What was known of a job when a read of it was sent."""

    slot: WatchedJob
    since: ReadStart
    joined: int

    @classmethod
    def of(cls, slot: WatchedJob) -> PendingRead:
        """Return what is known now."""
        return cls(slot, slot.view.begin_read(), slot.asked)
