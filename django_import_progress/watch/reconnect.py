"""Reconnecting after a lost subscription: growing pauses, and one log line per outage."""

from __future__ import annotations

import asyncio
import logging
import random

from ..cancellation import raise_if_cancelled
from ..core.errors import ProgressUnavailable
from ..core.pacing import backoff_seconds
from ..metrics import process_metrics
from ..redis.causes import REDIS_ERRORS
from ..redis.executor import AsyncClient, drop_idle_connections

logger = logging.getLogger("django_import_progress")

CONNECTION_ERRORS = (ProgressUnavailable, *REDIS_ERRORS)
"""What a broken connection raises. Other exceptions are bugs of this package: they are logged with
a traceback, and the connection is restored as well."""


class ReconnectPolicy:
    """Counts the consecutive failures of one connection, and waits longer after each.

    Args:
        redis: the client of the connection.
    """

    def __init__(self, redis: AsyncClient) -> None:
        self._redis = redis
        self._failures = 0
        self._is_lost = False
        self.is_working = False
        """Whether Redis has responded over the present connection."""

    async def wait_before_retry(self, error: Exception) -> None:
        """Wait before the next attempt; `error` is the exception that ended the connection."""
        raise_if_cancelled(error)
        await drop_idle_connections(self._redis)
        self._is_lost = True
        self._failures = 1 if self.is_working else self._failures + 1
        self.is_working = False
        process_metrics.connections_lost += 1
        if self._failures == 1:
            logger.warning(
                "Lost the subscription to Redis (%s); reconnecting",
                type(error).__name__,
                exc_info=None if isinstance(error, CONNECTION_ERRORS) else error,
            )
        await asyncio.sleep(backoff_seconds(self._failures, random.random()))

    def note_response(self) -> None:
        """Note that Redis has responded; log that the connection works again, if it was lost."""
        self.is_working = True
        if self._is_lost:
            self._is_lost = False
            logger.info("Redis subscription restored")
