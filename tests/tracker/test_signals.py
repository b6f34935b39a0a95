"""`import_finished`: sent once per attempt; receivers do not affect the import."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from django_import_progress import (
    ImportCancelled,
    ImportSuperseded,
    SyncProgressManager,
    signals,
    track_import,
)
from django_import_progress.signals import import_finished
from django_import_progress.tracker import reporting_thread, writer
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.tracked import JOB, state
from ..kit.waiting import wait_for
from ..site import tasks

__all__ = ["defence"]

News = dict[str, Any]


@pytest.fixture
def received() -> Iterator[list[News]]:
    """The arguments of each notification, and its thread."""
    told: list[News] = []

    def receive(**news: Any) -> None:
        told.append({**news, "thread": threading.current_thread()})

    import_finished.connect(receive)
    yield told
    import_finished.disconnect(receive)


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make imports write to the test's server."""


def test_it_has_the_job_and_its_final_status(
    jobs: SyncProgressManager, received: list[News]
) -> None:
    jobs.create(JOB, owner=7, data={"file_name": "a.csv"})
    with track_import(JOB, total=3, stage="first") as job:
        for _ in job.rows(range(3)):
            job.count("created")
    [news] = received
    assert news["sender"] is track_import
    assert (news["job_id"], news["namespace"]) == (JOB, "import_progress")
    assert (news["owner"], news["status"], news["error"]) == ("7", "done", None)
    assert news["attempt"] == news["snapshot"]["attempt"] == 1
    stored = state(jobs)
    for name in ("rows_per_second", "eta_seconds", "updated_at"):
        news["snapshot"].pop(name, None)
        del stored[name]
    assert news["snapshot"] == stored


def test_it_is_sent_by_the_importing_thread_after_the_final_status(
    jobs: SyncProgressManager, received: list[News]
) -> None:
    seen = []

    def look(**_: Any) -> None:
        seen.append(state(jobs)["status"])

    import_finished.connect(look)
    with track_import(JOB):
        pass
    import_finished.disconnect(look)
    assert seen == ["done"]
    assert received[0]["thread"] is threading.current_thread()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValidationError("Row 3."), "failed"),
        (KeyboardInterrupt(), "cancelled"),
        (ImportCancelled(), "cancelled"),
    ],
)
def test_each_end_has_a_status_and_an_error(
    received: list[News], error: BaseException, status: str
) -> None:
    with suppress(type(error)), track_import(JOB):
        raise error
    [news] = received
    assert (news["status"], news["error"]) == (status, error)
    assert news["snapshot"]["error_message"] == ("Row 3." if status == "failed" else None)


def test_each_attempt_sends_its_own(received: list[News]) -> None:
    for _ in range(2):
        with track_import(JOB):
            pass
    assert [news["attempt"] for news in received] == [1, 2]


def test_beginning_and_end_are_logged_as_information(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "django_import_progress")
    with track_import(JOB) as job:
        list(job.rows(range(3)))
    assert caplog.messages == ["Import job started", "Import job is done after 3 rows"]


def test_one_that_is_superseded_sends_nothing(
    received: list[News], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "django_import_progress")
    newer = track_import(JOB)
    with pytest.raises(ImportSuperseded), track_import(JOB) as job:
        newer.__enter__()
        job.advance()
        wait_for(lambda: job.interrupt, "the older one to know")
    assert received == []
    assert caplog.messages[-1].startswith("Another worker has started import job again")
    newer.__exit__(None, None, None)
    assert [news["attempt"] for news in received] == [2]


def test_it_is_sent_without_redis_too(
    settings: Any, received: list[News], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "RETRY_SECONDS", 0)
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with track_import(JOB, owner=7) as job:
        list(job.rows(range(3)))
    assert job._writer is not None
    job._writer.join()
    [news] = received
    assert (news["status"], news["attempt"], news["owner"]) == ("done", None, "7")
    assert news["snapshot"]["processed_rows"] == 3


