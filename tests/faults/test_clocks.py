"""A worker that was killed is missed in time, though Redis's clock is set back."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import SyncProgressManager, get_progress_manager, track_import
from django_import_progress.core import digests
from django_import_progress.core.lua import scripts
from django_import_progress.core.snapshot import Stored
from tests.kit import stalling
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.processes import RedisProcess
from tests.kit.stalling import becomes, stored
from tests.kit.waiting import until, wait_for

from . import naive

STALLED_AFTER_SECONDS = 3.0
"""Long enough to set the clock back before it is over."""
JOB = "job"


def _set_back_by_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Redis's clock be slow from now on, as its readers see it."""
    old = "string.format('%d%06d', t[1], t[2])"
    new = "string.format('%d%06d', t[1] - 600, t[2])"
    for name in ("READ", "CHECK", "BEGIN", "WRITE", "UPDATE", "SET"):
        naive.edit(monkeypatch, name, (old, new))
    monkeypatch.setattr(digests, "CHECK", scripts.CHECK)


def believes_a_lease_of_any_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until Redis's clock has caught up."""
    monkeypatch.setattr(
        Stored, "stalled", property(lambda self: 0 < self.lease < self.read_at and not self.ended)
    )
    for name in ("UPDATE", "SET"):
        naive.edit(monkeypatch, name, ("left > 2 *", "false and left > 2 *"))


def _is_stalled(jobs: SyncProgressManager) -> bool:
    described = jobs.describe(JOB)
    assert described is not None
    return bool(described["stalled"])


@without(believes_a_lease_of_any_length)
def test_so_it_is_for_those_who_read_and_do_not_watch(
    jobs: SyncProgressManager, lone_worker: LoneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lone_worker.kill()
    _set_back_by_ten_minutes(monkeypatch)
    assert _is_stalled(jobs)


@without(believes_a_lease_of_any_length)
@pytest.mark.parametrize("verb", ["update", "set_progress"])
def test_whoever_continues_such_a_job_makes_it_run(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    with track_import(JOB) as job:
        job._writer._is_over = True  # It writes no more.
        _set_back_by_ten_minutes(monkeypatch)
        getattr(jobs, verb)(JOB, {"status": "importing"})
        found = stored(jobs)
        assert (found.lease, found.promised, found.stalled) == (0, 0, False)


@pytest.mark.usefixtures("soon_stalled")
def test_a_worker_that_is_alive_renews_its_lease_by_the_clock_that_was_set_back(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    with track_import(JOB):
        before = stored(jobs)
        _set_back_by_ten_minutes(monkeypatch)
        wait_for(lambda: not _is_stalled(jobs), "the lease to be renewed")
        assert stored(jobs).lease < before.lease - 590e6
        assert stored(jobs).promised == before.promised == 1e6 * stalling.STALLED_AFTER_SECONDS


@without(naive.believes_the_servers_clock, fails_with=(TimeoutError,))
async def test_the_readers_own_clock_bounds_it(
    jobs: SyncProgressManager,
    site: RedisProcess,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The lease must not have expired before it is noted and the clock is set back.
    options = {"STALLED_AFTER_SECONDS": 5.0}
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "HEARTBEAT_SECONDS": 1, **options}
    watcher = get_progress_manager().watcher(JOB)
    view = watcher._job.view
    with LoneWorker(site.url, **options) as worker:
        worker.has_entered()
        await becomes(watcher, stalled=False)
        worker.kill()
        await until(lambda: 0 < view._lease == view._stored.lease, "it to be noted")
        _set_back_by_ten_minutes(monkeypatch)
        shown = await becomes(watcher, stalled=True)
        assert not shown.ended
        with track_import(JOB):  # By the slow clock as well: another lease.
            await becomes(watcher, stalled=False)
    watcher.close()
