"""One row per attempt, with what the attempt was and how it ended."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError

from django_import_progress import (
    ImportSuperseded,
    SyncProgressManager,
    get_progress_manager,
    track_import,
)
from django_import_progress.history.models import ImportRun

from ..kit.recorded import ends_of, the_run
from ..kit.tracked import JOB

pytestmark = [
    pytest.mark.usefixtures("each_database", "history"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
]


def test_a_job_is_queued_starts_and_ends_in_one_row(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, owner=7, data={"label": "Products", "kind": "export", "file": "a.csv"})
    queued = the_run()
    assert (queued.status, queued.attempt, queued.owner) == ("queued", 1, "7")
    assert queued.run_id is queued.started_at is queued.ended_at is None
    with track_import(JOB, total=3, stage="reading") as job:
        running = the_run()
        assert (running.pk, running.status, running.ended_at) == (queued.pk, "running", None)
        for row in job.rows(range(3)):
            job.count("created")
            if row == 1:
                job.reject(row, "odd")
    run = the_run()
    assert (run.pk, run.status, run.outcome) == (queued.pk, "done", "partial")
    assert (run.label, run.kind, run.stage) == ("Products", "export", "reading")
    assert (run.total_rows, run.processed_rows, run.rejected_rows) == (3, 3, 1)
    assert run.counters == {"created": 3}
    assert run.snapshot["file"] == "a.csv"
    assert run.queued_at is not None
    assert run.started_at is not None
    assert run.ended_at is not None
    assert run.queued_at <= run.started_at <= run.ended_at
    assert datetime.now(UTC) - run.ended_at < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ValidationError("Row 3."), "failed", "Row 3."),
        (KeyboardInterrupt(), "cancelled", ""),
    ],
)
def test_each_end_has_its_status(error: BaseException, status: str, message: str) -> None:
    with suppress(type(error)), track_import(JOB):
        raise error
    run = the_run()
    assert (run.status, run.error_message, run.outcome) == (status, message, None)


def test_each_attempt_has_a_row() -> None:
    for _ in range(2):
        with track_import(JOB):
            pass
    assert ends_of() == [(1, "done"), (2, "done")]


def test_numbers_go_on_in_the_database_after_redis_was_emptied(jobs: SyncProgressManager) -> None:
    with track_import(JOB, owner=1):
        pass
    jobs.redis.flushall()
    with suppress(ValidationError), track_import(JOB, owner=2):
        raise ValidationError("No.")
    assert ends_of() == [(1, "done"), (2, "failed")]
    assert [run.owner for run in ImportRun.objects.order_by("pk")] == ["1", "2"]


def test_a_living_attempt_that_was_taken_over_is_superseded() -> None:
    first = track_import(JOB)
    with pytest.raises(ImportSuperseded), first, track_import(JOB):
        assert ends_of() == [(1, "superseded"), (2, "running")]
    assert ends_of() == [(1, "superseded"), (2, "done")]


async def test_asyncio_imports_are_recorded() -> None:
    job_id = await get_progress_manager().create()
    async with track_import(job_id) as job:
        async for _ in job.rows([1, 2]):
            pass
    run = await sync_to_async(the_run)(job_id)
    assert (run.status, run.processed_rows) == ("done", 2)
    assert run.queued_at is not None


def test_runs_are_found_by_their_owner_whose_account_may_be_gone(django_user_model: Any) -> None:
    user = User.objects.create(username="u")
    other = User.objects.create(username="v")
    with track_import(JOB, owner=user):
        pass
    with track_import("other", owner=other):
        pass
    run = the_run()
    assert list(ImportRun.objects.for_owner(user)) == [run]
    pk = user.pk
    user.delete()
    assert list(ImportRun.objects.for_owner(pk)) == [run]
    assert str(run) == JOB
