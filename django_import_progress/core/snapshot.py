"""Snapshots of jobs: validation, encoding, and the representation that watchers get."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, cast

from .errors import InvalidProgress

Fields = dict[str, Any]
Encoded = dict[str, str]
"""Field names, and each value as JSON text."""
Written = tuple[int, int]
"""Life and version of a job: one write of its snapshot."""
Order = tuple[int, int, int]
"""The same, and whether cancellation was requested since: one state of its hash."""
JsonDefault = Callable[[Any], Any]
"""Encodes values that `json` does not support, as `DjangoJSONEncoder.default` does."""

KNOWN = frozenset(
    {"status", "stage", "total_rows", "processed_rows", "error_message", "updated_at"}
)
RATES = frozenset({"rows_per_second", "eta_seconds"})
"""Fields that change as time passes."""
TRACKED = RATES | {"attempt", "started_at"}
"""Fields that `track_import` adds."""
TERMINAL = frozenset({"done", "failed", "cancelled"})
IDLE = TERMINAL | {"queued", "interrupted"}
"""A job with one of these statuses has no worker."""
SEPARATOR = " · "
"""Separates parts of a text."""
_NUMERAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?(E[+-]?[0-9])?")
_INDEX = re.compile("0|[1-9][0-9]{0,8}")
MAX_BYTES = 64 * 1024
"""The maximum size of a snapshot as UTF-8 JSON, not counting our `updated_at`."""


PLAIN_DEPTH = 100
"""Deeper values are checked: what is read must be writable from deeper in the stack."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A job as read from its hash, or received as a whole message on its channel."""

    fields: Fields
    """The snapshot as the user wrote it, and `updated_at`."""
    life: int
    """When this hash was created, in µs by Redis's clock; a recreated job has a new life. It is 0
    if another program wrote the hash."""
    version: int
    """How many writes this life has had."""
    owner: str | None = None
    """The owner's primary key as text."""
    lease: int = 0
    """When the worker's lease expires, in µs by Redis's clock; 0: there is no worker."""
    promised: int = 0
    """The length of the lease when it was written, in µs; 0: unknown."""
    read_at: int = 0
    """When this was read or published, by the same clock; 0: unknown."""
    cancel_requested: bool = False
    """Whether `request_cancel` was called."""
    expired: bool = False
    """Whether the snapshot has expired, and only the outcome is known."""
    deleted: bool = False
    """Whether the job was deleted; nothing else is known."""
    archived: bool = False
    """Whether the fields come from the history, because Redis has no snapshot."""

    @property
    def stalled(self) -> bool:
        """Whether the worker's lease has expired.

        A lease with more than twice its length left was written before Redis's clock was set back:
        when it expires is unknown, so it counts as expired. A live worker renews it shortly. The
        same is true if Redis has forgotten a running job.
        """
        if self.is_forgotten:
            return self.fields.get("status") not in IDLE
        if not self.lease or not self.read_at or self.ended:
            return False
        left = self.lease - self.read_at
        return left < 0 or 0 < 2 * self.promised < left

    @property
    def is_forgotten(self) -> bool:
        """Whether only the history knows the job: Redis has neither a snapshot nor an outcome."""
        return self.archived and not self.life

    @property
    def cancelling(self) -> bool:
        """Whether cancellation was requested and the job has not ended yet."""
        return self.cancel_requested and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return is_terminal(self.fields)

    @property
    def written(self) -> Written:
        """Identifies the last write of the user's fields: it orders partial messages."""
        return (self.life, self.version)

    @property
    def order(self) -> Order:
        """Increases with each change: each write, and a request to cancel."""
        return (self.life, self.version, int(self.cancel_requested))


def is_terminal(fields: Mapping[str, Any]) -> bool:
    """Tell whether the status in `fields` is terminal."""
    status = fields.get("status")
    return isinstance(status, str) and status in TERMINAL


def checked_mapping(data: Any) -> Mapping[Any, Any]:
    """Return `data`; raise `InvalidProgress` if it is not a mapping."""
    if isinstance(data, Mapping):
        return data
    raise InvalidProgress(f"Pass a mapping of field names to values, not {type(data).__name__}")


