"""The connection to Redis is late, cut, silent or overrun: watchers see the stored state."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from tests.kit.controls import without
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess, valkey_binary
from tests.kit.proxy import Proxy
from tests.kit.waiting import until
from tests.kit.watching import Watching

from . import naive
from .cutting import cut_off_and_update, subscriptions

both_managers = pytest.mark.parametrize("kind", ["async", "sync"])
NEVER = 3600
"""A heartbeat that restores nothing."""
RESTORED_SECONDS = 5.0
BUSY_SECONDS = 3.0
"""Additional time on a busy machine."""


@both_managers
@without(naive.reads_before_it_subscribes)
async def test_an_update_published_before_the_subscription_is_confirmed_is_seen(
    kind: str, server: RedisProcess
) -> None:
    with Proxy(server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            manager_on(kind, proxy.url, heartbeat_seconds=NEVER) as progress,
        ):
            await writer.set_progress("j1", {"n": 1})
            async with Watching(progress, ender=writer) as watching:
                with proxy.holding():
                    await until(lambda: proxy.holds, "the subscription to be on its way")
                    await writer.update("j1", {"n": 2})
                await watching.sees(n=2)


@without(naive.shows_messages_of_any_age)
async def test_messages_older_than_the_last_read_are_not_shown(
    server: RedisProcess,
) -> None:
    with Proxy(server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            manager_on("async", proxy.url, heartbeat_seconds=0.2) as progress,
        ):
            await writer.set_progress("j1", {"n": 1})
            async with Watching(progress, ender=writer) as watching:
                await watching.sees(n=1)
                with proxy.holding():
                    for number in (2, 3, 4):
                        await writer.update("j1", {"n": number})
                    await watching.sees(n=4)
                await writer.update("j1", {"status": "done"})
                await watching.ends()
    assert watching.orders == sorted(watching.orders)


@both_managers
@without(naive.reads_a_job_only_once)
async def test_subscriptions_killed_again_and_again_during_1000_updates(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    async with (
        manager_on("async", server.url) as writer,
        manager_on(kind, server.url, heartbeat_seconds=NEVER) as progress,
    ):
        await writer.set_progress("j1", {"n": 0})
        async with Watching(progress, ender=writer) as watching:
            await watching.sees(n=0)
            for number in range(1, 1000):
                await writer.update("j1", {"n": number})
                if number % 100 == 0:
                    await until(lambda: subscriptions(foreign), "a subscription to kill")
                if number % 5 == 0:
                    foreign.client_kill_filter(_type="pubsub")
            await until(lambda: subscriptions(foreign), "a subscription to kill")
            cut_off_and_update(foreign, "j1", n=1000)
            await watching.sees(n=1000)
            await until(lambda: subscriptions(foreign) == 1, "one connection to be left")
            cut_off_and_update(foreign, "j1", status="done")
            assert (await watching.ends())[-1]["status"] == "done"
    assert watching.orders == sorted(watching.orders)


@both_managers
@without(naive.reads_a_job_only_once)
async def test_a_killed_subscription_is_restored_with_both_protocols_decoded_or_not(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    async with AsyncExitStack() as stack:
        watchings = []
        for protocol, decode in ((2, False), (2, True), (3, False), (3, True)):
            progress = await stack.enter_async_context(
                manager_on(
                    kind,
                    f"{server.url}?protocol={protocol}",
                    decode_responses=decode,
                    heartbeat_seconds=NEVER,
                )
            )
            await progress.set_progress("j1", {"n": 1})
            watchings.append(await stack.enter_async_context(Watching(progress)))
        await asyncio.gather(*(watching.sees(n=1) for watching in watchings))
        cut_off_and_update(foreign, "j1", n=2, stage="日本")
        await asyncio.gather(*(watching.sees(n=2, stage="日本") for watching in watchings))


async def _seconds_until_restored(
    kind: str, server: RedisProcess, heartbeat_seconds: float
) -> float:
    """Silence a connection without a FIN; return how long a watcher waits for the next update."""
    with Proxy(server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            manager_on(kind, proxy.url, heartbeat_seconds=heartbeat_seconds) as progress,
        ):
            await writer.set_progress("j1", {"n": 1})
            async with Watching(progress, ender=writer) as watching:
                await watching.sees(n=1)
                proxy.blackhole()
                await writer.update("j1", {"n": 2})
                return await watching.seconds_until_it_sees(n=2)


@both_managers
@without(naive.bears_silence)
async def test_a_silent_connection_is_replaced_within_5_seconds(
    kind: str, server: RedisProcess
) -> None:
    seconds = await _seconds_until_restored(kind, server, NEVER)
    assert seconds < RESTORED_SECONDS + BUSY_SECONDS


@both_managers
@without(naive.bears_silence_and_waits_for_answers)
async def test_it_is_replaced_as_fast_while_a_read_waits_for_a_response(
    kind: str, server: RedisProcess
) -> None:
    seconds = await _seconds_until_restored(kind, server, 0.5)
    assert seconds < RESTORED_SECONDS + BUSY_SECONDS


@both_managers
@without(naive.gives_up_a_link_for_good)
async def test_a_server_that_was_frozen_is_watched_again_within_5_seconds(kind: str) -> None:
    with RedisProcess(valkey_binary()) as process, Proxy(process.port) as proxy:
        async with (
            manager_on("async", process.url) as writer,
            manager_on(kind, proxy.url, heartbeat_seconds=NEVER) as progress,
        ):
            await writer.set_progress("j1", {"n": 1})
            async with Watching(progress, ender=writer) as watching:
                await watching.sees(n=1)
                before = proxy.connections
                with process.frozen():
                    await until(
                        lambda: watching.over or proxy.connections > before,
                        "the silent connection to be given up",
                    )
                await writer.update("j1", {"n": 2})
                seconds = await watching.seconds_until_it_sees(n=2)
    assert seconds < RESTORED_SECONDS + BUSY_SECONDS


async def _overrun(writer: Any, foreign: redis.Redis) -> None:
    """Publish more than Redis buffers for a subscriber that does not read."""
    while subscriptions(foreign):
        await writer.update("j1", {"filler": "x" * 60_000})


@both_managers
@without(naive.reads_a_job_only_once)
async def test_a_subscriber_that_redis_disconnects_as_too_slow_gets_the_newest_state(
    kind: str,
) -> None:
    limit = ("--client-output-buffer-limit", "pubsub 256kb 0 0")
    with (
        RedisProcess(valkey_binary(), *limit) as process,
        Proxy(process.port) as proxy,
        redis.Redis(port=process.port) as foreign,
    ):
        async with (
            manager_on("async", process.url) as writer,
            manager_on(kind, proxy.url, heartbeat_seconds=NEVER) as progress,
        ):
            await writer.set_progress("j1", {"n": 1})
            async with Watching(progress, ender=writer) as watching:
                await watching.sees(n=1)
                with proxy.holding():
                    await _overrun(writer, foreign)
                    await writer.update("j1", {"n": 2, "filler": ""})
                await watching.sees(n=2, filler="")
    assert watching.orders == sorted(watching.orders)
