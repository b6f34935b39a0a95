"""A tracker's manager whose client is real, and takes notes of what becomes of its commands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import redis
from redis.exceptions import NoScriptError

from django_import_progress import SyncProgressManager, create_sync_redis_client
from django_import_progress.service.registry import IMPATIENT_SECONDS


class NotedClient(redis.Redis):
    """Knows whether it is waiting for an answer, and how often none came."""

    waiting = 0
    failures = 0

    def execute_command(self, *args: Any, **options: Any) -> Any:
        self.waiting += 1
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except redis.RedisError as error:
            # A script that Redis does not know yet is sent again with its text.
            self.failures += not isinstance(error, NoScriptError)
            raise
        finally:
            self.waiting -= 1


@contextmanager
def impatient(
    url: str, *, timeout_seconds: float = IMPATIENT_SECONDS
) -> Iterator[SyncProgressManager]:
    """Give a manager as the tracker makes one for itself."""
    client = create_sync_redis_client(url, timeout_seconds=timeout_seconds, retries=0)
    with closing(client):
        yield SyncProgressManager(client)


@contextmanager
def noted(
    url: str, *, timeout_seconds: float = IMPATIENT_SECONDS
) -> Iterator[tuple[SyncProgressManager, NotedClient]]:
    """Give the same with a client that takes notes."""
    with impatient(url, timeout_seconds=timeout_seconds) as manager:
        plain: Any = manager.redis
        client = NotedClient(connection_pool=plain.connection_pool)
        yield SyncProgressManager(client), client
