"""Jobs of a Cluster with sharded pub/sub: where they are, and who is subscribed to them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from redis.crc import key_slot

from django_import_progress import ProgressUnavailable

from .processes import RedisProcess
from .topologies import ClusterGroup, ask
from .waiting import until

NEVER = 3600
"""A heartbeat that mends nothing."""
TWINS = ("k889", "k2466")
"""Two jobs in one hash slot."""


def slot_of(job_id: str) -> int:
    """Return the hash slot of a job."""
    return int(key_slot(f"import_progress:hash:{job_id}".encode()))


def owner_of(cluster: ClusterGroup, job_id: str) -> int:
    """Return the number of the server that has a job."""
    return cluster.owner(slot_of(job_id))


def listeners(node: RedisProcess) -> list[str]:
    """Return who is subscribed to something on a server: a line for each connection."""
    return str(ask(node, "CLIENT", "LIST", "TYPE", "pubsub")).splitlines()


def is_subscribed(node: RedisProcess, job_id: str) -> bool:
    """Tell whether somebody hears of a job on a server."""
    return bool(ask(node, "PUBSUB", "SHARDNUMSUB", f"import_progress:hash:{job_id}")[1])


async def tried(write: Callable[[], Awaitable[Any]], what: object) -> None:
    """Write as a caller would who tries again while Redis is out of reach."""
    through = []

    async def is_through() -> bool:
        with suppress(ProgressUnavailable):
            through.append(await write())
        return bool(through)

    await until(is_through, what)


async def updated(progress: Any, job_id: str, **fields: Any) -> None:
    """Update a job so."""
    await tried(lambda: progress.update(job_id, fields), f"an update to {fields}")
