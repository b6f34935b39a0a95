"""The record of a job that has ended or was deleted: what is left once its snapshot has expired.

A JSON array under a key of its own, written in the same atomic step as the end: life, version, a
letter for the status, seconds from the creation of the job to its end and to the start of the
attempt, processed and total rows, owner, error message, and rejected rows if there are any. With a
UUID as the job id it takes at most 250 bytes of Redis, key included, so a long message is cut: see
`prelude.RECORD`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from .snapshot import Fields, Stored, as_text, loads

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
