"""What may be written as a job's snapshot, and the representation of it that watchers get."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, TypeGuard

from .errors import InvalidProgress

Fields = dict[str, Any]
Encoded = dict[str, str]
"""Field names, and each value as JSON text."""
Written = tuple[int, int]
"""The life of a job, and the version in it: one write of its snapshot."""
Order = tuple[int, int, int]
"""The same, and whether cancellation was requested since: one state of its hash."""
JsonDefault = Callable[[Any], Any]
"""What `json.dumps` calls for a value that it does not know, as `DjangoJSONEncoder.default`."""

KNOWN = frozenset(
    {"status", "stage", "total_rows", "processed_rows", "error_message", "updated_at"}
)
RATES = frozenset({"rows_per_second", "eta_seconds"})
"""What changes by the mere passing of time."""
TRACKED = RATES | {"attempt", "started_at"}
"""What `track_import` adds of itself."""
TERMINAL = frozenset({"done", "failed", "cancelled"})
IDLE = TERMINAL | {"queued", "interrupted"}
"""While a job has one of these statuses, no worker is importing it."""
MAX_BYTES = 64 * 1024
"""The most that a snapshot may take as UTF-8 JSON, our `updated_at` not counted."""


PLAIN_DEPTH = 100
"""What is read must be written again, from deeper in the stack than it was read."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """What one read of a job's hash, or one whole message on its channel, says."""

    fields: Fields
    """The snapshot, as the user wrote it, and `updated_at`."""
    life: int
    """When this hash came to be, in µs by Redis's clock; another value is another life of the job.
    0: written by somebody else."""
    version: int
    """How many writes this life has seen."""
    owner: str | None = None
    """The owner's primary key as text."""
    lease: int = 0
    """Until when the job's worker is believed alive, µs by Redis's clock; 0: there is none."""
    promised: int = 0
    """How long that was when it was written, µs; 0: it is not known."""
    read_at: int = 0
    """When this was read, or told, by the same clock; 0: it is not known."""
    cancel_requested: bool = False
    """Whether `request_cancel` was called."""
    expired: bool = False
    """Whether the snapshot has expired, and only the outcome is remembered."""
    deleted: bool = False
    """Whether the job was deleted; only that is remembered."""

    @property
    def stalled(self) -> bool:
        """Whether the job's worker was silent for longer than it had promised.

        A lease of which more than twice its length is left was written before Redis's clock was set
        back, and nobody can tell when it is over. A worker that is alive renews it in a moment.
        """
        if not self.lease or not self.read_at or self.ended:
            return False
        left = self.lease - self.read_at
        return left < 0 or 0 < 2 * self.promised < left

    @property
    def cancelling(self) -> bool:
        """Whether the job was asked to stop, and has not ended yet."""
        return self.cancel_requested and not self.ended

    @property
    def ended(self) -> bool:
        """Whether the job has ended."""
        return is_terminal(self.fields)

    @property
    def written(self) -> Written:
        """Which write of the user's fields this is: it orders partial messages."""
        return (self.life, self.version)

    @property
    def order(self) -> Order:
        """What grows with each change: with each write, and with a request to cancel."""
        return (self.life, self.version, int(self.cancel_requested))


def is_terminal(fields: Mapping[str, Any]) -> bool:
    """Tell whether the status among `fields` ends a job."""
    status = fields.get("status")
    return isinstance(status, str) and status in TERMINAL


def checked_mapping(data: Any) -> Mapping[Any, Any]:
    """Return `data`; raises `InvalidProgress` where it is not a mapping."""
    if isinstance(data, Mapping):
        return data
    raise InvalidProgress(f"Pass a mapping of field names to values, not {type(data).__name__}")


def encode(data: Mapping[str, Any], default: JsonDefault, most_bytes: int = MAX_BYTES) -> Encoded:
    """Return each value of `data` as JSON text, ready for a hash.

    Raises:
        InvalidProgress: a key is not a non-empty `str` or begins with ``_``; a value has no JSON,
            is NaN or infinite, or has a lone surrogate; or all of it is larger than `most_bytes`.
    """
    data = checked_mapping(data)
    encoded = {_checked_name(name): encode_value(name, data[name], default) for name in data}
    # No character of a name or a text takes more than six bytes: most need not be counted exactly.
    most = sum(6 * (len(name) + len(text)) + 4 for name, text in encoded.items())
    if most > most_bytes:
        size = len(join_json(encoded).encode())
        if size > most_bytes:
            raise InvalidProgress(f"The snapshot is {size} bytes of JSON, {most_bytes} at most")
    return encoded


def field_bytes(name: str, text: str) -> int:
    """Return how many bytes a field takes in a snapshot, given its value as JSON text."""
    return len(_dumps(name).encode()) + len(text.encode()) + 2


