"""Callbacks of others, called from our own tasks: what they raise goes no further."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec

logger = logging.getLogger("django_import_progress")

P = ParamSpec("P")

CALLBACK_ERRORS = (Exception, asyncio.CancelledError)
"""What a callback may raise without ending the task that calls it. It awaits nothing, so a
`CancelledError` is not a cancellation of that task: it comes from a future that was cancelled."""


def contained(callback: Callable[P, object]) -> Callable[P, None]:
    """Return a function that calls `callback` and logs the first exception that it raises."""
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
