"""What the managers share: calls with Django's JSON, and the clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder

from .core.calls import Calls, check_ttl
from .core.keys import Keys
from .core.snapshot import Fields, encode, loads

PING_SECONDS = 1.0
"""After so long without a message a subscription is pinged, and pinged again."""
SILENCE_SECONDS = 3.0
"""A subscription whose pings are not answered for so long is dead. redis-py's health check does not
end a read whose peer vanished without a FIN."""

_DEFAULT = DjangoJSONEncoder().default


def calls_for(
    namespace: str, ttl_seconds: int, *, clustered: bool = False, sharded: bool = False
) -> Calls:
    """Return the verbs of a namespace.

    Args:
        namespace: first part of every key and channel.
        ttl_seconds: how long a snapshot outlives its last write.
        clustered: whether each key may live on another server.
        sharded: whether its server alone tells of a job.

    Raises:
        ValueError: the namespace, or the time to live, cannot be one.
    """
    check_ttl(ttl_seconds)
    return Calls(Keys(namespace, sharded), ttl_seconds, _DEFAULT, clustered)


def now_text() -> str:
    """Return the present moment as `updated_at` has it: ISO 8601, UTC, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def plain(data: Mapping[str, Any]) -> Fields:
    """Return `data` as it will come back from Redis; what the caller changes later is not in it.

    Raises:
        InvalidProgress: it cannot be part of a snapshot.
    """
    return {name: loads(text) for name, text in encode(data, _DEFAULT).items()}
