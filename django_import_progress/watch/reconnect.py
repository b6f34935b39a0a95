"""What to do where a connection is lost: one log line an outage, and a pause that grows."""

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
"""What a broken link raises. Anything else is a fault of ours, and logged with its traceback; the
watchers are served on all the same."""


class ReconnectPolicy:
    """Those in a row of one connection.

    Args:
        redis: whose connection it is.
    """

    def __init__(self, redis: AsyncClient) -> None:
        self._redis = redis
        self._in_a_row = 0
        self._is_away = False

    async def wait_before_retry(self, error: Exception, *, served: bool) -> None:
        """Wait before the next try.

        Args:
            error: what ended the connection.
            served: whether it was of use before.
        """
        raise_if_cancelled(error)
        await drop_idle_connections(self._redis)
        self._is_away = True
        self._in_a_row = 1 if served else self._in_a_row + 1
        process_metrics.connections_lost += 1
        if self._in_a_row == 1:
            logger.warning(
                "Lost the subscription to Redis (%s); trying again",
                type(error).__name__,
                exc_info=None if isinstance(error, CONNECTION_ERRORS) else error,
            )
        await asyncio.sleep(backoff_seconds(self._in_a_row, random.random()))

    def end(self) -> None:
        """Take note that the connection is of use; where it was lost, say so."""
        if self._is_away:
            logger.info("The subscription to Redis is served again")
        self._is_away = False
