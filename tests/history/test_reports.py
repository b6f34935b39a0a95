"""The rejected rows of an attempt are kept as a file, bounded in size; old runs are pruned."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage, storages
from django.core.management import CommandError
from django.db import OperationalError
from django.utils import timezone

from django_import_progress import SyncProgressManager, TooManyRejects, track_import
from django_import_progress.core.rejects import EMPTY
from django_import_progress.history import lost, models, prune, reports
from django_import_progress.history.models import ImportRun, report_storage
from django_import_progress.tracker.rejects.csv_file import csv_lines

from ..kit.recorded import begin_and_die, ends_of, expire_lease, report_of, runs, the_run
from ..kit.tracked import JOB
from ..management.test_command import run

pytestmark = [pytest.mark.usefixtures("history"), pytest.mark.django_db(transaction=True)]


def _files() -> list[Path]:
    field: Any = ImportRun._meta.get_field("report")
    return [path for path in Path(field.storage.location).rglob("*") if path.is_file()]


def test_it_is_the_file_that_the_site_serves(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for number, row in enumerate(job.rows([{"a": "=1", "b": None}, {"a": "é"}])):
            job.reject(row, "odd", line=number + 2)
    run = the_run()
    with run.report.open() as file:
        assert file.read().decode() == "".join(csv_lines(jobs.report(JOB)))
    assert run.report.name.startswith("import_progress/20")
    assert "/rejected-job-1-" in run.report.name


def test_each_attempt_has_its_own_and_one_without_rejected_rows_has_none() -> None:
    for count in (0, 1, 2):
        with track_import(JOB) as job:
            for row in job.rows(range(count)):
                job.reject(row, f"{count} times")
    assert [len(report_of(run)) if run.report else 0 for run in runs()] == [0, 2, 3]


def test_it_is_written_even_if_redis_has_forgotten_the_job(jobs: SyncProgressManager) -> None:
    with suppress(TooManyRejects), track_import(JOB, max_rejects=0) as job:
        jobs.redis.flushall()
        job.reject("row", "odd")
    assert report_of(the_run())[1][2] == "odd"


def test_a_million_rejected_rows_take_no_more_than_the_limit(settings: Any) -> None:
    settings.IMPORT_PROGRESS |= {"REJECTS_MAX_BYTES": 2000}
    with track_import(JOB) as job:
        for row in job.rows(range(1000)):
            job.reject(row, "odd")
    run = the_run()
    assert run.rejected_rows == 1000
    assert run.report.size < 2000
    assert report_of(run)[-1][2].endswith("more rejected rows are not in this report.")


def test_the_report_of_a_lost_job_is_kept(jobs: SyncProgressManager) -> None:
    tracker = track_import(JOB)
    with suppress(BaseException), tracker as job:
        job.reject("row", "odd")
        job._writer.flush()
        assert job._writer.flushed.wait(60)
        expire_lease(jobs, 601)
        assert lost.end_lost_jobs() == 1
    assert ends_of() == [(1, "lost")]
    assert report_of(the_run())[1][2] == "odd"


def test_of_two_reports_of_a_run_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    with track_import(JOB) as job:
        for row in job.rows(range(1)):
            job.reject(row, "odd")
    run = the_run()
    report = job._reject_log.report(1)
    reports.save_report(run.pk, report, "default")
    reports.save_report(run.pk + 1, report, "default")
    reports.save_report(run.pk, EMPTY, "default")
    assert len(_files()) == 1
    ImportRun.objects.update(report="")
    save = ImportRun._meta.get_field("report").storage.save

    def save_late(*args: Any, **options: Any) -> str:
        name = save(*args, **options)
        ImportRun.objects.update(report="another")
        return str(name)

    monkeypatch.setattr(ImportRun._meta.get_field("report").storage, "save", save_late)
    reports.save_report(run.pk, report, "default")
    assert the_run().report.name == "another"
    assert len(_files()) == 1


def test_a_long_id_fits_into_the_name() -> None:
    job_id = "a:" * 64
    with track_import(job_id) as job:
        for row in job.rows(range(1)):
            job.reject(row, "odd")
    assert report_of(the_run(job_id))[1][2] == "odd"


def test_the_storage_is_that_of_the_alias_if_there_is_one(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert report_storage() is default_storage
    own = {"BACKEND": "django.core.files.storage.InMemoryStorage"}
    settings.STORAGES = {**settings.STORAGES, models.STORAGE: own}
    assert report_storage() is storages["import_progress"]


def _age(job_id: str, **age: float) -> None:
    ImportRun.objects.filter(job_id=job_id).update(ended_at=timezone.now() - timedelta(**age))


@pytest.fixture
def old_runs(transactional_db: None, history: object, jobs: SyncProgressManager) -> None:
    """Two old runs with a report, a newer one, a queued one and one whose worker runs."""
    with track_import("without"):
        pass
    _age("without", weeks=13)
    for job_id in ("old", "older", "new"):
        with track_import(job_id) as job:
            for row in job.rows(range(1)):
                job.reject(row, "odd")
    jobs.create("queued")
    begin_and_die("running")
    assert len(the_run("new").report.name) > 1
    _age("old", days=91)
    _age("older", weeks=60)


@pytest.mark.usefixtures("old_runs")
def test_old_runs_are_pruned_with_their_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "PORTION", 1)
    assert run("prune", "--older-than", "90d", "--dry-run") == "3 would be deleted\n"
    assert len(_files()) == 3
    assert run("prune", "--older-than", "90d", "--namespace", "other") == "0 deleted\n"
    assert run("prune", "--older-than", "90d") == "3 deleted\n"
    assert [path.name[:13] for path in _files()] == ["rejected-new-"]
    assert run("prune", "--older-than", "0m") == "1 deleted\n"
    assert set(ImportRun.objects.values_list("job_id", flat=True)) == {"queued", "running"}


@pytest.mark.usefixtures("old_runs")
def test_a_run_whose_report_cannot_be_deleted_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = ImportRun._meta.get_field("report").storage

    def refuse(_: str) -> None:
        raise OSError

    with monkeypatch.context() as patched:
        patched.setattr(storage, "delete", refuse)
        assert run("prune", "--older-than", "4w") == "1 deleted\n"
    assert run("prune", "--older-than", "4w") == "2 deleted\n"


@pytest.mark.parametrize("age", ["", "90", "d", "-1d", "1.5d", "90 days", "1y"])
def test_what_is_no_age_is_an_error(age: str) -> None:
    with pytest.raises(CommandError, match="is not an age: use a number and m, h, d or w"):
        run("prune", f"--older-than={age}")


def test_an_age_before_all_time_is_an_error() -> None:
    with pytest.raises(CommandError, match="No import is that old"):
        run("prune", "--older-than", "999999w")


def test_reconciling_says_what_was_repaired(jobs: SyncProgressManager) -> None:
    begin_and_die()
    expire_lease(jobs, 601)
    assert run("reconcile") == "1 lost, 0 ended and 0 added from Redis\n"


@pytest.mark.parametrize("arguments", [["reconcile"], ["prune", "--older-than", "1d"]])
def test_without_the_history_it_says_how_to_install_it(settings: Any, arguments: list[str]) -> None:
    settings.INSTALLED_APPS = ["django_import_progress"]
    with pytest.raises(CommandError, match=r"add 'django_import_progress.history' to INSTALLED"):
        run(*arguments)


@pytest.mark.parametrize(
    ("arguments", "module", "function"),
    [(["reconcile"], lost, "reconcile"), (["prune", "--older-than", "1d"], prune, "prune")],
)
def test_a_database_that_is_away_is_an_error(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], module: Any, function: str
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("no such table")

    monkeypatch.setattr(module, function, refuse)
    with pytest.raises(CommandError, match=r"Cannot .*write the history: no such table"):
        run(*arguments)
