"""How long queued jobs and the outcomes of ended or deleted ones are kept."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from django_import_progress import JobNotFound, ProgressManager
from tests.faults.conftest import defence

from ..faults.naive import edit
from ..kit.controls import without
from ..kit.managers import variant, versions_of

__all__ = ["defence"]

UUID = "550e8400-e29b-41d4-a716-446655440000"
MESSAGE = f"The import failed. Please give this number when you ask for help: {UUID}"
WEEK = 7 * 24 * 3600


def _hash(job_id: str) -> str:
    return f"import_progress:hash:{job_id}"


def _record(job_id: str) -> str:
    return f"import_progress:end:{job_id}"


async def test_a_queued_job_is_kept_for_a_week_and_then_for_as_long_as_any(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    short = variant(progress, ttl_seconds=60)
    await short.create("j1")
    assert raw.ttl(_hash("j1")) > WEEK - 10
    await short.request_cancel("j1")
    assert raw.ttl(_hash("j1")) > WEEK - 10
    await short.update("j1", {"status": "importing"})
    assert 0 < raw.ttl(_hash("j1")) <= 60
    await short.update("j1", {"status": "queued"})
    assert raw.ttl(_hash("j1")) > WEEK - 10


async def test_how_long_a_queued_job_is_kept_can_be_set_for_all_and_for_one(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await variant(progress, queued_seconds=100).create("j1")
    await progress.create("j2", ttl_seconds=50)
    assert 0 < raw.ttl(_hash("j1")) <= 100
    assert 0 < raw.ttl(_hash("j2")) <= 50


@pytest.mark.parametrize("status", ["done", "failed", "cancelled"])
@pytest.mark.parametrize("verb", ["create", "update", "set_progress"])
async def test_an_end_is_remembered_after_its_snapshot_has_expired(
    progress: ProgressManager, raw: redis.Redis, verb: str, status: str
) -> None:
    fields: dict[str, Any] = {
        "status": status,
        "processed_rows": 9,
        "total_rows": 10,
        "file": "a.csv",
    }
    fields["rejected_rows"] = 2
    if verb == "create":
        await progress.create("j1", owner=7, data=fields)
    else:
        await progress.create("j1", owner=7)
        await getattr(progress, verb)("j1", fields)
    assert WEEK < raw.ttl(_record("j1")) <= WEEK + 3600
    raw.delete(_hash("j1"))
    assert await progress.get_progress("j1") is None
    described = await progress.describe("j1")
    assert described is not None
    expected: dict[str, Any] = {"status": status, "processed_rows": 9, "total_rows": 10}
    expected |= {"rejected_rows": 2, "outcome": "partial" if status == "done" else None}
    assert expected.items() <= described.items()
    assert described["expired"] is True
    assert described["percent"] == (100.0 if status == "done" else 90.0)
    assert "file" not in described
    (listed,) = await progress.jobs(owner=7)
    assert (listed["job_id"], listed["status"]) == ("j1", status)
    with pytest.raises(JobNotFound):
        await progress.update("j1", {"n": 1})
    assert not await progress.request_cancel("j1")


async def test_of_a_job_that_expired_before_its_end_nothing_is_known(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", data={"status": "done"})
    await progress.set_progress("j1", {"status": "importing"})  # A new life.
    assert not raw.exists(_record("j1"))
    raw.delete(_hash("j1"))
    assert await progress.describe("j1") is None
    assert await progress.jobs() == []


async def test_a_new_job_of_the_same_id_replaces_what_was_remembered(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", data={"status": "done"})
    raw.delete(_hash("j1"))
    await progress.create("j1")
    described = await progress.describe("j1")
    assert described is not None
    assert (described["status"], "expired" in described) == ("queued", False)


async def test_how_long_an_end_is_remembered_can_be_set(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await variant(progress, ttl_seconds=50, ended_seconds=100).create("a", data={"status": "done"})
    assert 100 < raw.ttl(_record("a")) <= 150


@pytest.mark.parametrize(
    "message",
    [MESSAGE, "é" * 2000, '"' * 2000, "\\\n" * 500, {"a": ["b"] * 100}, "😀" * 100, 7, None, ""],
)
async def test_it_takes_at_most_250_bytes_and_a_long_message_is_cut(
    progress: ProgressManager, raw: redis.Redis, message: Any
) -> None:
    fields = {"processed_rows": 123_456_789, "total_rows": 987_654_321, "error_message": message}
    await progress.create(UUID, owner=4711, data={"status": "failed", **fields})
    assert 0 < (raw.memory_usage(_record(UUID)) or 0) <= 250
    raw.delete(_hash(UUID))
    described = await progress.describe(UUID)
    assert described is not None
    assert described["processed_rows"] == 123_456_789
    shown = described["error_message"]
    if isinstance(message, str) and len(message) < 200:
        assert shown in {message, f"{shown[:-1]}…"}
    assert message is None or shown is not None
    assert await progress.jobs(owner=4711)


async def test_the_usual_message_is_not_cut(progress: ProgressManager, raw: redis.Redis) -> None:
    rows = {"processed_rows": 99_999, "total_rows": 100_000}
    await progress.create(
        UUID, owner=7, data={"status": "failed", "error_message": MESSAGE, **rows}
    )
    raw.delete(_hash(UUID))
    assert (await progress.describe(UUID) or {})["error_message"] == MESSAGE


async def test_a_control_character_in_a_message_does_not_become_the_jobs_id(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    message = "import of j1: bad byte \x7f in line 2"
    await progress.create("j1", data={"status": "failed", "error_message": message})
    raw.delete(_hash("j1"))
    shown = (await progress.describe("j1") or {})["error_message"]
    assert shown == "import of j1: bad byte  in line 2"


def forgets_what_it_deletes(monkeypatch: pytest.MonkeyPatch) -> None:
    edit(monkeypatch, "DELETE", ("write_record('x', values, ended_seconds)", ""))


@without(forgets_what_it_deletes, fails_with=(AssertionError,))
async def test_a_deletion_is_remembered(progress: ProgressManager, raw: redis.Redis) -> None:
    await progress.create("j1", owner=7)
    assert await progress.delete("j1")
    assert 0 < raw.ttl(_record("j1")) <= WEEK
    (stored,) = await progress.read(["j1"])
    assert stored is not None
    assert (stored.deleted, stored.owner) == (True, "7")
    assert await progress.describe("j1") is None
    assert await progress.get_progress("j1") is None
    assert await progress.jobs() == []
    assert not await progress.delete("j1")


async def test_what_is_remembered_of_an_end_can_be_deleted(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    await progress.create("j1", data={"status": "failed", "error_message": "secret"})
    raw.delete(_hash("j1"))
    assert await progress.delete("j1")
    assert b"secret" not in (raw.get(_record("j1")) or b"")
    assert await progress.describe("j1") is None
    assert await progress.jobs() == []


async def test_a_record_that_another_program_wrote_is_none(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    for text in ("junk", "[]", '[1,2,"z",0,null,1,1,null,null,null]', '{"a":1}', "7"):
        raw.set(_record("j1"), text)
        assert await progress.describe("j1") is None
    await progress.create("j1")
    assert await progress.get_progress("j1") is not None


async def test_a_late_message_of_a_deleted_job_is_marked_with_it(
    progress: ProgressManager, raw: redis.Redis
) -> None:
    """A publisher that continues after the deletion wakes no watcher of the next job."""
    await progress.set_progress("j1", {"run": 1})
    other = variant(progress)
    await other.delete("j1")
    await other.create("j1", data={"run": 2})
    (stored,) = await other.read(["j1"])
    assert stored is not None
    assert (versions_of(progress).of("j1") or (0, 0)) < stored.written
