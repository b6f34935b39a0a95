"""What Redis keeps of several attempts at one import: the newest has it, and one end absorbs."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import redis

from django_import_progress import (
    JobFinished,
    SyncProgressManager,
    create_sync_redis_client,
    track_import,
)
from django_import_progress.core.lease import Attempt, Lease, WriteResult
from django_import_progress.core.lua import scripts
from django_import_progress.redis.executor import perform_sync
from django_import_progress.service.base import now_text
from tests.kit.controls import without
from tests.kit.ears import Ear
from tests.kit.processes import RedisProcess
from tests.kit.proxy import Proxy
from tests.kit.tracked import JOB, state
from tests.kit.waiting import wait_for

from . import naive

HASH = f"import_progress:hash:{JOB}"
RACES = 1000


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Have `track_import` write to the test's server."""


class Workers:
    """Attempts without a loop: what they tell, and what they are told."""

    def __init__(self, jobs: SyncProgressManager) -> None:
        self._jobs = jobs
        self._numbers = itertools.count(1)

    def begins(self, token: str, job_id: str = JOB) -> Attempt:
        fields = {"status": "importing", "processed_rows": 0}
        call = self._jobs.calls.begin(job_id, None, Lease(token, 30), fields, now_text())
        return perform_sync(self._jobs.redis, call)

    def tells(self, attempt: Attempt, status: str = "importing", job_id: str = JOB) -> WriteResult:
        """Tell as the writer does: where the job is gone, the whole of it."""
        data = {"status": status, f"of_{attempt.lease.token}": 1, "attempt": attempt.number}

        def tell(*, anew: bool) -> WriteResult:
            write, number = self._jobs.calls.write, next(self._numbers)
            call = write(job_id, attempt, data, now_text(), number=number, may_create=anew)
            return perform_sync(self._jobs.redis, call)

        told = tell(anew=False)
        return tell(anew=True) if told is WriteResult.MISSING else told


@pytest.fixture
def workers(jobs: SyncProgressManager) -> Workers:
    return Workers(jobs)


def _is_of(jobs: SyncProgressManager, token: str) -> bool:
    return [name for name in state(jobs) if name.startswith("of_")] == [f"of_{token}"]


