"""The fields of a tracked import: cleaning values for JSON, limiting their size, comparing them.

Data must never end an import: NaN, surrogates and odd names are cleaned, not refused.
"""

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
from ..core.snapshot import KNOWN, MAX_BYTES, RATES, TRACKED, Fields
from ..service.base import DEFAULT, plain_value

EXACT = 2**53
"""Up to this size, every whole number has an exact float."""
OWN_LENGTH = 500
"""Longer texts of known fields, such as a stage, are cut to this number of characters."""
OWN_BYTES = 4 * 1024
"""Space reserved for the tracker's own fields: status, rows, rates and so on."""
DIGITS = 10
"""Digits reserved for a counter from the start, so that its size does not depend on its value."""


@dataclasses.dataclass(frozen=True, slots=True)
class Field:
    """A field's value, ready to be written to Redis."""

    value: Any
    size: int
    """Bytes of JSON, including the name."""
    is_cleaned: bool = False
    """Whether the value was changed to fit JSON."""


def as_count(n: object) -> int:
    """Return `n` as a number of rows; 0 for NaN, which stands for a missing number.

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
    """Return a total; None (unknown) if it is negative (`cursor.rowcount`), NaN or too large.

    Raises:
        InvalidProgress: `rows` is neither a whole number nor None.
    """
    total = _rows("total_rows", rows)
    return total if total is None or 0 <= total <= EXACT else None


def as_processed(rows: object) -> int:
    """Return a number of processed rows; 0 if it is unknown.

    Raises:
        InvalidProgress: `rows` is negative, or neither a whole number nor None.
    """
    return _rows("processed_rows", rows, at_least=0) or 0


def _rows(name: str, rows: object, at_least: float = -math.inf) -> int | None:
    with suppress(TypeError):
        number = None if rows is None else _whole(rows)
        if not isinstance(rows, bool) and (number or 0) >= at_least:
            return number
    raise InvalidProgress(
        f"Invalid {name} {rows!r}: pass a whole number of rows, or None if unknown"
    )


def _whole(number: Any) -> int | None:
    """Return any kind of whole number (also numpy's, Decimal) as an int; None for NaN."""
    if isinstance(number, Integral | SupportsIndex):
        return operator.index(number)
    if not isinstance(number, Real | Decimal):
        raise TypeError
    with suppress(ValueError, OverflowError):  # Infinities, and Decimal's signalling NaN.
        if math.isnan(number):
            return None
        whole = int(number)  # type: ignore[arg-type]  # Both have `__trunc__`.
        if whole == number and abs(whole) <= EXACT:
            return whole
    raise TypeError


def as_name(name: object) -> str:
    """Return a valid field name for a name that may come from the data.

    Raises:
        InvalidProgress: `name` is not a `str`.
    """
    if not isinstance(name, str):
        raise InvalidProgress(f"Invalid name {name!r}: pass a str, not {type(name).__name__}")
    text = _text(name)
    # Names that start with an underscore are bookkeeping; empty names are not allowed.
    return text if text and not text.startswith("_") else f"?{text}"


def as_field(name: str, value: Any) -> Field | None:
    """Return a value as Redis will return it; None if it is nested too deeply for JSON.

    Raises:
        InvalidProgress: the value's type has neither a JSON nor a text form.
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
    """Return `value` without NaN, surrogates and types that JSON does not have.

    Raises:
        TypeError: its type has no text form either.
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
    if callable(tolist := getattr(value, "tolist", None)):  # numpy arrays and booleans.
        return _cleaned(tolist())
    if isinstance(value, time):  # Django's encoder refuses a time with a time zone.
        return value.isoformat()
    return _text(DEFAULT(value))


def _key(key: Any) -> str:
    return _text(key if isinstance(key, str) else str(_cleaned(key)))


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class FieldLimit:
    """Decides which fields fit into the snapshot: the first ones stay, later ones are refused.

    The sum never exceeds the limit, so a write does not have to measure anything. Not thread-safe:
    callers hold a lock.
    """

    def __init__(self) -> None:
        self._sizes: dict[str, int] = {}
        self._stored: dict[str, int] = {}
        """Sizes of the fields that the job had before; they count until they are replaced."""
        self._used = OWN_BYTES

    def reserve(self, sizes: dict[str, int]) -> list[str]:
        """Reserve space for fields, in their order; return the names of those that fit."""
        return [name for name, size in sizes.items() if self._reserve(name, size)]

    def _reserve(self, name: str, size: int) -> bool:
        used = self._used + size - self._sizes.get(name, self._stored.get(name, 0))
        if used > MAX_BYTES:
            return False
        self._used, self._sizes[name] = used, size
        return True

    def note_stored(self, fields: Fields) -> list[str]:
        """Count the fields that the job had before; return the newest ones, which no longer fit."""
        self._stored = {
            name: plain_value(name, value)[1]
            for name, value in fields.items()
            if name not in KNOWN | TRACKED
        }
        sizes, self._sizes = self._sizes, {}
        self._used = OWN_BYTES + sum(self._stored.values())
        return [name for name, size in sizes.items() if not self._reserve(name, size)]


def tracker_fields(fields: Fields) -> Fields:
    """Return only the tracker's own fields, without those that the user added."""
    own = KNOWN | TRACKED | {"rejected_rows", "label", "kind"}
    return {name: value for name, value in fields.items() if name in own}


def without_time(fields: Fields) -> Fields:
    """Return fields for a comparison: changes that only time causes are no reason to write.

    Of the rates, only whether they are known counts.
    """
    return {
        name: bool(value) if name in RATES else value
        for name, value in fields.items()
        if value is not None or name in RATES  # An absent field equals a null.
    }
