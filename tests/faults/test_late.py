"""What a worker wrote arrives late, after what it wrote later over another connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager, track_import
from tests.kit.controls import without
from tests.kit.processes import RedisProcess
from tests.kit.proxy import Proxy
from tests.kit.tracked import JOB, shows, state
from tests.kit.waiting import wait_for

from . import naive, naive_worker
from .noted import impatient

HoldUp = Callable[[], Any]


@pytest.fixture
def proxy(server: RedisProcess) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def worker(proxy: Proxy) -> Iterator[SyncProgressManager]:
    """The manager that an import writes with."""
    with impatient(proxy.url) as manager:
        manager.get_progress(JOB)  # So that there is a connection.
        yield manager


@pytest.fixture
def hold_up(proxy: Proxy, foreign: redis.Redis) -> HoldUp:
    """Have what is sent next over the present connections arrive at the end of a context."""

    def scripts() -> int:
        calls: Any = foreign.info("commandstats")
        return int(calls["cmdstat_evalsha"]["calls"])

    @contextmanager
    def held_up() -> Iterator[None]:
        present = tuple(proxy._open)
        with proxy.holding(present.__contains__):
            yield
            assert proxy.holds == 1
            before = scripts()
        wait_for(lambda: scripts() == before + 1, "what was held up to arrive")

    return held_up


@without(naive_worker.takes_writes_in_any_order)
def test_a_write_that_comes_late_takes_nothing_back(
    worker: SyncProgressManager, jobs: SyncProgressManager, hold_up: HoldUp
) -> None:
    with track_import(JOB, manager=worker) as job:
        wait_for(lambda: jobs.get_progress(JOB), "the import to have begun")
        with hold_up():
            job.set(stage="reading")
            shows(jobs, stage="reading")
            job.set(stage="indexing")
            shows(jobs, stage="indexing")
        assert state(jobs)["stage"] == "indexing"


@without(naive_worker.takes_writes_in_any_order)
def test_a_write_that_comes_after_the_end_changes_nothing(
    worker: SyncProgressManager, jobs: SyncProgressManager, hold_up: HoldUp
) -> None:
    with ExitStack() as stack, track_import(JOB, manager=worker) as job:
        wait_for(lambda: jobs.get_progress(JOB), "the import to have begun")
        stack.enter_context(hold_up())
        job.advance()
        shows(jobs, processed_rows=1)
    shows(jobs, status="done", processed_rows=1)


@without(naive.counts_each_begin)
def test_a_beginning_that_comes_late_begins_nothing(
    worker: SyncProgressManager, jobs: SyncProgressManager, hold_up: HoldUp
) -> None:
    with ExitStack() as stack:
        with hold_up():
            job = stack.enter_context(track_import(JOB, manager=worker))
            job.count("seen")
            wait_for(lambda: jobs.get_progress(JOB), "a second try to begin")
            shows(jobs, seen=1)
        assert (state(jobs)["attempt"], state(jobs).get("seen")) == (1, 1)


@without(naive.counts_each_begin)
def test_a_beginning_that_comes_after_the_end_begins_nothing(
    worker: SyncProgressManager, jobs: SyncProgressManager, hold_up: HoldUp
) -> None:
    with hold_up():
        with track_import(JOB, manager=worker) as job:
            job.advance(3)
        wait_for(lambda: jobs.get_progress(JOB), "a second try to begin")
        shows(jobs, status="done")
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 1)
