"""A worker's lease on a job, and the possible results of its writes."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import NamedTuple

from .outcome import PreviousRun
from .snapshot import TERMINAL, Fields


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """A worker's lease: its fencing token and duration."""

    token: str
    """Belongs to this attempt only."""
    seconds: float
    """How long the worker counts as alive after each of its writes."""

    @property
    def args(self) -> tuple[str, str]:
        """The arguments that a script gets for it."""
        return json.dumps(self.token), str(self.seconds)


class LeaseCheck(NamedTuple):
    """The fields of its job that a worker reads between two writes."""

    token: str
    """The current attempt's token as JSON; empty if there is none."""
    cancel_requested: bool
    """Whether cancellation was requested."""
    status: str
    """The job's status as JSON; empty if it has none."""

    def differs_from(self, lease: Lease, *, cancel_requested: bool) -> bool:
        """Tell whether something has changed for the worker, so that it should write now.

        Args:
            lease: the worker's.
            cancel_requested: whether the worker already knows of a requested cancellation.
        """
        known = (lease.args[0], cancel_requested)
        return (self.token, self.cancel_requested) != known or self.status in _TERMINAL


_TERMINAL = {json.dumps(status) for status in TERMINAL}


class WriteResult(enum.Enum):
    """The result of a worker's write."""

    CONTINUE = enum.auto()
    CANCEL = enum.auto()
    """Written; cancellation of the job was requested."""
    MISSING = enum.auto()
    """The job does not exist any more: nothing was written."""
    ENDED = enum.auto()
    """The job had already ended: nothing was written."""
    SUPERSEDED = enum.auto()
    """Another attempt has taken the job: nothing was written."""
    DELETED = enum.auto()
    """The job was deleted: nothing was written, and the job is not recreated."""


LOST = frozenset({WriteResult.ENDED, WriteResult.SUPERSEDED, WriteResult.DELETED})
"""The results after which the attempt has lost the job: it cannot write any more."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a job: the job's state when a worker took it, and the worker's lease."""

    number: int
    base: Fields
    """The snapshot at the start of the attempt, the attempt's own first fields included."""
    owner: str | None
    """The job's owner; an existing one is kept."""
    ttl_seconds: int | None
    """The job's own time to live, if it has one."""
    lease: Lease
    begun: int = 0
    """When it began, in µs by Redis's clock. The attempt that began last has the job."""
    life: int = 0
    """When the job was created, in µs by Redis's clock. A job deleted since is not continued."""
    cancel_requested: bool = False
    """Whether cancellation was requested before the attempt began."""
    previous: PreviousRun | None = None
    """The attempt from which this one has taken the job."""
