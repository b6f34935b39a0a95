"""What a hub's watchers are shown, and what Redis knows of its subscriptions."""

from __future__ import annotations

import asyncio
from typing import Any

import redis

from django_import_progress.watch.hub import Watcher


def is_subscribed(client: redis.Redis, job_id: str) -> bool:
    """Tell whether Redis counts a subscriber of the job."""
    return client.pubsub_numsub(f"import_progress:channel:{job_id}")[0][1] > 0


async def sees(watcher: Watcher, **fields: Any) -> None:
    """Wait until the watcher is shown these fields."""
    async with asyncio.timeout(10):
        while (state := await watcher.next()) is not None:
            if fields.items() <= state.fields.items():
                return
    raise AssertionError(f"ended before {fields}")