def encode(data: Mapping[str, Any], default: JsonDefault, most_bytes: int = MAX_BYTES) -> Encoded:
    """Return each value of `data` as JSON text for a hash.

    Raises:
        InvalidProgress: a key is not a non-empty `str` or begins with ``_``; a value is not JSON,
            is NaN or infinite, or has a lone surrogate; or the result exceeds `most_bytes`.
    """
    data = checked_mapping(data)
    encoded = {_checked_name(name): encode_value(name, data[name], default) for name in data}
    # A character takes at most six bytes: most snapshots need not be measured exactly.
    most = sum(6 * (len(name) + len(text)) + 4 for name, text in encoded.items())
    if most > most_bytes:
        size = len(join_json(encoded).encode())
        if size > most_bytes:
            raise InvalidProgress(
                f"The snapshot is {size} bytes of JSON; the maximum is {most_bytes}"
            )
    return encoded


def field_bytes(name: str, text: str) -> int:
    """Return the size of a field in a snapshot, in bytes, given its value as JSON text."""
    return len(_dumps(name).encode()) + len(text.encode()) + 2


def join_json(encoded: Encoded) -> str:
    """Return encoded fields as one JSON object."""
    return "{" + ",".join(f"{_dumps(name)}:{text}" for name, text in encoded.items()) + "}"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidProgress(f"Invalid field name {name!r}: must be a non-empty str")
    if name.startswith("_"):
        raise InvalidProgress(
            f"The field {name!r} begins with an underscore; such names are reserved"
        )
    _refuse_surrogates(name, name)
    return name


def encode_value(name: str, value: Any, default: JsonDefault) -> str:
    """Return a value as JSON text; raise `InvalidProgress` if it is not JSON."""
    try:
        if type(value) is int:
            return str(value)  # The same as `json`, but faster.
        text = _dumps(value, default)
        if _is_deep(text):
            loads(text)  # Raises if it could not be read again.
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidProgress(f"The field {name!r} cannot be written as JSON: {error}") from error
    _refuse_surrogates(name, text)
    return text


def _refuse_surrogates(name: str, text: str) -> None:
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidProgress(
            f"The field {name!a} contains a lone surrogate, which UTF-8 cannot encode"
        ) from error


@functools.lru_cache(maxsize=8)  # `json.dumps` would create one in each call.
def _encoder(default: JsonDefault | None) -> json.JSONEncoder:
    return json.JSONEncoder(
        default=default, allow_nan=False, ensure_ascii=False, separators=(",", ":")
    )


def _dumps(value: Any, default: JsonDefault | None = None) -> str:
    return _encoder(default).encode(value)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is out of range")
    return number


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)


def _is_deep(text: str) -> bool:
    return text.count("[") + text.count("{") > PLAIN_DEPTH


def loads(text: str | bytes) -> Any:
    """Parse strict JSON (RFC 8259): unlike `json.loads`, no NaN and no Infinity.

    An escaped lone surrogate, which UTF-8 cannot encode, becomes a question mark.

    Raises:
        ValueError: it is not JSON, or nested deeper or longer than Python can parse.
    """
    try:
        # Not bytes: json would also accept UTF-16 and encoded surrogates.
        text = as_text(text)
        value = _DECODER.decode(text)
        if "\\ud" in text.lower():
            value = json.loads(_dumps(value).encode("utf-8", "replace"))
        if _is_deep(text):
            _dumps(functools.reduce(lambda inner, _: [inner], range(PLAIN_DEPTH), value))
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def loads_reply(reply: str | bytes) -> Stored:
    """Parse the reply of a script that has written a job.

    Raises:
        InvalidProgress: another program has written a field that looks like JSON but is not.
    """
    try:
        return split_bookkeeping(loads(f"{{{as_text(reply)}}}"))
    except ValueError as error:
        raise InvalidProgress(
            f"The job was written, but another program wrote a field that is not JSON ({error}):"
            " replace that field"
        ) from error


