"""A command that redis-py sends again after a lost reply changes nothing, whatever came between."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from django_import_progress import JobExists, JobFinished, SyncProgressManager, track_import
from django_import_progress.core.command import RedisCommand
from django_import_progress.core.lease import Lease
from django_import_progress.redis.executor import perform_sync
from django_import_progress.service.base import now_text
from tests.kit.controls import without
from tests.kit.tracked import JOB, shows, state
from tests.kit.waiting import wait_for

from . import naive

HASH = f"import_progress:hash:{JOB}"


def _executes_again(*names: str) -> Any:
    def executes_again(monkeypatch: pytest.MonkeyPatch) -> None:
        """Execute a command as often as it is sent."""
        for name in names:
            naive.edit(monkeypatch, name, ("if is_repeated(", "if false and is_repeated("))

    return executes_again


def _send(jobs: SyncProgressManager, call: RedisCommand[Any]) -> Any:
    return perform_sync(jobs.redis, call)


@pytest.mark.parametrize("verb", ["update", "set"])
@without(_executes_again("UPDATE", "SET"))
def test_it_does_not_overwrite_a_newer_write(
    jobs: SyncProgressManager, foreign: redis.Redis, verb: str
) -> None:
    jobs.set_progress(JOB, {"status": "importing", "processed_rows": 0})
    call = getattr(jobs.calls, verb)(JOB, {"processed_rows": 1, "mine": 1}, now_text(), None)
    first = _send(jobs, call)
    assert first.fields["processed_rows"] == 1
    jobs.update(JOB, {"processed_rows": 2})
    jobs.update(JOB, {"processed_rows": 3})
    before = foreign.hgetall(HASH)
    again = _send(jobs, call)
    assert foreign.hgetall(HASH) == before
    assert (again.fields["processed_rows"], again.fields["mine"]) == (3, 1)


@without(_executes_again("UPDATE"), fails_with=(JobFinished,))
def test_an_update_that_was_executed_succeeds_though_the_job_has_ended_since(
    jobs: SyncProgressManager,
) -> None:
    jobs.set_progress(JOB, {"status": "importing"})
    call = jobs.calls.update(JOB, {"processed_rows": 1}, now_text(), None)
    _send(jobs, call)
    jobs.update(JOB, {"status": "failed"})
    assert _send(jobs, call).fields["status"] == "failed"
    with pytest.raises(JobFinished):
        jobs.update(JOB, {"processed_rows": 1})


@without(_executes_again("CREATE"), fails_with=(JobExists,))
def test_a_create_that_was_executed_succeeds_though_the_job_was_written_since(
    jobs: SyncProgressManager,
) -> None:
    call = jobs.calls.create(JOB, "7", {"label": "Products"}, now_text(), None)
    assert _send(jobs, call) == JOB
    jobs.update(JOB, {"status": "parsing"})
    assert _send(jobs, call) == JOB
    assert state(jobs)["status"] == "parsing"
    with pytest.raises(JobExists):
        jobs.create(JOB)


@without(_executes_again("BEGIN"))
def test_a_superseded_attempt_does_not_take_the_job_back(
    jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    older, newer = (
        jobs.calls.begin(JOB, None, Lease(f"{name}-worker", 30), {"status": name}, now_text())
        for name in ("older", "newer")
    )
    assert _send(jobs, older).number == 1
    assert _send(jobs, newer).number == 2
    before = foreign.hgetall(HASH)
    assert _send(jobs, older) is None
    assert foreign.hgetall(HASH) == before
    again = _send(jobs, newer)
    assert (again.number, again.base["status"]) == (2, "newer")


@without(_executes_again("DELETE"))
def test_a_delete_that_was_executed_leaves_the_job_that_was_made_since(
    jobs: SyncProgressManager,
) -> None:
    jobs.create(JOB, owner=7)
    call = jobs.calls.delete(JOB)
    assert _send(jobs, call)
    assert _send(jobs, call)  # Nothing is there, for it has removed it.
    jobs.create(JOB, data={"label": "new"})
    jobs.update(JOB, {"status": "importing"})
    assert _send(jobs, call)
    assert state(jobs)["label"] == "new"
    assert jobs.delete(JOB)
    assert not jobs.delete(JOB)


@without(_executes_again("CANCEL"))
@pytest.mark.parametrize("begun_anew", ["attempt", "set", "life"])
def test_a_cancel_that_was_executed_is_not_for_what_began_since(
    jobs: SyncProgressManager, begun_anew: str
) -> None:
    jobs.create(JOB)
    call = jobs.calls.cancel(JOB)
    assert _send(jobs, call)
    with track_import(JOB, manager=jobs) as job:
        wait_for(lambda: job.cancelled, "the worker to know")
    assert state(jobs)["status"] == "cancelled"
    if begun_anew == "life":
        jobs.delete(JOB)
        jobs.create(JOB)
    elif begun_anew == "set":
        jobs.set_progress(JOB, {"status": "queued"})
    with track_import(JOB, manager=jobs) as job:
        assert _send(jobs, call)
        job.set(note="seen")
        shows(jobs, note="seen")
        assert not job.cancelled
        assert jobs.request_cancel(JOB)
        wait_for(lambda: job.cancelled, "the worker to know of another one")


def test_what_is_noted_stays_short_and_two_equal_calls_are_two(
    jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    jobs.set_progress(JOB, {"status": "importing"})
    for number in range(50):
        jobs.update(JOB, {"processed_rows": number % 2})
    noted = foreign.hget(HASH, "_q")
    assert isinstance(noted, bytes)
    assert len(noted) <= 64
    assert len(json.loads(noted)) == 56
    assert state(jobs)["processed_rows"] == 1
