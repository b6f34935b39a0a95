"""A heartbeat: have Redis, or first a replica, compare the watched jobs with what is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .clients import AsyncClient, is_clustered, read_all
from .core.call import Call
from .core.checks import PORTION, Checked, check
from .core.errors import ProgressUnavailable
from .sentinels import PrimaryAndReplicas
from .slot import Slot

REPLICA_SECONDS = 1.0
"""How long a replica may take; then the primary is asked alone."""


class Asked(NamedTuple):
    """What was known of a job when a read of it was sent."""

    slot: Slot
    mark: tuple[int, int]
    joined: int

    @classmethod
    def of(cls, slot: Slot) -> Asked:
        """Note what is known now."""
        return cls(slot, slot.view.mark, slot.asked)


def portions(redis: AsyncClient, asked: Sequence[Asked]) -> list[list[Asked]]:
    """Part them into what one command compares."""
    size = 1 if is_clustered(redis) else PORTION
    return [list(asked[start : start + size]) for start in range(0, len(asked), size)]


def compare(asked: Sequence[Asked], now: int) -> Call[Checked]:
    """Have those read that are not as they are known.

    Args:
        asked: the jobs.
        now: by Redis's clock, in µs.
    """
    keys = [slot.calls.keys.hash(slot.view.job_id) for slot, _, _ in asked]
    # Whether a worker is late depends on the time as well.
    digests = ["" if slot.view.lease_is_over(now) else slot.digest for slot, _, _ in asked]
    return check(keys, digests)


async def to_be_compared(redis: AsyncClient, asked: list[Asked], now: int) -> list[Asked]:
    """Leave out what a replica has as it is known, where replicas are to be read.

    That is all that it is trusted with. It may lag: what it has otherwise, or not at all, the
    primary is asked for. A change that has not come to it yet is found at the next heartbeat.
    """
    if not isinstance(redis, PrimaryAndReplicas):
        return asked
    parts = portions(redis, asked)
    calls = [compare(part, now) for part in parts]
    try:
        answers = await read_all(redis.replicas, calls, seconds=REPLICA_SECONDS)
    except ProgressUnavailable:
        return asked
    return [
        one
        for part, answer in zip(parts, answers, strict=True)
        for place, one in enumerate(part)
        # Who has joined is shown what the primary confirms.
        if answer is None or place in answer.found or one.slot.answered < one.joined
    ]
