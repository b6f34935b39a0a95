"""The final status of an import, and the error message that its viewers may see."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError

from ..conf import settings
from ..core.errors import ImportCancelled, ImportSuperseded, StopsALoop
from ..core.snapshot import Fields
from ..kinds import IMPORT
from .sentences import failed
from .user_texts import user_text

logger = logging.getLogger("django_import_progress")

MESSAGE_LENGTH = 2000
"""Longer messages of exceptions are cut to this number of characters."""


def final_fields(
    job_id: str,
    error: BaseException | None,
    expose: tuple[type[BaseException], ...],
    kind: str = IMPORT,
) -> Fields:
    """Return the fields of the final status of an import.

    Args:
        job_id: the job.
        error: the exception that the import raised, if any.
        expose: exceptions whose message the end user may see.
        kind: what the job is.
    """
    if error is None:
        return {"status": "done"}
    if is_cancellation(error):
        return {"status": "cancelled"}
    try:
        message = _message(job_id, error, expose)
    except Exception:  # `str()` of an exception may raise; the import's exception counts.
        logger.exception("Import %s failed with a message that cannot be read", job_id)
        message = ""
    return failed_fields(message or failed(job_id, kind))


def flatten(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group and of nested groups; any other exception itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from flatten(part)
    else:
        yield error


def was_raised_by(error: BaseException, tracker: object, kind: type[StopsALoop]) -> bool:
    """Return whether `error`, or each part of a group, is a `kind` of this tracker or of none."""
    return all(
        isinstance(part, kind) and part.tracker in (None, tracker) for part in flatten(error)
    )


def was_raised_while_cancelling(error: BaseException, tracker: object) -> bool:
    """Return whether `error` was raised while handling this tracker's `ImportCancelled`."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        parts = flatten(cause)
        if any(isinstance(part, ImportCancelled) and part.tracker is tracker for part in parts):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def failed_fields(message: str) -> Fields:
    """Return the final fields of an import that has failed, with its message for the end user."""
    # Characters that cannot be encoded must not prevent the final write.
    message = message[:MESSAGE_LENGTH].encode("utf-8", "replace").decode()
    return {"status": "failed", "error_message": message}


CANCELLATIONS = (
    *(ImportCancelled, ImportSuperseded, SystemExit, KeyboardInterrupt, GeneratorExit),
    asyncio.CancelledError,
)
"""Exceptions that cancel an import. Any other `BaseException` is a failure, such as the time limits
of dramatiq and gevent."""


def is_cancellation(error: BaseException) -> bool:
    """Return whether `error`, or each exception of a group, cancels the import."""
    # `kill()` raises it in a greenlet. If the package is not imported, nothing has raised it.
    greenlet: Any = sys.modules.get("greenlet")
    kinds = CANCELLATIONS if greenlet is None else (*CANCELLATIONS, greenlet.GreenletExit)
    return all(isinstance(part, kinds) for part in flatten(error))


def _message(job_id: str, error: BaseException, expose: tuple[type[BaseException], ...]) -> str:
    """Return the part of the message that is for the end user; log the exception otherwise."""
    if isinstance(error, expose):
        return user_text(error)
    shown = [_shown(part, expose) for part in flatten(error)]
    if None in shown:
        logger.error("Import %s failed", job_id, exc_info=error)
    # The exposed messages of a group, without duplicates.
    message = " ".join(dict.fromkeys(text for text in shown if text))
    return message or (user_text(error) if settings.debug else "")


def _shown(error: BaseException, expose: tuple[type[BaseException], ...]) -> str | None:
    return user_text(error) if isinstance(error, (ValidationError, *expose)) else None