def join_json(encoded: Encoded) -> str:
    """Return fields that are encoded already as one JSON object."""
    return "{" + ",".join(f"{_dumps(name)}:{text}" for name, text in encoded.items()) + "}"


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise InvalidProgress(f"{name!r} is no field name: use a non-empty str")
    if name.startswith("_"):
        raise InvalidProgress(
            f"The field {name!r} begins with an underscore; those are kept for bookkeeping"
        )
    _refuse_surrogates(name, name)
    return name


def encode_value(name: str, value: Any, default: JsonDefault) -> str:
    """Return one value as JSON text; raises `InvalidProgress` if it has none."""
    try:
        if type(value) is int:
            return str(value)  # As `json` would, and sooner.
        text = _dumps(value, default)
        if _is_deep(text):
            loads(text)  # What is written must be read again.
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
            f"The field {name!a} has a lone surrogate, which UTF-8 cannot carry"
        ) from error


@functools.lru_cache(maxsize=8)  # `json.dumps` would make one a call.
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

    An escaped lone surrogate, which UTF-8 cannot carry any further, becomes a question mark.

    Raises:
        ValueError: it is not JSON, or deeper or longer than Python parses.
    """
    try:
        # Not the bytes: json would take UTF-16 as well, and let encoded surrogates pass.
        text = as_text(text)
        value = _DECODER.decode(text)
        if "\\ud" in text.lower():
            value = json.loads(_dumps(value).encode("utf-8", "replace"))
        if _is_deep(text):
            _dumps(functools.reduce(lambda inner, _: [inner], range(PLAIN_DEPTH), value))
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def loads_answer(answer: str | bytes) -> Stored:
    """Parse what a script answers of a job that it has written.

    Raises:
        InvalidProgress: another program has written into the hash what looks like JSON and is none.
    """
    try:
        return split_bookkeeping(loads(f"{{{as_text(answer)}}}"))
    except ValueError as error:
        raise InvalidProgress(
            f"The job was written, but a field that another program wrote is no JSON ({error}):"
            " replace that field"
        ) from error


def as_text(value: str | bytes) -> str:
    """Return what a Redis client answers as text, whether or not it decodes responses."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def decode(encoded: Mapping[str | bytes, str | bytes], read_at: int = 0) -> Stored | None:
    """Read a job's hash; None for an empty one, which is how Redis says that it is not there."""
    if not encoded:
        return None
    values = {as_text(name): _decode_value(value) for name, value in encoded.items()}
    return split_bookkeeping(values, read_at)


def _decode_value(value: str | bytes) -> Any:
    # A value that somebody wrote by hand, and not as JSON, is shown as the text that it is.
    try:
        return loads(value)
    except ValueError:
        return as_text(value)


def split_bookkeeping(values: Mapping[str, Any], read_at: int = 0) -> Stored:
    """Part the user's fields from ours."""
    owner = values.get("_o")
    return Stored(
        fields={name: value for name, value in values.items() if not name.startswith("_")},
        life=_whole(values.get("_l")),
        version=_whole(values.get("_v")),
        owner=owner if isinstance(owner, str) else None,
        # What waits in a queue, be it for another attempt, has no worker that could fall silent.
        lease=0 if values.get("status") == "queued" else _whole(values.get("_d")),
        promised=_whole(values.get("_s")),
        read_at=read_at or _whole(values.get("_r")),
        cancel_requested=values.get("_c") == 1,
    )


def _whole(value: Any) -> int:
    return value if type(value) is int else 0


def percent(fields: Mapping[str, Any]) -> float | None:
    """Return how far the job is, 0.0 to 100.0 by tenths; None where the total is unknown.

    It is rounded down, so that 100 is never shown while a row is missing.
    """
    if fields.get("status") == "done":
        return 100.0
    total, processed = fields.get("total_rows"), fields.get("processed_rows") or 0
    if not is_number(total) or not is_number(processed) or total <= 0:
        return None
    part = min(max(processed, 0), total)
    if type(part) is type(total) is int:
        return part * 1000 // total / 10
    # Fractions are exact too, and don't overflow to infinity as a product of floats would.
    return int(Fraction(part) * 1000 // Fraction(total)) / 10


def is_number(value: object) -> TypeGuard[float]:
    """Tell whether a field's value is a number, as `total_rows` should be and may not."""
    return type(value) in (int, float)


def represent(job_id: str, fields: Mapping[str, Any], *, stalled: bool, cancelling: bool) -> Fields:
    """Return what JSON, SSE, WebSocket, the page and the command line show of a job.

    Our fields win over the user's. While nobody imports there is no rate and no time left, even if
    the last worker left some.
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
    """Return what became of the rows of a job that is done; None before that.

    ``complete``, ``partial`` if some were rejected, or ``nothing`` if none was accepted.
    """
    processed, rejected = fields.get("processed_rows"), fields.get("rejected_rows")
    if fields.get("status") != "done":
        return None
    count = rejected if is_number(rejected) and rejected > 0 else 0
    if is_number(processed) and processed - count <= 0:
        return "nothing"
    return "partial" if count else "complete"


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return strict, compact UTF-8 JSON on one line."""
    return _dumps(value).encode()
