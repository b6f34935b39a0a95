"""How attempts have ended: the record of a job, the previous attempt, and one that was lost.

The record is what is left of a job once its snapshot has expired, or once it was deleted. A JSON
array under a key of its own, written in the same atomic step as the end: life, version, a
letter for the status, seconds from the creation of the job to its end and to the start of the
attempt, processed and total rows, owner, error message, and rejected rows if there are any. With a
UUID as the job id it takes at most 250 bytes of Redis, key included, so a long message is cut: see
`prelude.RECORD`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar

from .command import Reply
from .snapshot import IDLE, Fields, Stored, as_text, decode, is_terminal, loads

T = TypeVar("T")

LOST = "lost"
"""Status of an attempt whose worker has died."""
SUPERSEDED = "superseded"
"""Status of an attempt whose worker was alive when another one took the job."""
STATUSES = {"d": "done", "f": "failed", "c": "cancelled"}
DELETED = "x"
_JOB_ID = "\x7f"
"""Placeholder for the job id in the error message."""


def recall(record: str | bytes, job_id: str, read_at: int) -> Stored | None:
    """Return the job as recorded; None if there is no record, or another program wrote it.

    Args:
        record: the record as read; empty if there is none.
        job_id: the job.
        read_at: when it was read, in µs by Redis's clock.
    """
    try:
        values = loads(as_text(record))
        life, version, letter, ended, started, processed, total, owner, error, *rejected = values
        deleted = letter == DELETED
        fields: Fields = {
            "status": None if deleted else STATUSES[letter],
            "processed_rows": processed,
            "total_rows": total,
            "error_message": error and error.replace(_JOB_ID, job_id),
            "started_at": _moment(life, started),
            "ended_at": _moment(life, ended),
            "expired": True,
        }
        if rejected:
            fields["rejected_rows"] = rejected[0]
    except (ValueError, TypeError, AttributeError, LookupError, OverflowError):
        return None
    return Stored(
        fields={} if deleted else fields,
        life=life,
        version=version,
        owner=owner,
        read_at=read_at,
        expired=True,
        deleted=deleted,
    )


def _moment(life: int, seconds: int | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(life // 10**6 + seconds, UTC).isoformat()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PreviousRun:
    """The attempt from which another one has taken the job."""

    run_id: str
    """Its fencing token."""
    attempt: int | None
    """Its number."""
    status: str
    """The status with which it had ended, `LOST` or `SUPERSEDED`; ``queued`` or ``interrupted`` if
    it was to be continued."""
    was_just_lost: bool
    """Whether it counts as lost only since it was taken over: `import_finished` was not sent."""
    snapshot: Fields
    """The fields that it left; empty if they are not known any more."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LostRun:
    """An attempt that has been ended as lost."""

    run_id: str
    attempt: int | None
    owner: str | None
    snapshot: Fields
    """The job's fields, with its final status and message."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunState:
    """The last attempt at a job, as Redis knows it."""

    stored: Stored | None
    """The job; None if Redis does not know it."""
    read_at: int
    """When it was read, in µs by Redis's clock."""
    run_id: str | None = None
    """The attempt's token; None if no worker has taken the job."""
    attempt: int | None = None
    begun: int = 0
    """When the attempt began, in µs by Redis's clock."""
    was_lost: bool = False
    """Whether the job was ended because its worker was lost."""

    @property
    def status(self) -> str | None:
        """How the attempt has ended; None if it has not, or Redis does not know the job."""
        if self.stored is None or self.stored.deleted or not is_terminal(self.stored.fields):
            return None
        return LOST if self.was_lost else str(self.stored.fields["status"])

    def is_lost(self, lost_after_seconds: float) -> bool:
        """Return whether the worker's lease expired so long ago that the job is to be ended."""
        stored = self.stored
        if stored is None or not stored.lease or stored.fields.get("status") in _IDLE:
            return False
        return self.read_at - stored.lease >= lost_after_seconds * 1e6


_IDLE = list(IDLE)  # A status may be of any type, also one that no set can contain.


def parse_run(job_id: str, reply: Reply) -> RunState:
    """Return what a read of the job's hash and record says of its last attempt."""
    read_at, flat, record = int(reply[0]), reply[1], reply[2]
    encoded = dict(zip(flat[::2], flat[1::2], strict=True))
    values: dict[str, Any] = {as_text(name): value for name, value in encoded.items()}
    return RunState(
        stored=decode(encoded, read_at) or recall(record, job_id, read_at),
        read_at=read_at,
        run_id=_own(values.get("_k"), str),
        attempt=_own(values.get("_a"), int),
        begun=_own(values.get("_b"), int) or 0,
        was_lost="_f" in values,
    )


def parse_previous(text: str | bytes, fields: str | bytes) -> PreviousRun | None:
    """Return the attempt before the current one, as `BEGIN` describes it; None if there is none."""
    values = _json(text)
    if not isinstance(values, list):
        return None
    token, status, attempt, is_new = values
    return PreviousRun(
        run_id=token,
        status=status,
        attempt=attempt,
        was_just_lost=bool(is_new),
        snapshot=_object(fields),
    )


def parse_lost(reply: Reply) -> LostRun | None:
    """Return the attempt that `END_LOST` has ended; None if it has ended none."""
    if reply[0] != 0:
        return None
    token, attempt, owner = map(_json, reply[1])
    snapshot = _object(reply[2])
    return LostRun(run_id=token, attempt=attempt, owner=owner, snapshot=snapshot)


def _json(text: Any) -> Any:
    return json.loads(as_text(text))


def _object(parts: str | bytes) -> Fields:
    try:
        fields: Mapping[str, Any] = loads(f"{{{as_text(parts)}}}")
    except ValueError:  # Another program has written a field that looks like JSON but is not.
        return {}
    return {name: value for name, value in fields.items() if not name.startswith("_")}


def _own(value: Any, kind: type[T]) -> T | None:
    """Return a bookkeeping value; None if there is none, or another program has written it."""
    with suppress(ValueError):
        if value is not None and type(found := _json(value)) is kind:
            return found or None
    return None