def as_text(value: str | bytes) -> str:
    """Return a value from a Redis client as text, whether or not the client decodes responses."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def decode(encoded: Mapping[str | bytes, str | bytes], read_at: int = 0) -> Stored | None:
    """Decode a job's hash; None for an empty one, which means that there is none."""
    if not encoded:
        return None
    values = {as_text(name): _decode_value(value) for name, value in encoded.items()}
    return split_bookkeeping(values, read_at)


def _decode_value(value: str | bytes) -> Any:
    # A value that another program wrote, and not as JSON, is shown as text.
    try:
        return loads(value)
    except ValueError:
        return as_text(value)


def split_bookkeeping(values: Mapping[str, Any], read_at: int = 0) -> Stored:
    """Separate the user's fields from the bookkeeping fields."""
    owner = values.get("_o")
    return Stored(
        fields={name: value for name, value in values.items() if not name.startswith("_")},
        life=_whole(values.get("_l")),
        version=_whole(values.get("_v")),
        owner=owner if isinstance(owner, str) else None,
        # A queued job has no worker, even if it waits for another attempt.
        lease=0 if values.get("status") == "queued" else _whole(values.get("_d")),
        promised=_whole(values.get("_s")),
        read_at=read_at or _whole(values.get("_r")),
        cancel_requested=values.get("_c") == 1,
    )


def _whole(value: Any) -> int:
    return value if type(value) is int else 0


def percent(fields: Mapping[str, Any]) -> float | None:
    """Return the progress in percent, 0.0 to 100.0 in tenths; None if the total is unknown.

    It is rounded down, so that 100 is never shown while a row is missing.
    """
    if fields.get("status") == "done":
        return 100.0
    total = number_of(fields.get("total_rows"))
    processed = number_of(fields.get("processed_rows") or 0)
    if total is None or processed is None or total <= 0:
        return None
    part = min(max(processed, 0), total)
    if type(part) is type(total) is int:
        return part * 1000 // total / 10
    # Fractions are exact, and do not overflow to infinity as a product of floats would.
    return int(Fraction(part) * 1000 // Fraction(total)) / 10


def number_of(value: object) -> int | float | None:
    """Return the number in a field; None if it holds something else, as any field may.

    It may be text, as which `DjangoJSONEncoder` encodes a `Decimal`.
    """
    if type(value) in {int, float}:
        return cast("int | float", value)
    if not isinstance(value, str) or not _NUMERAL.fullmatch(value):
        return None
    number = float(value)
    return int(number) if number.is_integer() else number


def text_of(value: object) -> str:
    """Return a field's value as text: of a list its items, of an object also their names."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return SEPARATOR.join(map(text_of, value))
    if isinstance(value, dict):
        items = sorted(value.items(), key=_place)
        return SEPARATOR.join(f"{name}: {text_of(item)}" for name, item in items)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value).lower()


def _place(item: tuple[str, object]) -> int:
    """Return what to sort an object's items by: row numbers come first, as in JavaScript."""
    [name, _] = item
    return int(name) if _INDEX.fullmatch(name) else 2**32


def represent(job_id: str, fields: Mapping[str, Any], *, stalled: bool, cancelling: bool) -> Fields:
    """Return the representation of a job for JSON, SSE, WebSocket, the page and the command line.

    Computed fields override the user's. Without a worker the rate and the time left are None, even
    if the last worker has left values.
    """
    status = fields.get("status")
    is_idle = stalled or (isinstance(status, str) and status in IDLE)
    return {
        **fields,
        **(dict.fromkeys(RATES & fields.keys()) if is_idle else {}),
        "job_id": job_id,
        "percent": percent(fields),
        "stalled": stalled,
        "cancelling": cancelling,
        "outcome": outcome_of(fields),
    }


def outcome_of(fields: Mapping[str, Any]) -> str | None:
    """Return the outcome of a job that is done; None otherwise.

    ``complete``, ``partial`` if some rows were rejected, or ``nothing`` if none was accepted.
    """
    if fields.get("status") != "done":
        return None
    processed = number_of(fields.get("processed_rows"))
    count = max(number_of(fields.get("rejected_rows")) or 0, 0)
    if processed is not None and processed - count <= 0:
        return "nothing"
    return "partial" if count else "complete"


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return strict, compact UTF-8 JSON on one line."""
    return _dumps(value).encode()
