"""The report of rejected rows that Redis has forgotten, from the history's storage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.template import Context, Template
from django.test import Client

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.access import make_ticket
from django_import_progress.history.models import ImportRun
from django_import_progress.web import rejects

from ..faults.conftest import defence
from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.controls import without
from ..kit.held import open_files
from ..kit.recorded import the_run
from ..kit.runs import REPORT, past_run, without_the_table
from ..kit.tracked import JOB
from ..kit.visitors import login
from ..kit.waiting import wait_for

__all__ = ["defence"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("archived")]

LARGE = REPORT + b"4,5,no name,\r\n" * 500_000
HUGE = LARGE * 10
"""More than what the buffers between server and client take."""


def path_of(reference: str) -> str:
    return f"/progress/jobs/{reference}/rejects/"


def linked() -> bool:
    html = Template("{% load import_progress %}{% import_progress job_id %}").render(
        Context({"job_id": JOB})
    )
    return "/rejects/" in html and "data-rejected" in html


def fetch(live: AsgiServer, reference: str = "", **options: Any) -> httpx.Response:
    return http.get(live.url + path_of(reference or make_ticket(JOB)), **options)


@pytest.mark.parametrize("content", [REPORT, LARGE], ids=["small", "large"])
def test_it_is_the_same_file(
    live: AsgiServer, jobs: SyncProgressManager, content: bytes, tmp_path: Path
) -> None:
    run = past_run(rejected_rows=1, report=content)
    assert linked()
    response = fetch(live)
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="rejected-job.csv"'
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    wait_for(lambda: open_files(run.report.path) == 0, "the file to be closed")
    by_wsgi: Any = Client().get(path_of(make_ticket(JOB)))
    assert by_wsgi.getvalue() == content
    assert by_wsgi["Content-Disposition"] == response.headers["Content-Disposition"]
    with http.Client() as client:
        head = client.head(live.url + path_of(make_ticket(JOB)))
    assert (head.status_code, head.content) == (200, b"")


left_open: list[Any] = []


def a_file_is_not_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rejects._Chunks, "close", lambda self: left_open.append(self._file))


@pytest.fixture
def _closed() -> Iterator[None]:
    yield
    while left_open:
        left_open.pop().close()


@pytest.mark.usefixtures("_closed")
@without(a_file_is_not_closed)
def test_the_file_is_closed_if_the_client_disconnects(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    run = past_run(rejected_rows=1, report=HUGE)
    with http.Client() as client, client.stream("GET", live.url + path_of(make_ticket(JOB))) as got:
        next(got.iter_raw())
        assert open_files(run.report.path) == 1
    wait_for(lambda: open_files(run.report.path) == 0, "the file to be closed")


def test_an_import_leaves_its_report_to_the_history(
    live: AsgiServer, jobs: SyncProgressManager, history: type[ImportRun]
) -> None:
    with track_import(JOB) as job:
        job.advance()
        job.reject({"name": "ä"}, "no price", line=2)
    run = the_run()
    before = fetch(live)
    jobs.redis.delete(f"import_progress:hash:{JOB}")  # The outcome is still remembered.
    assert linked()
    assert fetch(live).content == before.content == Path(run.report.path).read_bytes()
    jobs.redis.flushall()
    assert linked()
    assert fetch(live).content == before.content
    assert fetch(live).headers["Content-Disposition"] == before.headers["Content-Disposition"]


def test_the_report_of_an_earlier_attempt_is_not_that_of_a_running_one(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    past_run(rejected_rows=1, report=REPORT, status="failed")
    jobs.set_progress(JOB, {"status": "importing", "attempt": 2})
    assert fetch(live).status_code == 404
    jobs.set_progress(JOB, {"status": "importing"})
    assert fetch(live).status_code == 404
    # Redis has lost the rows alone.
    jobs.set_progress(JOB, {"status": "done", "attempt": 1, "rejected_rows": 1})
    assert fetch(live).content == REPORT


def file_is_missing(run: ImportRun) -> None:
    run.report.storage.delete(run.report.name)


def there_is_none(run: ImportRun) -> None:
    run.report.delete()


@pytest.mark.parametrize("change", [file_is_missing, there_is_none])
def test_without_a_file_there_is_none(
    live: AsgiServer, jobs: SyncProgressManager, change: Any, caplog: pytest.LogCaptureFixture
) -> None:
    change(past_run(rejected_rows=1, report=REPORT))
    response = fetch(live)
    assert (response.status_code, response.json()) == (404, {"error": "There is no such job."})
    assert ("is missing in the storage" in caplog.text) is (change is file_is_missing)
    assert linked() is (change is file_is_missing)


def test_a_storage_or_database_that_is_unavailable_asks_to_come_back(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any
) -> None:
    run = past_run(rejected_rows=1, report=REPORT)
    Path(run.report.path).unlink()
    Path(run.report.path).mkdir()  # Neither missing nor readable.
    assert fetch(live).status_code == 503
    with without_the_table():
        assert fetch(live).status_code == 503


def test_access_is_that_of_the_job(live: AsgiServer, jobs: SyncProgressManager) -> None:
    owner = User.objects.create_user("owner")
    past_run(rejected_rows=1, report=REPORT, owner=owner.pk)
    assert fetch(live, JOB).status_code == 404
    assert fetch(live, make_ticket(JOB, owner=999)).status_code == 404
    assert fetch(live, make_ticket("another")).status_code == 404
    with login(owner) as browser:
        assert browser.get(live.url + path_of(JOB)).content == REPORT
    jobs.create(JOB, owner=owner)
    jobs.delete(JOB)
    assert fetch(live).status_code == 404
