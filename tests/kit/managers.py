"""Managers like the one a test was given: other arguments, another client, another server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from django_import_progress.service.base import KnownVersions

from .facade import AsyncFacade


def variant(progress: Any, **arguments: Any) -> Any:
    """Return a manager of the same kind on the same client, made with other arguments."""
    if isinstance(progress, AsyncFacade):
        return AsyncFacade(SyncProgressManager(progress.manager.redis, **arguments))
    return ProgressManager(progress.redis, **arguments)


def versions_of(progress: Any) -> KnownVersions:
    """Return the versions that a manager knows."""
    sync = getattr(progress, "manager", None)
    versions: KnownVersions = progress._written if sync is None else sync._manager._written
    return versions


@asynccontextmanager
async def manager_on(
    kind: str, url: str, *, decode_responses: bool = False, **arguments: Any
) -> AsyncIterator[Any]:
    """Give a manager with a client of its own; `kind` is "async" or "sync"."""
    if kind == "async":
        client = create_redis_client(url, decode_responses)
        progress = ProgressManager(client, **arguments)
        try:
            yield progress
        finally:
            await progress.aclose()
            await client.aclose()
    else:
        sync_client = create_sync_redis_client(url, decode_responses)
        try:
            yield AsyncFacade(SyncProgressManager(sync_client, **arguments))
        finally:
            sync_client.close()
