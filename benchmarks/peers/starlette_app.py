"""One pub/sub connection a watcher: what is written first with sse-starlette and redis-py."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from redis.asyncio import Redis
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route

# Without the limit it ends at the hundredth watcher.
redis = Redis.from_url(
    os.environ["TEST_SITE_REDIS"], max_connections=100_000, decode_responses=True
)


async def told(job_id: str) -> AsyncIterator[dict[str, str]]:
    """Yield what is stored, then each message; subscribed first, so that none is missed."""
    async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(f"told:{job_id}")
        if stored := await redis.get(f"stored:{job_id}"):
            yield {"data": str(stored)}
        async for message in pubsub.listen():
            yield {"data": message["data"]}


async def stream(request: Request) -> EventSourceResponse:
    """Answer with the job's events."""
    return EventSourceResponse(told(request.path_params["job_id"]))


application = Starlette(routes=[Route("/jobs/{job_id}/", stream)])
