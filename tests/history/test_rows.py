"""Events may come in any order, more than once, and from several processes at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError, connections, transaction

from django_import_progress import SyncProgressManager
from django_import_progress.core.outcome import PreviousRun
from django_import_progress.history import lost, recorder, rows
from django_import_progress.history.apps import ImportHistoryConfig
from django_import_progress.history.events import Event, Kind
from django_import_progress.history.models import ImportRun
from django_import_progress.history.rows import Rows, record
from django_import_progress.tracker.transactions import TransactionEnd

from ..kit.controls import without
from ..kit.recorded import begin_and_die, ends_of, finished, runs, the_run
from ..kit.tracked import JOB
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [
    pytest.mark.usefixtures("each_database", "history"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
]

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STARTED = {"status": "importing", "started_at": "2026-01-01T00:00:01+00:00"}


def event(kind: Kind, status: str, **details: Any) -> Event:
    """Return an event of the one job."""
    given = {"snapshot": {}, "at": NOW, **details}
    return Event(kind=kind, job_id=JOB, namespace="import_progress", status=status, **given)


QUEUED = event(Kind.QUEUED, "queued", snapshot={"label": "A"})
BEGUN = event(Kind.STARTED, "importing", snapshot=STARTED, run_id="one", attempt=1)
LOST = event(Kind.FINISHED, "lost", run_id="one", attempt=1)
DONE = event(
    Kind.FINISHED,
    "done",
    snapshot={**STARTED, "status": "done", "processed_rows": 3},
    run_id="one",
    attempt=1,
)
NEXT = event(
    Kind.STARTED,
    "importing",
    snapshot={**STARTED, "started_at": "2026-01-01T01:00:00+00:00"},
    run_id="two",
    attempt=2,
    previous=PreviousRun(
        run_id="one", attempt=1, status="superseded", was_just_lost=False, snapshot={}
    ),
)


def keeps_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace an end by a later one."""
    monkeypatch.setattr(rows, "ENDED", frozenset[str]())
    monkeypatch.setattr(rows, "PRESUMED", frozenset[str]())


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
@without(keeps_the_last_word)
def test_the_order_of_events_does_not_matter(defence: bool) -> None:
    for order in permutations([QUEUED, BEGUN, LOST, DONE, NEXT]):
        with transaction.atomic():  # Much faster: SQLite syncs each commit.
            for each in (*order, order[0]):
                record(each)
            first, second = runs()
            assert (first.run_id, first.attempt, first.status) == ("one", 1, "done")
            assert (first.processed_rows, first.queued_at is None) == (3, False)
            assert (second.run_id, second.attempt, second.status) == ("two", 2, "running")
            ImportRun.objects.all().delete()


def test_a_celery_retry_has_failed_and_is_repeated() -> None:
    record(event(Kind.FINISHED, "queued", snapshot={"status": "queued"}, run_id="one"))
    run = the_run()
    assert (run.status, run.error_message) == ("failed", "This attempt failed and is repeated.")


def test_what_was_to_be_repeated_and_never_reported_is_lost() -> None:
    previous = PreviousRun(
        run_id="one", attempt=1, status="queued", was_just_lost=False, snapshot={}
    )
    record(event(Kind.STARTED, "importing", run_id="two", attempt=2, previous=previous))
    assert ends_of() == [(1, "lost"), (2, "running")]


def test_an_end_without_a_time_takes_the_queued_row() -> None:
    record(QUEUED)
    record(event(Kind.FINISHED, "done", run_id="seven", attempt=7))
    assert ends_of() == [(7, "done")]


def test_a_number_that_is_taken_or_no_number_is_replaced() -> None:
    for attempt, run_id in ((1, "a"), (1, "b"), (None, "c"), (10**30, "d"), (-1, "e")):
        record(event(Kind.FINISHED, "done", run_id=run_id, attempt=attempt))
    assert [number for number, _ in ends_of()] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("database_kind", ["postgresql", "mariadb"], indirect=True)
def test_two_processes_may_insert_the_same_row(monkeypatch: pytest.MonkeyPatch) -> None:
    create = Rows._create

    def record_elsewhere() -> None:
        record(DONE)
        connections.close_all()

    def create_late(self: Rows, **values: Any) -> int:
        monkeypatch.setattr(Rows, "_create", create)
        thread = threading.Thread(target=record_elsewhere)
        thread.start()
        thread.join()
        return create(self, **values)

    monkeypatch.setattr(Rows, "_create", create_late)
    record(BEGUN)
    assert ends_of() == [(1, "done")]


def test_a_row_that_can_never_be_inserted_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object, **__: object) -> int:
        raise IntegrityError

    monkeypatch.setattr(Rows, "_create", refuse)
    with pytest.raises(IntegrityError):
        record(BEGUN)


def test_of_two_processes_one_ends_a_forgotten_run(jobs: SyncProgressManager) -> None:
    begin_and_die()
    jobs.redis.flushall()
    run = the_run()
    run.missing_since = (run.started_at or NOW) - timedelta(hours=1)
    repair = lost._Repair("import_progress", lost.Repairs())
    with finished() as sent:
        repair._note_missing(run)
        repair._note_missing(run)
    assert len(sent) == repair._repairs.lost == 1


def test_nothing_is_written_after_a_test() -> None:
    recorder._write_after(BEGUN, TransactionEnd.TEST_OVER)
    assert runs() == []


def test_the_app_connects_the_receivers(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[bool] = []
    monkeypatch.setattr(recorder, "connect", lambda: connected.append(True))
    READY(apps.get_app_config("import_progress_history"))
    assert connected == [True]


READY: Any = ImportHistoryConfig.ready
"""Replaced during the tests: see `_no_history`."""