def test_one_that_is_interrupted_as_it_begins_has_ended(
    received: list[News], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    job = track_import(JOB)
    monkeypatch.setattr(reporting_thread.AwaitableEvent, "wait_briefly", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job.__enter__()
    assert [news["status"] for news in received] == ["cancelled"]


async def test_one_that_is_cancelled_as_it_begins_has_ended(
    received: list[News], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cancelled(*_: object, **__: object) -> None:
        raise asyncio.CancelledError

    job = track_import(JOB)
    monkeypatch.setattr(reporting_thread.AwaitableEvent, "wait_briefly", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await job.__aenter__()
    assert [news["status"] for news in received] == ["cancelled"]


@pytest.mark.django_db(transaction=True)
def test_in_a_transaction_it_is_sent_after_the_commit(received: list[News]) -> None:
    with transaction.atomic():
        with track_import(JOB):
            pass
        assert received == []
    assert [news["status"] for news in received] == ["done"]


@pytest.mark.django_db(transaction=True)
def test_rolled_back_after_the_with_block_it_is_failed(received: list[News]) -> None:
    with transaction.atomic():
        with track_import(JOB):
            pass
        transaction.set_rollback(True)
    [news] = received
    assert (news["status"], news["error"]) == ("failed", None)
    assert news["snapshot"]["error_message"] == "The import was rolled back."


def spoil(**_: Any) -> None:
    """Write something that fails the second time."""
    User.objects.create(username="one")


def without_savepoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_savepoints", nullcontext)


@without(without_savepoints)
@pytest.mark.django_db(transaction=True)
def test_a_receiver_that_fails_changes_nothing(
    jobs: SyncProgressManager, received: list[News], caplog: pytest.LogCaptureFixture
) -> None:
    import_finished.connect(spoil)
    with transaction.atomic():
        User.objects.create(username="one")
        with track_import(JOB):
            raise ImportCancelled
    import_finished.disconnect(spoil)
    assert User.objects.count() == 1
    assert state(jobs)["status"] == "cancelled"
    assert [record.name for record in caplog.records] == ["django.dispatch"]
    assert len(received) == 1


async def enter_and_leave(job: Any) -> None:
    """Do what `async with` does, in one line: 3.11 does not trace what follows a time-out."""
    (await job.__aenter__(), await job.__aexit__(None, None, None))


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_import_notifies_receivers_of_both_kinds(
    received: list[News],
) -> None:
    told = []

    async def receive(**news: Any) -> None:
        told.append((news["status"], await User.objects.acount()))

    def count(**news: Any) -> None:
        told.append((news["status"], User.objects.count()))

    import_finished.connect(receive)
    import_finished.connect(count)
    await asyncio.create_task(enter_and_leave(track_import(JOB)))
    import_finished.disconnect(receive)
    import_finished.disconnect(count)
    assert told == [("done", 0)] * 2
    assert [news["status"] for news in received] == ["done"]


async def test_an_error_while_sending_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def receive(**_: Any) -> None:
        raise AssertionError

    import_finished.connect(receive)
    with track_import(JOB):  # In a loop, but not for it: a coroutine cannot be called from there.
        pass
    import_finished.disconnect(receive)
    assert [(record.name, record.levelno) for record in caplog.records] == [
        ("django_import_progress", logging.ERROR)
    ]


def test_celery_sends_the_status_of_each_attempt(
    jobs: SyncProgressManager, received: list[News]
) -> None:
    tasks.import_from_afar.apply((1,), task_id=JOB)
    assert [(news["attempt"], news["status"]) for news in received] == [(1, "queued"), (2, "done")]
    assert isinstance(received[0]["error"], ConnectionError)


@pytest.mark.parametrize(
    ("error", "status"), [("invalid", "failed"), ("ignore", "cancelled"), ("requeue", "queued")]
)
def test_celery_sends_once_a_task(received: list[News], error: str, status: str) -> None:
    with suppress(BaseException):
        tasks.import_badly.apply((error,), task_id=JOB)
    assert [news["status"] for news in received] == [status]
