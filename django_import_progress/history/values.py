"""The columns of a run, from the fields of its job. Whatever the data is, it never raises."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings as django_settings
from django.utils import timezone

from ..core.snapshot import KNOWN, TRACKED, Fields, number_of, outcome_of, text_of

LARGEST = 2**63 - 1
"""Limit of a `BigIntegerField`."""
ERROR_LENGTH = 10_000
_WITHOUT_COUNTERS = KNOWN | TRACKED | {"rejected_rows", "label", "kind"}
_WITHOUT_COUNTERS |= {"queued_at", "ended_at"}
_LENGTHS = {"label": 255, "kind": 32, "stage": 255, "error_message": ERROR_LENGTH}


def columns_of(snapshot: Fields, *, is_plain: bool = False) -> dict[str, Any]:
    """Return what a run's columns get from its job's fields.

    Args:
        snapshot: the fields.
        is_plain: whether to keep only what any database accepts: ASCII texts and numbers.
    """
    texts = {
        name: clean_text(text_of(snapshot.get(name)), length, is_plain=is_plain)
        for name, length in _LENGTHS.items()
    }
    numbers = {n: v for n, v in snapshot.items() if n not in _WITHOUT_COUNTERS and _is_number(v)}
    return {
        **texts,
        "kind": texts["kind"] or "import",
        "outcome": outcome_of(snapshot),
        "total_rows": _whole(snapshot.get("total_rows")),
        "processed_rows": _whole(snapshot.get("processed_rows")) or 0,
        "rejected_rows": _whole(snapshot.get("rejected_rows")) or 0,
        "counters": {} if is_plain else clean_tree(numbers),
        "snapshot": {} if is_plain else clean_tree(snapshot),
    }


def _is_number(value: Any) -> bool:
    return type(value) in {int, float}


def clean_text(text: str, length: int, *, is_plain: bool = False) -> str:
    """Return a text that any database accepts.

    PostgreSQL refuses NUL, and UTF-8 has no lone surrogates. A table in MariaDB may be in utf8mb3,
    or in another character set.
    """
    text = text.replace("\0", "\ufffd")
    encoded = text.encode("ascii" if is_plain else "utf-8", "replace")
    return encoded.decode()[:length]


def clean_tree(value: Any) -> Any:
    """Return a JSON value with clean texts."""
    if isinstance(value, str):
        return clean_text(value, len(value))
    if isinstance(value, list):
        return [clean_tree(item) for item in value]
    if isinstance(value, Mapping):
        return {clean_text(name, len(name)): clean_tree(item) for name, item in value.items()}
    return value


def _whole(value: Any) -> int | None:
    number = number_of(value)
    return None if number is None else int(max(-LARGEST, min(number, LARGEST)))


def moment_of(value: Any) -> datetime | None:
    """Return the time in a field, in UTC; None if there is none that a database can keep."""
    try:
        moment = datetime.fromisoformat(value).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return moment if 1970 <= moment.year < 9999 else None


def for_database(moment: datetime | None) -> datetime | None:
    """Return a time as `USE_TZ` demands."""
    if moment is None or django_settings.USE_TZ:
        return moment
    return timezone.make_naive(moment, timezone.get_default_timezone())
