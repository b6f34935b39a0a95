"""Error messages shared by all endpoints, and the WebSocket message of a job that is gone."""

from __future__ import annotations

from typing import Any

from .snapshot import to_json

NO_SUCH_JOB = "There is no such job."
HAS_ENDED = "The job has ended."
UNAVAILABLE = "Progress is unavailable right now."
TOO_MANY_STREAMS = "There are too many open streams."
TOO_MANY_OF_YOURS = "You have too many open streams."
NOT_CACHED = "private, no-store"
"""`Cache-Control` of every response. Django's per-site cache skips private responses only."""


def error_message(error: str, job: str | None = None) -> str:
    """Return the WebSocket message for a failed request."""
    message: dict[str, Any] = {"error": error}
    return to_json(message if job is None else message | {"job": job}).decode()


def gone_message(job_id: str) -> str:
    """Return the WebSocket message for a job that was deleted or has expired."""
    return to_json({"job_id": job_id, "gone": True}).decode()
