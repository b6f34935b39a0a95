"""Data never end an import: values are cleaned, or left out if too large."""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Callable, Iterator
from datetime import UTC, time
from decimal import Decimal
from fractions import Fraction
from numbers import Real
from pathlib import Path
from typing import Any

import pytest
from django.utils.functional import SimpleLazyObject

from django_import_progress import InvalidProgress, SyncProgressManager, track_import
from django_import_progress.core.snapshot import MAX_BYTES
from django_import_progress.tracker import counters, fields, writer
from django_import_progress.tracker.fields import FieldLimit

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for

__all__ = ["defence"]


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


class Int64:
    """A whole number like numpy's."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __index__(self) -> int:
        return self._number

    def tolist(self) -> int:
        return self._number


@Real.register
class Float32(Int64):
    """A fractional number like numpy's, which is not a `float`."""

    __index__ = None  # type: ignore[assignment]

    def __float__(self) -> float:
        return self._number + 0.5


class Colour(enum.Enum):
    RED = "red"
    BOTH = ("red", "blue")


def _takes_what_a_manager_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fields, "_cleaned", lambda value: value)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (math.nan, None),
        ([1.5, -math.inf, True, None], [1.5, None, True, None]),
        (os.fsdecode(b"caf\xe9.csv"), "caf?.csv"),
        (Path("/data/airports.csv"), "/data/airports.csv"),
        (Path(os.fsdecode(b"\xe9")), "?"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        (bytearray(b"x"), "x"),
        ({"b", "a"}, "a, b"),
        (frozenset({2, 10}), "10, 2"),
        (Colour.RED, "red"),
        (Colour.BOTH, "['red', 'blue']"),
        (Int64(7), 7),
        (Float32(7), 7.5),
        (Fraction(1, 2), 0.5),
        (time(8, tzinfo=UTC), "08:00:00+00:00"),
        ({Path("p"): math.nan, 5: Int64(5), "\ud800": 1}, {"p": None, "5": 5, "?": 1}),
        ((Decimal("1.10"), Path("p")), ["1.10", "p"]),
    ],
)
@without(_takes_what_a_manager_takes, fails_with=(InvalidProgress, KeyError))
def test_a_value_that_has_no_json_is_cleaned(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture, given: Any, shown: Any
) -> None:
    with track_import(JOB) as job:
        job.set(value=given)
        job.set(other=given)
    assert state(jobs)["value"] == state(jobs)["other"] == shown
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
    assert "the value of 'value' was changed to fit" in caplog.text
    with pytest.raises(InvalidProgress):
        jobs.set_progress("another", {"value": given})


def test_a_stage_is_cleaned_as_well_and_kept_short(jobs: SyncProgressManager) -> None:
    with track_import(JOB, stage=os.fsdecode(b"caf\xe9.csv")) as job:
        shows(jobs, stage="caf?.csv")
        job.set(stage="x" * 70_000)
        shows(jobs, stage="x" * fields.OWN_LENGTH)
        job.set(stage=["x"] * 70_000)
    assert state(jobs)["stage"] == "x" * fields.OWN_LENGTH


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize("given", ["x" * 70_000, 10**5_000, _circle()], ids=type)
def test_a_value_that_is_too_large_is_left_out_with_a_warning(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture, given: Any
) -> None:
    with track_import(JOB) as job:
        job.set(value="small", note="n")
        job.set(value=given, note="m")
        job.set(value=given)
    assert (state(jobs)["value"], state(jobs)["note"]) == ("small", "m")
    assert caplog.text.count("'value' and later fields may be left out") == 1


@pytest.mark.parametrize(
    ("given", "counted"),
    [("", "?"), ("_x", "?_x"), ("\ud800", "?"), ("Zürich", "Zürich")],
)
def test_a_counters_name_may_come_from_the_data(
    jobs: SyncProgressManager, given: str, counted: str
) -> None:
    with track_import(JOB) as job:
        for _ in range(3):
            job.count(given)
    assert state(jobs)[counted] == 3


