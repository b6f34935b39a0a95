"""Creating, listing and deleting jobs, with both managers and both servers."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import redis
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser

from django_import_progress import (
    InvalidJobId,
    InvalidProgress,
    JobExists,
    JobNotFound,
    ProgressManager,
)

from ..kit.ears import Ear
from ..kit.managers import variant


def _ids(jobs: list[dict[str, Any]]) -> list[str]:
    return [job["job_id"] for job in jobs]


def _key(job_id: object) -> str:
    return f"import_progress:hash:{job_id}"


async def test_create_makes_a_queued_job_with_a_uuid4(progress: ProgressManager) -> None:
    job_id = await progress.create()
    assert uuid.UUID(job_id).version == 4
    stored = await progress.get_progress(job_id) or {}
    assert stored == {"status": "queued", "updated_at": stored["updated_at"]}
    assert await progress.create() != job_id


async def test_create_takes_an_id_and_returns_it_as_text(progress: ProgressManager) -> None:
    job_id = uuid.uuid4()
    assert await progress.create(job_id) == str(job_id)
    assert await progress.create("j1", data={"status": "parsing", "a": 1}) == "j1"
    stored = await progress.get_progress("j1") or {}
    assert (stored["status"], stored["a"]) == ("parsing", 1)


async def test_create_is_told_on_the_channel(progress: ProgressManager, raw: redis.Redis) -> None:
    with Ear(raw, "j1") as ear:
        await progress.create("j1", owner="7", data={"a": 1})
        assert ear.heard() == [await progress.get_progress("j1")]


@pytest.mark.parametrize("status", ["queued", "done"])
async def test_an_id_that_exists_is_refused_and_the_job_untouched(
    progress: ProgressManager, raw: redis.Redis, status: str
) -> None:
    stored = await progress.set_progress("j1", {"status": status})
    with Ear(raw, "j1") as ear:
        with pytest.raises(JobExists):
            await progress.create("j1", owner="8", data={"b": 2})
        assert ear.texts() == []
    assert await progress.get_progress("j1") == stored
    assert await progress.jobs() == []


@pytest.mark.parametrize("bad", [{"data": {"_v": 1}}, {"owner": ""}, {"ttl_seconds": 0}])
async def test_what_cannot_be_created_leaves_nothing(
    progress: ProgressManager, raw: redis.Redis, bad: Any
) -> None:
    with pytest.raises(InvalidProgress):
        await progress.create("j1", **bad)
    assert raw.keys("*") == []


async def test_create_refuses_data_that_is_no_mapping_even_if_it_is_empty(
    progress: ProgressManager,
) -> None:
    empties: Any = ([], "", 0, False)
    for data in empties:
        with pytest.raises(InvalidProgress):
            await progress.create(data=data)


async def test_the_owner_is_recorded_as_text_and_shown_to_nobody(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    user = get_user_model()(pk=7)
    await progress.create("j1", owner=user)
    await progress.create("j2", owner=7)
    assert raw.hget(_key("j1"), "_o") == raw.hget(_key("j2"), "_o") == b'"7"'
    assert set(await progress.get_progress("j1") or {}) == {"status", "updated_at"}


async def test_a_user_who_is_not_saved_cannot_own(progress: ProgressManager) -> None:
    for verb in (progress.create, progress.jobs):
        with pytest.raises(InvalidProgress):
            await verb(owner=get_user_model()())


async def test_an_anonymous_visitor_owns_nothing_and_is_shown_nobodys_jobs(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", owner=AnonymousUser())
    assert not raw.hexists(_key("j1"), "_o")
    assert await progress.jobs(owner=AnonymousUser()) == []
    assert _ids(await progress.jobs()) == ["j1"]


@pytest.mark.parametrize("status", ["queued", "done"])
async def test_set_progress_and_update_keep_the_owner(
    progress: ProgressManager, raw: redis.Redis, status: str
) -> None:
    await progress.create("j1", owner="7", data={"status": status})
    await progress.set_progress("j1", {"status": "importing"})
    await progress.update("j1", {"a": 1})
    assert raw.hget(_key("j1"), "_o") == b'"7"'
    assert _ids(await progress.jobs(owner="7")) == ["j1"]


async def test_delete_forgets_the_job(progress: ProgressManager, raw: redis.Redis) -> None:
    await progress.set_progress("j1", {"a": 1})
    assert await progress.delete("j1") is True
    assert await progress.get_progress("j1") is None
    assert raw.exists(_key("j1")) == 0
    with pytest.raises(JobNotFound):
        await progress.update("j1", {})


async def test_delete_is_told_once_and_only_where_there_was_something(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.set_progress("j1", {"a": 1})
    with Ear(raw, "j1") as ear:
        assert [await progress.delete("j1") for _ in range(2)] == [True, False]
        (message,) = ear.heard()
    assert message == {}


async def test_an_outcome_is_remembered_until_the_job_is_written_again(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.set_progress("j1", {"status": "done"})
    raw.hset("import_progress:hash:j1", "status", "importing")  # By another program.
    await progress.update("j1", {"n": 1})
    raw.delete("import_progress:hash:j1")
    assert await progress.describe("j1") is None
    await progress.set_progress("j1", {"status": "failed"})
    raw.delete("import_progress:hash:j1")
    assert (await progress.describe("j1") or {})["status"] == "failed"


async def test_a_deleted_id_can_be_created_again_with_another_owner(
    progress: ProgressManager,
) -> None:
    await progress.create("j1", owner="7")
    await progress.delete("j1")
    await progress.create("j1", owner="8")
    assert _ids(await progress.jobs(owner="7")) == []
    assert _ids(await progress.jobs(owner="8")) == _ids(await progress.jobs()) == ["j1"]


async def test_jobs_are_snapshots_with_their_id_newest_first(progress: ProgressManager) -> None:
    ids = [await progress.create(data={"job_id": "mine", "n": n}) for n in range(5)]
    await progress.update(ids[0], {"a": 1})
    jobs = await progress.jobs()
    assert _ids(jobs) == ids[::-1]
    assert jobs[-1] == {**(await progress.get_progress(ids[0]) or {}), "job_id": ids[0]}


async def test_jobs_of_set_progress_alone_are_not_listed(progress: ProgressManager) -> None:
    await progress.set_progress("j1", {"a": 1})
    assert await progress.jobs() == []


async def test_jobs_of_one_owner(progress: ProgressManager) -> None:
    for owner in ("7", 8, None, "7"):
        await progress.create(f"{owner}-{len(await progress.jobs())}", owner=owner)
    assert _ids(await progress.jobs(owner=7)) == ["7-3", "7-0"]
    assert _ids(await progress.jobs("8")) == ["8-1"]
    assert await progress.jobs(owner="9") == []
    assert len(await progress.jobs()) == 4


async def test_an_owner_with_an_odd_key_has_a_list_as_well(progress: ProgressManager) -> None:
    for owner in ("a b", 'x"y/z', "日本", "*"):
        job_id = await progress.create(owner=owner)
        assert _ids(await progress.jobs(owner=owner)) == [job_id]


async def test_the_limit_counts_jobs_and_50_is_the_default(progress: ProgressManager) -> None:
    ids = [await progress.create() for _ in range(120)]
    assert _ids(await progress.jobs(limit=1)) == ids[:-2:-1]
    assert _ids(await progress.jobs()) == ids[:-51:-1]
    assert _ids(await progress.jobs(limit=500)) == ids[::-1]


async def test_what_is_gone_leaves_the_list_and_does_not_count(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    ids = [await progress.create(owner="7") for _ in range(130)]
    for job_id in ids[1:]:
        await progress.delete(job_id)
    assert _ids(await progress.jobs(limit=1)) == ids[:1]
    assert _ids(await progress.jobs(owner="7", limit=1)) == ids[:1]
    indexes = [key for key in raw.keys("*") if raw.type(key) == b"zset"]
    assert [raw.zcard(key) for key in indexes] == [1, 1]


async def test_what_expired_or_was_written_anew_by_set_progress_is_not_listed(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    for job_id in ("expired", "anew", "stays"):
        await progress.create(job_id)
    raw.pexpire(_key("expired"), 0)
    await progress.delete("anew")
    await progress.set_progress("anew", {})
    assert _ids(await progress.jobs()) == ["stays"]


async def test_a_job_begun_anew_after_its_end_stays_in_its_place(progress: ProgressManager) -> None:
    for job_id in ("j1", "j2"):
        await progress.create(job_id, data={"status": "done"})
    await progress.set_progress("j1", {"status": "importing"})
    assert _ids(await progress.jobs()) == ["j2", "j1"]


async def test_an_index_expires_and_remembers_no_more_than_its_length(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", owner="7")
    indexes: list[bytes] = [key for key in raw.keys("*") if raw.type(key) == b"zset"]
    assert len(indexes) == 2
    assert all(raw.ttl(index) >= 3600 for index in indexes)
    for index in indexes:
        raw.zadd(index, {f"old{n}": n for n in range(10_050)})
    await progress.create("j2", owner="7")
    assert [raw.zcard(index) for index in indexes] == [10_000, 10_000]
    assert _ids(await progress.jobs(owner="7")) == ["j2", "j1"]


async def test_an_index_outlives_the_longest_of_its_jobs(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    year = 365 * 24 * 3600
    await progress.create("j1", ttl_seconds=year)
    await progress.create("j2")
    assert [raw.ttl(key) > year - 60 for key in raw.keys("*jobs*")] == [True]


async def test_two_namespaces_have_two_lists(progress: ProgressManager) -> None:
    orders = variant(progress, namespace="order_imports")
    await orders.create("o1", owner="7")
    await progress.create("j1", owner="7")
    assert _ids(await orders.jobs()) == _ids(await orders.jobs(owner="7")) == ["o1"]
    assert _ids(await progress.jobs()) == ["j1"]


async def test_jobs_are_read_together_in_the_order_asked_for(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    job_id = uuid.uuid4()
    await progress.create("j1", owner=7, data={"n": 1})
    await progress.create(job_id, data={"n": 2})
    raw.rpush(_key("a-list"), 1)
    found = await progress.read(each for each in (job_id, "absent", "a-list", "j1"))
    assert [stored and (stored.fields["n"], stored.owner) for stored in found] == [
        *((2, None), None, None, (1, "7"))
    ]
    assert await progress.read([]) == []
    with pytest.raises(InvalidJobId):
        await progress.read(["j1", "not an id"])


async def test_listed_jobs_are_what_is_stored_of_them(progress: ProgressManager) -> None:
    for job_id in ("j1", "j2", "j3"):
        await progress.create(job_id, owner=7)
    found = await progress.listed(owner=7, limit=2)
    assert list(found) == _ids(await progress.jobs(owner=7, limit=2)) == ["j3", "j2"]
    again = [stored and stored.fields for stored in await progress.read(found)]
    assert [stored.fields for stored in found.values()] == again
