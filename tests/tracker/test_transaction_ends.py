"""How an import ends in transactions that are unusual: tests, async, autocommit off, hooks."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.db import connection, connections, transaction
from django.test import TestCase

from django_import_progress import SyncProgressManager, get_sync_progress_manager, track_import
from django_import_progress.signals import import_finished
from django_import_progress.tracker import tracker, transactions
from tests.faults import naive
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.stalling import stored
from ..kit.tracked import JOB, state
from ..kit.waiting import wait_for

__all__ = ["defence"]

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


def waits_for_the_same_alias_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check all open transactions again in the hook."""
    after = transactions.after_transactions
    rounds = iter(range(100))

    def wait(then: Any, committed: frozenset[str] = frozenset(), **_: Any) -> bool:
        assert next(rounds, None) is not None, "it goes on forever"
        return after(then)

    monkeypatch.setattr(transactions, "after_transactions", wait)
    monkeypatch.setattr(tracker, "after_transactions", wait)


@pytest.mark.django_db
@without(waits_for_the_same_alias_again)
def test_hooks_that_a_test_case_captures_and_executes_end_the_import(
    jobs: SyncProgressManager, ends: list[str]
) -> None:
    with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
        with track_import(JOB):
            pass
        assert state(jobs)["status"] == "importing"
    assert len(callbacks) == 1
    assert (state(jobs)["status"], ends) == ("done", ["done"])


async def _import_three() -> None:
    async with track_import(JOB) as job:
        async for _ in job.rows(range(3)):
            pass


def looks_at_its_own_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    async def after(then: Any, **_: Any) -> bool:
        return transactions.after_transactions(then)

    monkeypatch.setattr(tracker, "_after_transactions_async", after)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_committed", [True, False])
@without(looks_at_its_own_thread)
def test_an_asynchronous_import_in_a_synchronous_transaction(
    jobs: SyncProgressManager, ends: list[str], is_committed: bool
) -> None:
    with transaction.atomic():
        async_to_sync(_import_three)()
        transaction.set_rollback(not is_committed)
        assert (state(jobs)["status"], ends) == ("importing", [])
        assert state(jobs)["processed_rows"] == 3
    status = "done" if is_committed else "failed"
    assert (state(jobs)["status"], ends) == (status, [status])


@contextmanager
def _autocommit_off() -> Iterator[None]:
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_atomic", [False, True])
@without(naive.says_done_at_once)
def test_with_autocommit_off_it_is_done_once_that_is_committed(
    jobs: SyncProgressManager, ends: list[str], in_atomic: bool
) -> None:
    with _autocommit_off():
        User.objects.create(username="one")
        if in_atomic:
            with transaction.atomic(), track_import(JOB):
                pass
        else:
            with track_import(JOB):
                pass
        assert (state(jobs)["status"], ends) == ("importing", [])
        transaction.commit()
        assert (state(jobs)["status"], ends) == ("done", ["done"])
        transaction.set_autocommit(True)  # Django runs hooks by now.
        transaction.set_autocommit(False)
    assert ends == ["done"]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("over", ["rollback", "close"])
@without(naive.says_done_at_once)
def test_with_autocommit_off_and_rolled_back_it_has_failed(
    jobs: SyncProgressManager, ends: list[str], over: str
) -> None:
    with _autocommit_off():
        User.objects.create(username="one")
        with track_import(JOB):
            pass
        assert state(jobs)["status"] == "importing"
        getattr(connection, over)()
        assert (state(jobs)["status"], ends) == ("failed", ["failed"])


def stops_renewing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the writer end with the block."""
    flush = tracker.Writer.flush

    def end(self: Any) -> None:
        flush(self)
        wait_for(self.flushed.is_set, "all to be written")
        self._renewal_seconds = 3600.0

    monkeypatch.setattr(tracker.Writer, "flush", end)


@pytest.mark.django_db(transaction=True)
@without(stops_renewing)
def test_a_transaction_that_outlasts_the_block_does_not_look_stalled(
    jobs: SyncProgressManager,
) -> None:
    with transaction.atomic():
        with track_import(JOB):
            pass
        lease = stored(jobs).lease
        wait_for(lambda: stored(jobs).read_at > lease + 1, "the first lease to have passed")
        assert not stored(jobs).stalled
    assert state(jobs)["status"] == "done"


def relies_on_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat each discarded hook as a rollback."""
    never = property(lambda _: False, lambda *_: None)
    monkeypatch.setattr(transactions._Wait, "is_committed", never, raising=False)


