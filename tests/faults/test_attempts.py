"""Several attempts at one import, at once or one after the other: the newest has the job."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import redis

from django_import_progress import (
    ImportCancelled,
    ImportSuperseded,
    SyncProgressManager,
    track_import,
)
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.processes import RedisProcess
from tests.kit.servers import in_the_server
from tests.kit.stalling import stored
from tests.kit.tracked import JOB, shows, state
from tests.kit.waiting import wait_for

from . import naive

HASH = f"import_progress:hash:{JOB}"


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Have `track_import` write to the test's server."""


@pytest.mark.parametrize("has_rows_left", [True, False], ids=["amid-its-rows", "when-through"])
@without(in_the_server(naive.writes_for_any_attempt))
def test_a_worker_that_was_stopped_and_goes_on_after_another_began_changes_nothing(
    jobs: SyncProgressManager, site: RedisProcess, foreign: redis.Redis, has_rows_left: bool
) -> None:
    with LoneWorker(site.url, "older", STALLED_AFTER_SECONDS=1) as older:
        older.has_entered().row()
        shows(jobs, processed_rows=1, attempt=1, seen_by_older=1)
        older.pause()
        wait_for(lambda: stored(jobs).stalled, "the worker to be missed")
        with track_import(JOB, total=9) as newer:
            newer.advance(5)
            newer.count("seen_by_newer", 5)
            shows(jobs, processed_rows=5, attempt=2)
            before = foreign.hgetall(HASH)
            older.resume()
            if has_rows_left:
                older.row()
                wait_for(lambda: _takes_no_more(older), "the older attempt to stop", seconds=5)
            assert older.outcome() == "ImportSuperseded"
            assert foreign.hgetall(HASH) == before
    ended = state(jobs)
    assert (ended["status"], ended["processed_rows"], ended["attempt"]) == ("done", 5, 2)
    assert "seen_by_older" not in ended


def _takes_no_more(worker: LoneWorker) -> bool:
    worker.row()
    return worker.has_left


@without(in_the_server(naive.writes_for_any_attempt))
def test_of_workers_at_the_same_time_the_later_one_has_the_job(
    jobs: SyncProgressManager, site: RedisProcess
) -> None:
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(LoneWorker(site.url, name)).has_entered()
            for name in ("first", "second")
        )
        second.row()
        wait_for(lambda: _takes_no_more(first), "the first to stop", seconds=5)
        assert first.outcome() == "ImportSuperseded"
        shows(jobs, seen_by_second=1)
        assert second.outcome() == "through"
    ended = state(jobs)
    assert (ended["status"], ended["processed_rows"], ended["attempt"]) == ("done", 1, 2)
    assert "seen_by_first" not in ended


@without(in_the_server(naive.writes_for_any_attempt))
def test_of_workers_that_begin_at_the_same_time_exactly_one_has_the_job(
    jobs: SyncProgressManager, site: RedisProcess
) -> None:
    names = ("a", "b", "c")
    with ExitStack() as stack:
        workers = [stack.enter_context(LoneWorker(site.url, name)) for name in names]
        for worker in workers:
            worker.has_entered().row()
        wait_for(lambda: sum(_takes_no_more(worker) for worker in workers) == 2, "two", seconds=5)
        outcomes = [worker.outcome() for worker in workers]
    assert sorted(outcomes) == ["ImportSuperseded", "ImportSuperseded", "through"]
    winner = names[outcomes.index("through")]
    ended = state(jobs)
    assert (ended["status"], ended["attempt"]) == ("done", 3)
    assert [name for name in ended if name.startswith("seen_by")] == [f"seen_by_{winner}"]


@pytest.mark.parametrize("asynchronous", [False, True])
@without(naive.writes_for_any_attempt_and_after_the_end)
async def test_an_import_that_went_through_is_told_that_it_was_superseded(
    jobs: SyncProgressManager, asynchronous: bool
) -> None:
    with track_import(JOB) as newer:
        pass
    assert newer.processed == 0
    if asynchronous:
        with pytest.raises(ImportSuperseded):
            async with track_import(JOB):
                shows(jobs, attempt=2)
                with track_import(JOB):
                    pass
    else:
        with pytest.raises(ImportSuperseded), track_import(JOB):
            shows(jobs, attempt=2)
            with track_import(JOB):
                pass
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 3)


class RowError(Exception):
    pass


@pytest.mark.parametrize("error", [RowError("no"), KeyboardInterrupt()], ids=["error", "signal"])
def test_what_the_import_itself_raises_is_raised_on_though_it_was_superseded(
    jobs: SyncProgressManager, error: BaseException
) -> None:
    with pytest.raises(type(error)) as raised, ExitStack() as newer, track_import(JOB):
        shows(jobs, attempt=1)
        newer.enter_context(track_import(JOB))
        raise error
    assert raised.value is error
    # The newer one has been left by the same exception, and told so.
    assert (state(jobs)["status"], state(jobs)["attempt"]) in {("failed", 2), ("cancelled", 2)}


def test_one_that_was_cancelled_and_then_superseded_is_not_left_as_if_it_were_the_jobs(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(ImportSuperseded), track_import(JOB):
        shows(jobs, attempt=1)
        with track_import(JOB):
            pass
        raise ImportCancelled
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)
