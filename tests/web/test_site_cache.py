"""Django's cache of a whole site does not answer requests for progress."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.template import Context, Template
from django.test import Client, RequestFactory

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.core import messages
from django_import_progress.web import event_stream, views
from django_import_progress.widget import job_list
from tests.faults.conftest import defence

from ..kit.controls import without

__all__ = ["defence"]

pytestmark = pytest.mark.django_db(transaction=True)
CACHE = "django.middleware.cache"


@pytest.fixture
def client(settings: Any, jobs: SyncProgressManager) -> Client:
    update, fetch = f"{CACHE}.UpdateCacheMiddleware", f"{CACHE}.FetchFromCacheMiddleware"
    settings.MIDDLEWARE = [update, *settings.MIDDLEWARE, fetch]
    cache.clear()
    owner = User.objects.create_user("owner")
    jobs.create("a", owner=owner)
    client = Client()
    client.force_login(owner)
    return client


def list_url() -> str:
    request = RequestFactory().get("/")
    request.user = owner = User.objects.get()
    tag = Template("{% load import_progress %}{% import_progress_list owner=owner %}")
    html = tag.render(Context({"request": request, "owner": owner}))
    return html.split('data-list="')[1].split('"')[0]


def urls() -> dict[str, str]:
    ticket = make_ticket("a")
    return {
        "list": list_url(),
        "snapshot": "/progress/jobs/a/",
        "ticket": f"/progress/jobs/{ticket}/",
        "stream": f"/progress/jobs/{ticket}/stream/",
        "streams": f"/progress/stream/?job={ticket}",
    }


def may_be_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (messages, job_list, views):
        monkeypatch.setattr(module, "NOT_CACHED", "max-age=60")
    monkeypatch.setitem(event_stream.HEADERS, "Cache-Control", "max-age=60")


@pytest.mark.parametrize("name", ["list", "snapshot", "ticket", "stream", "streams"])
@without(may_be_cached)
def test_each_request_gets_the_current_state(
    client: Client, jobs: SyncProgressManager, name: str
) -> None:
    url = urls()[name]
    first = b"".join(client.get(url))
    jobs.update("a", {"status": "done"})
    assert b"".join(client.get(url)) != first


def responses(client: Client) -> dict[str, Any]:
    found = {name: client.get(url) for name, url in urls().items()}
    for name in ("list", "snapshot"):
        headers = {"If-None-Match": found[name]["ETag"]}
        found[f"{name} again"] = client.get(urls()[name], headers=headers)
        assert found[f"{name} again"].status_code == 304
    found["forged list"] = client.get(urls()["list"][:-3] + "/")
    found["absent"] = client.get("/progress/jobs/absent/")
    found["too many"] = client.get("/progress/stream/")
    found["cancel"] = client.post("/progress/jobs/a/cancel/")
    return found


def test_every_response_is_private_and_not_stored(client: Client) -> None:
    """Before 5.2.15, Django's cache skipped only private responses."""
    for name, response in responses(client).items():
        assert response["Cache-Control"].startswith("private, no-store"), name
