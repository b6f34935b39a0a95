"""What the managers share: calls with Django's JSON, and the clock."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from ..core.commands import ENDED_SECONDS, QUEUED_SECONDS, JobCommands, check_ttl
from ..core.keys import Keys
from ..core.snapshot import Fields, encode, encode_value, field_bytes, loads
from ..redis.executor import AsyncClient, SyncClient, database_of, is_clustered, is_sharded

DEFAULT = DjangoJSONEncoder().default
"""How a value is encoded that JSON has no form for."""


def calls_for(
    redis: AsyncClient | SyncClient,
    namespace: str,
    ttl_seconds: int,
    *,
    queued_seconds: int = QUEUED_SECONDS,
    ended_seconds: int = ENDED_SECONDS,
) -> JobCommands:
    """Return the verbs of a namespace.

    Args:
        redis: the client by which they are sent.
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot is kept after its last write.
        queued_seconds: the same for a job that is queued.
        ended_seconds: how long a job's outcome is remembered after that.

    Raises:
        ValueError: the namespace, or a number of seconds, cannot be one.
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
    return secrets.token_urlsafe(6)  # The system's: a forked process must not repeat it.


def now_text() -> str:
    """Return the present moment as `updated_at` has it: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def plain(data: Mapping[str, Any]) -> Fields:
    """Return `data` as it will come back from Redis; what the caller changes later is not in it.

    Raises:
        InvalidProgress: it cannot be part of a snapshot.
    """
    return {name: loads(text) for name, text in encode(data, DEFAULT).items()}


def plain_value(name: str, value: Any) -> tuple[Any, int]:
    """Return one field's value in the same way, of whatever size, and the field's size in bytes.

    Raises:
        InvalidProgress: it has no JSON.
    """
    text = encode_value(name, value, DEFAULT)
    return loads(text), field_bytes(name, text)
