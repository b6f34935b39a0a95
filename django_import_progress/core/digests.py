"""Refreshing many jobs: Redis compares digests, and returns only the jobs that have changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial

from .command import RedisCommand, Reply, evalsha
from .keys import Keys
from .lua.scripts import CHECK
from .outcome import recall
from .snapshot import Order, Stored, as_text, decode

PORTION = 100
"""How many jobs one command compares. It takes about 2 ms, in which Redis serves no one else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """A job as it was read last."""

    digest: str
    order: Order
    """Its state then. If a message has changed the job since, the digest must not be used: after a
    fail-over to older data it may match, although watchers have to be shown that older state."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """The jobs that have changed."""

    read_at: int
    """When they were read, in µs by Redis's clock."""
    found: Mapping[int, tuple[Stored | None, Known | None]]
    """By position in the request: what is stored, and what to compare it with from now on."""


def check(jobs: Sequence[tuple[Keys, str]], digests: Sequence[str]) -> RedisCommand[Checked]:
    """Read the jobs whose hashes have another digest now. In a Cluster pass only one job.

    Args:
        jobs: for each job the keys of its namespace, and its id.
        digests: the known digest of each job; "" reads the job in any case. A job that does not
            exist is always returned: it has to be absent twice.
    """
    names = [name for keys, job in jobs for name in (keys.hash(job), keys.outcome(job))]
    return evalsha(CHECK, names, digests, partial(_parse, [job for _, job in jobs]))


def _parse(jobs: Sequence[str], reply: Reply) -> Checked:
    read_at = int(reply[0])
    found: dict[int, tuple[Stored | None, Known | None]] = {}
    for position, digest, flat, record in zip(*(reply[i::4] for i in range(1, 5)), strict=True):
        stored = decode(dict(zip(flat[::2], flat[1::2], strict=True)), read_at)
        known = None if stored is None else Known(as_text(digest), stored.order)
        found[int(position)] = (stored or recall(record, jobs[int(position)], read_at), known)
    return Checked(read_at, found)
