"""Reading many jobs, over a pipeline for each server that has some of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..core.command import RedisCommand
from .executor import CALL_SECONDS, AsyncClient, is_clustered, read_all
from .hash_slots import server_of


async def read_each(
    redis: AsyncClient, calls: Sequence[RedisCommand[Any]], *, seconds: float = CALL_SECONDS
) -> list[Any]:
    """Send reads to all servers at the same time, and return a result or an exception for each.

    A server that is down or silent keeps nobody from the jobs of the others.
    """
    places: dict[str, list[int]] = {}
    for place, call in enumerate(calls):
        server = server_of(redis, call.key) if is_clustered(redis) else ""
        places.setdefault(server, []).append(place)
    pipelines = (
        read_all(redis, [calls[place] for place in group], seconds=seconds)
        for group in places.values()
    )
    answers: list[Any] = [None] * len(calls)
    found = await asyncio.gather(*pipelines, return_exceptions=True)
    for group, answer in zip(places.values(), found, strict=True):
        of_each = [answer] * len(group) if isinstance(answer, BaseException) else answer
        for place, one in zip(group, of_each, strict=True):
            answers[place] = one
    return answers
