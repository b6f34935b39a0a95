"""The pub/sub connection of a hub."""

from __future__ import annotations

import asyncio

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError

from django_import_progress import create_redis_client
from django_import_progress.redis.pubsub import subscription

from ..kit.processes import RedisProcess


async def test_it_fails_when_its_link_breaks_and_is_not_mended_behind_its_users_backs(
    server: RedisProcess, foreign: redis.Redis
) -> None:
    client = create_redis_client(server.url)
    async with subscription(client) as pubsub:
        await pubsub.subscribe("c")
        foreign.client_kill_filter(_type="pubsub")
        with pytest.raises(RedisConnectionError):
            async with asyncio.timeout(10):
                while True:
                    await pubsub.get_message(timeout=1)
        assert foreign.pubsub_numsub("c")[0][1] == 0
    await client.aclose()
