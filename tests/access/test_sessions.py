"""Requests that no user has made do not extend the user's session."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket, sessions
from django_import_progress.web import views
from django_import_progress.widget import job_list
from tests.faults.conftest import defence

from ..kit.controls import without

__all__ = ["defence"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def client(owner: User, settings: Any) -> Client:
    settings.SESSION_SAVE_EVERY_REQUEST = True
    client = Client()
    client.force_login(owner)
    return client


@pytest.fixture
def urls(jobs: SyncProgressManager, owner: User) -> dict[str, str]:
    """What an open page requests by itself."""
    job_id = jobs.create("a", owner=owner)
    request = RequestFactory().get("/")
    request.user = owner
    tag = Template("{% load import_progress %}{% import_progress_list owner=owner %}")
    html = tag.render(Context({"request": request, "owner": owner}))
    base = "/progress/jobs"
    return {
        "list": html.split('data-list="')[1].split('"')[0],
        "snapshot": f"{base}/{job_id}/",
        "ticket": f"{base}/{make_ticket(job_id)}/",
        "stream": f"{base}/{job_id}/stream/",
        "streams": f"/progress/stream/?job={job_id}",
        "nothing": f"{base}/nothing/",
    }


def expiry() -> datetime:
    return Session.objects.get().expire_date


def leaves_sessions_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (job_list, views):
        monkeypatch.setattr(module, "leave_unextended", lambda request: None)


@pytest.mark.parametrize("name", ["list", "snapshot", "ticket", "stream", "streams", "nothing"])
@without(leaves_sessions_alone)
def test_a_page_that_is_left_open_does_not_extend_its_session(
    client: Client, urls: dict[str, str], name: str
) -> None:
    before = expiry()
    response = client.get(urls[name])
    b"".join(response)
    assert response.status_code == (404 if name == "nothing" else 200)
    assert expiry() == before


def test_a_user_who_cancels_extends_the_session(client: Client, urls: dict[str, str]) -> None:
    before = expiry()
    assert client.post("/progress/jobs/a/cancel/").status_code == 202
    assert expiry() > before


def remembering(get_response: Callable[[HttpRequest], HttpResponse]) -> Any:
    """Middleware that changes the session."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        request.session["path"] = request.path
        return response

    return middleware


def test_a_session_that_was_changed_is_saved(
    client: Client, urls: dict[str, str], settings: Any
) -> None:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.remembering"]
    client.get(urls["list"])
    assert client.session["path"] == urls["list"]


def test_a_new_key_of_the_site_renews_the_session(
    client: Client, urls: dict[str, str], settings: Any
) -> None:
    """Django gives the session another key, and saves it twice."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    before = client.session.session_key
    settings.SECRET_KEY = "another"
    assert client.get(urls["snapshot"]).status_code == 200
    assert client.session.session_key != before
    assert client.get(urls["snapshot"]).status_code == 200


def test_a_site_may_have_no_sessions() -> None:
    request = HttpRequest()
    sessions.leave_unextended(request)
    assert not hasattr(request, "session")
