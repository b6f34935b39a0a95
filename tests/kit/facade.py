"""One suite for both managers: the sync one, seen as if it were asynchronous."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from django_import_progress import SyncProgressManager

_NO_MORE = object()


class AsyncFacade:
    """Runs each verb of a `SyncProgressManager` in a thread."""

    def __init__(self, manager: SyncProgressManager) -> None:
        self.manager = manager

    def __getattr__(self, name: str) -> Any:
        async def verb(*args: Any, **kwargs: Any) -> Any:
            return await asyncio.to_thread(getattr(self.manager, name), *args, **kwargs)

        return verb

    async def watch(self, job_id: Any) -> AsyncIterator[dict[str, Any]]:
        """Yield what the sync manager's `watch` yields."""
        iterator = self.manager.watch(job_id)
        while (item := await asyncio.to_thread(next, iterator, _NO_MORE)) is not _NO_MORE:
            yield item
