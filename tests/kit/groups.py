"""Channel layers of each kind, who is in their groups, and a relay that tells them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer

from django_import_progress import ProgressManager
from django_import_progress.cancellation import end_tasks
from django_import_progress.redis.causes import REDIS_ERRORS
from django_import_progress.redis.executor import is_clustered
from django_import_progress.relay import Relay, progress_group

from .managers import manager_on
from .waiting import until

BACKENDS: dict[str, Any] = {"pubsub": RedisPubSubChannelLayer, "core": RedisChannelLayer}
NEVER = 3600
"""A heartbeat by which nothing is told."""
UNTHINNED = 100_000


def configuration(kind: str, url: str) -> dict[str, Any]:
    """Return a `CHANNEL_LAYERS` with a layer of this kind."""
    backend = BACKENDS[kind]
    path = f"{backend.__module__}.{backend.__qualname__}"
    return {"default": {"BACKEND": path, "CONFIG": {"hosts": [url]}}}


@asynccontextmanager
async def layer_on(kind: str, host: Any) -> AsyncIterator[Any]:
    """Give a channel layer of this kind, as a process of its own has one, and close it."""
    layer = BACKENDS[kind](hosts=[host])
    try:
        yield layer
    finally:
        await (layer.close_pools() if kind == "core" else layer.flush())


class Member:
    """What a consumer is sent that has joined some groups; made by `joined`."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.messages: list[dict[str, Any]] = []

    async def listen(self, channel: str) -> None:
        """Take messages, through any outage."""
        while True:
            try:
                self.messages.append(await self._layer.receive(channel))
            except REDIS_ERRORS:
                await asyncio.sleep(0.05)

    def told(self, job_id: str) -> list[dict[str, Any]]:
        """Return all that was told of one job, in order."""
        return [message["data"] for message in self.messages if message["job_id"] == job_id]

    async def hears(self, job_id: str, **fields: Any) -> dict[str, Any]:
        """Wait until the newest that was told of a job has these fields, and return it."""

        def is_told() -> bool:
            told = self.told(job_id)
            return bool(told) and fields.items() <= told[-1].items()

        await until(is_told, f"{fields} of {job_id}")
        return self.told(job_id)[-1]


@asynccontextmanager
async def joined(kind: str, url: str, *groups: str) -> AsyncIterator[Member]:
    """Join groups, those of all jobs where none is named; the layer is one of the member's own."""
    async with layer_on(kind, url) as layer:
        channel = await layer.new_channel()
        for group in groups or [progress_group()]:
            await layer.group_add(group, channel)
        member = Member(layer)
        listening = asyncio.create_task(member.listen(channel))
        try:
            yield member
        finally:
            await end_tasks([listening])


@asynccontextmanager
async def relaying(
    url: str, kind: str, layer_host: Any, namespace: str = "import_progress", **arguments: Any
) -> AsyncIterator[Relay]:
    """Run a relay, and wait until it is subscribed; no heartbeat and no thinning but as asked."""
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(manager_on("async", url, namespace=namespace))
        layer = await stack.enter_async_context(layer_on(kind, layer_host))
        arguments = {"heartbeat_seconds": NEVER, "max_per_second": UNTHINNED, **arguments}
        relay = Relay(manager, layer, **arguments)
        before = 0 if is_clustered(manager.redis) else await _listeners(manager)
        running = asyncio.create_task(relay.run())
        try:
            await until(lambda: _is_heard(manager, before), "the relay to be subscribed")
            yield relay
        finally:
            await end_tasks([running])


async def _listeners(manager: ProgressManager) -> int:
    """Return how many connections are subscribed to a pattern."""
    clients = await manager.redis.client_list(_type="pubsub")
    return sum(client["psub"] != "0" for client in clients)


async def _is_heard(manager: ProgressManager, before: int) -> bool:
    # Which of a Cluster's servers it is subscribed to nobody knows.
    return is_clustered(manager.redis) or await _listeners(manager) > before
