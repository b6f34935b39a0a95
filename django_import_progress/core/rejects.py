"""Rejected rows of a job: what is kept of each, and the commands that store and read them.

The list of a job begins with the token of the attempt that has written it. A report whose token is
not that of the job's last attempt is not shown, and the next attempt replaces it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from .command import RedisCommand, Reply, evalsha
from .lua import scripts
from .snapshot import Fields, as_text, loads, number_of

REJECTS_MAX_BYTES = 1024 * 1024
"""Maximum size of the report of one job by default."""
ENTRY_OVERHEAD = 16
"""Bytes that an entry takes in addition to its text."""
REFUSED = -1
"""The reply if the job is not this attempt's, or is not in Redis."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """One rejected row."""

    row: int | None
    """Its number within the input of the attempt, from 1; None if it is not known."""
    line: int | None
    """Its line in the file, if it was given."""
    reason: str
    """Why it was rejected, for the end user."""
    data: Fields
    """Its values by column, each of a type that JSON has."""

    def encode(self) -> bytes:
        """Return it as it is stored in Redis."""
        parts = [self.row, self.line, self.reason, self.data]
        return json.dumps(parts, ensure_ascii=False, separators=(",", ":")).encode()

    def as_dict(self) -> Fields:
        """Return what `rejects()` yields."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The report of a job."""

    rejects: Sequence[Reject]
    """The rejected rows that were kept, in their order."""
    total: int
    """How many rows were rejected."""

    @property
    def missing(self) -> int:
        """How many rejected rows were only counted."""
        return max(0, self.total - len(self.rejects))


EMPTY = Report([], 0)


def decoded(entries: Sequence[str | bytes], total: int) -> Report:
    """Return the report with these entries, of so many rejected rows."""
    return Report([_decode(entry) for entry in entries], total)


def add_rejects(
    keys: list[str], token: str, stored: int, entries: Sequence[bytes], ttl_seconds: int
) -> RedisCommand[int]:
    """Append entries to the report of an attempt.

    The result is the number of entries that Redis has then; it is less than `stored` if Redis was
    emptied, and `REFUSED` if the job is not this attempt's. A command that is sent again appends
    nothing twice.

    Args:
        keys: of the job's hash, and of its rejected rows.
        token: the attempt's token as JSON.
        stored: how many entries Redis has already.
        entries: the next ones. None: the expiry is renewed.
        ttl_seconds: the time to live of a job that has none of its own.
    """
    args: list[Any] = [token, stored, ttl_seconds, *entries]
    return evalsha(scripts.ADD_REJECTS, keys, args, int)


def read_rejects(keys: list[str]) -> RedisCommand[Report]:
    """Read the report of a job; it is empty if there is none."""
    return evalsha(scripts.READ_REJECTS, keys, [], _parse)


def _parse(reply: Reply) -> Report:
    count, entries = reply
    rejects = [_decode(entry) for entry in entries]
    try:
        total = number_of(loads(count))
    except ValueError:  # Another program's.
        total = None
    return Report(rejects, len(rejects) if total is None else int(total))


def _decode(entry: str | bytes) -> Reject:
    row, line, reason, data = json.loads(as_text(entry))
    return Reject(row=row, line=line, reason=reason, data=data)
