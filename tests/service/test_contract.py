"""Writing, reading and publishing a snapshot, with both managers and both servers."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis

from django_import_progress import InvalidProgress, JobFinished, JobNotFound, ProgressManager

from ..kit.ears import Ear
from ..kit.managers import variant

SIX_FIELDS = {
    "status": "importing",
    "stage": "batch_5",
    "total_rows": 100_000,
    "processed_rows": 50_000,
    "error_message": None,
}
ODD_FIELDS: dict[str, Any] = {
    "big": 123456789012345,
    "bigger": 2**63,
    "tenth": 0.1,
    "tiny": 5e-324,
    "unicode": "日本 é 😀 \u2028 \x7f \0",
    'a "quoted" / slashed \\ 名': [1, {"deep": [None, True, 0.1]}],
    "status": ["odd"],
    "total_rows": "many",
    "empty": {},
    "list": [],
}


def without_bookkeeping(message: bytes) -> dict[str, Any]:
    """Return the fields of a message, which other subscribers see."""
    values: dict[str, Any] = json.loads(message)
    return {name: value for name, value in values.items() if not name.startswith("_")}


def _key(job_id: object) -> str:
    return f"import_progress:hash:{job_id}"


def _stored_fields(raw: redis.Redis, job_id: object) -> dict[str, Any]:
    found: Any = raw.hgetall(_key(job_id))
    return {k.decode(): json.loads(v) for k, v in found.items() if not k.startswith(b"_")}


async def test_set_progress_stores_exactly_what_was_written(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    job_id = uuid.uuid4()
    stored = await progress.set_progress(job_id, SIX_FIELDS)
    assert stored == {**SIX_FIELDS, "updated_at": stored["updated_at"]}
    assert await progress.get_progress(job_id) == stored
    assert _stored_fields(raw, job_id) == stored


async def test_updated_at_is_the_present_moment_in_utc(progress: ProgressManager) -> None:
    before = datetime.now(UTC)
    stored = await progress.set_progress("j1", {"updated_at": "not yours to say"})
    moment = datetime.fromisoformat(stored["updated_at"])
    assert stored["updated_at"].endswith("+00:00")
    assert moment.utcoffset() == timedelta(0)
    assert before <= moment <= datetime.now(UTC)


async def test_set_progress_replaces_all_and_publishes_nothing(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.set_progress("j1", {"a": 1, "b": 1})
    with Ear(raw, "j1") as ear:
        await progress.set_progress("j1", {"b": 2})
        assert ear.texts() == []
    assert set(_stored_fields(raw, "j1")) == {"b", "updated_at"}


async def test_a_uuid_and_its_text_name_the_same_job(progress: ProgressManager) -> None:
    job_id = uuid.uuid4()
    stored = await progress.set_progress(job_id, {"a": 1})
    assert await progress.get_progress(str(job_id)) == stored


async def test_a_job_that_is_not_there_is_none(progress: ProgressManager) -> None:
    assert await progress.get_progress(uuid.uuid4()) is None


async def test_an_empty_snapshot_is_one(progress: ProgressManager) -> None:
    await progress.set_progress("j1", {})
    assert set(await progress.get_progress("j1") or {}) == {"updated_at"}


async def test_every_value_survives_storing_merging_and_telling(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    written = await progress.set_progress("j1", ODD_FIELDS)
    with Ear(raw, "j1") as ear:
        merged = await progress.update("j1", {"more": 1})
        assert ear.heard() == [merged]
    assert await progress.get_progress("j1") == merged
    assert merged == {**written, "more": 1, "updated_at": merged["updated_at"]}
    assert written == {**ODD_FIELDS, "updated_at": written["updated_at"]}
    assert raw.hget(_key("j1"), "big") == b"123456789012345"


async def test_what_django_encodes_comes_back_as_its_json(progress: ProgressManager) -> None:
    data = {"at": datetime(2025, 1, 2, tzinfo=UTC), "id": uuid.UUID(int=1), "pair": (1, 2)}
    stored = await progress.set_progress("j1", data)
    assert stored["at"] == "2025-01-02T00:00:00Z"
    assert stored["id"] == str(uuid.UUID(int=1))
    assert stored["pair"] == [1, 2]


async def test_publish_update_counts_the_subscribers_and_stores_nothing(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    assert await progress.publish_update("j1", {"a": 1}) == 0
    with Ear(raw, "j1") as one, Ear(raw, "j1") as other:
        assert await progress.publish_update("j1", {"a": 1}) == 2
        assert one.heard() == other.heard()
    assert raw.keys("*") == []


async def test_publish_update_tells_the_data_as_json_with_the_time(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    with Ear(raw, "j1") as ear:
        await progress.publish_update("j1", ODD_FIELDS)
        await progress.publish_update("j1", {"updated_at": "then"})
        first, second = map(without_bookkeeping, ear.texts())
    assert datetime.fromisoformat(first.pop("updated_at")).utcoffset() == timedelta(0)
    assert first == ODD_FIELDS
    assert second == {"updated_at": "then"}


async def test_without_ensure_timestamp_none_is_added(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    with Ear(raw, "j1") as ear:
        await progress.publish_update("j1", {"a": 1}, ensure_timestamp=False)
        await progress.publish_update("j1", {}, False)
        assert [*map(without_bookkeeping, ear.texts())] == [{"a": 1}, {}]


async def test_update_merges_and_tells_the_whole(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.set_progress("j1", {"a": 1, "b": 1})
    with Ear(raw, "j1") as ear:
        merged = await progress.update("j1", {"b": 2, "c": 3})
        assert ear.heard() == [merged]
    assert merged == {"a": 1, "b": 2, "c": 3, "updated_at": merged["updated_at"]}
    assert await progress.get_progress("j1") == merged


async def test_each_update_is_a_new_version_of_the_same_life(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.set_progress("j1", {})
    with Ear(raw, "j1") as ear:
        for number in range(3):
            await progress.update("j1", {"n": number})
        heard = [json.loads(text) for text in ear.texts()]
    assert [message["_v"] for message in heard] == [2, 3, 4]
    assert len({message["_l"] for message in heard}) == 1


async def test_update_of_a_job_that_is_not_there_makes_none(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    with pytest.raises(JobNotFound):
        await progress.update("j1", {"a": 1})
    assert raw.keys("*") == []


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
async def test_a_job_that_has_ended_takes_no_update_and_stays_as_it_was(
    progress: ProgressManager, raw: redis.Redis, status: str
) -> None:
    await progress.set_progress("j1", {"status": "importing"})
    ended = await progress.update("j1", {"status": status})
    with Ear(raw, "j1") as ear:
        with pytest.raises(JobFinished):
            await progress.update("j1", {"status": "importing"})
        assert ear.texts() == []
    assert await progress.get_progress("j1") == ended


async def test_set_progress_begins_an_ended_job_anew(progress: ProgressManager) -> None:
    await progress.set_progress("j1", {"status": "done", "error_message": None})
    await progress.set_progress("j1", {"status": "parsing"})
    merged = await progress.update("j1", {"stage": "again"})
    assert set(merged) == {"status", "stage", "updated_at"}


async def test_a_refused_write_leaves_the_job_as_it_was(progress: ProgressManager) -> None:
    stored = await progress.set_progress("j1", {"a": 1})
    for verb in (progress.set_progress, progress.update, progress.publish_update):
        with pytest.raises(InvalidProgress):
            await verb("j1", {"a": float("nan")})
    assert await progress.get_progress("j1") == stored


async def test_a_namespace_keeps_its_jobs_to_itself(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    orders = variant(progress, namespace="order_imports")
    with Ear(raw, "j1") as ear, Ear(raw, "j1", "order_imports") as other_ear:
        await orders.set_progress("j1", {"a": 1})
        await orders.update("j1", {"a": 2})
        assert (len(ear.texts()), len(other_ear.texts())) == (0, 1)
    assert await progress.get_progress("j1") is None
    assert raw.keys("*") == [b"order_imports:hash:j1"]


async def test_what_another_program_wrote_by_hand_is_read(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    raw.hset(_key("j1"), mapping={"status": '"importing"', "stage": "plain text", "n": 5})
    fields = await progress.get_progress("j1")
    assert fields == {"status": "importing", "stage": "plain text", "n": 5}


async def test_what_another_program_wrote_into_a_job_spoils_nothing_else_in_an_answer(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", data={"n": 1})
    raw.hset(_key("j1"), mapping={"stage": "plain,\n text", "x": "", 'a"\n': "NaN"})
    updated = await progress.update("j1", {"n": 2})
    assert updated == await progress.get_progress("j1")
    assert {updated["stage"], updated["x"], updated['a"\n']} == {"plain,\n text", "", "NaN"}
    assert (updated["status"], updated["n"]) == ("queued", 2)


@pytest.mark.parametrize("space", [" {}", "{}\n", "\r\n\t{} \n"])
async def test_white_space_around_what_another_program_wrote_makes_it_no_text(
    progress: ProgressManager, raw: redis.Redis, space: str
) -> None:
    """`redis-cli -x` leaves a newline. What was a number before a write is one after it."""
    texts = {"n": "12", "t": "true", "s": '"a"', "o": '{"a":1}', "status": '"done"'}
    raw.hset(_key("j1"), mapping={name: space.format(text) for name, text in texts.items()})
    before = await progress.get_progress("j1")
    with pytest.raises(JobFinished):
        await progress.update("j1", {"m": 1})
    raw.hset(_key("j1"), "status", space.format('"importing"'))
    with Ear(raw, "j1") as ear:
        updated = await progress.update("j1", {"m": 1})
        assert ear.heard() == [updated]
    shown = {"n": 12, "t": True, "s": "a", "o": {"a": 1}}
    assert before == {**shown, "status": "done"}
    assert (shown | {"status": "importing"}).items() <= updated.items()


@pytest.mark.parametrize("length", [0, 300])
@pytest.mark.parametrize("start", ["[draft] products.csv", "[007", "{'a': 1}", '{"a":'])
async def test_what_begins_like_an_array_or_an_object_and_is_none_becomes_a_text(
    progress: ProgressManager, raw: redis.Redis, start: str, length: int
) -> None:
    text = start + length * "x"
    await progress.create("j1", data={"n": 1})
    raw.hset(_key("j1"), "stage", text)
    with Ear(raw, "j1") as ear:
        updated = await progress.update("j1", {"n": 2})
        assert ear.heard() == [updated]
    assert updated["stage"] == text


@pytest.mark.parametrize("count", [1, 90, 300])
async def test_arrays_and_objects_stay_what_they_are_with_each_write(
    progress: ProgressManager, count: int
) -> None:
    odd = ['\u00e9\n"]', -0.5, 1e-7, 10**30, True, None, {}, [], {"": [0]}]
    data: dict[str, Any] = {"list": odd * count, "dict": dict.fromkeys(map(str, range(count)), odd)}
    data["deep"] = json.loads(min(count, 99) * "[" + min(count, 99) * "]")
    await progress.create("j1", data=data)
    updated = await progress.update("j1", {"n": 2})
    assert {name: updated[name] for name in data} == data


async def test_an_update_of_what_was_written_by_hand_still_tells_json(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    raw.hset(_key("j1"), mapping={"stage": "plain text"})
    with Ear(raw, "j1") as ear:
        merged = await progress.update("j1", {"a": 1})
        assert ear.heard() == [merged]
