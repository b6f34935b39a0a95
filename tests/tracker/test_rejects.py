"""Rejected rows: what is counted and kept, and when an import fails because of them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy

from django_import_progress import (
    ImportFailed,
    InvalidProgress,
    NotTracking,
    SyncProgressManager,
    TooManyRejects,
    track_import,
)
from django_import_progress.signals import import_finished

from ..kit.rejected import counts, kept, numbers
from ..kit.tracked import JOB, shows, state


class Price(forms.Form):
    price = forms.DecimalField()


ROWS = [{"name": "a"}, {"name": "b"}, {"name": "c"}]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def test_a_rejected_row_is_counted_and_kept(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for row in job.rows(ROWS):
            if row["name"] == "b":
                job.reject(row, "name: not a letter", line=3)
        assert job.rejected == 1
    assert counts(jobs) == ("done", "partial", 3, 1)
    [reject] = kept(jobs)
    assert reject == {"row": 2, "line": 3, "reason": "name: not a letter", "data": {"name": "b"}}


def test_an_import_whose_rows_are_all_rejected_has_imported_nothing(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB) as job:
        for row in job.rows(ROWS):
            job.reject(row, "no")
    assert counts(jobs) == ("done", "nothing", 3, 3)


def test_one_without_rejected_rows_has_no_report(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for _ in job.rows(ROWS):
            pass
    assert counts(jobs) == ("done", "complete", 3, None)
    assert kept(jobs) == []


def test_lines_are_those_of_the_file_also_after_quoted_line_breaks(
    jobs: SyncProgressManager,
) -> None:
    reader = csv.DictReader(io.StringIO('name,note\na,"1\n2"\nb,x\n'))
    with track_import(JOB) as job:
        for row in job.rows(reader):
            with job.guard(row, line=reader.line_num, atomic=False):
                raise ValidationError("no")
    assert [(reject["row"], reject["line"]) for reject in kept(jobs)] == [(1, 3), (2, 4)]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("a\nb\t c", "a b c"),
        (gettext_lazy("Done"), "Done"),
        (ValidationError(["a", "b"]), "a b"),
        (ValidationError({"price": ["not a number"], "__all__": ["odd"]}), None),
        (Price({"price": "twelve"}).errors, "price: Enter a number."),
        ({"non_field_errors": ["odd"], "items": [{}, {"price": ["no"]}]}, "odd; items: price: no"),
        (["a", ("b", gettext_lazy("Done"))], "a b Done"),
        (Price({"price": "1"}).errors, "This row was rejected."),
        (ValueError("bad"), "bad"),
        (ValueError(), "This row was rejected."),
        ("", "This row was rejected."),
        ("\ud800", "?"),
        ("x" * 600, "x" * 500),
    ],
)
def test_a_reason_is_one_line(jobs: SyncProgressManager, reason: Any, text: str | None) -> None:
    with track_import(JOB) as job:
        job.reject({}, reason)
    assert kept(jobs)[0]["reason"] == (text or "price: not a number; odd")


def test_a_reason_that_cannot_be_read_is_neutral(jobs: SyncProgressManager) -> None:
    class Unreadable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    with track_import(JOB) as job:
        job.reject({}, Unreadable())
    assert kept(jobs)[0]["reason"] == "This row was rejected."


@pytest.mark.parametrize(
    "wrong",
    [
        lambda job: job.reject({}, None),
        lambda job: job.reject({}, 5),
        lambda job: job.reject({}, "no", line="x"),
        lambda job: job.fail(None),
    ],
)
def test_arguments_of_a_wrong_type_are_refused(
    jobs: SyncProgressManager, wrong: Callable[[Any], None]
) -> None:
    with track_import(JOB) as job:
        with pytest.raises(InvalidProgress):
            wrong(job)
        assert job.rejected == 0


@pytest.mark.parametrize(
    "options", [{"max_rejects": -1}, {"max_rejects": "5"}, {"redact": "iban"}, {"redact": [1]}]
)
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    [name] = options
    with pytest.raises(InvalidProgress, match=f"Invalid {name}"):
        track_import(JOB, **options)


def test_nothing_is_rejected_outside_the_with_block(jobs: SyncProgressManager) -> None:
    job = track_import(JOB)
    uses: list[Callable[[], Any]] = [
        lambda: job.reject({}, "no"),
        lambda: job.guard({}).__enter__(),
        lambda: job.fail("no"),
    ]
    for use in uses:
        with pytest.raises(NotTracking):
            use()


# The values that are kept.


@pytest.mark.parametrize(
    ("row", "data"),
    [
        ({"a": "x", "b": 1.5, "c": None, "d": True}, {"a": "x", "b": 1.5, "c": None, "d": True}),
        (["x", 2], {"1": "x", "2": 2}),
        (("x",), {"1": "x"}),
        ("text", {"1": "text"}),
        (b"\xff", {"1": "\ufffd"}),
        ({"a": "x", None: ["y", "z"]}, {"a": "x", "2": "y", "3": "z"}),
        ({"a": "x", None: "y"}, {"a": "x", "2": "y"}),
        ({"2": "x", None: ["y"]}, {"2": "x", "2_": "y"}),
        ({"a": float("nan"), "b": dt.date(2026, 1, 2)}, {"a": None, "b": "2026-01-02"}),
        ({"a": Path("/x")}, {"a": "/x"}),
        ({"a": [1, 2], "b": {"c": "ü"}}, {"a": "[1, 2]", "b": '{"c": "ü"}'}),
        ({"a": object}, {"a": "(type)"}),
        ({1: "x", "\ud800": "\ud800"}, {"1": "x", "?": "?"}),
    ],
)
def test_the_values_are_kept_by_column(
    jobs: SyncProgressManager, row: Any, data: dict[str, Any]
) -> None:
    with track_import(JOB) as job:
        job.reject(row, "no")
    assert kept(jobs)[0]["data"] == data


def test_columns_that_are_redacted_are_not_kept(jobs: SyncProgressManager) -> None:
    with track_import(JOB, redact=("iban", "2")) as job:
        job.reject({"name": "a", "iban": "DE00"}, "no")
        job.reject(["a", "DE00"], "no")
    assert [reject["data"] for reject in kept(jobs)] == [{"name": "a"}, {"1": "a"}]


def test_a_row_that_cannot_be_read_is_kept_without_values(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    class Odd(dict[str, Any]):
        def items(self) -> Any:
            raise RuntimeError

    with track_import(JOB) as job:
        for _ in range(2):
            job.reject(Odd(a=1), "no")
    assert [reject["data"] for reject in kept(jobs)] == [{}, {}]
    assert len([record for record in caplog.records if "rejected row" in record.message]) == 1


def test_a_row_that_is_too_large_is_kept_without_values(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        job.reject({"a": "x" * 70_000}, "no", line=5)
    assert kept(jobs) == [{"row": 1, "line": 5, "reason": "no", "data": {}}]


# Numbers of rows.


def test_rows_of_batches_are_counted(jobs: SyncProgressManager) -> None:
    first, second = [["a"], ["b"]], [["c"], ["d"], ["e"]]
    with track_import(JOB) as job:
        for batch in job.batches([first, second]):
            job.reject(batch[-1], "no")
            job.reject(batch[0], "no")
            job.reject(["of nobody"], "no")
    assert numbers(jobs) == [2, 1, None, 5, 3, None]
    assert counts(jobs)[2:] == (5, 6)


def test_a_row_beside_its_line_is_found_in_its_batch(jobs: SyncProgressManager) -> None:
    rows = [{"a": 1}, {"a": 2}]
    with track_import(JOB) as job:
        for batch in job.batches([list(enumerate(rows, 2))]):
            for line, row in batch[1:]:
                job.reject(row, "no", line=line)
    assert [(reject["row"], reject["line"]) for reject in kept(jobs)] == [(2, 3)]


def test_equal_rows_of_a_batch_are_rows_of_their_own(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for batch in job.batches([["x", "y", "x"], ["x", "x"]]):
            for row in batch:
                job.reject(row, "no")
    assert numbers(jobs) == [1, 2, 3, 4, 5]


def test_rows_of_a_large_batch_are_found_in_any_order(jobs: SyncProgressManager) -> None:
    rows = [[number] for number in range(30_000)]
    with track_import(JOB) as job:
        for batch in job.batches([rows]):
            for row in batch:
                job.reject(row, "no")
            for row in (batch[5], batch[2], batch[2]):
                job.reject(row, "again")
    assert numbers(jobs)[:3] == [1, 2, 3]
    assert job.rejected == 30_000


def test_a_batch_that_cannot_be_searched_has_no_numbers(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for batch in job.batches([{"a": 1}]):
            job.reject(batch, "no")
    assert numbers(jobs) == [None]


def test_after_batches_rows_have_numbers_again(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for _ in job.batches([["a", "b"]]):
            pass
        for row in job.rows(["c"]):
            job.reject(row, "no")
    assert numbers(jobs) == [3]


async def test_an_asynchronous_loop_counts_in_the_same_way(jobs: SyncProgressManager) -> None:
    async with track_import(JOB) as job:
        async for batch in job.batches([[1, 2]]):
            async with job.guard(batch[1], atomic=False):
                raise ValidationError("no")
        async for row in job.rows([3]):
            async with job.guard(row, atomic=False):
                raise ValidationError("no")
    assert numbers(jobs) == [2, 3]


def test_a_row_that_is_rejected_twice_counts_once(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for row in job.rows(ROWS):
            with job.guard(row, atomic=False):
                job.reject(row, "first")
                raise ValidationError("second")
    assert counts(jobs)[2:] == (3, 3)
    assert {reject["reason"] for reject in kept(jobs)} == {"first"}


def test_threads_reject_rows_of_one_loop(jobs: SyncProgressManager) -> None:
    rows = [[number] for number in range(50)]
    with track_import(JOB) as job:
        for batch in job.rows([rows]):
            threads = [threading.Thread(target=job.reject, args=(row, "no")) for row in batch]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    assert job.rejected == 50
    assert sorted(reject["data"]["1"] for reject in kept(jobs)) == list(range(50))


def test_rows_that_are_counted_by_hand_have_numbers_as_well(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for name in "aba":
            if name == "a":
                job.reject(name, "no")
            job.advance()
    assert numbers(jobs) == [1, 3]
    assert counts(jobs)[2:] == (3, 2)


# Ends.


class Broken(Exception):
    """What an import may raise."""


def test_a_row_that_was_rejected_before_the_import_failed_has_been_processed(
    jobs: SyncProgressManager,
) -> None:
    with pytest.raises(Broken), track_import(JOB) as job:
        for row in job.rows(ROWS):  # pragma: no branch
            job.reject(row, "no")
            raise Broken
    assert counts(jobs) == ("failed", None, 1, 1)


def test_so_have_the_rejected_rows_of_a_batch(jobs: SyncProgressManager) -> None:
    with pytest.raises(Broken), track_import(JOB) as job:
        for batch in job.batches([[["a"], ["b"]], [["c"], ["d"], ["e"]]]):  # pragma: no branch
            for row in batch[1:]:
                job.reject(row, "no")
            if len(batch) == 3:
                raise Broken
    assert counts(jobs) == ("failed", None, 4, 3)


def test_more_than_max_rejects_fail_the_import(jobs: SyncProgressManager) -> None:
    with pytest.raises(TooManyRejects), track_import(JOB, max_rejects=1) as job:
        for row in job.rows(ROWS):  # pragma: no branch
            with job.guard(row, atomic=False):
                raise ValidationError("no")
    assert counts(jobs) == ("failed", None, 2, 2)
    message = "The import was stopped because more than 1 row was rejected."
    assert state(jobs)["error_message"] == message
    assert numbers(jobs) == [1, 2]


def test_as_many_as_max_rejects_do_not(jobs: SyncProgressManager) -> None:
    with track_import(JOB, max_rejects=3) as job:
        for row in job.rows(ROWS):
            job.reject(row, "no")
    assert counts(jobs)[0] == "done"


@pytest.mark.parametrize("is_last", [False, True])
def test_too_many_rejects_that_are_swallowed_fail_the_import(
    jobs: SyncProgressManager, is_last: bool
) -> None:
    bodies = []
    with pytest.raises(TooManyRejects), track_import(JOB, max_rejects=0) as job:
        rows = ROWS[:1] if is_last else ROWS
        for row in iter(rows) if is_last else job.rows(rows):
            bodies.append(row)
            with suppress(Exception):
                job.reject(row, "no")
    assert bodies == ROWS[:1]
    assert counts(jobs)[0] == "failed"


def test_fail_ends_the_import_with_a_message(jobs: SyncProgressManager) -> None:
    ended: list[Any] = []
    import_finished.connect(keep := lambda **values: ended.append(values["status"]))
    bodies = []
    with track_import(JOB) as job:
        for row in job.rows(ROWS):  # pragma: no branch
            bodies.append(row)
            job.fail(gettext_lazy("The column price is missing."))
    import_finished.disconnect(keep)
    assert (bodies, ended) == (ROWS[:1], ["failed"])
    assert state(jobs)["error_message"] == "The column price is missing."
    assert counts(jobs) == ("failed", None, 0, None)


def test_a_fail_may_have_several_lines_or_none(jobs: SyncProgressManager) -> None:
    for message, shown in (
        ("a\nb", "a\nb"),
        (" ", "Please give this number"),
        (ValidationError({"price": ["No such column."]}), "price: No such column."),
        (ValidationError("%(x)s is wrong", params={"y": 1}), "Please give this number"),
    ):
        with track_import(JOB) as job:
            job.fail(message)
        assert shown in state(jobs)["error_message"]


def test_a_fail_that_is_swallowed_stops_the_loop_at_the_next_row(
    jobs: SyncProgressManager,
) -> None:
    bodies = []
    with track_import(JOB) as job:
        for row in job.rows(ROWS):
            bodies.append(row)
            with suppress(BaseException):
                job.fail("no")
    assert bodies == ROWS[:1]
    assert (counts(jobs)[0], state(jobs)["error_message"]) == ("failed", "no")


def test_a_fail_belongs_to_its_tracker(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as outer, track_import("inner"):
        outer.fail("of the outer")
    assert state(jobs)["error_message"] == "of the outer"
    inner = jobs.get_progress("inner")
    assert inner is not None
    assert inner["status"] == "failed"


def test_a_cancellation_after_a_fail_that_was_swallowed_counts(jobs: SyncProgressManager) -> None:
    with pytest.raises(KeyboardInterrupt), track_import(JOB) as job:
        with pytest.raises(ImportFailed):
            job.fail("no")
        raise KeyboardInterrupt
    assert counts(jobs)[0] == "cancelled"


def test_an_exception_after_a_fail_propagates(jobs: SyncProgressManager) -> None:
    with pytest.raises(Broken), track_import(JOB) as job:
        try:
            job.fail("no")
        except BaseException as error:
            raise Broken from error
    assert state(jobs)["error_message"] == "no"


def test_a_rejected_row_is_reported_while_the_import_runs(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        job.reject({"a": 1}, "no")
        shows(jobs, rejected_rows=1)
        assert len(kept(jobs)) == 1