def does_not_notice_a_rollback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(transactions._Wait, "__del__")


def _fail() -> None:
    raise ChangedMindError


@pytest.mark.django_db(transaction=True)
@without(relies_on_hooks)
def test_another_hook_that_raises_first_does_not_keep_the_end_from_being_written(
    jobs: SyncProgressManager, ends: list[str]
) -> None:
    with pytest.raises(ChangedMindError), transaction.atomic():
        transaction.on_commit(_fail)
        with track_import(JOB):
            User.objects.create(username="one")
    assert User.objects.count() == 1
    assert (state(jobs)["status"], ends) == ("done", ["done"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("savepoint", [True, False])
@without(does_not_notice_a_rollback)
def test_an_outer_transaction_that_is_rolled_back_ends_it_as_failed_once(
    jobs: SyncProgressManager, ends: list[str], savepoint: bool
) -> None:
    with suppress(ChangedMindError), transaction.atomic():
        with suppress(ChangedMindError), transaction.atomic(savepoint=savepoint):
            with track_import(JOB):
                pass
            raise ChangedMindError
        assert ends == (["failed"] if savepoint else [])
        raise ChangedMindError
    gc.collect()
    assert (state(jobs)["status"], ends) == ("failed", ["failed"])


@pytest.mark.django_db(transaction=True)
def test_a_receiver_may_write_after_a_rollback(jobs: SyncProgressManager) -> None:
    seen: list[Any] = []

    def receive(**_: Any) -> None:
        seen.append((connection.in_atomic_block, transaction.get_autocommit()))
        User.objects.create(username="by a receiver")

    import_finished.connect(receive)
    with suppress(ChangedMindError), transaction.atomic():
        with track_import(JOB):
            User.objects.create(username="by the import")
        raise ChangedMindError
    import_finished.disconnect(receive)
    assert seen == [(False, True)]
    assert [user.username for user in User.objects.all()] == ["by a receiver"]


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_is_closed_in_its_transaction_has_rolled_it_back(
    jobs: SyncProgressManager, ends: list[str]
) -> None:
    with suppress(Exception), transaction.atomic():
        with track_import(JOB):
            pass
        connections["default"].close()
    assert (state(jobs)["status"], ends) == ("failed", ["failed"])


@pytest.mark.django_db(transaction=True)
def test_the_same_connection_serves_many_imports(
    jobs: SyncProgressManager, ends: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    for _ in range(3):
        with transaction.atomic(), track_import("a"), track_import("b"):
            pass
    assert ends == ["done"] * 6
    assert caplog.messages == []


def takes_a_test_for_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    committed = transactions.TransactionEnd.COMMITTED
    monkeypatch.setattr(
        tracker, "TransactionEnd", SimpleNamespace(COMMITTED=committed, TEST_OVER=None)
    )


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_left", [True, False])
@without(takes_a_test_for_a_failure)
def test_the_end_of_a_test_case_notifies_no_receiver(
    jobs: SyncProgressManager, ends: list[str], is_left: bool
) -> None:
    case: Any = TestCase
    atomics = case._enter_atomics()
    with ExitStack() as stack, suppress(ChangedMindError), transaction.atomic():
        stack.enter_context(track_import(JOB))
        if not is_left:
            stack.close()
            raise ChangedMindError
    expected = [] if is_left else ["failed"]
    assert ends == expected
    case._rollback_atomics(atomics)
    assert ends == expected
    assert state(jobs)["status"] == "failed"


async def test_if_djangos_thread_has_ended_there_is_no_transaction(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("cannot schedule new futures after shutdown")

    monkeypatch.setattr(tracker, "sync_to_async", lambda _: refuse)
    await _import_three()
    assert state(jobs)["status"] == "done"
