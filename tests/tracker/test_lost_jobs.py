"""A job that is deleted, ended or cancelled while its import runs, or whose list is evicted."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import (
    ImportSuperseded,
    SyncProgressManager,
    get_sync_progress_manager,
    track_import,
)
from django_import_progress.core.lease import Lease, WriteResult
from django_import_progress.tracker import interrupts, writer
from django_import_progress.tracker.writer import Writer
from tests.faults import naive
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for

__all__ = ["defence"]

NEVER = 3600


@pytest.fixture
def jobs(site: RedisProcess, settings: Any) -> SyncProgressManager:
    """The site's manager; leases are hardly ever renewed."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "STALLED_AFTER_SECONDS": NEVER}
    return get_sync_progress_manager()


def reads_nothing_between_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notice changes of a job only when a field has changed."""
    monkeypatch.setattr(Writer, "_has_job_changed", lambda _: False)


def stops_for_other_attempts_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Continue a job that was ended or deleted."""
    for module in (interrupts, writer):
        monkeypatch.setattr(module, "LOST", frozenset({WriteResult.SUPERSEDED}))


def _delete(jobs: SyncProgressManager) -> None:
    assert jobs.delete(JOB)


def _end(jobs: SyncProgressManager) -> None:
    jobs.update(JOB, {"status": "failed", "error_message": "By hand."})


def _delete_and_end_another(jobs: SyncProgressManager) -> None:
    _delete(jobs)
    jobs.create(JOB)
    _end(jobs)


def _begin_another(jobs: SyncProgressManager) -> None:
    with track_import(JOB):
        pass


@pytest.mark.parametrize(
    ("happens", "says"),
    [
        (_delete, "was deleted.*request_cancel"),
        (_end, "was ended by other code"),
        (_delete_and_end_another, "was deleted"),
        (_begin_another, "Another worker has started import job again.*unique id for each"),
    ],
)
@without(reads_nothing_between_writes)
def test_the_loop_stops_though_no_field_has_changed(
    jobs: SyncProgressManager, ends: list[str], happens: Any, says: str
) -> None:
    rows = []
    with pytest.raises(ImportSuperseded, match=says), track_import(JOB, total=1000) as job:
        shows(jobs, status="importing")
        for row in job.rows(range(1000)):  # pragma: no branch
            rows.append(row)
            happens(jobs)
            ends.clear()
            stored = jobs.get_progress(JOB)
            wait_for(lambda: job.interrupt, "the worker to know")
    assert (rows, ends) == ([0], [])
    assert jobs.get_progress(JOB) == stored


@without(stops_for_other_attempts_only, fails_with=(AssertionError, pytest.fail.Exception))
@pytest.mark.parametrize("happens", [_delete, _end])
def test_an_import_whose_rows_are_done_learns_it_as_well(
    jobs: SyncProgressManager, ends: list[str], happens: Any
) -> None:
    with pytest.raises(ImportSuperseded), track_import(JOB) as job:
        shows(jobs, status="importing")
        happens(jobs)
        job.advance()
    assert ends == []


@without(reads_nothing_between_writes)
def test_a_cancellation_is_noticed_during_a_row_that_takes_long(
    jobs: SyncProgressManager, ends: list[str]
) -> None:
    with track_import(JOB, total=1000) as job:
        shows(jobs, status="importing")
        for _ in job.rows(range(1000)):  # pragma: no branch
            jobs.request_cancel(JOB)
            wait_for(lambda: job.interrupt, "the worker to know")
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("cancelled", 1)
    assert ends == ["cancelled"]


def test_a_row_that_takes_long_is_no_reason_to_write(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        shows(jobs, status="importing")
        version = jobs.redis.hget(f"import_progress:hash:{JOB}", "_v")
        reads = _reads(jobs)
        wait_for(lambda: _reads(jobs) > reads + 2, "the worker to read")
        assert jobs.redis.hget(f"import_progress:hash:{JOB}", "_v") == version
        job.advance()


def _reads(jobs: SyncProgressManager) -> int:
    statistics: Any = jobs.redis.info("commandstats")
    return int(statistics.get("cmdstat_hmget", {"calls": 0})["calls"])


def test_an_attempt_that_learns_late_that_it_began_and_was_superseded_reports_nothing(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = Lease("older-worker", 30)
    begin = Writer._start_attempt

    def begin_once_more(self: Writer) -> Any:
        self._lease = lease
        begin(self)  # Its reply was lost, and another has begun.
        self._lease = Lease("newer-worker", 30)
        begin(self)
        self._lease = lease
        return begin(self)

    monkeypatch.setattr(Writer, "_start_attempt", begin_once_more)
    with pytest.raises(ImportSuperseded), track_import(JOB) as job:
        wait_for(lambda: job.interrupt, "the worker to know")
        job.advance()
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("importing", 2)


def enters_a_job_once(monkeypatch: pytest.MonkeyPatch) -> None:
    naive.edit(
        monkeypatch, "WRITE", ("if job.exists and not must_enlist then", "if job.exists then")
    )


@without(enters_a_job_once)
def test_a_running_job_is_listed_again_after_its_list_was_evicted(
    site: RedisProcess, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "STALLED_AFTER_SECONDS": 1}
    jobs = get_sync_progress_manager()
    with track_import(JOB, owner=7):
        lists = [jobs.calls.keys.index(owner) for owner in (None, "7")]
        assert jobs.redis.delete(*lists) == 2
        assert jobs.jobs() == []
        for owner in (None, 7):
            wait_for(lambda owner=owner: jobs.jobs(owner=owner), "the job to be listed")  # type: ignore[misc]
        assert all(jobs.redis.ttl(name) > 0 for name in lists)
