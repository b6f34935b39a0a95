"""The history is written outside the import's transactions, and never makes an import fail."""

from __future__ import annotations

import threading
from contextlib import suppress

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.test import TestCase
from django.test.testcases import TransactionTestCase

from django_import_progress import SyncProgressManager, get_sync_progress_manager, track_import
from django_import_progress.history import background, recorder
from django_import_progress.history.models import ImportRun
from django_import_progress.tracker.transactions import after_transactions

from ..kit.controls import without
from ..kit.databases import HistoryRouter
from ..kit.recorded import ends_of, the_run
from ..kit.tracked import JOB
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [
    pytest.mark.usefixtures("history"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
]


def writes_with_the_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write on the import's own connection, at once."""
    monkeypatch.setattr(recorder, "note", recorder._write_in_test)


@without(writes_with_the_import, fails_with=(ValueError, AssertionError))
def test_a_rollback_of_the_import_does_not_reach_the_history(
    each_database: str, defence: bool
) -> None:
    def in_a_transaction() -> None:
        with transaction.atomic(using=each_database), track_import(JOB) as job:
            job.count("rows")
            raise ValidationError("No.")

    with suppress(ValidationError):
        in_a_transaction()
    run = the_run()
    assert (run.status, run.error_message) == ("failed", "No.")


@pytest.mark.usefixtures("each_database")
def test_done_is_recorded_after_the_commit() -> None:
    with transaction.atomic(), track_import(JOB):
        pass
    assert ends_of() == [(1, "done")]


@pytest.mark.usefixtures("each_database")
def test_an_import_that_is_rolled_back_after_its_end_has_failed() -> None:
    with suppress(ZeroDivisionError), transaction.atomic():
        with track_import(JOB):
            pass
        raise ZeroDivisionError
    assert ends_of() == [(1, "failed")]


def test_a_run_is_visible_during_the_transaction_of_the_import(
    postgresql: object, settings: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HistoryRouter, "alias", "postgresql")
    settings.DATABASE_ROUTERS = ["tests.kit.databases.HistoryRouter"]  # type: ignore[attr-defined]
    with transaction.atomic(using="postgresql"), track_import(JOB):
        assert ends_of() == [(1, "running")]


def writes_beside_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write to SQLite in a thread during the import's transaction, and wait for it."""

    def note(event: recorder.Event) -> None:
        recorder._write_in_background(event)
        background.background.join(1)

    monkeypatch.setattr(recorder, "note", note)
    monkeypatch.setattr(recorder, "_without_patience", lambda run: run())


@without(writes_beside_sqlite, fails_with=(Exception,))
def test_an_import_that_has_read_may_write_on_sqlite(defence: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 1")
    with transaction.atomic():
        assert not Group.objects.exists()
        with track_import(JOB):
            # Another writer in between would be an error: "database is locked".
            Group.objects.create(name="a")
    assert ends_of() == [(1, "done")]


def stores_reports_beside_sqlite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store the report of an ended import in a thread, as the next import begins."""
    monkeypatch.setattr(
        recorder, "_write_report_here", lambda event, pk: waiting_reports.append((event, pk))
    )


waiting_reports: list[tuple[recorder.Event, int]] = []


@without(stores_reports_beside_sqlite, fails_with=(Exception,))
def test_the_report_of_an_import_does_not_fail_the_next_one() -> None:
    waiting_reports.clear()
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout = 1")
    with track_import(JOB) as job:
        job.advance()
        job.reject("row", "odd")
    with transaction.atomic():
        assert not Group.objects.exists()
        for event, pk in waiting_reports:
            background.background.add(recorder._report_task(event, pk))
        background.background.join(1)
        Group.objects.create(name="a")
    assert the_run().report


def test_autocommit_may_be_off() -> None:
    transaction.set_autocommit(False)
    try:
        with track_import(JOB):
            Group.objects.create(name="a")
        transaction.commit()
    finally:
        transaction.set_autocommit(True)
    assert ends_of() == [(1, "done")]


def test_a_locked_sqlite_is_written_later(jobs: SyncProgressManager) -> None:
    has_locked, may_end = threading.Event(), threading.Event()

    def lock() -> None:
        other = connections["default"]
        with transaction.atomic():
            Group.objects.create(name="a")
            has_locked.set()
            may_end.wait(60)
        other.close()

    thread = threading.Thread(target=lock)
    thread.start()
    has_locked.wait(60)
    with track_import(JOB):
        pass
    may_end.set()
    thread.join()
    assert ends_of() == [(1, "done")]


def the_thread_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "_without_patience", lambda run: run())


@without(the_thread_waits)
def test_the_thread_does_not_wait_for_locks_of_sqlite() -> None:
    found = []

    def look() -> None:
        with connection.cursor() as cursor:
            found.append(cursor.execute("PRAGMA busy_timeout").fetchone())

    recorder._add_to_background(JOB, look)
    background.background.join(60)
    assert found == [(0,)]


def test_the_time_to_wait_for_locks_stays_as_it_was() -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        before = cursor.fetchone()
        with track_import(JOB):
            pass
        cursor.execute("PRAGMA busy_timeout")
        assert cursor.fetchone() == before


def test_a_connection_that_the_import_had_not_opened_is_closed() -> None:
    found: list[object] = []

    def work() -> None:
        with track_import(JOB):
            pass
        found.append(connection.connection)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]
    assert ends_of() == [(1, "done")]


class InATestCase(TestCase):
    """What a project's own tests see."""

    def test_runs_are_written_with_the_connection_of_the_test(self) -> None:
        get_sync_progress_manager().create(JOB)
        assert ImportRun.objects.get().status == "queued"
        with self.captureOnCommitCallbacks(execute=True), track_import(JOB) as job:
            job.reject("row", "odd")
            assert ImportRun.objects.get().status == "running"
        run = ImportRun.objects.get()
        assert (run.status, run.report.name.startswith("import_progress/")) == ("done", True)
        assert not background.background.is_alive()

    def test_a_storage_that_fails_is_logged(self) -> None:
        storage = ImportRun._meta.get_field("report").storage
        storage._location.parent.mkdir(exist_ok=True)
        storage._location.write_text("no folder")
        with (
            self.assertLogs("django_import_progress", "ERROR") as logs,
            self.captureOnCommitCallbacks(execute=True),
            track_import(JOB) as job,
        ):
            job.reject("row", "odd")
        assert "Cannot store the rejected rows" in logs.output[0]
        assert ImportRun.objects.get().status == "done"


def test_nothing_is_left_of_a_test_case() -> None:
    assert not ImportRun.objects.exists()
    assert issubclass(TestCase, TransactionTestCase)
    assert not after_transactions(lambda _: None)
