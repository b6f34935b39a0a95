"""What has happened to a job, as the history records it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext

from ..core.outcome import PreviousRun
from ..core.rejects import Report
from ..core.snapshot import Fields
from .models import Status


class Kind(enum.Enum):
    """What has happened."""

    QUEUED = enum.auto()
    STARTED = enum.auto()
    FINISHED = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The arguments of a signal, and when it was sent."""

    kind: Kind
    job_id: str
    namespace: str
    owner: str | None = None
    status: str
    snapshot: Fields
    attempt: int | None = None
    run_id: str | None = None
    previous: PreviousRun | None = None
    report: Callable[[], Report] | None = None
    at: datetime = dataclasses.field(default_factory=lambda: datetime.now(UTC))

    @property
    def final_status(self) -> Status:
        """The status with which the run ends."""
        # Celery retries the task: this attempt has failed, and the next one has a row of its own.
        return Status.FAILED if self.status == Status.QUEUED else Status(self.status)

    @property
    def is_presumed(self) -> bool:
        """Whether the end was concluded by others: the worker's own word counts more."""
        return self.final_status in PRESUMED

    @property
    def note(self) -> str:
        """The message of a run whose job has none, since it goes on with another attempt."""
        if self.status == Status.QUEUED:
            return gettext("This attempt failed and is repeated.")
        return lost_message(self.job_id) if self.status == Status.LOST else ""


def lost_message(job_id: str) -> str:
    """Return the error message of an import whose worker was lost."""
    text = gettext(
        "The import stopped unexpectedly. Please give this number when you ask for help: %(job_id)s"
    )
    return text % {"job_id": job_id}


PRESUMED = frozenset({Status.LOST, Status.SUPERSEDED})
"""Ends that other processes have concluded."""


def event_of(kind: Kind, arguments: dict[str, Any]) -> Event:
    """Return the event that a signal reports.

    Args:
        kind: which signal it is.
        arguments: what its receivers got.
    """
    names = {field.name for field in dataclasses.fields(Event)} - {"kind", "at"}
    return Event(kind=kind, **{name: arguments[name] for name in names})
