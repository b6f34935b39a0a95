"""The HTTP views: JSON and event streams, through a real ASGI server."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.processes import RedisProcess
from ..kit.sse import open_stream
from ..kit.visitors import login
from ..kit.waiting import wait_for


@pytest.fixture
def owner(live: AsgiServer) -> User:
    return User.objects.create_user("owner")


def test_snapshot_is_the_representation(live: AsgiServer, jobs: SyncProgressManager) -> None:
    job_id = jobs.create(data={"total_rows": 3, "processed_rows": 1, "file_name": "ä.csv"})
    response = http.get(f"{live.url}/progress/jobs/{make_ticket(job_id)}/")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Cache-Control"] == "private, no-store"
    stored = jobs.get_progress(job_id)
    assert stored is not None
    assert response.json() == {
        **stored,
        "job_id": job_id,
        "percent": 33.3,
        "stalled": False,
        "cancelling": False,
        "outcome": None,
    }


def test_snapshot_has_an_etag(live: AsgiServer, jobs: SyncProgressManager) -> None:
    job_id = jobs.create()
    url = f"{live.url}/progress/jobs/{make_ticket(job_id)}/"
    etag = http.get(url).headers["ETag"]
    again = http.get(url, headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    jobs.update(job_id, {"processed_rows": 1})
    assert http.get(url, headers={"If-None-Match": etag}).status_code == 200


def test_another_namespace_has_its_own_urls_and_tickets(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    orders = SyncProgressManager(jobs.redis, "order_imports")
    job_id = orders.create(data={"stage": "orders"})
    ticket = make_ticket(job_id, namespace="order_imports")
    assert http.get(f"{live.url}/orders/jobs/{ticket}/").json()["stage"] == "orders"
    assert http.get(f"{live.url}/progress/jobs/{ticket}/").status_code == 404


@pytest.mark.parametrize("path", ["", "stream/"])
def test_the_owner_and_staff_may_watch_by_bare_id(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, path: str
) -> None:
    job_id = jobs.create(owner=owner, data={"status": "done"})
    url = f"{live.url}/progress/jobs/{job_id}/{path}"
    staff = User.objects.create_user("staff", is_staff=True)
    for user in (owner, staff):
        with login(user) as browser:
            assert browser.get(url).status_code == 200


@pytest.mark.parametrize("path", ["", "stream/"])
def test_everybody_else_gets_the_answer_of_an_unknown_job(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, path: str
) -> None:
    job_id = jobs.create(owner=owner)
    ticket = make_ticket(job_id)
    references = [
        job_id,
        str(uuid.uuid4()),
        jobs.create(),
        "*",
        "%0A",
        "a" * 129,
        ticket[:-1] + ("A" if ticket[-1] != "A" else "B"),
        make_ticket(job_id, namespace="order_imports"),
        "@",
    ]
    with login(User.objects.create_user("other")) as other, http.Client() as anonymous:
        answers = [
            client.get(f"{live.url}/progress/jobs/{reference}/{path}")
            for client in (other, anonymous)
            for reference in references
        ]
    seen = {
        (a.status_code, a.content, tuple(h for h in a.headers.items() if h[0] != "date"))
        for a in answers
    }
    assert len(seen) == 1
    assert answers[0].status_code == 404


def test_a_ticket_grows_old(live: AsgiServer, jobs: SyncProgressManager, settings: Any) -> None:
    url = f"{live.url}/progress/jobs/{make_ticket(jobs.create())}/"
    assert http.get(url).status_code == 200
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "TICKET_SECONDS": 1}
    wait_for(lambda: http.get(url).status_code == 404, "the ticket to grow old")


def test_redis_away(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any, valkey_server: RedisProcess
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    ticket, bare = make_ticket("a"), "a"
    for path in (f"{ticket}/", f"{bare}/", f"{bare}/stream/"):
        response = http.get(f"{live.url}/progress/jobs/{path}")
        assert (response.status_code, response.headers["Retry-After"]) == (503, "2")
        assert "127.0.0.1" not in response.text  # Where Redis is, is for the log.
    with open_stream(f"{live.url}/progress/jobs/{ticket}/stream/") as (response, _):
        assert response.status_code == 200


@pytest.mark.parametrize("path", ["", "stream/"])
def test_only_get_is_allowed(live: AsgiServer, jobs: SyncProgressManager, path: str) -> None:
    url = f"{live.url}/progress/jobs/{make_ticket(jobs.create())}/{path}"
    assert http.post(url).status_code == 405


def test_under_wsgi_a_stream_is_one_snapshot(jobs: SyncProgressManager) -> None:
    job_id = jobs.create()
    url = f"/progress/jobs/{make_ticket(job_id)}/stream/"
    response: Any = Client().get(url)
    assert response.streaming is False
    assert response["Content-Type"] == "text/event-stream"
    assert b'"status":"queued"' in response.content
    assert b"retry: " in response.content
    absent: Any = Client().get(f"/progress/jobs/{make_ticket('absent')}/stream/")
    assert absent.content.endswith(b"-n\n\n")


def test_under_wsgi_who_polls_a_deleted_job_is_told_so_and_stops(
    jobs: SyncProgressManager,
) -> None:
    job_id = jobs.create()
    path = f"/progress/jobs/{make_ticket(job_id)}/stream/"

    def poll(last_event_id: str) -> tuple[int, str]:
        response = Client().get(path, headers={"Last-Event-ID": last_event_id})
        found = re.findall("^id: (.*)$", response.content.decode(), re.MULTILINE)
        return response.status_code, found[-1] if found else ""

    seen = poll("")[1]
    jobs.redis.delete(f"import_progress:hash:{job_id}")  # Redis may be written again.
    status, missed = poll(seen)
    assert (status, missed[-2:]) == (200, "-m")
    status, gone = poll(missed)
    assert (status, gone[:4]) == (200, "end-")
    assert poll(gone) == (204, "")
    jobs.create(job_id)
    assert poll(missed) == (200, seen)
    jobs.delete(job_id)
    assert poll(seen) == poll(missed) == (200, gone)
    assert poll(gone) == (204, "")


def test_a_site_without_logins_serves_tickets(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.MIDDLEWARE = []
    job_id = jobs.create(owner=1)
    assert Client().get(f"/progress/jobs/{make_ticket(job_id)}/").status_code == 200
    assert Client().get(f"/progress/jobs/{job_id}/").status_code == 404
