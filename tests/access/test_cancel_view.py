"""Cancelling over HTTP: only with permission, by POST, from the site's own pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.test import AsyncClient

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.access import make_ticket
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.doors import CSRF, post
from tests.kit.tracked import JOB, shows, state
from tests.kit.visitors import login

from . import naive


@pytest.fixture
def url(live: AsgiServer) -> str:
    return f"{live.url}/progress/jobs/{make_ticket(JOB, cancel=True)}/cancel/"


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    with http.Client() as browser:
        yield browser


def asked_to_stop(jobs: SyncProgressManager) -> bool:
    return bool(jobs.redis.hget(f"import_progress:hash:{JOB}", "_c"))


def test_an_import_stops(url: str, browser: httpx.Client, jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        for _ in job.rows(iter(int, 1)):  # pragma: no branch
            if not job.processed:
                answer = post(browser, url, **CSRF)
                assert (answer.status_code, answer.json()["cancelling"]) == (202, True)
                assert answer.headers["Cache-Control"] == "private, no-store"
    assert job.cancelled
    assert state(jobs)["status"] == "cancelled"


def test_one_asks_again_and_again(
    url: str, browser: httpx.Client, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB)
    assert [post(browser, url, **CSRF).status_code for _ in range(3)] == [202] * 3


def test_what_has_ended_is_a_conflict(
    url: str, browser: httpx.Client, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB, data={"status": "done"})
    answer = post(browser, url, **CSRF)
    assert (answer.status_code, answer.json()) == (409, {"error": "The job has ended."})


def test_what_is_not_there_is_not_found(url: str, browser: httpx.Client) -> None:
    assert post(browser, url, **CSRF).status_code == 404


def test_staff_may_not_learn_more_of_what_is_not_there(live: AsgiServer, staff: User) -> None:
    with login(staff) as browser:
        assert post(browser, f"{live.url}/progress/jobs/none/cancel/", **CSRF).status_code == 404


async def test_a_site_needs_no_sessions(jobs: SyncProgressManager, settings: Any) -> None:
    settings.MIDDLEWARE = []
    jobs.create(JOB)
    address = f"/progress/jobs/{make_ticket(JOB, cancel=True)}/cancel/"
    assert (await AsyncClient().post(address)).status_code == 202


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_only_by_post(
    url: str, browser: httpx.Client, jobs: SyncProgressManager, method: str
) -> None:
    jobs.create(JOB)
    answer = browser.request(method, url, headers=CSRF)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert not asked_to_stop(jobs)


CROSS_SITE = [
    {},
    {"X-CSRFToken": "u" * 32},
    {**CSRF, "Origin": "https://evil.example"},
    {**CSRF, "Origin": "null"},
]


@pytest.mark.parametrize("headers", CROSS_SITE)
@without(naive.trusts_every_form)
def test_a_cross_site_post_is_refused_though_the_site_has_no_such_middleware(
    live: AsgiServer, owner: User, jobs: SyncProgressManager, headers: dict[str, str]
) -> None:
    jobs.create(JOB, owner=owner)
    with login(owner) as browser:
        answer = post(browser, f"{live.url}/progress/jobs/{JOB}/cancel/", **headers)
    assert answer.status_code == 403
    assert not asked_to_stop(jobs)


def test_who_forges_a_post_does_not_learn_what_is_there(
    live: AsgiServer, owner: User, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB, owner=owner)
    with login(owner) as browser:
        answers = [
            post(browser, f"{live.url}/progress/jobs/{job_id}/cancel/") for job_id in (JOB, "none")
        ]
    assert [answer.status_code for answer in answers] == [403, 403]
    assert answers[0].content == answers[1].content


def test_watchers_see_that_it_is_asked_to_stop(
    url: str, browser: httpx.Client, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB, data={"status": "importing"})
    post(browser, url, **CSRF)
    assert browser.get(url.replace("cancel/", "")).json()["cancelling"] is True
    jobs.update(JOB, {"status": "cancelled"})
    shows(jobs, status="cancelled")
    assert browser.get(url.replace("cancel/", "")).json()["cancelling"] is False
