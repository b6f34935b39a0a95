"""`track_import`: what it counts and writes, on a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.utils.functional import SimpleLazyObject

from django_import_progress import InvalidProgress, SyncProgressManager, track_import
from django_import_progress.tracker import reporting_thread, writer

from ..kit.tracked import JOB, shows, state
from ..kit.waiting import wait_for


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def test_two_lines_make_a_loop_report_itself(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        assert state(jobs)["status"] == "importing"
        for _ in job.rows([1, 2, 3]):
            pass
    ended = state(jobs)
    for name in ("started_at", "updated_at"):
        assert ended.pop(name).endswith("+00:00")
    assert ended == {
        "status": "done",
        "stage": None,
        "total_rows": 3,
        "processed_rows": 3,
        "error_message": None,
        "attempt": 1,
        "rows_per_second": None,
        "eta_seconds": None,
    }


def test_a_row_counts_once_its_body_has_finished(jobs: SyncProgressManager) -> None:
    with track_import(JOB, total=9) as job:
        for row in job.rows(iter("abc")):
            assert job.processed == "abc".index(row)
        for row in job.rows(iter("de")):  # pragma: no branch
            if row == "e":
                break
    assert (state(jobs)["processed_rows"], state(jobs)["total_rows"]) == (4, 9)


@pytest.mark.parametrize(
    "rows", [SimpleLazyObject(lambda: iter("abc")), range(10**20)], ids=["lazy", "endless"]
)
def test_an_unknown_length_is_no_total(rows: Any) -> None:
    with track_import(JOB) as job:
        assert next(iter(job.rows(rows))) in ("a", 0)
        assert job.total is None


def test_rows_are_streamed() -> None:
    taken = []

    def source() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    with track_import(JOB) as job:
        for row in job.rows(source()):
            assert taken[-1] == row
        assert job.total is None


def test_batches_count_their_length_from_before_the_body(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for batch in job.batches([[1, 2], [3]]):
            batch.clear()
        job.advance()
        job.advance(10)
    assert state(jobs)["processed_rows"] == 14


def test_the_lengths_of_several_iterables_add_up(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for _ in job.rows([1, 2]):
            pass
        for _ in job.rows([3]):
            pass
        assert job.total == 3
        job.total = 5
        for _ in job.rows([4, 5]):
            pass
    assert (state(jobs)["processed_rows"], state(jobs)["total_rows"]) == (5, 5)


def test_counters_and_fields_are_fields_of_the_snapshot(jobs: SyncProgressManager) -> None:
    rows = ["r"]
    with track_import(JOB, stage="reading") as job:
        shows(jobs, stage="reading")
        job.count("created")
        job.count("created", 2)
        job.count("refused", 0)
        job.set(stage="indexing", status="parsing", note=rows)
        rows.append("later")
        shows(jobs, stage="indexing", status="parsing", created=3, refused=0, note=["r"])
    assert state(jobs)["status"] == "done"


def test_a_set_that_is_refused_changes_nothing() -> None:
    with track_import(JOB, total=5) as job:
        for wrong in ({"x": object()}, {"processed_rows": -1}):
            with pytest.raises(InvalidProgress):
                job.set(total_rows=9, note="n", **wrong)
        assert job.total == 5
        assert "note" not in job._fields


def test_a_resumed_import_goes_on_from_where_it_was(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        job.set(total_rows=10, processed_rows=7)
        for _ in job.rows(iter([8, 9, 10])):
            pass
    assert (state(jobs)["processed_rows"], state(jobs)["total_rows"]) == (10, 10)


@pytest.mark.parametrize("name", ["status", "processed_rows", "attempt", None, 7])
def test_a_known_field_is_no_counter_and_a_name_is_text(name: Any) -> None:
    with track_import(JOB) as job, pytest.raises(InvalidProgress):
        job.count(name)


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "done"},
        {"attempt": 2},
        {"updated_at": "now"},
        {"error_message": "x"},
        {"_x": 1},
        {"x": object()},
        {"x": [object()]},
        {"total_rows": "5"},
        {"total_rows": True},
        {"processed_rows": 1.5},
        {"processed_rows": -1},
    ],
)
def test_fields_that_cannot_be_set_raise(jobs: SyncProgressManager, fields: dict[str, Any]) -> None:
    with track_import(JOB) as job, pytest.raises(InvalidProgress):
        job.set(**fields)
    assert state(jobs)["status"] == "done"


def test_it_keeps_the_fields_of_create(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, owner=7, data={"file_name": "a.csv"})
    with track_import(JOB, owner=8):
        shows(jobs, file_name="a.csv", status="importing")
    assert [job["job_id"] for job in jobs.jobs(owner=7)] == [JOB]
    assert jobs.jobs(owner=8) == []


def test_an_owner_is_recorded_where_there_is_none(jobs: SyncProgressManager) -> None:
    jobs.set_progress(JOB, {"status": "queued"})
    with track_import(JOB, owner=8):
        pass
    assert [job["job_id"] for job in jobs.jobs(owner=8)] == [JOB]


def test_started_again_it_is_a_new_attempt_from_zero(jobs: SyncProgressManager) -> None:
    with pytest.raises(ValidationError), track_import(JOB) as job:
        job.count("created", 5)
        job.set(note="first")
        job.advance(5)
        raise ValidationError("No.")
    with track_import(JOB) as job:
        now = state(jobs)
        assert (now["attempt"], now["processed_rows"], now["error_message"]) == (2, 0, None)
        assert not {"created", "note"} & set(now)
    with pytest.raises(RuntimeError, match="another"), job:
        pass  # pragma: no cover - it is not entered


def test_only_changes_are_written(jobs: SyncProgressManager) -> None:
    def version() -> int:
        return int(str(jobs.redis.hget(f"import_progress:hash:{JOB}", "_v"), "ascii"))

    with track_import(JOB) as job:
        shows(jobs, status="importing")
        job.advance()
        shows(jobs, processed_rows=1)
        writer = job._writer
        wait_for(lambda: writer._written["processed_rows"], "the writer to know")
        settled = version()
        for _ in range(5):
            writer._try_to_write()
        assert version() == settled
        for _ in range(1000):
            job.advance()
        shows(jobs, processed_rows=1001)
        assert version() <= settled + 2
    assert state(jobs)["status"] == "done"


def test_a_rate_and_what_is_left_are_shown_once_they_mean_something(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB, total=1_000_000) as job:
        assert state(jobs)["rows_per_second"] is None

        def moving() -> bool:
            job.advance()
            return state(jobs)["rows_per_second"] is not None

        wait_for(moving, "a rate")
        assert state(jobs)["rows_per_second"] > 0
        assert state(jobs)["eta_seconds"] > 0
    assert state(jobs)["eta_seconds"] is None


async def test_asynchronous_imports_use_the_same_names(jobs: SyncProgressManager) -> None:
    async def source() -> AsyncIterator[str]:
        yield "a"
        yield "b"

    async with track_import(JOB) as job:
        async for _ in job.rows(source()):
            pass
        async for _ in job.rows("cd"):
            pass
        async for _ in job.batches(["ef", "g"]):
            pass
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 7)
    with pytest.raises(TypeError, match="async for"):
        list(job.rows(source()))


def test_a_given_manager_is_used(jobs: SyncProgressManager) -> None:
    orders = SyncProgressManager(jobs.redis, "order_imports")
    with track_import(JOB, manager=orders) as job:
        assert "job" in repr(job)
    assert orders.get_progress(JOB) is not None
    assert jobs.get_progress(JOB) is None


def test_no_thread_is_left() -> None:
    with track_import(JOB):
        assert len(writer.writers()) == 1
    wait_for(lambda: not writer.writers(), "the writer to end")


def test_a_final_status_that_takes_too_long_is_logged_as_lost(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held, last = threading.Event(), writer.Writer._write_final
    monkeypatch.setattr(reporting_thread, "LEAVE_SECONDS", 0.01)
    monkeypatch.setattr(
        writer.Writer, "_write_final", lambda self: (held.wait(), last(self))
    )  # As a client does that hangs.
    job = track_import(JOB)

    async def import_nothing() -> None:
        async with job:
            """Nothing."""

    def is_told_once() -> None:
        assert caplog.text.count("could not be saved") == 1
        held.set()
        shows(jobs, status="done")
        assert job._writer is not None
        job._writer.give_up()
        assert caplog.text.count("could not be saved") == 1

    asyncio.run(import_nothing())
    is_told_once()  # pragma: no cover - what a timeout is thrown through, 3.11 traces no further
