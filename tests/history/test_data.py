"""Whatever the data is, the attempt is recorded."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connections

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.history import rows, values
from django_import_progress.history.values import clean_text, columns_of, moment_of

from ..kit.controls import without
from ..kit.recorded import the_run
from ..kit.tracked import JOB
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [
    pytest.mark.usefixtures("each_database", "history"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
]

HUGE = 10**300
ODD: dict[str, Any] = {
    "label": "L" * 300 + "\0",
    "stage": "\U0001f600 " * 400,
    "kind": "k" * 60,
    "note": "a\0b",
    "de\0ep": [{"x\0": ["\0", None, 1.5, True]}],
    "number": HUGE,
    "error_message": ["a", {"b": "c"}],
}


def keeps_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write texts as they are."""
    monkeypatch.setattr(values, "clean_text", lambda text, *_, **__: text)


def keeps_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write numbers as they are."""
    monkeypatch.setattr(values, "LARGEST", HUGE)


def test_long_odd_and_huge_values_fit(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, owner="o" * 255, data={**ODD, "total_rows": HUGE, "processed_rows": -HUGE})
    queued = the_run()
    assert (queued.total_rows, queued.processed_rows) == (2**63 - 1, -(2**63) + 1)
    with track_import(JOB, total=HUGE) as job:
        job.set(**{n: v for n, v in ODD.items() if n != "error_message"})
        job.advance(HUGE)
    run = the_run()
    assert (run.status, run.owner) == ("done", "o" * 255)
    assert run.total_rows == run.processed_rows == 2**63 - 1
    assert run.label == "L" * 255
    assert run.kind == "k" * 32
    assert run.stage.startswith("\U0001f600 \U0001f600")
    assert run.snapshot["note"] == "a\ufffdb"
    assert run.snapshot["de\ufffdep"] == [{"x\ufffd": ["\ufffd", None, 1.5, True]}]


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@without(keeps_texts, keeps_numbers, fails_with=(ValueError,))
def test_postgresql_gets_what_it_accepts(jobs: SyncProgressManager, defence: bool) -> None:
    jobs.create(JOB, data={**ODD, "total_rows": HUGE})
    assert the_run().status == "queued"


def test_ids_and_owners_are_compared_exactly(jobs: SyncProgressManager) -> None:
    for job_id, owner in (("job", "a"), ("JOB", "A")):
        with track_import(job_id, owner=owner):
            pass
    assert [the_run(job_id).attempt for job_id in ("job", "JOB")] == [1, 1]
    found = rows.ImportRun.objects.for_owner("A")
    assert [run.job_id for run in found] == ["JOB"]


def test_another_character_set_gets_plain_texts(
    jobs: SyncProgressManager, database_kind: str, each_database: str
) -> None:
    if database_kind == "mariadb":
        with connections[each_database].cursor() as cursor:
            table = rows.ImportRun._meta.db_table
            cursor.execute(f"ALTER TABLE {table} MODIFY label varchar(255) CHARACTER SET utf8mb3")
    jobs.create(JOB, data={"label": "Größe \U0001f600"})
    plain, whole = "Gr??e ?", "Größe \U0001f600"
    assert the_run().label == (plain if database_kind == "mariadb" else whole)


@pytest.mark.parametrize(
    "text", [None, 3, "", "yesterday", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59+00:00"]
)
def test_times_that_no_database_keeps_are_none(text: Any) -> None:
    assert moment_of(text) is None


def test_times_are_naive_if_the_site_uses_no_time_zones(settings: Any) -> None:
    settings.USE_TZ = False
    with track_import(JOB):
        pass
    started_at = the_run().started_at
    assert started_at is not None
    assert started_at.tzinfo is None


def test_columns_are_of_fields_of_any_type() -> None:
    odd: dict[str, Any] = {"label": {"a": [1]}, "kind": 3, "total_rows": [], "n": True, "x": 1}
    columns = columns_of({**odd, "processed_rows": "12.0"})
    assert (columns["label"], columns["kind"]) == ("a: 1", "3")
    assert (columns["total_rows"], columns["processed_rows"]) == (None, 12)
    assert columns["counters"] == {"x": 1}
    assert clean_text("\ud800é", 5, is_plain=True) == "??"
