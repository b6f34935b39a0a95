"""Reading many jobs again: Redis compares, and answers only those that are not as they were."""

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
"""How many jobs one command compares: some two milliseconds, in which Redis serves nobody else."""


@dataclasses.dataclass(frozen=True, slots=True)
class Known:
    """By what a job is known that was read before."""

    digest: str
    order: Order
    """Its state then. Of one that was told to have changed since, the digest says
    nothing: if Redis has gone back (a fail-over), it is as it was, and is to be shown so."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """What is not as it was."""

    read_at: int
    """By Redis's clock, in µs."""
    found: Mapping[int, tuple[Stored | None, Known | None]]
    """By its place: what is stored, and by what it is known from now on."""


def check(jobs: Sequence[tuple[Keys, str]], digests: Sequence[str]) -> RedisCommand[Checked]:
    """Read those jobs whose hashes have another digest by now. In a Cluster only one is passed.

    Args:
        jobs: their namespaces' keys, and their ids.
        digests: the digest by which each is known; "": it is read in any case. One that is not
            there is answered in any case, too: it must be missed twice.
    """
    names = [name for keys, job in jobs for name in (keys.hash(job), keys.outcome(job))]
    return evalsha(CHECK, names, digests, partial(_parse, [job for _, job in jobs]))


def _parse(jobs: Sequence[str], reply: Reply) -> Checked:
    read_at = int(reply[0])
    found: dict[int, tuple[Stored | None, Known | None]] = {}
    for place, digest, flat, record in zip(*(reply[i::4] for i in range(1, 5)), strict=True):
        stored = decode(dict(zip(flat[::2], flat[1::2], strict=True)), read_at)
        known = None if stored is None else Known(as_text(digest), stored.order)
        found[int(place)] = (stored or recall(record, jobs[int(place)], read_at), known)
    return Checked(read_at, found)
