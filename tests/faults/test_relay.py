"""The relay's link to Redis, or its channel layer, breaks: each job's newest state is told."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import pytest
import redis

from django_import_progress import relay as relay_module
from tests.kit.controls import without
from tests.kit.groups import joined, relaying
from tests.kit.managers import manager_on
from tests.kit.processes import DURABLE, RedisProcess, valkey_binary
from tests.kit.proxy import Proxy
from tests.kit.topologies import ClusterGroup, SentinelGroup
from tests.kit.waiting import until

from . import naive_relay
from .cutting import cut_off_and_update, subscriptions

each_layer = pytest.mark.parametrize("kind", ["pubsub", "core"])
JOBS = 500
BEAT_SECONDS = 0.5


@each_layer
@without(naive_relay.relies_on_messages)
async def test_no_end_of_500_jobs_is_lost_while_the_link_is_cut_again_and_again(
    kind: str, server: RedisProcess, redis_server: RedisProcess, foreign: redis.Redis
) -> None:
    jobs = [f"j{number}" for number in range(JOBS)]
    async with (
        manager_on("async", server.url) as writer,
        joined(kind, redis_server.url) as member,
        relaying(server.url, kind, redis_server.url),
    ):
        for number, job_id in enumerate(jobs):
            await writer.create(job_id)
            if number % 100 == 99:  # Some are known by then, and some are not.
                await until(lambda: subscriptions(foreign), "the link to be back")
                cut_off_and_update(foreign, job_id, status="done")
            else:
                await writer.update(job_id, {"status": "done"})

        def untold() -> list[str]:
            ended = {m["job_id"] for m in member.messages if m["data"].get("status") == "done"}
            return [job_id for job_id in jobs if job_id not in ended]

        await until(lambda: not untold(), "every end")


@each_layer
@without(naive_relay.never_reconnects)
async def test_it_survives_a_redis_that_is_killed_and_started_again(
    kind: str, redis_server: RedisProcess
) -> None:
    with RedisProcess(valkey_binary(), *DURABLE) as process:
        async with (
            manager_on("async", process.url) as writer,
            joined(kind, redis_server.url) as member,
            relaying(process.url, kind, redis_server.url),
        ):
            await writer.create("j1")
            await member.hears("j1", status="queued")
            process.kill()
            process.start()
            await writer.update("j1", {"status": "done"})
            await member.hears("j1", status="done")


@without(naive_relay.scans_nothing)
async def test_a_job_that_began_and_ended_while_the_link_was_away_is_told(
    server: RedisProcess, redis_server: RedisProcess
) -> None:
    with Proxy(server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            joined("pubsub", redis_server.url) as member,
            relaying(proxy.url, "pubsub", redis_server.url),
        ):
            with proxy.refusing():
                proxy.cut()
                await writer.create("j1")
                await writer.update("j1", {"status": "done"})
            await member.hears("j1", status="done")


async def test_that_a_link_without_jobs_is_back_is_logged_too(
    server: RedisProcess, redis_server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_import_progress")
    with Proxy(server.port) as proxy:
        async with relaying(proxy.url, "pubsub", redis_server.url):
            for outages in (1, 2):
                proxy.cut()
                await until(lambda n=outages: len(caplog.records) == 2 * n, "both lines")
    assert [line.levelname for line in caplog.records] == ["WARNING", "INFO"] * 2


@without(naive_relay.confuses_its_connections)
async def test_a_link_is_not_said_to_be_back_before_it_is_subscribed(
    server: RedisProcess,
    redis_server: RedisProcess,
    foreign: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def looked() -> int:
        calls: Any = foreign.info("commandstats")
        return int(calls.get("cmdstat_zrevrangebyscore", {}).get("calls", 0))

    caplog.set_level(logging.INFO, "django_import_progress")
    with Proxy(server.port) as proxy:
        async with relaying(proxy.url, "pubsub", redis_server.url, heartbeat_seconds=0.1):
            with proxy.holding(lambda connection: b"PSUBSCRIBE" in connection.said):
                proxy.cut()
                await until(lambda: proxy.holds, "the next link to ask in vain")
                before = looked()
                await until(lambda: looked() > before + 2, "Redis to answer who looks for jobs")
                assert [line.levelname for line in caplog.records] == ["WARNING"]
            await until(lambda: len(caplog.records) == 2, "the end of the outage to be said")


@without(naive_relay.waits_for_tcp)
async def test_a_link_that_goes_silent_is_mended(
    server: RedisProcess, redis_server: RedisProcess
) -> None:
    with Proxy(server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            joined("pubsub", redis_server.url) as member,
            relaying(proxy.url, "pubsub", redis_server.url),
        ):
            await writer.create("j1")
            await member.hears("j1", status="queued")
            proxy.blackhole()
            await writer.update("j1", {"status": "done"})
            await member.hears("j1", status="done")


@each_layer
@without(naive_relay.sends_without_retries)
async def test_a_layer_that_is_away_is_told_the_newest_when_it_is_back_and_logged_once(
    kind: str,
    server: RedisProcess,
    redis_server: RedisProcess,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(relay_module, "backoff_seconds", lambda *_: 0.05)
    with Proxy(redis_server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            joined(kind, redis_server.url) as member,
            relaying(server.url, kind, proxy.url) as relay,
        ):
            await writer.create("j1")
            await member.hears("j1", status="queued")
            with proxy.refusing():
                proxy.cut()
                for number in range(100):
                    await writer.update("j1", {"processed_rows": number})
                await until(lambda: caplog.records, "the outage to be noticed")
                await writer.update("j1", {"status": "done"})
                tried = proxy.connections
                await until(lambda: proxy.connections > tried + 9, "it to be tried again and again")
                assert repr(relay).startswith("<Relay: 1 jobs, ")
            await member.hears("j1", status="done", processed_rows=99)
    lines = [r.getMessage() for r in caplog.records if r.name == "django_import_progress"]
    assert len(lines) == 1
    assert "channel layer" in lines[0]


@without(naive_relay.has_no_time_limit_for_the_layer)
async def test_a_layer_that_says_nothing_is_tried_again(
    server: RedisProcess,
    redis_server: RedisProcess,
    monkeypatch: pytest.MonkeyPatch,
    defence: bool,
) -> None:
    if defence:
        monkeypatch.setattr(relay_module, "CALL_SECONDS", 1)
    with Proxy(redis_server.port) as proxy:
        # Only some versions of redis-py wait no longer than so many seconds by themselves.
        patient = {"address": proxy.url, "socket_timeout": None}
        async with (
            manager_on("async", server.url) as writer,
            joined("pubsub", redis_server.url) as member,
            relaying(server.url, "pubsub", patient),
        ):
            await writer.create("j1")
            await member.hears("j1", status="queued")
            proxy.blackhole()
            await writer.update("j1", {"status": "done"})
            await member.hears("j1", status="done")


@without(naive_relay.sends_an_end_once)
async def test_an_end_arrives_though_the_layer_lost_the_first_message(
    server: RedisProcess, redis_server: RedisProcess
) -> None:
    with Proxy(redis_server.port) as proxy:
        async with (
            manager_on("async", server.url) as writer,
            joined("pubsub", proxy.url) as member,
            joined("pubsub", redis_server.url) as luckier,
            relaying(server.url, "pubsub", redis_server.url, heartbeat_seconds=4),
        ):
            await writer.create("j1")
            await member.hears("j1", status="queued")
            proxy.cut()  # Its layer waits a second before it subscribes anew.
            await writer.update("j1", {"status": "done"})
            await luckier.hears("j1", status="done")
            await member.hears("j1", status="done")


async def test_over_a_cluster_it_hears_of_jobs_on_each_server(
    redis_program: str, redis_server: RedisProcess
) -> None:
    with ClusterGroup(redis_program) as cluster:
        async with (
            manager_on("async", cluster.url) as writer,
            joined("pubsub", redis_server.url) as member,
        ):
            await writer.create("before")
            async with relaying(cluster.url, "pubsub", redis_server.url):
                await member.hears("before", status="queued")
                for number in range(6):
                    await writer.create(f"j{number}")
                    await writer.update(f"j{number}", {"status": "done"})
                for number in range(6):
                    await member.hears(f"j{number}", status="done")


async def test_it_follows_a_fail_over(redis_program: str, redis_server: RedisProcess) -> None:
    with SentinelGroup(redis_program) as sentinel:
        async with (
            manager_on("async", sentinel.url) as writer,
            joined("pubsub", redis_server.url) as member,
            relaying(sentinel.url, "pubsub", redis_server.url),
        ):
            await writer.create("j1")
            await member.hears("j1", status="queued")
            sentinel.replicates("import_progress:hash:j1")
            sentinel.primary.kill()
            sentinel.fails_over()
            await until(lambda: _is_updated(writer), "the successor to take the end")
            await member.hears("j1", status="done")


async def _is_updated(writer: Any) -> bool:
    try:
        await writer.update("j1", {"status": "done"})
    except relay_module.ProgressUnavailable:
        await asyncio.sleep(random.random() / 10)
        return False
    return True
