"""A job whose worker was lost is ended once, by whatever looks first; a living one never is."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError, connection

from django_import_progress import ImportSuperseded, SyncProgressManager, track_import
from django_import_progress.core.lua import scripts
from django_import_progress.core.outcome import RunState
from django_import_progress.history import lost
from django_import_progress.history.lost import end_lost_jobs, lost_fields, reconcile
from django_import_progress.history.models import ImportRun
from django_import_progress.signals import import_started

from ..kit.controls import without
from ..kit.lone import LoneWorker
from ..kit.recorded import begin_and_die, ends_of, expire_lease, finished, runs, the_run
from ..kit.tracked import JOB, state
from ..kit.waiting import wait_for
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [pytest.mark.usefixtures("history"), pytest.mark.django_db(transaction=True)]

LONG = 601
"""Seconds after which a stalled job is lost by default."""


def test_a_lost_job_is_failed_in_redis_and_lost_in_the_history(jobs: SyncProgressManager) -> None:
    begin_and_die(owner=7, total=5)
    expire_lease(jobs, LONG)
    with finished() as sent:
        assert end_lost_jobs() == 1
        assert end_lost_jobs() == 0
    [news] = sent
    assert (news["status"], news["attempt"], news["owner"]) == ("lost", 1, "7")
    assert (news["job_id"], news["sender"]) == (JOB, track_import)
    stored = state(jobs)
    assert (stored["status"], stored["total_rows"]) == ("failed", 5)
    assert stored["error_message"] == lost_fields(JOB)["error_message"]
    run = the_run()
    assert (run.status, run.owner, run.total_rows) == ("lost", "7", 5)
    assert run.run_id == news["run_id"]
    assert run.error_message == stored["error_message"]
    assert run.ended_at is not None


def test_watchers_see_the_end(jobs: SyncProgressManager) -> None:
    begin_and_die()
    watching = jobs.watch(JOB)
    assert next(watching)["status"] == "importing"
    expire_lease(jobs, LONG)
    end_lost_jobs("import_progress")
    assert [snapshot["status"] for snapshot in watching][-1] == "failed"


def ends_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    """End each job that began long ago."""
    body = scripts.END_LOST.text.replace("tonumber(now()) - lease < lost_after", "false")
    monkeypatch.setattr(scripts, "END_LOST", scripts._script(body, ""))
    monkeypatch.setattr(RunState, "is_lost", lambda *_: True)


@without(ends_by_age)
def test_a_living_worker_is_never_lost(jobs: SyncProgressManager, defence: bool) -> None:
    with track_import(JOB):
        ImportRun.objects.update(started_at="2001-01-01T00:00:00Z")
        jobs.redis.hset(jobs.calls.keys.hash(JOB), "_b", 1)
        assert end_lost_jobs() == 0
        assert the_run().status == "running"


def test_a_worker_that_was_stalled_for_a_short_time_is_not_lost(jobs: SyncProgressManager) -> None:
    begin_and_die()
    expire_lease(jobs, LONG - 5)
    assert end_lost_jobs() == 0
    assert state(jobs)["status"] == "importing"


def decides_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """End a job that another process has ended."""
    body = scripts.END_LOST.text.replace("not has_worker(job)", "false")
    monkeypatch.setattr(scripts, "END_LOST", scripts._script(body, ""))


@without(decides_by_itself)
def test_of_several_processes_one_ends_the_job(jobs: SyncProgressManager, defence: bool) -> None:
    begin_and_die()
    expire_lease(jobs, LONG)
    repairs = [lost._Repair("import_progress", lost.Repairs()) for _ in range(4)]
    [seen] = repairs[0]._read([JOB])

    def end(repair: lost._Repair) -> None:
        with suppress(OperationalError):  # SQLite has one writer.
            repair._end_if_lost(JOB, seen)
        connection.close()

    with finished() as sent:
        threads = [threading.Thread(target=end, args=[repair]) for repair in repairs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sum(repair._repairs.lost for repair in repairs) == 1
    assert [news["status"] for news in sent] == ["lost"]
    assert ends_of() == [(1, "lost")]


def test_a_killed_process_is_lost(jobs: SyncProgressManager, lone_worker: LoneWorker) -> None:
    lone_worker.kill()
    expire_lease(jobs, LONG)
    with finished() as sent:
        assert reconcile().lost == 1
    assert ends_of() == [(1, "lost")]
    assert len(sent) == 1


def test_the_next_attempt_reports_the_one_that_was_lost(jobs: SyncProgressManager) -> None:
    begin_and_die()
    expire_lease(jobs, 1)
    with finished() as sent, track_import(JOB):
        assert ends_of() == [(1, "lost"), (2, "running")]
    assert [(news["attempt"], news["status"]) for news in sent] == [(1, "lost"), (2, "done")]
    assert ends_of() == [(1, "lost"), (2, "done")]
    assert runs()[0].error_message == lost_fields(JOB)["error_message"]


def test_a_lost_attempt_is_reported_once_if_the_job_goes_on(jobs: SyncProgressManager) -> None:
    begin_and_die()
    expire_lease(jobs, LONG)
    started: list[dict[str, Any]] = []

    def receive(**arguments: Any) -> None:
        started.append(arguments)

    import_started.connect(receive)
    with finished() as sent:
        end_lost_jobs()
        with track_import(JOB):
            pass
    import_started.disconnect(receive)
    assert [(news["attempt"], news["status"]) for news in sent] == [(1, "lost"), (2, "done")]
    [news] = started
    assert (news["previous"].status, news["previous"].was_just_lost) == ("lost", False)
    assert ends_of() == [(1, "lost"), (2, "done")]


def test_an_attempt_that_comes_back_after_it_was_ended_changes_nothing(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(ImportSuperseded), finished() as sent, track_import(JOB) as job:
        job._writer._renewal_seconds = 3600
        expire_lease(jobs, LONG)
        assert end_lost_jobs() == 1
        job._writer.flush()
        wait_for(lambda: job._lost, "the worker to notice")
    assert [news["status"] for news in sent] == ["lost"]
    assert ends_of() == [(1, "lost")]
    assert state(jobs)["status"] == "failed"


@pytest.mark.parametrize("status", ["queued", "interrupted"])
def test_a_job_without_a_worker_is_not_lost(jobs: SyncProgressManager, status: str) -> None:
    begin_and_die()
    jobs.update(JOB, {"status": status})
    expire_lease(jobs, LONG)
    jobs.redis.hset(jobs.calls.keys.hash(JOB), "_s", 1)
    assert end_lost_jobs() == 0
    call = jobs.calls.end_lost(JOB, {}, "now", lost_after_seconds=0)
    assert lost.perform_sync(jobs.redis, call) is None


def test_jobs_of_other_namespaces_with_runs_are_looked_at(
    jobs: SyncProgressManager, settings: Any
) -> None:
    other = lost.get_guarded_sync_manager("other")
    begin_and_die(manager=other)
    expire_lease(other, LONG)
    assert end_lost_jobs("import_progress") == 0
    settings.IMPORT_PROGRESS |= {"NAMESPACE": lambda: "x" + str(1 / 0)}
    assert end_lost_jobs() == 1


def test_it_works_if_the_history_never_knew_the_job(jobs: SyncProgressManager) -> None:
    begin_and_die()
    the_run().delete()
    expire_lease(jobs, LONG)
    assert end_lost_jobs() == 1
    assert ends_of() == [(1, "lost")]


def test_the_signal_is_sent_if_the_database_is_not_there(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_and_die()
    expire_lease(jobs, LONG)

    def refuse(_: object) -> int:
        raise RuntimeError

    monkeypatch.setattr(lost, "record", refuse)
    with finished() as sent, pytest.raises(RuntimeError):
        end_lost_jobs()
    assert [news["status"] for news in sent] == ["lost"]