ORDERS = {
    "older-first": ["older", "newer"],
    "newer-first": ["newer", "older", "newer"],
    "in-turn": ["older", "newer", "older", "newer", "older"],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("status", ["importing", "done"], ids=["amid-its-rows", "when-through"])
@without(naive.writes_for_any_attempt)
def test_after_redis_was_emptied_the_newer_has_the_job_in_whatever_order_they_come_back(
    jobs: SyncProgressManager,
    workers: Workers,
    foreign: redis.Redis,
    order: list[str],
    status: str,
) -> None:
    jobs.create(JOB, data={"label": "Products"})
    attempts = {token: workers.begins(token) for token in ("older", "newer")}
    foreign.flushall()
    told = {}
    for token in order:
        told[token] = workers.tells(attempts[token], status if token == "older" else "importing")
    told["older"] = workers.tells(attempts["older"], status)
    assert told == {"older": WriteResult.SUPERSEDED, "newer": WriteResult.CONTINUE}
    assert _is_of(jobs, "newer")
    now = state(jobs)
    assert (now["status"], now["attempt"], now["label"]) == ("importing", 2, "Products")
    assert workers.tells(attempts["newer"], "done") is WriteResult.CONTINUE
    assert workers.tells(attempts["older"]) is WriteResult.SUPERSEDED
    assert state(jobs)["status"] == "done"


@pytest.mark.parametrize("came_back", [[], ["older"]], ids=["it-alone", "another-before"])
@without(naive.knows_attempts_by_their_numbers)
def test_one_that_begins_in_an_emptied_redis_is_the_newest_though_it_is_counted_anew(
    jobs: SyncProgressManager, workers: Workers, foreign: redis.Redis, came_back: list[str]
) -> None:
    attempts = {token: workers.begins(token) for token in ("older", "newer")}
    foreign.flushall()
    for token in came_back:
        workers.tells(attempts[token])
        foreign.flushall()
    newest = workers.begins("newest")
    assert newest.number == 1
    for attempt in attempts.values():
        assert workers.tells(attempt) is WriteResult.SUPERSEDED
    foreign.flushall()
    assert workers.tells(attempts["newer"]) is WriteResult.CONTINUE
    assert workers.tells(newest) is WriteResult.CONTINUE
    assert workers.tells(attempts["newer"]) is WriteResult.SUPERSEDED
    assert _is_of(jobs, "newest")


@without(naive.takes_all_that_it_writes_for_its_own)
def test_a_new_attempt_has_what_the_job_was_made_with_though_redis_was_emptied_in_between(
    jobs: SyncProgressManager, workers: Workers, foreign: redis.Redis
) -> None:
    jobs.create(JOB, data={"label": "Products"})
    older = workers.begins("older")
    foreign.flushall()
    assert workers.tells(older, "failed") is WriteResult.CONTINUE
    workers.begins("newer")
    now = state(jobs)
    assert (now.get("label"), now["attempt"]) == ("Products", 2)
    assert "of_older" not in now


@without(naive.begins_anew_without_a_trace)
def test_who_still_writes_for_an_attempt_that_is_over_does_not_get_the_job_that_began_anew(
    jobs: SyncProgressManager, workers: Workers
) -> None:
    attempts = [workers.begins("older"), workers.begins("newer")]
    jobs.update(JOB, {"status": "failed"})
    queued = jobs.set_progress(JOB, {"status": "queued"})
    for attempt in attempts:
        assert workers.tells(attempt) is WriteResult.SUPERSEDED
    assert jobs.get_progress(JOB) == queued
    assert workers.begins("newest").number == 3


@without(naive.counts_each_begin)
def test_a_begin_that_is_sent_again_since_its_answer_was_lost_is_no_new_attempt(
    jobs: SyncProgressManager, server: RedisProcess
) -> None:
    with Proxy(server.port) as proxy:
        client = create_sync_redis_client(proxy.url)
        manager = SyncProgressManager(client)
        with track_import("another", manager=manager):  # Redis knows the scripts from now on.
            pass
        manager.set_progress(JOB, {"status": "queued"})
        proxy.swallow(to=scripts.BEGIN.sha)
        before = proxy.connections
        with track_import(JOB, manager=manager) as job:
            job.advance()
        wait_for(lambda: proxy.connections > before, "another connection")
        # On a busy machine the last chance may have been let go: what is tried beside it says it.
        wait_for(lambda: state(jobs)["status"] == "done", "the end")
        assert state(jobs)["attempt"] == 1
        client.close()


@pytest.mark.parametrize("status", ["importing", "done", "failed", "cancelled"])
@without(naive.writes_after_the_end)
def test_an_end_absorbs_whatever_its_worker_still_tells(
    jobs: SyncProgressManager, workers: Workers, foreign: redis.Redis, status: str
) -> None:
    attempt = workers.begins("worker")
    assert workers.tells(attempt, "done") is WriteResult.CONTINUE
    before = foreign.hgetall(HASH)
    with Ear(foreign, JOB) as ear:
        assert workers.tells(attempt, status) is WriteResult.ENDED
        assert ear.texts() == []
    assert foreign.hgetall(HASH) == before


@pytest.fixture
def another(server: RedisProcess) -> Iterator[SyncProgressManager]:
    """A manager on a connection of its own."""
    client = create_sync_redis_client(server.url)
    yield SyncProgressManager(client)
    client.close()


@without(naive.writes_after_the_end)
def test_exactly_one_end_is_told_where_a_cancel_an_end_by_hand_and_the_completion_race(
    workers: Workers, another: SyncProgressManager, foreign: redis.Redis
) -> None:
    barrier = threading.Barrier(2)

    def stop(job_id: str) -> bool:
        barrier.wait()
        accepted = another.request_cancel(job_id)
        with suppress(JobFinished):
            another.update(job_id, {"status": "failed"})
        return accepted

    def complete(job_id: str, attempt: Attempt) -> tuple[bool, str]:
        barrier.wait()
        is_asked = workers.tells(attempt, job_id=job_id) is WriteResult.CANCEL
        end = "cancelled" if is_asked else "done"
        return workers.tells(attempt, end, job_id) in {
            WriteResult.CONTINUE,
            WriteResult.CANCEL,
        }, end

    ends: dict[str, Any] = {}
    told = foreign.pubsub()
    told.psubscribe("import_progress:channel:*")
    with ThreadPoolExecutor(1) as pool:
        for number in range(RACES):
            job_id = f"{JOB}-{number}"
            attempt = workers.begins("worker", job_id)
            stopping = pool.submit(stop, job_id)
            has_won, end = complete(job_id, attempt)
            accepted = stopping.result()
            ends[job_id] = end if has_won else "failed"
            assert accepted or ends[job_id] == "done"
    seen: dict[str, list[str]] = {job_id: [] for job_id in ends}
    foreign.publish("import_progress:channel:fence", "")
    while (message := wait_for(told.get_message, "the messages"))["channel"][-5:] != b"fence":
        if message["type"] == "pmessage":
            job_id = message["channel"].decode().rsplit(":", 1)[1]
            seen[job_id] += [
                status
                for status in ("done", "failed", "cancelled")
                if f'"status":"{status}"'.encode() in message["data"]
            ]
    told.close()
    assert seen == {job_id: [end] for job_id, end in ends.items()}
    assert len(set(ends.values())) > 1  # They did race.


def test_a_deleted_job_is_not_continued_in_a_hash_that_another_program_has_made(
    jobs: SyncProgressManager, workers: Workers, foreign: redis.Redis
) -> None:
    attempt = workers.begins("worker")
    jobs.delete(JOB)
    foreign.hset(HASH, "file", "products.csv")
    assert workers.tells(attempt) is WriteResult.DELETED
    assert state(jobs) == {"file": "products.csv"}
    assert jobs.delete(JOB)
    assert workers.tells(attempt) is WriteResult.DELETED
    assert not jobs.delete(JOB)
