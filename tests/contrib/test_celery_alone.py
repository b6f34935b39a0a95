"""`ImportTask` without a worker: called directly, applied eagerly, or not queued."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery import signals
from celery.app.task import Context
from celery.exceptions import Ignore, TimeLimitExceeded, WorkerLostError
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import ValidationError
from django.db import transaction
from kombu import Connection
from kombu.exceptions import OperationalError

from django_import_progress import (
    ImportSuperseded,
    InvalidJobId,
    InvalidProgress,
    SyncProgressManager,
    get_sync_progress_manager,
)
from django_import_progress.contrib.celery_worker import ImportRequest

from ..kit.tracked import JOB, state
from ..site import tasks


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make tasks write to the test's server."""


@pytest.fixture
def at_once() -> Any:
    """Run tasks eagerly, as the test suite of a project does."""
    tasks.app.conf.task_always_eager = True
    yield
    tasks.app.conf.task_always_eager = False


NOBODY_THERE = Connection("redis://127.0.0.1:1/0", transport_options={"max_retries": 0})


def test_called_as_a_function_it_is_an_import_with_an_id_of_its_own(
    jobs: SyncProgressManager,
) -> None:
    tasks.import_rows(2, owner=7)
    [job] = jobs.jobs(owner=7)
    assert (job["status"], job["processed_rows"]) == ("done", 2)
    with pytest.raises(ImportSuperseded):
        tasks.import_badly("superseded")


def test_its_run_alone_is_tracked_as_any_import(jobs: SyncProgressManager) -> None:
    with pytest.raises(ValidationError):
        tasks.import_badly.run("invalid")
    [job] = jobs.jobs()
    assert (job["status"], job["error_message"]) == ("failed", "Row 3.")


def test_applied_at_once_it_is_tracked_too(jobs: SyncProgressManager, at_once: None) -> None:
    job_id = tasks.import_rows.apply_async([3], progress_owner=7).id
    [job] = jobs.jobs(owner=7)
    assert (job["job_id"], job["status"], job["processed_rows"]) == (job_id, "done", 3)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        ("invalid", "failed", "Row 3."),
        ("late", "failed", "The import exceeded its time limit and was stopped."),
        ("reject", "failed", "The import failed. Please give this number when you ask"),
        ("requeue", "queued", None),
    ],
)
@pytest.mark.parametrize("task", [tasks.import_badly, tasks.import_nothing])
def test_how_it_ends(
    jobs: SyncProgressManager, error: str, status: str, message: str | None, task: Any
) -> None:
    jobs.create(JOB)
    task.apply((error,), task_id=JOB)
    ended = state(jobs)
    assert ended["status"] == status
    assert str(ended.get("error_message")).startswith(str(message))
    assert ended.get("eta_seconds") is None


def test_one_that_is_ignored_is_cancelled_if_it_had_begun(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    tasks.import_nothing.apply(("ignore",), task_id=JOB)
    assert state(jobs)["status"] == "queued"  # It may have been replaced by another task.
    tasks.import_badly.apply(("ignore",), task_id=JOB)
    assert state(jobs)["status"] == "cancelled"


def test_an_exception_that_ends_the_process_cancels_the_job(jobs: SyncProgressManager) -> None:
    for task in (tasks.import_badly, tasks.import_nothing):
        jobs.set_progress(JOB, {"status": "queued"})
        with pytest.raises(SystemExit):
            task.apply(("exit",), task_id=JOB)
        assert state(jobs)["status"] == "cancelled"


def test_one_that_is_superseded_is_ignored() -> None:
    ended: Any = tasks.import_badly.apply(("superseded",), task_id=JOB)
    assert ended.state == "IGNORED"


def test_one_that_never_came_to_import_is_done(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    tasks.import_nothing.apply(task_id=JOB)
    assert state(jobs)["status"] == "done"
    tasks.import_nothing.apply(task_id="unknown")
    assert jobs.get_progress("unknown") is None


def test_a_task_that_catches_the_exception_still_fails(jobs: SyncProgressManager) -> None:
    tasks.import_and_go_on.apply(task_id=JOB)
    assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "Row 3.")


@pytest.mark.parametrize(
    ("task", "args"),
    [
        (tasks.import_from_afar, [1]),
        (tasks.import_stubbornly, ["inside"]),
        (tasks.import_stubbornly, ["outside"]),
    ],
)
def test_retries_applied_at_once(jobs: SyncProgressManager, task: Any, args: list[Any]) -> None:
    task.apply(tuple(args), task_id=JOB)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)


