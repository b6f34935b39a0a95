"""Reading many jobs in one pipeline for each server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..core.command import RedisCommand
from .cluster import server_of
from .executor import CALL_SECONDS, AsyncClient, is_clustered, read_all


async def read_each(
    redis: AsyncClient, calls: Sequence[RedisCommand[Any]], *, seconds: float = CALL_SECONDS
) -> list[Any]:
    """Send reads to all servers at the same time; return a result or an exception for each read.

    A server that is down or frozen does not delay the jobs of the others.
    """
    positions: dict[str, list[int]] = {}
    for position, call in enumerate(calls):
        server = server_of(redis, call.key) if is_clustered(redis) else ""
        positions.setdefault(server, []).append(position)
    pipelines = (
        read_all(redis, [calls[position] for position in group], seconds=seconds)
        for group in positions.values()
    )
    results: list[Any] = [None] * len(calls)
    found = await asyncio.gather(*pipelines, return_exceptions=True)
    for group, outcome in zip(positions.values(), found, strict=True):
        of_group = [outcome] * len(group) if isinstance(outcome, BaseException) else outcome
        for position, result in zip(group, of_group, strict=True):
            results[position] = result
    return results
