"""At a heartbeat Redis compares digests, and returns only the jobs that have changed."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from django_import_progress import ProgressManager
from django_import_progress.core.digests import check
from django_import_progress.core.keys import Keys
from django_import_progress.redis.executor import perform
from django_import_progress.watch.watched_job import WatchedJob

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.hubs import sees
from ..kit.managers import manager_on
from ..kit.processes import RedisProcess
from ..kit.waiting import until

__all__ = ["defence"]

HEARTBEAT_SECONDS = 1.0


@pytest.fixture
async def manager(server: RedisProcess) -> Any:
    async with manager_on("async", server.url, heartbeat_seconds=HEARTBEAT_SECONDS) as manager:
        yield manager


KEYS = Keys("import_progress")


def key_of(job_id: str) -> str:
    return f"import_progress:hash:{job_id}"


async def test_unchanged_jobs_are_not_returned(
    manager: ProgressManager, foreign: redis.Redis
) -> None:
    jobs = [(KEYS, job_id) for job_id in ("same", "other", "absent", "no-job")]
    foreign.set(key_of("no-job"), "a text")
    for job_id in ("same", "other"):
        await manager.create(job_id, data={"n": 1})
    first = await perform(manager.redis, check(jobs, [""] * 4))
    assert list(first.found) == [0, 1, 2, 3]
    assert first.found[2] == first.found[3] == (None, None)
    stored, known = first.found[0]
    assert stored is not None
    assert known is not None
    assert (stored.fields["n"], stored.read_at) == (1, first.read_at)
    digests = [known.digest if known else "" for _, known in first.found.values()]
    foreign.hset(key_of("other"), "n", 2)  # By hand: no version is counted.
    second = await perform(manager.redis, check(jobs, digests))
    assert list(second.found) == [1, 2, 3]
    changed, _ = second.found[1]
    assert changed is not None
    assert changed.fields["n"] == 2


def test_an_error_of_redis_is_raised(server: RedisProcess, foreign: redis.Redis) -> None:
    who = {"username": "reader", "password": "of this test"}
    foreign.acl_setuser(
        who["username"],
        enabled=True,
        passwords=[f"+{who['password']}"],
        keys=["*"],
        commands=["+eval"],
    )
    with redis.Redis(port=server.port, **who) as reader:
        command: Any = check([(KEYS, "a")], [""]).with_text
        with pytest.raises(redis.exceptions.RedisError):
            reader.execute_command(*command)
    foreign.acl_deluser(who["username"])


def uses_digests_of_any_age(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        WatchedJob, "digest", property(lambda slot: slot.known and slot.known.digest)
    )


@without(uses_digests_of_any_age)
async def test_an_older_state_that_was_known_before_is_shown(
    manager: ProgressManager, foreign: redis.Redis
) -> None:
    await manager.create("a", data={"n": 1})
    watcher = manager.watcher("a")
    await sees(watcher, n=1)
    assert manager._hub is not None
    [slot] = manager._hub._jobs.values()
    await until(lambda: slot.known, "a heartbeat")
    before: Any = foreign.dump(key_of("a"))
    await manager.update("a", {"n": 2})
    foreign.restore(key_of("a"), 60_000, before, replace=True)
    await sees(watcher, n=2)
    await sees(watcher, n=1)
    watcher.close()


async def test_a_new_watcher_is_shown_a_state_that_a_heartbeat_found_unchanged(
    manager: ProgressManager,
) -> None:
    await manager.create("a", data={"n": 1})
    first = manager.watcher("a")
    await sees(first, n=1)
    assert manager._hub is not None
    [slot] = manager._hub._jobs.values()
    await until(lambda: slot.known, "a heartbeat")
    subscriber = manager._hub._subscriber
    assert subscriber is not None
    second = manager.watcher("a")
    subscriber.request_read(slot, heartbeat=True)  # One read for both.
    await sees(second, n=1)
    for watcher in (first, second):
        watcher.close()


async def test_a_heartbeat_confirms_an_unchanged_job_to_a_watcher_that_joins(
    server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with manager_on("async", server.url, heartbeat_seconds=3600) as manager:
        await manager.create("j1", data={"n": 1})
        first = manager.watcher("j1")
        await sees(first, n=1)
        subscriber = manager._hub._subscriber
        await subscriber._read_changed([first._job])  # Now its digest is known.
        monkeypatch.setattr(subscriber, "request_read", lambda *_, **__: None)
        second = manager.watcher("j1")
        assert second.poll() is None
        await subscriber._read_changed([first._job])
        state = second.poll()
        assert state is not None
        assert state.fields["n"] == 1
        first.close()
        second.close()
