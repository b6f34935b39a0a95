"""Middleware and settings of a site do not come between a stream and its viewer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.db import connections
from django.http import HttpRequest, HttpResponseBase

from django_import_progress import SyncProgressManager
from django_import_progress.web import views
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.crowd import all_comes_through
from tests.kit.processes import RedisProcess
from tests.site.asgi import HANDED, with_lane

pytestmark = pytest.mark.usefixtures("transactional_db")


def nothing_says_that_it_is_not_to_be_compressed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(views.HEADERS, "Content-Encoding")


@without(nothing_says_that_it_is_not_to_be_compressed)
async def test_gzip(site: RedisProcess, jobs: SyncProgressManager, settings: Any) -> None:
    settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware", *settings.MIDDLEWARE]
    await comes_through(jobs)


def a_login_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views.stream, "login_required", True)


@without(a_login_is_required)
async def test_login_required(site: RedisProcess, jobs: SyncProgressManager, settings: Any) -> None:
    middleware = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, middleware]
    await comes_through(jobs)


@pytest.fixture
def atomic_requests() -> Iterator[None]:
    connections.settings["default"]["ATOMIC_REQUESTS"] = True
    yield
    connections.settings["default"]["ATOMIC_REQUESTS"] = False


def the_view_is_atomic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views.stream, "_non_atomic_requests", set())


@without(the_view_is_atomic)
async def test_atomic_requests(
    site: RedisProcess, jobs: SyncProgressManager, atomic_requests: None
) -> None:
    await comes_through(jobs)


GetResponse = Callable[[HttpRequest], HttpResponseBase]


def sync_middleware(get_response: GetResponse) -> GetResponse:
    """Do nothing, in a thread, which is where Django runs what is not a coroutine."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return get_response(request)

    return middleware


@pytest.mark.parametrize("debug", [True, False])
async def test_sync_middleware_and_debug(
    site: RedisProcess, jobs: SyncProgressManager, settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    middleware = f"{__name__}.{sync_middleware.__name__}"
    settings.MIDDLEWARE = [middleware, *settings.MIDDLEWARE, middleware]
    await comes_through(jobs)


async def comes_through(jobs: SyncProgressManager) -> None:
    """See each update of a job, and its end, at once."""
    with AsgiServer(with_lane(get_asgi_application())) as web:
        for prefix in ("", HANDED):
            await all_comes_through(web.port, jobs, prefix)