def test_the_last_failure_applied_at_once(jobs: SyncProgressManager) -> None:
    tasks.import_stubbornly.apply(("inside", 9), task_id=JOB)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("failed", 2)
    assert state(jobs)["error_message"] == "Row 3."


def test_one_that_fails_before_its_block_has_failed(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    tasks.fail_before.apply(("/nowhere",), task_id=JOB)
    assert state(jobs)["status"] == "failed"


def test_one_that_fails_so_and_is_retried_is_queued(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    tasks.fail_before_and_retry.apply(task_id=JOB)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 1)


def test_one_that_fails_so_after_a_lost_attempt_has_failed(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"status": "importing"})
    tasks.fail_before.apply(("/nowhere",), task_id=JOB)
    assert state(jobs)["status"] == "importing"  # Somebody else's to report.
    jobs.redis.hset(jobs.calls.keys.hash(JOB), "_d", "1")  # A lease that has expired.
    tasks.fail_before.apply(("/nowhere",), task_id=JOB)
    assert state(jobs)["status"] == "failed"


def test_one_that_is_replaced_within_its_block_goes_on(jobs: SyncProgressManager) -> None:
    tasks.be_replaced.push_request(id=JOB, called_directly=False, args=[], kwargs={})
    try:
        with pytest.raises(Ignore):
            tasks.be_replaced()
    finally:
        tasks.be_replaced.pop_request()
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("queued", 1)
    tasks.import_rows.apply((5,), task_id=JOB)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)


def test_one_that_goes_back_to_the_broker_for_a_lost_process_is_queued_before(
    jobs: SyncProgressManager,
) -> None:
    task = tasks.import_at_least_once
    jobs.create(JOB, data={"status": "importing"})
    seen = []
    with Connection("memory://") as connection, connection.SimpleQueue("lost") as queue:
        task.apply_async(task_id=JOB, queue="lost", connection=connection)
        request = ImportRequest(
            queue.get_nowait(),
            app=tasks.app,
            task=task,
            decoded=False,
            on_reject=lambda *_: seen.append(state(jobs)["status"]),
        )
    request.reject(requeue=True)
    request.acknowledged = False
    try:
        raise WorkerLostError
    except WorkerLostError:
        request.on_failure(ExceptionInfo())
    assert seen == ["importing", "queued"]


def test_another_namespace_and_asyncio(at_once: None) -> None:
    job_id = tasks.import_orders.delay().id
    ended = get_sync_progress_manager("order_imports").get_progress(job_id)
    assert ended is not None
    assert (ended["status"], ended["processed_rows"], ended["attempt"]) == ("done", 2, 2)


def test_a_task_that_was_not_queued_leaves_no_job(jobs: SyncProgressManager) -> None:
    with pytest.raises(OperationalError):
        tasks.import_rows.apply_async(task_id=JOB, connection=NOBODY_THERE, retry=False)
    assert jobs.get_progress(JOB) is None
    jobs.create(JOB)
    with pytest.raises(OperationalError):
        tasks.import_rows.apply_async(task_id=JOB, connection=NOBODY_THERE, retry=False)
    assert state(jobs)["status"] == "queued"  # Somebody else's to forget.


def test_an_import_that_has_begun_is_not_forgotten(
    jobs: SyncProgressManager, at_once: None
) -> None:
    tasks.app.conf.task_eager_propagates = True
    try:
        with pytest.raises(ValidationError):
            tasks.import_badly.apply_async(["invalid"], task_id=JOB)
    finally:
        tasks.app.conf.task_eager_propagates = False
    assert state(jobs)["status"] == "failed"


def test_invalid_arguments_raise_before_the_task_is_queued() -> None:
    with pytest.raises(InvalidJobId):
        tasks.import_rows.apply_async(task_id="no id")
    with pytest.raises(InvalidProgress):
        tasks.import_rows.apply_async(progress_owner="")


