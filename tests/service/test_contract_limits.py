"""Invalid data is refused before anything is written, with both managers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from django_import_progress import (
    InvalidJobId,
    InvalidProgress,
    ProgressManager,
    ProgressUnavailable,
)

from ..core.test_keys import BAD_IDS
from ..core.test_snapshot import BAD_VALUES
from ..kit.ears import Ear
from ..kit.managers import manager_on, variant
from ..kit.processes import free_port

MAX_BYTES = 65_536
BAD_DATA: list[Any] = [
    *({"a": value} for value in BAD_VALUES),
    *({name: 1} for name in ("", "_", "_v", "_gone", 1, None, b"a", ("a",), "\ud800")),
    None, [], "text", 7, [("a", 1)],
    {"a": "x" * MAX_BYTES}, {"x" * MAX_BYTES: 1}, {f"field {n}": n for n in range(10_000)},
]  # fmt: skip


@pytest.fixture(params=["async", "sync"])
async def nowhere(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """A manager whose server does not exist."""
    async with manager_on(request.param, f"redis://127.0.0.1:{free_port()}/0") as manager:
        yield manager


def _filling(bytes_wanted: int, **others: Any) -> dict[str, Any]:
    """Return data whose JSON has exactly this many bytes."""
    rest = "".join(f'"{name}":{value},' for name, value in others.items())
    return {**others, "a": "x" * (bytes_wanted - len(rest) - len('{"a":""}'))}


def _verbs(manager: Any) -> list[Any]:
    return [
        manager.get_progress,
        lambda job_id: manager.set_progress(job_id, {}),
        lambda job_id: manager.publish_update(job_id, {}),
        lambda job_id: manager.update(job_id, {}),
        manager.create,
        manager.delete,
    ]


async def test_each_bad_id_is_refused_by_each_verb_before_redis_is_touched(nowhere: Any) -> None:
    for verb in _verbs(nowhere):
        for job_id in BAD_IDS:
            if job_id is not None:  # To `create` that means: choose one.
                with pytest.raises(InvalidJobId):
                    await verb(job_id)


async def test_watch_refuses_a_bad_id_as_soon_as_it_is_called(nowhere: Any) -> None:
    watch = getattr(nowhere, "manager", nowhere).watch
    for job_id in BAD_IDS:
        with pytest.raises(InvalidJobId):
            watch(job_id)


async def test_bad_data_is_refused_before_redis_is_touched(nowhere: Any) -> None:
    for data in BAD_DATA:
        for verb in (nowhere.set_progress, nowhere.update, nowhere.publish_update):
            with pytest.raises(InvalidProgress):
                await verb("j1", data)
        if data:
            with pytest.raises(InvalidProgress):
                await nowhere.create("j1", data=data)


@pytest.mark.parametrize("ttl_seconds", [0, -1, 1.5, "60", True, 10**11])
async def test_a_bad_ttl_is_refused_before_redis_is_touched(nowhere: Any, ttl_seconds: Any) -> None:
    for verb in (nowhere.set_progress, nowhere.update):
        with pytest.raises(InvalidProgress):
            await verb("j1", {}, ttl_seconds)
    with pytest.raises(ValueError, match="Invalid ttl_seconds"):
        variant(nowhere, ttl_seconds=ttl_seconds)


async def test_a_bad_owner_or_limit_is_refused_before_redis_is_touched(nowhere: Any) -> None:
    for bad in ({"owner": ""}, {"owner": "x" * 256}, {"limit": 0}, {"limit": "5"}):
        with pytest.raises(InvalidProgress):
            await nowhere.jobs(**bad)


async def test_a_bad_namespace_is_refused_when_the_manager_is_made(nowhere: Any) -> None:
    with pytest.raises(ValueError, match="Invalid namespace"):
        variant(nowhere, namespace="a b")


async def test_without_a_server_each_verb_is_unavailable_with_the_cause_chained(
    nowhere: Any,
) -> None:
    for verb in [*_verbs(nowhere), lambda _: nowhere.jobs()]:
        with pytest.raises(ProgressUnavailable) as caught:
            await verb("j1")
        assert isinstance(caught.value.__cause__, redis.ConnectionError)


async def test_an_error_never_shows_the_url_with_its_password() -> None:
    async with manager_on("async", f"redis://:s3cret@127.0.0.1:{free_port()}/0") as manager:
        with pytest.raises(ProgressUnavailable) as caught:
            await manager.get_progress("j1")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("overhead", [{}, {"status": 1, "b": 2}])
async def test_64_kib_exactly_are_stored_and_told(
    progress: ProgressManager, raw: redis.Redis, overhead: dict[str, Any]
) -> None:
    data = _filling(MAX_BYTES, **overhead)
    with Ear(raw, "j1") as ear:
        stored = await progress.set_progress("j1", data)
        assert (await progress.update("j1", {}))["a"] == stored["a"] == data["a"]
        await progress.publish_update("j1", data)
        assert [message["a"] for message in ear.heard()] == [data["a"]] * 2


async def test_one_byte_more_is_refused_and_nothing_written(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    data = _filling(MAX_BYTES + 1, b=1)
    for verb in (progress.set_progress, progress.update, progress.publish_update):
        with pytest.raises(InvalidProgress, match="65537 bytes"):
            await verb("j1", data)
    with pytest.raises(InvalidProgress):
        await progress.create("j1", data=data)
    assert raw.keys("*") == []


async def test_the_limit_holds_for_what_is_merged_too(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    whole = _filling(MAX_BYTES, b=12345)
    await progress.set_progress("j1", {"a": whole["a"], "b": 1})
    stored = await progress.update("j1", {"b": 12345})
    with Ear(raw, "j1") as ear:
        with pytest.raises(InvalidProgress, match="merged snapshot would be 65537 bytes"):
            await progress.update("j1", {"b": 123456})
        assert ear.texts() == []
    assert await progress.get_progress("j1") == stored


async def test_merged_names_count_as_their_json_does(progress: ProgressManager) -> None:
    """A slash is one byte of JSON, although Lua escapes it."""
    data = {"a/b": "", "é": "", "p": ""}
    size = len('{"a/b":"","é":"","p":""}'.encode())
    data["p"] = "x" * (MAX_BYTES - size)
    await progress.set_progress("j1", data)
    assert (await progress.update("j1", {}))["p"] == data["p"]


async def test_thousands_of_fields_in_one_snapshot(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    data = {f"f{number}": 0 for number in range(6000)}
    stored = await progress.set_progress("j1", data)
    merged = await progress.update("j1", {"f17": 1})
    assert stored == {**data, "updated_at": stored["updated_at"]}
    assert merged == {**stored, "f17": 1, "updated_at": merged["updated_at"]}
    assert await progress.get_progress("j1") == merged
    assert raw.ttl("import_progress:hash:j1") > 0
    many = await progress.update("j1", {f"f{number}": 1 for number in range(6000)})
    assert sum(value == 1 for value in many.values()) == 6000
    await progress.create("j2", data=data)
    assert len((await progress.jobs())[0]) == 6003
