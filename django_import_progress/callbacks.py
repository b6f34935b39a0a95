"""Users' callbacks, called from our own tasks: their exceptions are logged, not raised."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec

logger = logging.getLogger("django_import_progress")

P = ParamSpec("P")

CALLBACK_ERRORS = (Exception, asyncio.CancelledError)
"""What a callback may raise without ending the task that calls it. A callback awaits nothing, so
its `CancelledError` does not cancel that task: it comes from a future that was cancelled."""


def safe_callback(callback: Callable[P, object]) -> Callable[P, None]:
    """Return a function that calls `callback` and logs only the first exception that it raises."""
    has_failed = False

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        nonlocal has_failed
        try:
            callback(*args, **kwargs)
        except CALLBACK_ERRORS:
            if not has_failed:
                has_failed = True
                logger.exception("A callback raised an exception; further ones are not logged")

    return call


def ignore() -> None:
    """Do nothing: the default of callbacks."""
