"""How an import ended, and what its viewers may read of the reason."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections
from django.utils.translation import gettext

from .conf import settings
from .core.errors import ImportCancelled, ImportSuperseded
from .core.snapshot import Fields

logger = logging.getLogger("django_import_progress")

MESSAGE_LENGTH = 2000
"""How much of an exception's message is shown, in characters."""


def ending_of(
    job_id: str, error: BaseException | None, expose: tuple[type[BaseException], ...]
) -> Fields:
    """Return the fields that tell the end: of an import that raised `error`, or None."""
    if error is None:
        return {"status": "done"}
    if is_cancellation(error):
        return {"status": "cancelled"}
    try:
        message = _message(job_id, error, expose)
    except Exception:  # An exception's own message can raise one. The import's is what counts.
        logger.exception("Import %s failed with a message that cannot be read", job_id)
        message = ""
    message = message or gettext(
        "The import failed. Please give this number when you ask for help: %(job_id)s"
    ) % {"job_id": job_id}
    # What cannot be encoded must not keep the end from being told.
    message = message[:MESSAGE_LENGTH].encode("utf-8", "replace").decode()
    return {"status": "failed", "error_message": message}


CANCELLATIONS = (
    *(ImportCancelled, ImportSuperseded, SystemExit, KeyboardInterrupt, GeneratorExit),
    asyncio.CancelledError,
)
"""Raised to stop what runs. Any other `BaseException` is a failure, such as the time limits of
dramatiq and gevent."""


def is_cancellation(error: BaseException) -> bool:
    """Tell whether `error` was raised to stop the import; of a group, whether each in it was."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_cancellation, error.exceptions))
    # What `kill()` raises in a greenlet. Without the package nobody has raised it.
    greenlet: Any = sys.modules.get("greenlet")
    return isinstance(error, CANCELLATIONS) or (
        greenlet is not None and isinstance(error, greenlet.GreenletExit)
    )


def open_transaction() -> str | None:
    """Return the alias of a database in whose transaction this thread is, if it is in one."""
    return next(
        (c.alias for c in connections.all(initialized_only=True) if c.in_atomic_block), None
    )


def _message(job_id: str, error: BaseException, expose: tuple[type[BaseException], ...]) -> str:
    """Return what is for the end user; the log has the rest."""
    if isinstance(error, ValidationError):
        return " ".join(map(str, error.messages))
    if isinstance(error, expose):
        return str(error)
    logger.error("Import %s failed", job_id, exc_info=error)
    return str(error) if settings.debug else ""