@pytest.mark.parametrize("n", [Int64(2), Decimal(2), 2.0, Fraction(2)])
def test_numbers_of_other_types_count(jobs: SyncProgressManager, n: Any) -> None:
    with track_import(JOB, total=n) as job:
        assert job.total == 2
        job.total = n
        job.advance(n)
        job.count("created", n)
        job.count("created", n)
        job.set(processed_rows=n)
    ended = state(jobs)
    assert (ended["total_rows"], ended["processed_rows"], ended["created"]) == (2, 2, 4)
    assert type(ended["created"]) is int


@pytest.mark.parametrize("n", [math.nan, Decimal("nan")])
def test_a_number_that_is_missing_counts_nothing(jobs: SyncProgressManager, n: Any) -> None:
    with track_import(JOB, total=n) as job:
        assert job.total is None
        job.advance(n)
        job.count("created", n)
        job.set(processed_rows=n, total_rows=n)
    ended = state(jobs)
    assert (ended["total_rows"], ended["processed_rows"], ended["created"]) == (None, 0, 0)


@pytest.mark.parametrize("n", ["5", None, 1.5, Decimal("1.5"), 1e308, math.inf, Decimal("snan")])
def test_numbers_that_are_not_whole_are_an_error(n: Any) -> None:
    with track_import(JOB) as job:
        for count in (job.advance, lambda n: job.count("created", n)):
            with pytest.raises(InvalidProgress, match="pass a whole number"):
                count(n)


@pytest.mark.parametrize("total", [-1, 10**5000], ids=["cursor.rowcount", "more than JSON takes"])
def test_a_total_that_cannot_be_is_unknown(jobs: SyncProgressManager, total: int) -> None:
    with track_import(JOB, total=total) as job:
        assert list(job.rows([1, 2])) == [1, 2]
        shows(jobs, total_rows=2)
        job.total = total
        shows(jobs, total_rows=None)
        job.total = 5
        job.set(total_rows=total)
    assert state(jobs)["total_rows"] is None


class _Unreachable:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def __iter__(self) -> Iterator[int]:
        return iter([1, 2])

    def __len__(self) -> int:
        raise self._error


@pytest.mark.parametrize("error", [OSError(), RuntimeError(), TypeError()], ids=type)
def test_a_length_that_raises_is_no_total(jobs: SyncProgressManager, error: Exception) -> None:
    with track_import(JOB) as job:
        rows: Any = SimpleLazyObject(lambda: _Unreachable(error))
        assert list(job.rows(rows)) == [1, 2]
    assert (state(jobs)["total_rows"], state(jobs)["processed_rows"]) == (None, 2)


def _keeps_whatever_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FieldLimit, "reserve", lambda self, sizes: list(sizes))
    monkeypatch.setattr(writer, "tracker_fields", lambda fields: fields)
    monkeypatch.setattr(writer, "FINAL_BYTES", MAX_BYTES)


def _counters(job: track_import) -> None:
    for number in range(10_000):
        job.count(f"category {number}")


def _errors(job: track_import) -> None:
    errors = []
    for number in range(400):
        errors.append(f"line {number}: " + "x" * 200)
        job.set(errors=errors)


def _both(job: track_import) -> None:
    _errors(job)
    _counters(job)


@pytest.mark.parametrize("fill", [_counters, _errors, _both])
@without(_keeps_whatever_it_is_given)
def test_fields_that_grow_with_the_file_leave_room_for_the_trackers_own(
    jobs: SyncProgressManager,
    caplog: pytest.LogCaptureFixture,
    fill: Callable[[track_import], None],
) -> None:
    jobs.create(JOB, data={"label": "x" * 20_000})
    with track_import(JOB) as job:
        fill(job)
        job.advance(10)
        shows(jobs, processed_rows=10, stage=None)
        job.set(stage="indexing")
        shows(jobs, stage="indexing")
        assert len(str(state(jobs))) > MAX_BYTES / 2
        jobs.request_cancel(JOB)

        def is_asked() -> bool:
            job.set(processed_rows=job.processed + 1)
            return job.cancelled

        wait_for(is_asked, "the request to cancel")
    assert state(jobs)["status"] == "cancelled"
    assert state(jobs).get("category 0", 1) == 1
    assert caplog.text.count("may be left out: a snapshot is limited to 65536 bytes") == 1


