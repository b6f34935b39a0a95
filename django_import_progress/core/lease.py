"""What a worker has that has taken a job, and what it is told when it writes."""

from __future__ import annotations

import dataclasses
import enum
import json
from typing import NamedTuple

from .snapshot import TERMINAL, Fields


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


class Look(NamedTuple):
    """What a worker reads of its job between two writes."""

    token: str
    """The present attempt's, as JSON; empty if there is none."""
    asked_to_stop: bool
    """Whether cancellation was requested."""
    status: str
    """The job's, as JSON; empty if it has none."""

    def shows_news_to(self, lease: Lease, *, asked_to_stop: bool) -> bool:
        """Tell whether a worker that knows of `asked_to_stop` would learn more by a write."""
        known = (lease.args[0], asked_to_stop)
        return (self.token, self.asked_to_stop) != known or self.status in _TERMINAL


_TERMINAL = {json.dumps(status) for status in TERMINAL}


class WriteResult(enum.Enum):
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


LOST = frozenset({WriteResult.ENDED, WriteResult.SUPERSEDED, WriteResult.DELETED})
"""The results after which the job is not this attempt's any more: nothing can be written."""


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
