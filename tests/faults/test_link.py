"""The link to Redis is late, cut, silent or overrun: what is stored reaches who watches."""

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
"""A heartbeat that nothing is mended by."""
MENDED_SECONDS = 5.0
BUSY_SECONDS = 3.0
"""What a busy machine may add."""


@both_managers
@without(naive.reads_before_it_subscribes)
async def test_what_is_published_while_the_subscription_is_on_its_way_arrives(
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
async def test_messages_that_come_later_than_what_was_read_are_not_shown(
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
async def test_a_killed_subscription_is_mended_with_both_protocols_decoded_or_not(
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


async def _seconds_until_mended(kind: str, server: RedisProcess, heartbeat_seconds: float) -> float:
    """Have a link fall silent without a FIN; how long a watcher waits for what comes next."""
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
async def test_a_link_that_goes_silent_is_mended_within_5_seconds(
    kind: str, server: RedisProcess
) -> None:
    seconds = await _seconds_until_mended(kind, server, NEVER)
    assert seconds < MENDED_SECONDS + BUSY_SECONDS


@both_managers
@without(naive.bears_silence_and_waits_for_answers)
async def test_it_is_mended_as_fast_where_reads_wait_for_an_answer_too(
    kind: str, server: RedisProcess
) -> None:
    seconds = await _seconds_until_mended(kind, server, 0.5)
    assert seconds < MENDED_SECONDS + BUSY_SECONDS


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
                        "the silent link to be given up",
                    )
                await writer.update("j1", {"n": 2})
                seconds = await watching.seconds_until_it_sees(n=2)
    assert seconds < MENDED_SECONDS + BUSY_SECONDS


async def _overrun(writer: Any, foreign: redis.Redis) -> None:
    """Tell more than Redis is willing to keep for a subscriber that takes nothing."""
    while subscriptions(foreign):
        await writer.update("j1", {"filler": "x" * 60_000})


@both_managers
@without(naive.reads_a_job_only_once)
async def test_who_is_dropped_for_being_slow_gets_the_newest_state(kind: str) -> None:
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
