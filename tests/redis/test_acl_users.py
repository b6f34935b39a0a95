"""A Redis user with few rights: those in the documentation suffice, and lacking one is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from django_import_progress import (
    JobExists,
    ProgressUnavailable,
    SyncProgressManager,
    create_sync_redis_client,
    track_import,
)
from django_import_progress.redis.executor import perform_sync

from ..faults import naive
from ..faults.conftest import defence
from ..kit import waiting
from ..kit.controls import without
from ..kit.documented import blocks
from ..kit.groups import relaying
from ..kit.managers import manager_on
from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for

__all__ = ["defence"]

ACLS = {block.code.split()[2]: block.code.split()[3:] for block in blocks("docs/permissions.md")}
"""The rules of each user in the documentation."""
COMMANDS = [rule[1:] for rule in ACLS["progress"] if rule.startswith("+")]
UNSEEN = {"ping", "subscribe", "unsubscribe"}
"""Lacking these shows later: after a pause; in `watch()`, which waits for the right; at its end."""


@pytest.fixture
def user(each_server: RedisProcess, raw: redis.Redis) -> Iterator[Callable[..., str]]:
    """Make a user with these rules, and return its URL."""

    def make(*rules: str) -> str:
        raw.execute_command("ACL", "SETUSER", "few", "reset", *rules)
        return each_server.url.replace("//", "//few:password@")

    yield make
    raw.execute_command("ACL", "DELUSER", "few")


def _everything(progress: SyncProgressManager) -> None:
    """Use each verb, and track an import."""
    progress.create(JOB, owner=7)
    with track_import(JOB, manager=progress) as job:
        job.set(note="n")
        shows(progress, note="n")
        progress.request_cancel(JOB)
    with track_import(JOB, owner=7, manager=progress) as job:
        shows(progress, status="importing")  # The note of the last attempt is dropped.
        job.reject(["a"], "no")
        wait_for(lambda: list(progress.rejects(JOB)), "the rejected row")
        entries, [token, _] = job._reject_log._entries, job._writer._lease.args
        again = progress.calls.add_rejects(JOB, token, entries, stored=0)
        assert perform_sync(progress.redis, again) == 1
    assert "note" not in state(progress)
    progress.set_progress("j2", {"status": "importing", "a": 1})
    progress.set_progress("j2", {"status": "importing"})
    progress.update("j2", {"n": 1})
    SyncProgressManager(progress.redis).publish_update("j2", {"n": 2})
    assert next(iter(progress.watch("j2")))["n"] == 1
    progress.redis.delete("import_progress:hash:j2")
    progress.create("j3")
    progress.create("j4")
    progress.redis.delete("import_progress:hash:j3")
    assert [found["job_id"] for found in progress.jobs()] == ["j4", JOB]
    assert progress.delete("j4")


def test_the_documented_rights_suffice(user: Callable[..., str]) -> None:
    with create_sync_redis_client(user(*ACLS["progress"])) as client:
        _everything(SyncProgressManager(client))


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in UNSEEN])
def test_none_of_them_is_too_much(
    user: Callable[..., str], raw: redis.Redis, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 2.0)  # It waits in vain for some of them.
    # EVAL is needed where the server does not know a script yet.
    with (
        create_sync_redis_client(user(*ACLS["progress"], f"-{command}")) as client,
        pytest.raises((ProgressUnavailable, NoPermissionError, AssertionError)),
    ):
        _everything(SyncProgressManager(client))


async def test_who_only_shows_progress_needs_less(
    user: Callable[..., str], server: RedisProcess, raw: redis.Redis
) -> None:
    writing = SyncProgressManager(raw)
    writing.create("j1", data={"n": 1})
    url = user(*ACLS["viewer"])
    for kind in ("async", "sync"):
        async with manager_on(kind, url) as progress:
            assert (await progress.get_progress("j1"))["n"] == 1
            assert [job["job_id"] for job in await progress.jobs()] == ["j1"]
            watching = progress.watch("j1")
            assert (await anext(watching))["n"] == 1
            await watching.aclose()
            with pytest.raises(ProgressUnavailable, match="has no permission for"):
                await progress.create("j2")
    assert not raw.exists("import_progress:hash:j2")


async def test_the_relay_needs_patterns(user: Callable[..., str], server: RedisProcess) -> None:
    more = ("+psubscribe", "+punsubscribe", "+zrevrangebyscore", "+client|list")
    async with relaying(user(*ACLS["progress"], *more), "pubsub", server.url):
        """It is subscribed."""


def _asks_for_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ("if redis.acl_check_cmd", "if false and redis.acl_check_cmd")
    tried = ("elseif not redis.call('HMGET', KEYS[1], '_l')[1]", "elseif false")
    for name in ("SET", "UPDATE", "CREATE", "CANCEL", "DELETE", "BEGIN", "WRITE"):
        naive.edit(monkeypatch, name, asked, tried)


VERBS: dict[str, Callable[[Any], Any]] = {
    "create": lambda progress: progress.create("new", owner=7),
    "set": lambda progress: progress.set_progress("new", {"n": 1}),
    "set again": lambda progress: progress.set_progress("old", {"n": 2}),
    "update": lambda progress: progress.update("old", {"n": 2}),
    "cancel": lambda progress: progress.request_cancel("old"),
    "delete": lambda progress: progress.delete("old"),
}
LACKING = {
    "publish": ("-publish",),
    "channels": ("resetchannels",),
    "expire": ("-expire",),
    "set": ("-set",),
}


def _dump(raw: redis.Redis) -> dict[bytes, Any]:
    return {key: (raw.dump(key), raw.ttl(key) > 0) for key in raw.scan_iter()}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("lacking", ["publish", "channels"])
@without(_asks_for_no_rights, fails_with=(AssertionError, JobExists))
async def test_who_may_not_publish_writes_nothing(
    user: Callable[..., str], raw: redis.Redis, verb: str, lacking: str
) -> None:
    SyncProgressManager(raw).create("old", data={"n": 1})
    before = _dump(raw)
    url = user(*ACLS["progress"], *LACKING[lacking])
    for kind in ("async", "sync"):
        async with manager_on(kind, url) as progress:
            with pytest.raises(ProgressUnavailable, match="no permission for the command PUBLISH"):
                await VERBS[verb](progress)
    assert _dump(raw) == before


@pytest.mark.parametrize("lacking", ["expire", "set"])
@without(_asks_for_no_rights)
def test_a_job_that_could_not_expire_is_not_made(
    user: Callable[..., str], raw: redis.Redis, lacking: str
) -> None:
    with create_sync_redis_client(user(*ACLS["progress"], *LACKING[lacking])) as client:
        words = f"no permission for the command {lacking.upper()}"
        with pytest.raises(ProgressUnavailable, match=words):
            SyncProgressManager(client).create("new", data={"status": "done"})
    assert _dump(raw) == {}


@pytest.mark.parametrize(
    ("lacking", "before", "after"), [("set", "importing", "done"), ("del", "done", "importing")]
)
@without(_asks_for_no_rights)
def test_an_outcome_that_could_not_be_kept_or_removed_is_not_half_written(
    user: Callable[..., str], raw: redis.Redis, lacking: str, before: str, after: str
) -> None:
    SyncProgressManager(raw).set_progress("old", {"status": before})
    stored = _dump(raw)
    with create_sync_redis_client(user(*ACLS["progress"], f"-{lacking}")) as client:
        words = f"no permission for the command {lacking.upper()}"
        with pytest.raises(ProgressUnavailable, match=words):
            SyncProgressManager(client).set_progress("old", {"status": after})
    assert _dump(raw) == stored


@without(_asks_for_no_rights)
def test_a_worker_that_may_not_publish_imports_and_writes_nothing(
    user: Callable[..., str], raw: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    SyncProgressManager(raw).create(JOB, data={"n": 1})
    before = _dump(raw)
    with create_sync_redis_client(user(*ACLS["progress"], "-publish")) as client:
        with track_import(JOB, manager=SyncProgressManager(client)) as job:
            assert list(job.rows("abc")) == ["a", "b", "c"]
        job._writer._is_over = True  # type: ignore[union-attr]
    assert "no permission for the command PUBLISH" in caplog.text
    assert _dump(raw) == before


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        (("-evalsha",), "no permission for the command EVALSHA"),
        (("resetkeys", "~other:*"), "no permission for one of its keys"),
        (("resetkeys", "~import_progress:hash:*"), "no permission for one of its keys"),
        (("-hgetall",), "no permission for (a|the) command"),
    ],
)
def test_what_is_missing_is_named(
    user: Callable[..., str], rules: tuple[str, ...], words: str
) -> None:
    with create_sync_redis_client(user(*ACLS["progress"], *rules)) as client:
        with pytest.raises(ProgressUnavailable, match=words) as caught:
            SyncProgressManager(client).create("j1")
        assert "“Redis permissions” in the documentation" in str(caught.value)
        assert "password" not in str(caught.value)
