"""Round trips, keys and errors of Redis, with both managers."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import redis

from django_import_progress import (
    JobExists,
    JobFinished,
    JobNotFound,
    ProgressManager,
    ProgressUnavailable,
)

from ..kit.ears import Ear
from ..kit.managers import manager_on, variant
from ..kit.processes import RedisProcess
from ..kit.proxy import Proxy
from .test_contract import ODD_FIELDS, SIX_FIELDS

KEY = "import_progress:hash:j1"
both_managers = pytest.mark.parametrize("kind", ["async", "sync"])


async def _all_verbs(progress: Any) -> list[Any]:
    """Call each method once, and return their results."""
    return [
        await progress.set_progress("j1", SIX_FIELDS),
        await progress.get_progress("j1"),
        await progress.publish_update("j1", {"a": 1}),
        await progress.update("j1", {"a": 1}),
        await progress.create("j2", owner="7"),
        await progress.jobs(),
        await progress.jobs(owner="7"),
        await progress.delete("j1"),
    ]


async def test_a_job_takes_at_most_500_bytes(progress: ProgressManager, raw: redis.Redis) -> None:
    job_id = uuid.uuid4()
    await progress.set_progress(job_id, SIX_FIELDS)
    await progress.update(job_id, SIX_FIELDS, ttl_seconds=7200)
    assert raw.memory_usage(f"import_progress:hash:{job_id}") <= 500


async def test_a_job_with_its_owner_and_its_places_in_the_lists_does_too(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    for _ in range(100):
        await progress.create(owner="12345", data=SIX_FIELDS)
    assert sum(raw.memory_usage(key) for key in raw.keys("*")) / 100 <= 500


async def test_every_key_expires_after_every_verb(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", owner="7")
    for verb in (progress.set_progress, progress.update, progress.publish_update):
        await verb("j1", {"a": 1})
        assert len(raw.keys("*")) == 3
        assert all(raw.ttl(key) > 0 for key in raw.keys("*"))
    await progress.set_progress("j2", {"a": 1})
    assert all(raw.ttl(key) > 0 for key in raw.keys("*"))


async def test_all_keys_are_under_the_namespace(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await variant(progress, namespace="orders").create(owner="7")
    assert all(key.startswith(b"orders:") for key in raw.keys("*"))


async def test_an_hour_is_the_default_and_each_write_renews_it(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.set_progress("j1", {})
    assert 3590 <= raw.ttl(KEY) <= 3600
    raw.expire(KEY, 10)
    await progress.update("j1", {})
    assert 3590 <= raw.ttl(KEY) <= 3600


async def test_a_managers_own_ttl(progress: ProgressManager, raw: redis.Redis) -> None:
    await variant(progress, ttl_seconds=86400).set_progress("j1", {})
    assert 86390 <= raw.ttl(KEY) <= 86400


@pytest.mark.parametrize("first", ["set_progress", "update", "create"])
async def test_a_ttl_given_for_a_job_holds_for_its_later_writes(
    progress: ProgressManager, raw: redis.Redis, first: str
) -> None:
    if first == "create":
        await progress.create("j1", ttl_seconds=7200)
    else:
        await progress.set_progress("j1", {})
        await getattr(progress, first)("j1", {}, ttl_seconds=7200)
    for verb in (progress.update, progress.set_progress, progress.update):
        raw.expire(KEY, 10)
        await verb("j1", {"status": "done"} if verb == progress.set_progress else {})
        assert 7190 <= raw.ttl(KEY) <= 7200
        await progress.set_progress("j1", {"status": "importing"})
    assert 7190 <= raw.ttl(KEY) <= 7200
    await progress.update("j1", {}, 60)
    await progress.update("j1", {})
    assert 50 <= raw.ttl(KEY) <= 60


async def test_the_longest_ttl_is_one_that_redis_takes(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", owner="7", ttl_seconds=10**10)
    assert all(raw.ttl(key) > 10**10 - 60 for key in raw.keys("*"))


@both_managers
async def test_each_verb_is_one_round_trip(kind: str, each_server: RedisProcess) -> None:
    with Proxy(each_server.port) as proxy:
        async with manager_on(kind, proxy.url) as progress:
            await _all_verbs(progress)  # The server knows the scripts from here on.
            for verb in (
                lambda: progress.set_progress("j1", {}),
                lambda: progress.get_progress("j1"),
                lambda: progress.publish_update("j1", {}),
                lambda: progress.update("j1", {}),
                lambda: progress.create(owner="7"),
                lambda: progress.delete("j1"),
            ):
                before = proxy.round_trips
                await verb()
                assert proxy.round_trips == before + 1
            await progress.jobs()  # It forgets those that are gone.
            before = proxy.round_trips
            assert await progress.jobs()
            assert proxy.round_trips == before + 2  # The list, then the jobs.
        assert proxy.connections == 1


async def test_a_large_import_in_batches_is_20_operations(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await _all_verbs(progress)
    raw.config_resetstat()
    for batch in range(10):
        fields = {"status": "importing", "stage": f"batch_{batch + 1}", "total_rows": 100_000}
        await progress.set_progress("j1", {**fields, "processed_rows": (batch + 1) * 10_000})
        await progress.publish_update("j1", {"processed_rows": (batch + 1) * 10_000})
    calls: Any = raw.info("commandstats")
    assert calls["cmdstat_evalsha"]["calls"] == 10
    assert calls["cmdstat_publish"]["calls"] == 10
    assert "cmdstat_eval" not in calls


async def test_a_flushed_script_cache_is_filled_again(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await _all_verbs(progress)
    raw.flushall()
    raw.script_flush()
    stored = (await _all_verbs(progress))[0]
    raw.script_flush()
    with pytest.raises(JobNotFound):
        await progress.update("j1", {})
    assert stored["stage"] == "batch_5"


@both_managers
@pytest.mark.parametrize("decode_responses", [False, True])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_both_protocols_with_answers_decoded_or_not(
    kind: str, each_server: RedisProcess, decode_responses: bool, protocol: int
) -> None:
    url = f"{each_server.url}?protocol={protocol}"
    async with manager_on(kind, url, decode_responses=decode_responses) as progress:
        stored = await progress.set_progress("j1", ODD_FIELDS)
        assert await progress.get_progress("j1") == stored
        assert stored == {**ODD_FIELDS, "updated_at": stored["updated_at"]}
        answers = await _all_verbs(progress)
        assert answers[0] == answers[1] != answers[3]
        assert (answers[2], answers[4], answers[7]) == (0, "j2", True)
        assert [job["job_id"] for job in answers[5]] == ["j2"]
        assert answers[5] == answers[6]
        await progress.set_progress("j1", {"status": "done"})
        with pytest.raises(JobFinished):
            await progress.update("j1", {})
        assert [s async for s in progress.watch("j1")] == [await progress.get_progress("j1")]


@both_managers
async def test_bytes_that_are_no_text_are_borne_by_a_client_that_decodes(
    kind: str, each_server: RedisProcess, raw: redis.Redis
) -> None:
    raw.hset(KEY, mapping={"status": '"done"', "x": b"\xff"})
    async with manager_on(kind, each_server.url, decode_responses=True) as progress:
        assert (await progress.get_progress("j1") or {})["x"] == "\ufffd"


async def test_a_key_of_another_type_is_unavailable_and_left_alone(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    raw.set(KEY, "text")
    for verb in (progress.get_progress, lambda job_id: progress.update(job_id, {})):
        with pytest.raises(ProgressUnavailable) as caught:
            await verb("j1")
        assert isinstance(caught.value.__cause__, redis.ResponseError)
    assert raw.get(KEY) == b"text"


@both_managers
@pytest.mark.parametrize("job_id", [None, "named"])
async def test_an_answer_that_was_lost_does_not_make_create_fail_nor_make_two_jobs(
    kind: str, each_server: RedisProcess, job_id: str | None
) -> None:
    with Proxy(each_server.port) as proxy:
        async with manager_on(kind, proxy.url) as progress:
            await progress.create("warm")
            proxy.swallow()
            created = await progress.create(job_id)
            assert [job["job_id"] for job in await progress.jobs()] == [created, "warm"]
            with pytest.raises(JobExists):
                await progress.create(created)


@both_managers
async def test_an_answer_that_was_lost_does_not_make_the_last_update_fail(
    kind: str, each_server: RedisProcess
) -> None:
    with Proxy(each_server.port) as proxy:
        async with manager_on(kind, proxy.url) as progress:
            job_id = await progress.create()
            proxy.swallow()
            ended = await progress.update(job_id, {"status": "done"})
            assert ended == await progress.get_progress(job_id)
            with pytest.raises(JobFinished):
                await progress.update(job_id, {"status": "done"})


async def test_the_guides_patterns_end_in_what_they_promise(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    job_id = uuid.uuid4()
    with Ear(raw, job_id) as ear:
        await progress.set_progress(job_id, {"status": "parsing", "total_rows": 2})
        await progress.publish_update(job_id, {"status": "parsing"})
        await progress.set_progress(job_id, {"status": "failed", "error_message": "row 2: é"})
        await progress.publish_update(job_id, {"status": "failed", "error_message": "row 2: é"})
        messages = [json.loads(text) for text in ear.texts()]
    assert [message["status"] for message in messages] == ["parsing", "failed"]
    assert all("updated_at" in message for message in messages)
    stored = await progress.get_progress(job_id) or {}
    assert (stored["status"], stored["error_message"]) == ("failed", "row 2: é")


async def test_what_redis_has_no_room_for_is_refused_and_nothing_is_lost(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    before = await progress.set_progress("j1", {"a": 1})
    raw.config_set("maxmemory", 1)
    try:
        for verb in (progress.set_progress, progress.update):
            with pytest.raises(ProgressUnavailable):
                await verb("j1", {"b": "x" * 1000})
    finally:
        raw.config_set("maxmemory", 0)
    assert await progress.get_progress("j1") == before
