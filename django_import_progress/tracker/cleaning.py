"""Make what an import's data hold fit for a snapshot: a NaN or a strange name must not end it."""

from __future__ import annotations

import dataclasses
import enum
import math
import operator
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import time
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, SupportsIndex

from ..core.errors import InvalidProgress
from ..service.base import DEFAULT, plain_value

EXACT = 2**53
"""Up to here each whole number has a float of its own."""
OWN_LENGTH = 500
"""How many characters of a status or a stage are kept: more is no text for a bar."""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A field's value, ready to be written."""

    value: Any
    size: int
    """Bytes of JSON, the name included."""
    is_cleaned: bool = False
    """Whether it is not quite what was given."""


def as_count(n: object) -> int:
    """Return a number of rows to count; 0 for NaN, which stands for a missing number.

    Raises:
        InvalidProgress: `n` is not a whole number.
    """
    try:
        return _whole(n) or 0
    except TypeError:
        raise InvalidProgress(
            f"Cannot count {n!r}: pass a whole number, not {type(n).__name__}"
        ) from None


def as_total(rows: object) -> int | None:
    """Return a total; None, for unknown, if it is negative (`cursor.rowcount`), NaN or absurd.

    Raises:
        InvalidProgress: `rows` is neither a whole number nor None.
    """
    try:
        total = None if rows is None else _whole(_no_bool(rows))
    except TypeError:
        raise _no_rows("total_rows", rows) from None
    return total if total is None or 0 <= total <= EXACT else None


def as_processed(rows: object) -> int:
    """Return how many rows have been processed; 0 if that is unknown.

    Raises:
        InvalidProgress: `rows` is negative, or neither a whole number nor None.
    """
    try:
        processed = 0 if rows is None else _whole(_no_bool(rows)) or 0
    except TypeError:
        raise _no_rows("processed_rows", rows) from None
    if processed < 0:
        raise _no_rows("processed_rows", rows)
    return processed


def _no_rows(name: str, rows: object) -> InvalidProgress:
    return InvalidProgress(
        f"Invalid {name} {rows!r}: pass a whole number of rows, or None if unknown"
    )


def _no_bool(rows: object) -> object:
    if isinstance(rows, bool):
        raise TypeError
    return rows


def _whole(number: Any) -> int | None:
    """Return a whole number of any type, numpy's and Decimal included; None for NaN."""
    if isinstance(number, Integral | SupportsIndex):
        return operator.index(number)
    if not isinstance(number, Real | Decimal):
        raise TypeError
    with suppress(ValueError, OverflowError):  # Of infinities, and of Decimal's signalling NaN.
        if math.isnan(number):
            return None
        whole = int(number)  # type: ignore[arg-type]  # Each has `__trunc__`.
        if whole == number and abs(whole) <= EXACT:
            return whole
    raise TypeError


def as_name(name: object) -> str:
    """Return a field's name that data have made.

    Raises:
        InvalidProgress: it is no `str`.
    """
    if not isinstance(name, str):
        raise InvalidProgress(f"Invalid name {name!r}: pass a str, not {type(name).__name__}")
    text = _text(name)
    # An underscore is for bookkeeping, and an empty name is none.
    return text if text and not text.startswith("_") else f"?{text}"


def as_field(name: str, value: Any) -> Field | None:
    """Return a field's value as it will come back from Redis; None if it is too deep for JSON.

    Raises:
        InvalidProgress: the value is of a type that has neither JSON nor a text.
    """
    with suppress(InvalidProgress):
        return Field(*plain_value(name, value))
    try:
        return Field(*plain_value(name, _cleaned(value)), is_cleaned=True)
    except TypeError as error:
        raise InvalidProgress(f"The field {name!r} cannot be written as JSON: {error}") from None
    except (InvalidProgress, RecursionError):
        return None


def _cleaned(value: Any) -> Any:
    """Return `value` without what JSON cannot express: NaN, surrogates, and types it lacks.

    Raises:
        TypeError: it is of a type that has no text either.
    """
    if isinstance(value, os.PathLike):
        return _cleaned(os.fspath(value))
    if isinstance(value, Mapping):
        return {_key(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(item) for item in value]
    if isinstance(value, set | frozenset):
        return ", ".join(sorted(str(_cleaned(item)) for item in value))
    if value is None or isinstance(value, bool):
        return value
    return _number(value) if isinstance(value, Real) else _scalar(value)


def _number(value: Real) -> int | float | None:
    if isinstance(value, Integral):
        return int(value)
    return float(value) if math.isfinite(value) else None


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, enum.Enum):
        return str(_cleaned(value.value))
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "replace")
    if callable(tolist := getattr(value, "tolist", None)):  # numpy's arrays and booleans.
        return _cleaned(tolist())
    if isinstance(value, time):  # Django refuses one with a time zone.
        return value.isoformat()
    return _text(DEFAULT(value))


def _key(key: Any) -> str:
    return _text(key if isinstance(key, str) else str(_cleaned(key)))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