def test_earlier_fields_of_the_job_stay_and_the_newest_are_dropped(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Redis was away until now: what was counted meanwhile had the whole room.
    counted = counters.ProgressCounters(JOB, None, None)
    counted._is_tracking = True
    for number in range(1000):
        counted.count(f"category {number}")
    counted.set(late="x" * 20_000)
    counted._note_stored({"label": "x" * 30_000, "category 1": "x" * 100, "attempt": 1})
    kept = counted._current_fields()
    assert "late" not in kept
    assert kept["category 0"] == kept["category 999"] == 1
    counted.set(late="x" * 10)
    assert counted._current_fields()["late"] == "x" * 10


def _takes_no_notice_of_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "tracker_fields", lambda fields: fields)
    monkeypatch.setattr(writer, "FINAL_BYTES", MAX_BYTES)


@without(_takes_no_notice_of_a_refusal)
def test_others_may_fill_the_snapshot(
    jobs: SyncProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    with track_import(JOB) as job:
        jobs.update(JOB, {"notes": "x" * (MAX_BYTES - 300)})
        job.set(mine="y" * 400)
        for number in (1, 2):
            job.advance()
            shows(jobs, processed_rows=number)
        assert "mine" not in state(jobs)
        assert caplog.text.count("only the tracker's own fields are updated") == 1
    assert (state(jobs)["status"], state(jobs)["mine"]) == ("done", "y" * 400)


def test_room_is_made_by_a_field_that_shrinks() -> None:
    space = FieldLimit()
    half = (MAX_BYTES - fields.OWN_BYTES) // 2
    assert space.reserve({"a": half, "b": half, "c": 1}) == ["a", "b"]
    assert space.reserve({"a": 1, "c": half - 10, "d": half}) == ["a", "c"]


def _writes_what_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = counters.ProgressCounters._current_fields
    unknown = {"stage": None, "total_rows": None}
    monkeypatch.setattr(
        counters.ProgressCounters, "_current_fields", lambda self: unknown | facts(self)
    )


@without(_writes_what_it_does_not_know)
def test_total_and_stage_of_the_job_that_was_created_are_kept(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"total_rows": 10**6, "stage": "uploaded"})
    for _ in range(2):  # In a further attempt as well.
        with pytest.raises(OSError, match="No"), track_import(JOB) as job:
            shows(jobs, status="importing", total_rows=10**6, stage="uploaded")

            def moving() -> bool:
                job.advance()
                return state(jobs)["eta_seconds"] is not None

            wait_for(moving, "the time left")
            assert job.total == 10**6
            raise OSError("No")
        assert (state(jobs)["total_rows"], state(jobs)["stage"]) == (10**6, "uploaded")


def test_a_total_that_was_given_or_can_be_counted_replaces_it(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"total_rows": 10**6, "stage": "uploaded"})
    with track_import(JOB, stage="reading") as job:
        assert list(job.rows([1, 2, 3])) == [1, 2, 3]
        shows(jobs, total_rows=3, stage="reading")
        job.total = None
        shows(jobs, total_rows=None)


def test_a_further_attempt_begins_without_the_stage_of_the_last(jobs: SyncProgressManager) -> None:
    with pytest.raises(OSError, match="No"), track_import(JOB) as job:
        job.set(stage="committing", total_rows=7)
        raise OSError("No")
    with track_import(JOB) as job:
        assert job.total is None
        assert not {"stage", "total_rows"} & set(state(jobs))
    assert (state(jobs)["stage"], state(jobs)["total_rows"]) == (None, None)