@pytest.mark.parametrize(
    ("progress", "error", "match"),
    [
        ({"lable": "x"}, TypeError, "unknown keys 'lable': use label, owner, total, kind"),
        ("export", TypeError, "must be a dict, not str"),
        ({"label": 5}, InvalidProgress, "Invalid label"),
        ({"kind": 5}, InvalidProgress, "Invalid kind"),
        ({"total": "5"}, InvalidProgress, "Invalid total_rows"),
        ({"owner": ""}, InvalidProgress, "owner"),
    ],
)
def test_what_is_known_of_the_job_is_checked_before_the_task_is_queued(
    jobs: SyncProgressManager, progress: Any, error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        tasks.import_rows.apply_async(progress=progress)
    assert jobs.jobs() == []


def test_an_owner_is_passed_once() -> None:
    with pytest.raises(TypeError, match="Pass the owner once"):
        tasks.import_rows.apply_async(progress={"owner": 7}, progress_owner=7)


PROGRESS = {"label": "Prices", "kind": "export", "owner": 7, "total": 3}


def test_what_is_known_of_the_job_is_stored_with_it(
    jobs: SyncProgressManager, at_once: None
) -> None:
    job_id = tasks.import_rows.apply_async([3], progress=PROGRESS).id
    [job] = jobs.jobs(owner=7)
    assert (job["job_id"], job["label"], job["kind"]) == (job_id, "Prices", "export")
    assert (job["total_rows"], job["status"]) == (3, "done")


def test_a_job_that_was_created_before_gets_it_too(
    jobs: SyncProgressManager, at_once: None
) -> None:
    for data in ({"label": "old"}, {"label": "old", "status": "done"}):
        job_id = jobs.create(data=data)
        tasks.import_rows.apply_async([3], task_id=job_id, progress={"label": "Prices"})
        assert (jobs.get_progress(job_id) or {})["label"] == "Prices"


@pytest.mark.django_db(transaction=True)
def test_it_is_queued_after_the_commit(jobs: SyncProgressManager, at_once: None) -> None:
    with transaction.atomic():
        tasks.import_rows.delay_on_commit(3)
        assert jobs.jobs() == []
    assert [job["processed_rows"] for job in jobs.jobs()] == [3]


def test_an_anonymous_visitors_job_has_no_owner(jobs: SyncProgressManager, at_once: None) -> None:
    job_id = tasks.import_rows.apply_async(progress_owner=AnonymousUser()).id
    assert [job["job_id"] for job in jobs.jobs()] == [job_id]


def test_a_task_of_a_lost_process_is_shown_as_queued_again(
    jobs: SyncProgressManager,
) -> None:
    jobs.create(JOB, data={"status": "importing", "eta_seconds": 5})
    with Connection("memory://") as connection:
        tasks.import_rows.apply_async(task_id=JOB, retries=1, connection=connection)
    assert (state(jobs)["status"], state(jobs)["eta_seconds"]) == ("queued", None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (TimeLimitExceeded(5), "The import exceeded its time limit and was stopped."),
        (WorkerLostError(), "The import failed. Please give this number when you ask"),
    ],
)
def test_the_main_process_reports_a_killed_child(
    jobs: SyncProgressManager, error: Exception, message: str
) -> None:
    jobs.create(JOB)
    for sender in (tasks.import_plainly, tasks.import_rows):
        assert state(jobs)["status"] == "queued"
        signals.task_failure.send(sender=sender, task_id=JOB, exception=error)
    assert state(jobs)["status"] == "failed"
    assert state(jobs)["error_message"].startswith(message)
    signals.task_failure.send(sender=tasks.import_rows, task_id=JOB, exception=error)


@pytest.mark.parametrize(("expired", "status"), [(False, "cancelled"), (True, "failed")])
def test_the_main_process_reports_a_task_that_never_started(
    jobs: SyncProgressManager, expired: bool, status: str
) -> None:
    jobs.create(JOB)
    for sender in (tasks.import_plainly, tasks.import_rows):
        assert state(jobs)["status"] == "queued"
        signals.task_revoked.send(sender=sender, request=Context(id=JOB), expired=expired)
    assert state(jobs)["status"] == status


def test_tasks_run_while_redis_is_unavailable(
    settings: Any, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    tasks.import_nothing.delay()
    signals.task_revoked.send(sender=tasks.import_rows, request=Context(id=JOB))
    levels = [r.levelno for r in caplog.records if r.name == "django_import_progress"]
    assert levels == [logging.WARNING] * 3  # Queued, ended, revoked.
