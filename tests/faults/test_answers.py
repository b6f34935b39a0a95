"""Redis answers and refuses to serve: workers live on, verbs say so, watchers wait."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import redis

from django_import_progress import ProgressUnavailable, SyncProgressManager, track_import
from django_import_progress.redis.causes import REDIS_ERRORS
from django_import_progress.tracker import ImportTracker
from tests.kit.controls import without
from tests.kit.hubs import sees
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.tracked import JOB, shows, state
from tests.kit.waiting import until, wait_for
from tests.kit.watching import Watching

from . import naive, naive_worker
from .noted import impatient
from .refusals import ENOUGH, NO_KEYS, OF_READS, OF_WRITES, Refusal, RefusingServer

NEVER = 3600
"""A heartbeat that nothing is mended by."""
REPORTED_AGAIN = f"Progress of import {JOB} is reported again"
each_of_writes = pytest.mark.parametrize("refusal", OF_WRITES.values(), ids=OF_WRITES)
each_of_reads = pytest.mark.parametrize("refusal", OF_READS.values(), ids=OF_READS)
both_managers = pytest.mark.parametrize("kind", ["async", "sync"])


@pytest.fixture
def refusing(refusal: Refusal) -> Iterator[RefusingServer]:
    with RefusingServer(refusal) as process:
        yield process


@pytest.fixture
def worker(refusing: RefusingServer) -> Iterator[SyncProgressManager]:
    """The manager that an import writes with."""
    with impatient(refusing.url) as manager:
        yield manager


def _is_served(job: ImportTracker) -> bool:
    assert job._writer is not None
    return not job._writer._failing


@each_of_writes
@without(naive_worker.logs_each_failure)
def test_an_import_is_refused_twice_and_logs_where_each_outage_begins_and_ends(
    refusing: RefusingServer, worker: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_import_progress")
    with track_import(JOB, owner=7, manager=worker) as job:
        for row in job.rows("abc"):
            if row != "a":
                with refusing.refusing():
                    job.count("seen")
                    refusing.wait_for_refusals()
                wait_for(partial(_is_served, job), "the refusals to be over")
                shows(worker, seen=job.processed, processed_rows=job.processed)
    assert (state(worker)["status"], state(worker)["processed_rows"]) == ("done", 3)
    refused, served = f"Cannot report progress of import {JOB}; retrying", REPORTED_AGAIN
    assert [(line.levelname, line.getMessage().split(":")[0]) for line in caplog.records[1:-1]] == [
        ("WARNING", refused), ("INFO", served), ("WARNING", refused), ("INFO", served),
    ]  # fmt: skip


@pytest.mark.parametrize("refusal", [NO_KEYS], ids=["no-keys"])
@without(naive_worker.takes_what_changed_back_for_told)
def test_what_changes_back_while_redis_refuses_does_not_show_that_it_serves(
    refusing: RefusingServer, worker: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_import_progress")
    with track_import(JOB, manager=worker) as job, refusing.refusing():
        job.set(stage="saving")
        wait_for(lambda: not _is_served(job), "the refusal to be noticed")
        job.set(stage=None)
        enough = refusing.refused() + 2
        wait_for(lambda: refusing.refused() >= enough or _is_served(job), "it to be tried again")
        assert REPORTED_AGAIN not in caplog.messages


@each_of_writes
@without(naive_worker.gives_up_writing_once_refused)
def test_an_import_that_began_refused_is_shown_whole_once_it_is_served(
    refusing: RefusingServer, worker: SyncProgressManager
) -> None:
    with ExitStack() as stack, refusing.refusing():
        job = stack.enter_context(track_import(JOB, owner=7, total=3, manager=worker))
        job.count("seen", 2)
        refused: Any = job._writer
        wait_for(lambda: refused._failing, "the refusal to be noticed")

    def found() -> tuple[object, ...]:
        [job] = worker.jobs(owner=7) or [{}]
        return job.get("attempt"), job.get("status"), job.get("seen")

    wait_for(lambda: found() == (1, "done", 2), "the end, which is told beside")


@each_of_writes
@without(naive_worker.lets_refusals_through, fails_with=(ProgressUnavailable,))
def test_a_refusal_is_no_concern_of_the_loop(
    refusing: RefusingServer, worker: SyncProgressManager
) -> None:
    with track_import(JOB, manager=worker) as job, refusing.refusing():
        assert list(job.rows("abc")) == ["a", "b", "c"]
        job.set(stage="indexing")
        refusing.wait_for_refusals()
    assert job.processed == 3


@both_managers
@each_of_writes
@without(naive_worker.passes_on_what_the_client_raises, fails_with=REDIS_ERRORS)
async def test_what_is_refused_is_unavailable_with_the_cause_and_works_afterwards(
    kind: str, refusing: RefusingServer
) -> None:
    async with manager_on(kind, refusing.url) as progress:
        await progress.create("j1", data={"n": 1})
        with refusing.refusing():
            for verb, args in (("create", ("j2",)), ("update", ("j1", {"n": 2}))):
                with pytest.raises(ProgressUnavailable) as raised:
                    await getattr(progress, verb)(*args)
                assert isinstance(raised.value.__cause__, REDIS_ERRORS)
        await progress.set_progress("j1", {"n": 4})
        assert (await progress.update("j1", {"m": 1}))["n"] == 4


@both_managers
@each_of_reads
@without(naive_worker.passes_on_what_the_client_raises, fails_with=REDIS_ERRORS)
async def test_reads_that_are_refused_are_unavailable_too(
    kind: str, refusing: RefusingServer
) -> None:
    async with manager_on(kind, refusing.url) as progress:
        await progress.create("j1", data={"n": 1})
        with refusing.refusing():
            for verb, args in (("get_progress", ("j1",)), ("jobs", ())):
                with pytest.raises(ProgressUnavailable) as raised:
                    await getattr(progress, verb)(*args)
                assert isinstance(raised.value.__cause__, REDIS_ERRORS)
        assert (await progress.get_progress("j1"))["n"] == 1


@both_managers
@each_of_reads
@without(naive.gives_up_a_link_for_good)
async def test_watchers_wait_through_refusals_and_see_the_state_afterwards(
    kind: str, refusing: RefusingServer
) -> None:
    async with manager_on(kind, refusing.url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j1", data={"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            with refusing.refusing():
                refusing.do("CLIENT", "KILL", "TYPE", "pubsub")
                before = refusing.refused()
                await until(
                    lambda: watching.over or refusing.refused() >= before + ENOUGH,
                    "the watcher to try more than once",
                )
            await progress.update("j1", {"n": 2})
            await watching.sees(n=2)
            await progress.update("j1", {"status": "done"})
            await watching.ends()


@pytest.mark.parametrize("refusal", [NO_KEYS], ids=["no-keys"])
@without(naive_worker.takes_a_confirmation_for_service)
async def test_watchers_that_are_subscribed_and_may_not_read_are_one_line_in_the_log(
    refusing: RefusingServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager_on("async", refusing.url) as progress:
        await progress.create("j1", data={"n": 1})
        with refusing.refusing():
            watcher = progress.watcher("j1")
            await until(lambda: refusing.refused() >= ENOUGH, "the hub to try more than once")
        await sees(watcher, n=1)
        watcher.close()
    assert len(caplog.records) == 1


@both_managers
@without(naive_worker.believes_that_scripts_stay, fails_with=(ProgressUnavailable,))
async def test_scripts_are_flushed_again_and_again(
    kind: str, server: RedisProcess, foreign: redis.Redis
) -> None:
    async with manager_on(kind, server.url) as progress:
        for number in range(5):
            foreign.script_flush()
            await progress.create(f"j{number}")
            foreign.script_flush()
            await progress.update(f"j{number}", {"n": number})
        assert len(await progress.jobs()) == 5


@without(naive_worker.believes_that_scripts_stay, fails_with=(AssertionError, ProgressUnavailable))
def test_scripts_are_flushed_during_an_import(
    server: RedisProcess, foreign: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    with impatient(server.url) as worker:
        with track_import(JOB, manager=worker) as job:
            for _ in job.rows("abc"):
                foreign.script_flush()
                shows(worker, processed_rows=job.processed)
            foreign.script_flush()
        assert state(worker)["status"] == "done"
    assert caplog.records == []
