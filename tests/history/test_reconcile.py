"""What the database has missed is repaired from Redis."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.history import lost, recorder
from django_import_progress.history.lost import Repairs, reconcile
from django_import_progress.history.models import ImportRun
from django_import_progress.signals import arguments_of

from ..kit.controls import without
from ..kit.recorded import begin_and_die, ends_of, expire_lease, finished, report_of, runs, the_run
from ..kit.tracked import JOB
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [pytest.mark.usefixtures("history"), pytest.mark.django_db(transaction=True)]


class Unrecorded:
    """The database misses what happens inside of the block."""

    def __enter__(self) -> None:
        recorder.disconnect()

    def __exit__(self, *_: object) -> None:
        recorder.connect()


@pytest.mark.parametrize("has_started", [True, False])
def test_a_missed_end_is_recorded(jobs: SyncProgressManager, has_started: bool) -> None:
    jobs.create(JOB, owner=7)
    recorder.disconnect()
    tracker = track_import(JOB, total=2, max_rejects=5)
    if has_started:
        recorder.connect()
    with suppress(ValidationError), tracker as job:
        recorder.disconnect()
        job.reject("row", "odd")
        raise ValidationError("No.")
    recorder.connect()
    with finished() as sent:
        repairs = reconcile()
    assert sent == []  # It was sent when the attempt ended.
    assert (repairs.ended, repairs.lost) == (1, 0)
    run = the_run()
    assert (run.status, run.error_message, run.owner) == ("failed", "No.", "7")
    assert (run.rejected_rows, run.attempt) == (1, 1)
    assert report_of(run)[1] == ["1", "", "odd", "row"]
    assert reconcile() == Repairs()


def test_the_end_of_an_attempt_is_recorded_by_the_next_one() -> None:
    with Unrecorded(), track_import(JOB) as job:
        job.set(label="First")
    with track_import(JOB):
        pass
    first, second = runs()
    assert (first.status, first.attempt, first.label) == ("done", 1, "First")
    assert (second.status, second.attempt, second.label) == ("done", 2, "")


def test_an_outcome_is_enough(jobs: SyncProgressManager) -> None:
    with track_import(JOB, total=3) as job:
        job.set(label="Products")
        job.advance(3)
        recorder.disconnect()
        started_at = ImportRun.objects.get().started_at
    recorder.connect()
    jobs.redis.delete(jobs.calls.keys.hash(JOB))
    assert reconcile().ended == 1
    run = the_run()
    assert (run.status, run.outcome, run.processed_rows) == ("done", "complete", 3)
    assert run.started_at == started_at
    assert "expired" not in run.snapshot


def test_a_lost_job_whose_signal_was_never_sent_is_lost(jobs: SyncProgressManager) -> None:
    begin_and_die()
    expire_lease(jobs, 601)
    fields = lost.lost_fields(JOB)
    call = jobs.calls.end_lost(JOB, fields, "2026-01-01T00:00:00+00:00", lost_after_seconds=600)
    assert lost.perform_sync(jobs.redis, call) is not None
    assert reconcile() == Repairs(ended=1)
    assert ends_of() == [(1, "lost")]


def test_a_deleted_job_is_cancelled(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    begin_and_die("other")
    jobs.delete(JOB)
    jobs.delete("other")
    assert reconcile().ended == 2
    assert ends_of() == [(1, "cancelled")]
    assert ends_of("other") == [(1, "cancelled")]


def test_a_job_that_ended_without_a_worker(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    jobs.update(JOB, {"status": "failed"})
    assert reconcile() == Repairs(ended=1)
    assert ends_of() == [(1, "failed")]


def test_runs_that_only_redis_knows_are_added(jobs: SyncProgressManager) -> None:
    with Unrecorded():
        jobs.create("queued", owner=3)
        with track_import("done"):
            pass
        begin_and_die("running")
        jobs.set_progress("foreign", {"status": "importing"})
    assert reconcile() == Repairs(ended=1, added=3)
    assert [ends_of(job_id) for job_id in ("queued", "done", "running", "foreign")] == [
        [(1, "queued")],
        [(1, "done")],
        [(1, "running")],
        [],
    ]
    assert the_run("queued").owner == "3"
    assert reconcile() == Repairs()


def _later(**passed: float) -> None:
    """Have that much time passed since each run was found to be missing."""
    past = timezone.now() - timedelta(**passed)
    ImportRun.objects.exclude(missing_since=None).update(missing_since=past)


def test_a_run_that_redis_has_forgotten_is_lost_after_some_time(jobs: SyncProgressManager) -> None:
    begin_and_die(owner=7)
    jobs.redis.flushall()
    with finished() as sent:
        assert reconcile() == Repairs()
        _later(seconds=590)
        assert reconcile() == Repairs()
        _later(seconds=601)
        assert reconcile() == Repairs(lost=1)
        assert reconcile() == Repairs()
    [news] = sent
    assert (news["status"], news["owner"], news["attempt"]) == ("lost", "7", 1)
    assert ends_of() == [(1, "lost")]


def test_a_living_worker_writes_its_job_again(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        jobs.redis.flushall()
        assert reconcile() == Repairs()
        assert the_run().missing_since is not None
        _later(seconds=601)
        job.set(stage="two")
        job._writer.flush()
        job._writer.flushed.wait(60)
        assert reconcile() == Repairs()
        assert the_run().missing_since is None
    assert ends_of() == [(1, "done")]


def test_a_queued_job_may_wait_for_long(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    jobs.redis.flushall()
    reconcile()
    _later(days=6)
    assert reconcile() == Repairs()
    _later(days=8)
    assert reconcile() == Repairs(lost=1)
    with track_import(JOB):  # Its message was in the queue all the same.
        pass
    assert ends_of() == [(1, "lost"), (2, "done")]


def test_a_queued_row_that_was_written_too_late_is_removed(jobs: SyncProgressManager) -> None:
    with track_import(JOB):
        queued = ImportRun.objects.create(job_id=JOB, namespace="import_progress", attempt=2)
        assert reconcile() == Repairs()
        assert not ImportRun.objects.filter(pk=queued.pk).exists()


def test_an_attempt_of_which_redis_knows_a_newer_one_ends(jobs: SyncProgressManager) -> None:
    begin_and_die()
    with Unrecorded(), track_import(JOB):
        pass
    assert reconcile() == Repairs(ended=1, added=1)
    _later(seconds=601)
    assert reconcile() == Repairs(lost=1)
    assert ends_of() == [(1, "lost"), (2, "done")]


def nobody_looks_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost._Repair, "_end_that_redis_missed", lambda *_: None)


@without(nobody_looks_for_the_end)
def test_an_end_that_redis_missed_is_written_there(jobs: SyncProgressManager) -> None:
    tracker = begin_and_die()
    end = {"status": "done", "processed_rows": 7, "attempt": 1}
    arguments: dict[str, Any] = {"job_id": JOB, "namespace": "import_progress", "status": "done"}
    run_id = tracker._writer.run_id
    recorder.note_finished(**arguments_of(**arguments, run_id=run_id, attempt=1, snapshot=end))
    expire_lease(jobs, 601)
    with finished() as sent:
        assert reconcile() == Repairs()
    assert sent == []
    assert ends_of() == [(1, "done")]
    described = jobs.describe(JOB) or {}
    assert (described["status"], described["processed_rows"]) == ("done", 7)


def test_a_worker_that_redis_did_not_hear_has_the_last_word(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        run_id = job._writer.run_id
    ImportRun.objects.update(status="lost")
    arguments: dict[str, Any] = {"job_id": JOB, "namespace": "import_progress", "run_id": run_id}
    for status in ("done", "lost", "superseded", "failed"):
        recorder.note_finished(**arguments_of(**arguments, snapshot={}, status=status))
    assert ends_of() == [(1, "done")]
