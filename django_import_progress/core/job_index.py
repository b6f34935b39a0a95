"""The lists of all jobs and of each owner's jobs, newest first. Expired jobs are removed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from .command import Plan, RedisCommand, Reply, evalsha
from .errors import InvalidProgress
from .keys import Keys
from .lua import scripts
from .snapshot import Fields, Stored, as_text, loads

LENGTH = 10_000
"""How many jobs an index holds: the newest ones."""
SECONDS = 30 * 24 * 3600
"""How long an index is kept after the last job was entered."""
PAGE = 100


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """The lists of one namespace: sorted sets of job ids, scored by the life of each job."""

    keys: Keys
    ttl_seconds: int

    def keys_of(self, owner: str | None) -> list[str]:
        """Return the keys of the lists, for a script that writes a job and enters it.

        Empty in a Cluster, where each key may be on another server: use `enter` after the script.
        """
        if self.keys.clustered:
            return []
        return [self.keys.index(), *([self.keys.index(owner)] if owner else [])]

    def args_of(self, job_id: str, owner: str | None) -> list[str | int]:
        """Return the arguments that such a script needs."""
        return [job_id, owner_json(owner), LENGTH, SECONDS]

    def enter(self, job_id: str, entry: list[str | bytes]) -> list[RedisCommand[Any]]:
        """Return the commands that enter a job into its lists if its own script could not."""
        if not self.keys.clustered:
            return []
        life, owner, own_ttl = (loads(text) for text in entry)
        args = [job_id, life, own_ttl or self.ttl_seconds, LENGTH, SECONDS]
        lists = [self.keys.index(), *([self.keys.index(owner)] if owner else [])]
        return [evalsha(scripts.ENLIST, [key], args, lambda reply: None) for key in lists]

    def jobs(
        self, owner: str | None, limit: int, get: Callable[[str], RedisCommand[Stored | None]]
    ) -> Plan[dict[str, Stored]]:
        """Return the jobs by id, newest first.

        Raises:
            InvalidProgress: `limit` is not a positive int.
        """
        if type(limit) is not int or limit < 1:
            raise InvalidProgress(f"Invalid limit {limit!r}: must be a positive integer")
        return self._jobs(self.keys.index(owner), limit, get)

    def since(self, life: int) -> RedisCommand[list[tuple[str, int]]]:
        """Return ids and lives of all jobs that were created at `life` or later, newest first."""
        command = ("ZREVRANGEBYSCORE", self.keys.index(), "+inf", life, "WITHSCORES")
        return RedisCommand(command, _parse_page)

    @staticmethod
    def _jobs(
        index: str, limit: int, get: Callable[[str], RedisCommand[Stored | None]]
    ) -> Plan[dict[str, Stored]]:
        found: dict[str, Stored] = {}
        dead: list[int] = []
        size, may_be_more = min(limit, PAGE), True
        while may_be_more and len(found) < limit:
            # A page at a time: most of thousands of entries may be dead. Those before are alive.
            *_, entries = yield [*_without(index, dead), _page(index, len(found), size)]
            size, may_be_more, dead = PAGE, len(entries) == size, []
            jobs: list[Stored | None] = yield [get(job_id) for job_id, _ in entries]
            for (job_id, life), stored in zip(entries, jobs, strict=True):
                # A job that was recreated has an entry of its own.
                if stored is not None and stored.life == life and not stored.deleted:
                    found[job_id] = stored
                else:
                    dead.append(life)
        if dead:
            yield _without(index, dead)
        return dict(list(found.items())[:limit])


def snapshots(found: Mapping[str, Stored]) -> list[Fields]:
    """Return the snapshot of each job, with its `job_id`."""
    return [{**stored.fields, "job_id": job_id} for job_id, stored in found.items()]


def owner_json(owner: str | None) -> str:
    """Return an owner as stored in the hash; empty for none."""
    return json.dumps(owner, ensure_ascii=False) if owner else ""


def _without(index: str, dead: list[int]) -> list[RedisCommand[Any]]:
    """Return commands that remove entries by life: the id may belong to a recreated job now."""
    return [RedisCommand(("ZREMRANGEBYSCORE", index, life, life), int) for life in dead]


def _page(index: str, first: int, size: int) -> RedisCommand[list[tuple[str, int]]]:
    return RedisCommand(("ZREVRANGE", index, first, first + size - 1, "WITHSCORES"), _parse_page)


def _parse_page(reply: Reply) -> list[tuple[str, int]]:
    # RESP2 returns ids and scores alternately, RESP3 returns pairs.
    pairs = (
        reply
        if reply and isinstance(reply[0], list | tuple)
        else zip(reply[::2], reply[1::2], strict=True)
    )
    return [(as_text(job_id), int(float(score))) for job_id, score in pairs]
