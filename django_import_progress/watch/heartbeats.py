"""A heartbeat: have Redis, or first a replica, compare the watched jobs with what is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import NamedTuple

from ..core.command import RedisCommand
from ..core.digests import PORTION, Checked, check
from ..core.errors import ProgressUnavailable
from ..core.lua.scripts import CHECK, CHECK_AT_REPLICA, CHECK_SHARED, Script
from ..core.reducer import ReadStart
from ..redis.executor import AsyncClient, drop_idle_connections, is_clustered, read_all
from ..redis.sentinel import PrimaryAndReplicas
from .watched_job import WatchedJob

logger = logging.getLogger("django_import_progress")

REPLICA_SECONDS = 1.0
"""How long a replica may take; then the primary is asked alone."""
LEFT_SECONDS = 30.0
"""For how long: else each of many reads would wait for it, and who joins for all of them."""


class Asked(NamedTuple):
    """What was known of a job when a read of it was sent."""

    slot: WatchedJob
    since: ReadStart
    joined: int

    @classmethod
    def of(cls, slot: WatchedJob) -> Asked:
        """Note what is known now."""
        return cls(slot, slot.view.begin_read(), slot.asked)


def portions(redis: AsyncClient, asked: Sequence[Asked]) -> list[list[Asked]]:
    """Part them into what one command compares."""
    size = 1 if is_clustered(redis) else PORTION
    return [list(asked[start : start + size]) for start in range(0, len(asked), size)]


def compare(redis: AsyncClient, asked: Sequence[Asked], now: int) -> RedisCommand[Checked]:
    """Have those read that are not as they are known.

    Args:
        redis: who is to be asked.
        asked: the jobs.
        now: by Redis's clock, in µs.
    """
    return _compare(asked, now, CHECK_SHARED if isinstance(redis, PrimaryAndReplicas) else CHECK)


def _compare(asked: Sequence[Asked], now: int, script: Script) -> RedisCommand[Checked]:
    jobs = [(slot.calls.keys, slot.view.job_id) for slot, _, _ in asked]
    # Whether a worker is late depends on the time as well.
    own = time.monotonic()
    digests = ["" if slot.view.is_lease_over(now, own) else slot.digest for slot, _, _ in asked]
    return check(jobs, digests, script)


async def to_be_compared(redis: AsyncClient, asked: list[Asked], now: int) -> list[Asked]:
    """Leave out what a replica has as it is known, where replicas are to be read.

    That is all that it is trusted with. It may lag: what it has otherwise, or not at all, the
    primary is asked for. A change that has not come to it yet is found at the next heartbeat.
    """
    if not isinstance(redis, PrimaryAndReplicas) or time.monotonic() < redis.left_until:
        return asked
    parts = portions(redis, asked)
    calls = [_compare(part, now, CHECK_AT_REPLICA) for part in parts]
    try:
        answers = await read_all(redis.replicas, calls, seconds=REPLICA_SECONDS)
    except ProgressUnavailable as error:
        await _leave_replicas(redis, error)
        return asked
    redis.replicas_serve = True
    return [
        one
        for part, answer in zip(parts, answers, strict=True)
        for place, one in enumerate(part)
        # Who has joined is shown what the primary confirms.
        if answer is None or place in answer.found or one.slot.answered < one.joined
    ]


async def _leave_replicas(redis: PrimaryAndReplicas, error: ProgressUnavailable) -> None:
    redis.left_until = time.monotonic() + LEFT_SECONDS
    if redis.replicas_serve:
        redis.replicas_serve = False
        why = "it is behind" if "STALE" in str(error.__cause__) else type(error.__cause__).__name__
        logger.warning("A replica does not serve (%s); the primary is read for now", why)
    # They may lead to what is no replica any more.
    await drop_idle_connections(redis.replicas)
