"""How an import ended, and what its viewers may read of the reason."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from ..conf import settings
from ..core.errors import ImportCancelled, ImportSuperseded, StopsALoop
from ..core.snapshot import Fields

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
    return _failed(message or neutral_message(job_id))


def rolled_back() -> Fields:
    """Return the same of an import whose transaction was rolled back after its `with` block."""
    return _failed(gettext("The import was rolled back."))


def neutral_message(job_id: str) -> str:
    """Return what is shown of a failure whose message is not for the end user."""
    text = gettext("The import failed. Please give this number when you ask for help: %(job_id)s")
    return text % {"job_id": job_id}


def parts_of(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions of a group, also of groups in it; any other exception itself."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from parts_of(part)
    else:
        yield error


def belongs_to(error: BaseException, tracker: object, kind: type[StopsALoop]) -> bool:
    """Tell whether `error` is nothing but what this tracker, or no tracker, has raised."""
    return all(
        isinstance(part, kind) and part.tracker in (None, tracker) for part in parts_of(error)
    )


def follows(error: BaseException, tracker: object) -> bool:
    """Tell whether `error` was raised while this tracker's cancellation was handled."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        parts = parts_of(cause)
        if any(isinstance(part, ImportCancelled) and part.tracker is tracker for part in parts):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _failed(message: str) -> Fields:
    # What cannot be encoded must not keep the end from being written.
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
    # What `kill()` raises in a greenlet. Without the package nobody has raised it.
    greenlet: Any = sys.modules.get("greenlet")
    kinds = CANCELLATIONS if greenlet is None else (*CANCELLATIONS, greenlet.GreenletExit)
    return all(isinstance(part, kinds) for part in parts_of(error))


def _message(job_id: str, error: BaseException, expose: tuple[type[BaseException], ...]) -> str:
    """Return what is for the end user; the log has the rest."""
    if isinstance(error, expose):
        return str(error)
    shown = [_shown(part, expose) for part in parts_of(error)]
    if None in shown:
        logger.error("Import %s failed", job_id, exc_info=error)
    # Of a group those that may be shown, each once.
    message = " ".join(dict.fromkeys(text for text in shown if text))
    return message or (str(error) if settings.debug else "")


def _shown(error: BaseException, expose: tuple[type[BaseException], ...]) -> str | None:
    if isinstance(error, ValidationError):
        return " ".join(map(str, error.messages))
    return str(error) if isinstance(error, expose) else None
