"""Guards around rows: what rejects a row, and what its savepoint rolls back."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError
from django.db import DatabaseError, IntegrityError, connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from django_import_progress import SyncProgressManager, track_import

from ..kit.rejected import counts, kept, numbers
from ..kit.tracked import JOB

ROWS = [{"name": "a"}, {"name": "b"}, {"name": "c"}]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


@pytest.mark.django_db(transaction=True)
def test_a_guard_rolls_back_what_its_body_has_saved(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for row in job.rows(ROWS):
            with job.guard(row):
                Group.objects.create(name=row["name"])
                if row["name"] == "b":
                    raise ValidationError({"name": "no"})
    assert set(Group.objects.values_list("name", flat=True)) == {"a", "c"}
    assert numbers(jobs) == [2]


@pytest.mark.django_db(transaction=True)
def test_an_outer_transaction_goes_on_after_a_database_error(jobs: SyncProgressManager) -> None:
    Group.objects.create(name="b")
    with track_import(JOB, expose=IntegrityError) as job, transaction.atomic():
        for row in job.rows(ROWS):
            with job.guard(row):
                Group.objects.create(name=row["name"])
    assert Group.objects.count() == 3
    assert counts(jobs) == ("done", "partial", 3, 1)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_exposed", [True, False])
def test_an_error_at_the_commit_of_a_row_is_one_of_the_row(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, is_exposed: bool
) -> None:
    leave = transaction.Atomic.__exit__

    def fails(self: Any, *error: Any) -> None:
        leave(self, *error)
        raise IntegrityError("deferred")

    monkeypatch.setattr(transaction.Atomic, "__exit__", fails)
    with track_import(JOB) as job:
        guard = job.guard({}, expose=IntegrityError if is_exposed else ())
        if is_exposed:
            with guard:
                pass
        else:
            with pytest.raises(IntegrityError), guard:
                pass
    assert len(kept(jobs)) == is_exposed


@pytest.mark.django_db(transaction=True)
async def test_an_asynchronous_guard_rolls_back_too(jobs: SyncProgressManager) -> None:
    async with track_import(JOB) as job:
        async for row in job.rows(ROWS):
            async with job.guard(row):
                await Group.objects.acreate(name=row["name"])
                if row["name"] != "a":  # pragma: no branch - of Python 3.11 in an `async with`
                    raise ValidationError("no")
    assert [group.name async for group in Group.objects.all()] == ["a"]
    assert numbers(jobs) == [2, 3]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_exposed", [True, False])
async def test_so_does_one_whose_commit_fails(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, is_exposed: bool
) -> None:
    leave = transaction.Atomic.__exit__

    def fails(self: Any, *error: Any) -> None:
        leave(self, *error)
        raise IntegrityError("deferred")

    async with track_import(JOB) as job:
        guard = job.guard({}, expose=IntegrityError if is_exposed else ())
        with monkeypatch.context() as patch:
            patch.setattr(transaction.Atomic, "__exit__", fails)
            try:
                async with guard:
                    pass
            except IntegrityError:
                assert not is_exposed
    assert len(kept(jobs)) == is_exposed


@pytest.mark.parametrize("error", [ValueError, DatabaseError, KeyboardInterrupt])
def test_other_exceptions_propagate(jobs: SyncProgressManager, error: type[BaseException]) -> None:
    with pytest.raises(error), track_import(JOB) as job, job.guard({}, atomic=False):
        raise error
    assert kept(jobs) == []


def test_the_parts_of_a_group_reject_a_row_if_all_of_them_do(jobs: SyncProgressManager) -> None:
    group = ExceptionGroup("two", [ValidationError("a"), KeyError("b")])
    with track_import(JOB, expose=KeyError) as job, job.guard({}, atomic=False):
        raise group
    assert [reject["reason"] for reject in kept(jobs)] == ["a"]
    with pytest.raises(ExceptionGroup), track_import(JOB) as job, job.guard({}, atomic=False):
        raise group


def test_a_project_without_a_database_needs_no_savepoint(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connections.settings["default"], "ENGINE", "django.db.backends.dummy")
    with track_import(JOB) as job, job.guard({}):
        raise ValidationError("no")
    assert numbers(jobs) == [1]


def test_expose_is_a_class_or_a_tuple_of_classes(jobs: SyncProgressManager) -> None:
    wrong: Any = ("ValueError",)
    with track_import(JOB) as job, pytest.raises(TypeError, match="Invalid expose"):
        job.guard({}, expose=wrong)


def test_a_database_that_is_not_there_is_named(jobs: SyncProgressManager) -> None:
    with (
        pytest.raises(ConnectionDoesNotExist, match="elsewhere"),
        track_import(JOB) as job,
        job.guard({}, using="elsewhere"),
    ):
        raise AssertionError
