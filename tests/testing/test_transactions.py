"""The end of an import inside Django's `TestCase`, which never commits."""

from __future__ import annotations

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction
from django.test import TestCase

from django_import_progress import track_import
from django_import_progress.testing import RecordedImports, record_imports
from django_import_progress.tracker import transactions

from ..kit.controls import without


def waits_for_the_test_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transactions, "_is_only_in_tests", lambda _: False)


@pytest.mark.django_db
@without(waits_for_the_test_case)
def test_done_arrives_at_once(defence: None, import_progress: RecordedImports) -> None:
    with track_import("job"):
        pass
    assert import_progress["job"].status == "done"


@pytest.mark.django_db
@without(waits_for_the_test_case)
def test_done_waits_for_the_imports_own_transactions(
    defence: None, import_progress: RecordedImports
) -> None:
    with transaction.atomic():
        with transaction.atomic(), track_import("job") as job:
            job.advance(2)
        assert import_progress["job"].status == "importing"
    assert import_progress["job"].status == "done"


@pytest.mark.django_db
def test_a_rollback_of_one_fails_the_import(import_progress: RecordedImports) -> None:
    with transaction.atomic():
        with track_import("job"):
            pass
        transaction.set_rollback(True)
    assert import_progress["job"].status == "failed"
    assert "rolled back" in import_progress["job"].fields["error_message"]


@pytest.mark.django_db
def test_an_import_in_a_captured_hook_is_done(import_progress: RecordedImports) -> None:
    def run() -> None:
        with track_import("job"):
            pass

    with TestCase.captureOnCommitCallbacks(execute=True):
        transaction.on_commit(run)
    assert import_progress["job"].status == "done"


@pytest.mark.django_db
def test_a_captured_import_is_done_once(import_progress: RecordedImports) -> None:
    capturing = TestCase.captureOnCommitCallbacks(execute=True)
    with capturing, transaction.atomic(), track_import("job"):
        pass
    statuses = [snapshot["status"] for snapshot in import_progress["job"].snapshots]
    assert statuses == ["importing", "done"]


@pytest.mark.django_db(transaction=True)
def test_a_real_commit_is_waited_for(import_progress: RecordedImports) -> None:
    with transaction.atomic():
        with track_import("job"):
            pass
        assert import_progress["job"].status == "importing"
    assert import_progress["job"].status == "done"


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_import_waits_for_it_too(import_progress: RecordedImports) -> None:
    atomic = transaction.atomic()
    await sync_to_async(atomic.__enter__)()
    async with track_import("job"):
        pass
    assert import_progress["job"].status == "importing"
    await sync_to_async(atomic.__exit__)(None, None, None)
    assert import_progress["job"].status == "done"


class RecordedTestCase(TestCase):
    def test_the_context_manager_in_a_test_case(self) -> None:
        with record_imports() as recorded, track_import("job") as job:
            job.advance()
        assert recorded["job"].status == "done"

    async def test_an_asynchronous_test(self) -> None:
        with record_imports() as recorded:
            async with track_import("job") as job:
                job.advance()
        assert recorded["job"].status == "done"
