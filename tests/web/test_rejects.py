"""The report of rejected rows as a file, through a real ASGI server."""

from __future__ import annotations

import csv
import io
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.access import make_ticket
from django_import_progress.core.rejects import Reject, Report
from django_import_progress.tracker.rejects.csv_file import csv_lines

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.processes import RedisProcess
from ..kit.tracked import JOB
from ..kit.visitors import login


def url_of(live: AsgiServer, job: str) -> str:
    return f"{live.url}/progress/jobs/{job}/rejects/"


def fetch(live: AsgiServer, job: str = "") -> httpx.Response:
    return http.get(url_of(live, job or make_ticket(JOB)))


def lines(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff"))))


def reject(row: Any, reason: str = "no", line: int | None = None) -> Reject:
    return Reject(row=1, line=line, reason=reason, data=row)


def test_it_is_a_file_for_a_spreadsheet(live: AsgiServer, jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        job.reject({"name": "ä", "price": "x"}, "price: not a number", line=2)
        job.reject({"name": "b", None: ["more"]}, "too long", line=3)
    response = fetch(live)
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == 'attachment; filename="rejected-job.csv"'
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.content.startswith(b"\xef\xbb\xbf")
    assert lines(response.content.decode()) == [
        ["row", "line", "reason", "name", "price", "2"],
        ["1", "2", "price: not a number", "ä", "x", ""],
        ["1", "3", "too long", "b", "", "more"],
    ]


@pytest.mark.parametrize("state", ["no job", "no rejected row", "deleted", "expired"])
def test_without_a_report_nothing_is_found(
    live: AsgiServer, jobs: SyncProgressManager, state: str
) -> None:
    if state != "no job":
        with track_import(JOB) as job:
            if state != "no rejected row":
                job.reject({}, "no")
    if state == "deleted":
        jobs.delete(JOB)
    if state == "expired":
        jobs.redis.delete(f"import_progress:hash:{JOB}")
    response = fetch(live)
    assert (response.status_code, response.json()) == (404, {"error": "There is no such job."})


def test_only_who_may_watch_the_job_gets_it(live: AsgiServer, jobs: SyncProgressManager) -> None:
    owner = User.objects.create_user("owner")
    with track_import(JOB, owner=owner) as job:
        job.reject({}, "no")
    assert fetch(live, JOB).status_code == 404
    with login(owner) as client:
        assert client.get(url_of(live, JOB)).status_code == 200
    assert fetch(live, make_ticket("another")).status_code == 404
    assert fetch(live, make_ticket(JOB, owner=999)).status_code == 404
    assert fetch(live, make_ticket(JOB)).status_code == 200


def test_while_redis_is_away_the_client_is_asked_to_come_back(
    live: AsgiServer, jobs: SyncProgressManager, server: RedisProcess, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    response = fetch(live)
    assert (response.status_code, response.headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("\n=1", "'\n=1"),
        ("-", "'-"),
        ("-5", "-5"),
        ("+49", "+49"),
        ("-1,234.50", "-1,234.50"),
        ("-1e-5", "-1e-5"),
        ("-.5", "-.5"),
        (-5, "-5"),
        (None, ""),
        (True, "True"),
        ("a=b", "a=b"),
        ('a"b,c', 'a"b,c'),
    ],
)
def test_no_cell_is_executed_by_a_spreadsheet(value: Any, cell: str) -> None:
    text = "".join(csv_lines(Report([reject({"=a": value}, reason="=b")], 1)))
    assert lines(text) == [
        ["row", "line", "reason", "'=a"],
        ["1", "", "'=b", cell],
    ]


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        (1, "1 more rejected row is not in this report."),
        (12, "12 more rejected rows are not in this report."),
    ],
)
def test_it_says_how_many_rows_are_missing(missing: int, text: str) -> None:
    report = Report([reject({"a": 1})], 1 + missing)
    assert lines("".join(csv_lines(report)))[-1] == ["", "", text]


def test_the_name_of_the_file_has_no_special_characters(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    with track_import("a:b~c") as job:
        job.reject({}, "no")
    header = fetch(live, make_ticket("a:b~c")).headers["Content-Disposition"]
    assert header == 'attachment; filename="rejected-a_b_c.csv"'


def test_other_methods_are_refused(live: AsgiServer, jobs: SyncProgressManager) -> None:
    assert http.post(url_of(live, JOB)).status_code == 405
