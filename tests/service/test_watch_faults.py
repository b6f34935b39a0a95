"""`watch` survives every fault, loses no update, and ends when it should."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager

from ..kit.managers import manager_on
from ..kit.processes import RedisProcess, valkey_binary
from ..kit.waiting import until
from ..kit.watching import Watching

KEY = "import_progress:hash:j1"
CHANNEL = "import_progress:channel:j1"
both_managers = pytest.mark.parametrize("kind", ["async", "sync"])


def _reads(foreign: redis.Redis) -> int:
    calls: Any = foreign.info("commandstats")
    return int(calls.get("cmdstat_hgetall", {}).get("calls", 0))


async def test_junk_is_dropped_with_one_log_line(
    quick: Any, foreign: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    await quick.set_progress("j1", {"n": 1})
    async with Watching(quick) as watching:
        await watching.sees(n=1)
        for junk in (b"junk", b"[1]", b"\xff", b'{"n":NaN}', b'{"_x":1}', b"x" * 300_000):
            assert foreign.publish(CHANNEL, junk) == 1
        await quick.update("j1", {"n": 2})
        await watching.sees(n=2)
    lines = [record for record in caplog.records if record.name == "django_import_progress"]
    assert [(line.levelno, CHANNEL in line.getMessage()) for line in lines] == [
        (logging.WARNING, True)
    ]


@both_managers
async def test_a_key_of_another_type_loses_no_message(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    """A key of another type is no job, and must not cost the connection."""
    foreign.set(KEY, "text")
    async with manager_on(kind, server.url) as progress, Watching(progress) as watching:
        await until(lambda: foreign.pubsub_numsub(CHANNEL)[0][1], "the subscription")
        reads = _reads(foreign)
        foreign.publish(CHANNEL, "{}")
        await until(lambda: _reads(foreign) > reads, "a read of the key")
        foreign.publish(CHANNEL, json.dumps({"n": 1}))
        await watching.sees(n=1)
        foreign.delete(KEY)


@both_managers
async def test_bytes_that_are_no_text_are_junk_for_a_client_that_decodes_too(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    async with manager_on(kind, server.url, decode_responses=True) as progress:
        await progress.set_progress("j1", {"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            foreign.publish(CHANNEL, b"\xff")
            await progress.update("j1", {"n": 2})
            await watching.sees(n=2)


@both_managers
async def test_bytes_that_json_would_take_for_surrogates_or_utf_16_disturb_nobody(
    kind: str, server: RedisProcess, foreign: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager_on(kind, server.url, heartbeat_seconds=0.2) as progress:
        await progress.set_progress("j1", {"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            foreign.publish(CHANNEL, b'{"a":"\xed\xa0\x80"}')
            foreign.publish(CHANNEL, '{"a":"\\ud800"}'.encode("utf-32"))
            foreign.hset(KEY, "odd", b'"\xed\xa0\x80"')
            await progress.update("j1", {"n": 2})
            await watching.sees(n=2)
    assert "Lost the subscription" not in caplog.text


async def test_a_job_absent_on_two_heartbeats_in_a_row_is_gone(
    quick: Any, foreign: redis.Redis
) -> None:
    await quick.set_progress("j1", {"n": 1})
    async with Watching(quick) as watching:
        await watching.sees(n=1)
        foreign.delete(KEY)
        assert [snapshot["n"] for snapshot in await watching.ends()] == [1]


async def _next_read(foreign: redis.Redis) -> None:
    reads = _reads(foreign)
    await until(lambda: _reads(foreign) > reads, "a read")


@both_managers
async def test_a_job_absent_on_one_heartbeat_is_not_gone(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    async with manager_on(kind, server.url, heartbeat_seconds=1) as progress:
        await progress.set_progress("j1", {"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            for _ in range(2):
                foreign.rename(KEY, "away")
                await _next_read(foreign)  # It finds nothing.
                foreign.rename("away", KEY)
                await _next_read(foreign)  # It finds the job again.
            assert not watching.over


async def test_a_partial_message_outlives_heartbeats_that_find_nothing_newer(
    quick: Any, foreign: redis.Redis
) -> None:
    await quick.set_progress("j1", {"n": 1})
    async with Watching(quick) as watching:
        await watching.sees(n=1)
        foreign.publish(CHANNEL, json.dumps({"n": 2}))
        await watching.sees(n=2)
        reads = _reads(foreign)
        await until(lambda: _reads(foreign) >= reads + 2, "two more reads")
    assert [snapshot["n"] for snapshot in watching.seen[:3]] == [1, 2, 2]
    assert watching.seen[2]["status"] == "cancelled"


@both_managers
async def test_it_goes_on_after_the_server_was_killed_and_started_again(kind: str) -> None:
    process = RedisProcess(valkey_binary()).start()
    async with manager_on(kind, process.url) as progress:
        await progress.set_progress("j1", {"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            process.kill()
            process.start()
            await progress.set_progress("j1", {"status": "importing"})
            await progress.update("j1", {"n": 2})
            await watching.sees(n=2)
            await progress.update("j1", {"status": "done", "n": 3})
            seen = await watching.ends()
    assert [snapshot["n"] for snapshot in seen if "n" in snapshot] == [1, 2, 3]
    process.close()


@both_managers
async def test_200_rounds_of_publishing_while_somebody_subscribes_lose_nothing(
    kind: str, server: RedisProcess
) -> None:
    moments = random.Random(20251119)
    async with manager_on(kind, server.url) as progress, manager_on("async", server.url) as writer:
        for number in range(200):
            job_id = f"j{number}"
            await writer.set_progress(job_id, {"status": "importing"})
            async with Watching(progress, job_id) as watching:
                if kind == "async" and number % 2:  # Every other round over a link that is open.
                    await watching.sees(status="importing")
                    job_id += "-next"
                    await writer.set_progress(job_id, {"status": "importing"})
                async with Watching(progress, job_id) as late:
                    await asyncio.sleep(moments.uniform(0, 0.004))
                    await writer.update(job_id, {"status": "done"})
                    assert (await late.ends())[-1]["status"] == "done"


def test_a_strict_clients_watch_goes_through_what_it_cannot_decode(server: RedisProcess) -> None:
    with redis.Redis(port=server.port, decode_responses=True) as strict:
        manager = SyncProgressManager(strict)
        manager.create("j1")
        seen = manager.watch("j1")
        assert next(seen)["status"] == "queued"
        with redis.Redis(port=server.port) as foreign:
            foreign.publish(CHANNEL, b"\xff\xfe")
        manager.update("j1", {"status": "done"})
        assert [snapshot["status"] for snapshot in seen] == ["done"]
