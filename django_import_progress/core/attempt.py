"""What a worker has that has taken a job, and what it is told when it writes."""

from __future__ import annotations

import dataclasses
import enum
import json

from .snapshot import Fields


@dataclasses.dataclass(frozen=True, slots=True)
class Lease:
    """What a worker has that writes as the job's worker."""

    token: str
    """Of this attempt alone."""
    seconds: float
    """For how long it is believed alive after each of its writes."""

    @property
    def args(self) -> tuple[str, str]:
        """What a script is told of it."""
        return json.dumps(self.token), str(self.seconds)


class Told(enum.Enum):
    """What a worker is told that has written."""

    GO_ON = enum.auto()
    STOP = enum.auto()
    """The job was asked to stop."""
    GONE = enum.auto()
    """There is no such job any more."""
    ENDED = enum.auto()
    """The job had ended already: nothing was written."""
    SUPERSEDED = enum.auto()
    """Another attempt has taken it: nothing was written."""
    DELETED = enum.auto()
    """The job was deleted: nothing was written, and it is not created again."""


@dataclasses.dataclass(frozen=True, slots=True)
class Attempt:
    """What a worker is told when it takes a job."""

    number: int
    base: Fields
    """The snapshot as the attempt found it, its own first fields included."""
    owner: str | None
    """The job's, which may have had one before."""
    ttl_seconds: int | None
    """The job's own time to live, where it was given one."""
    lease: Lease
    begun: int = 0
    """When it began, µs by Redis's clock: of two attempts that which began later is the job's."""
    life: int = 0
    """When the job came to be, by the same clock: one that was deleted since is not continued."""
    asked_to_stop: bool = False
    """Whether the job had been asked to stop before."""
