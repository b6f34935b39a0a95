"""An import within the caller's own transaction: seen while it is open, done once committed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connections, transaction

from django_import_progress import (
    ImportSuperseded,
    SyncProgressManager,
    get_sync_progress_manager,
    track_import,
)

from ..kit.processes import RedisProcess
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
STALLED_AFTER_SECONDS = 0.6


@pytest.fixture(autouse=True)
def jobs(site: RedisProcess, settings: Any) -> SyncProgressManager:
    """Use short leases; return the manager of the site."""
    settings.IMPORT_PROGRESS = {
        "REDIS_URL": site.url,
        "STALLED_AFTER_SECONDS": STALLED_AFTER_SECONDS,
    }
    return get_sync_progress_manager()


class ChangedMindError(Exception):
    pass


def _save(number: int) -> None:
    User.objects.create(username=f"user {number}")


def _failed(jobs: SyncProgressManager) -> None:
    ended = state(jobs)
    assert (ended["status"], ended["processed_rows"]) == ("failed", 3)
    assert "rolled back" in ended["error_message"]


def test_progress_is_seen_while_the_transaction_is_open_and_done_only_after_the_commit(
    jobs: SyncProgressManager,
) -> None:
    with transaction.atomic():
        with track_import(JOB) as job:
            for number in job.rows(range(3)):
                _save(number)
                shows(jobs, status="importing", processed_rows=number)
        assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("importing", 3)
        assert state(jobs)["eta_seconds"] == state(jobs)["error_message"] is None
        transaction.on_commit(lambda: seen.append(state(jobs)["status"]))
        seen: list[str] = []
    assert seen == ["done"]
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 3)
    assert User.objects.count() == 3


def test_rolled_back_after_the_with_block_it_ends_as_failed(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(ChangedMindError), transaction.atomic():
        with track_import(JOB) as job:
            for number in job.rows(range(3)):
                _save(number)
        raise ChangedMindError
    assert not User.objects.exists()
    _failed(jobs)
    with track_import(JOB):  # A new attempt has nothing to wait for.
        pass
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)


def test_without_a_transaction_it_is_done_at_once_though_there_was_one_inside(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB) as job:
        for number in job.rows(range(3)):
            with transaction.atomic():
                _save(number)
    assert state(jobs)["status"] == "done"


def test_only_the_outermost_commit_counts(jobs: SyncProgressManager) -> None:
    with transaction.atomic():
        with transaction.atomic():
            with transaction.atomic(), track_import(JOB) as job:
                for number in job.rows(range(3)):
                    _save(number)
            assert state(jobs)["status"] == "importing"
        assert state(jobs)["status"] == "importing"
    assert state(jobs)["status"] == "done"


@pytest.fixture
def other() -> Iterator[str]:
    """Another database."""
    connections.settings["other"] = {**connections.settings["default"], "NAME": ":memory:"}
    connections["other"].connect()  # Later on Django's test case would not allow it.
    yield "other"
    connections["other"].connection.close()  # Django itself leaves one in memory open.
    del connections["other"], connections.settings["other"]


@pytest.mark.parametrize("swapped", [False, True])
def test_of_several_databases_the_last_commit_counts(
    jobs: SyncProgressManager, other: str, swapped: bool
) -> None:
    outer, inner = (other, "default") if swapped else ("default", other)
    with transaction.atomic(using=outer):
        with transaction.atomic(using=inner), track_import(JOB):
            pass
        assert state(jobs)["status"] == "importing"
    assert state(jobs)["status"] == "done"


def test_rolled_back_to_a_savepoint_from_before_it_ends_as_failed(
    jobs: SyncProgressManager,
) -> None:
    with transaction.atomic():
        _save(99)
        with pytest.raises(ChangedMindError), transaction.atomic():
            with track_import(JOB) as job:
                for number in job.rows(range(3)):
                    _save(number)
            raise ChangedMindError
    assert User.objects.count() == 1
    _failed(jobs)


def test_a_failure_is_written_at_once(jobs: SyncProgressManager) -> None:
    with transaction.atomic():
        with pytest.raises(ValidationError), track_import(JOB):
            raise ValidationError("Row 3.")
        assert (state(jobs)["status"], state(jobs)["error_message"]) == ("failed", "Row 3.")
    assert state(jobs)["status"] == "failed"


def _asked_to_stop(jobs: SyncProgressManager, job: Any) -> Any:
    """Yield rows until the job is cancelled."""
    yield 0
    assert jobs.request_cancel(JOB)
    yield from range(1, 5)
    wait_for(lambda: job.interrupt, "the worker to know")
    yield 5


def test_a_transaction_inside_the_with_is_rolled_back_by_a_cancel(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB) as job:
        _save(99)
        with transaction.atomic():
            for number in job.rows(_asked_to_stop(jobs, job)):
                _save(number)
    assert state(jobs)["status"] == "cancelled"
    assert [user.username for user in User.objects.all()] == ["user 99"]


def test_one_around_the_with_is_not_for_the_with_absorbs_it(jobs: SyncProgressManager) -> None:
    with transaction.atomic():
        with track_import(JOB) as job:
            for number in job.rows(_asked_to_stop(jobs, job)):
                _save(number)
        assert state(jobs)["status"] == "cancelled"
    assert state(jobs)["status"] == "cancelled"
    assert User.objects.count() == state(jobs)["processed_rows"]


def test_a_loop_that_reads_cancelled_ends_cancelled_in_a_transaction(
    jobs: SyncProgressManager,
) -> None:
    with transaction.atomic(), track_import(JOB) as job:
        jobs.request_cancel(JOB)
        wait_for(lambda: job.cancelled, "the worker to know")
    assert state(jobs)["status"] == "cancelled"


def test_superseded_before_the_commit_it_does_not_end_done(jobs: SyncProgressManager) -> None:
    with transaction.atomic():
        with track_import(JOB) as job:
            _save(1)
            job.advance()
        newer = track_import(JOB)
        newer.__enter__()
        newer.advance(7)
        shows(jobs, attempt=2, processed_rows=7)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("importing", 2)
    newer.__exit__(None, None, None)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 7)


def test_superseded_within_it_rolls_the_transaction_around_it_back(
    jobs: SyncProgressManager,
) -> None:
    newer = track_import(JOB)
    with pytest.raises(ImportSuperseded), transaction.atomic(), track_import(JOB) as job:
        _save(1)
        newer.__enter__()
        for _ in job.rows(iter(int, 1)):  # pragma: no branch
            wait_for(lambda: job.interrupt, "the older one to know")
    assert not User.objects.exists()
    newer.__exit__(None, None, None)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)


async def test_an_asynchronous_import_is_done_when_it_is_left(jobs: SyncProgressManager) -> None:
    @sync_to_async
    def save(number: int) -> None:
        with transaction.atomic():
            _save(number)

    async with track_import(JOB) as job:
        async for number in job.rows(range(3)):
            await save(number)
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 3)
    assert await User.objects.acount() == 3
