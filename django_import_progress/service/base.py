"""Parts that both managers share: commands with Django's JSON encoder, known versions, the time."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from ..core.commands import ENDED_SECONDS, QUEUED_SECONDS, JobCommands, check_ttl
from ..core.keys import Keys
from ..core.snapshot import Fields, Stored, Written, encode, encode_value, field_bytes, loads
from ..redis.executor import AsyncClient, SyncClient, database_of, is_clustered, is_sharded

DEFAULT = DjangoJSONEncoder().default
"""Encodes values that JSON has no type for, such as dates."""
MOST_JOBS = 1000
"""How many jobs `KnownVersions` remembers; for others the current version is looked up."""


def calls_for(
    redis: AsyncClient | SyncClient,
    namespace: str,
    ttl_seconds: int,
    *,
    queued_seconds: int = QUEUED_SECONDS,
    ended_seconds: int = ENDED_SECONDS,
) -> JobCommands:
    """Return the commands of a namespace.

    Args:
        redis: the client that will send them.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot is kept after its last write.
        queued_seconds: how long a queued job is kept after its last write.
        ended_seconds: how long a job's outcome is kept after its snapshot has expired.

    Raises:
        ValueError: the namespace or a number of seconds is invalid.
    """
    for seconds in (ttl_seconds, queued_seconds, ended_seconds):
        check_ttl(seconds)
    return JobCommands(
        Keys(namespace, is_clustered(redis), is_sharded(redis)),
        ttl_seconds,
        DEFAULT,
        queued_seconds,
        ended_seconds,
        database_of(redis),
        _nonce,
    )


def _nonce() -> str:
    return secrets.token_urlsafe(6)  # From the system: a forked process must not repeat it.


def now_text() -> str:
    """Return the current time in the format of `updated_at`: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def plain(data: Mapping[str, Any]) -> Fields:
    """Return a copy of `data` as it will be read back from Redis.

    Raises:
        InvalidProgress: `data` cannot be part of a snapshot.
    """
    return {name: loads(text) for name, text in encode(data, DEFAULT).items()}


def plain_value(name: str, value: Any) -> tuple[Any, int]:
    """Return a field's value as it will be read back from Redis, and the field's size in bytes.

    Raises:
        InvalidProgress: `value` cannot be encoded as JSON.
    """
    text = encode_value(name, value, DEFAULT)
    return loads(text), field_bytes(name, text)


class KnownVersions:
    """The version of each job that a manager last wrote or read, to mark what it publishes.

    Safe in threads.
    """

    def __init__(self) -> None:
        self._by_job: OrderedDict[str, Written] = OrderedDict()

    def note(self, job_id: str, stored: Stored) -> dict[str, Any]:
        """Remember a write or read, and return its fields."""
        # Of two threads, the first to write may be the last to get here.
        self._by_job[job_id] = max(stored.written, self._by_job.get(job_id, (0, 0)))
        with suppress(KeyError):  # Another thread may have removed it.
            self._by_job.move_to_end(job_id)
            while len(self._by_job) > MOST_JOBS:
                self._by_job.popitem(last=False)
        return stored.fields

    def forget(self, job_id: str) -> None:
        """Forget a job that does not exist."""
        self._by_job.pop(job_id, None)

    def of(self, job_id: str) -> Written | None:
        """Return the version of a job; None if it is not known."""
        return self._by_job.get(job_id)
