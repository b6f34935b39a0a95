"""Every endpoint decides for the user that the page sees, however the site has found that user."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from channels.auth import AuthMiddlewareStack
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.models import Session
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, HttpResponseBase
from django.test import Client, RequestFactory
from django.utils.functional import SimpleLazyObject

from django_import_progress import SyncProgressManager
from django_import_progress.access import Job, owner_or_staff, visitors
from django_import_progress.access.visitors import Nobody, Visitor, visitor_of
from django_import_progress.release import borrowed_thread
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.doors import DOORS
from tests.kit.sse import open_stream
from tests.kit.visitors import login
from tests.kit.waiting import wait_for
from tests.site.asgi import routes, with_lane

JOB = "the-job"
OVER_HTTP = ["json", "stream", "streams", "lane", "lane streams", "cancel"]

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def named_by_header(get_response: GetResponse) -> GetResponse:
    """Replace the user of a request that has a token, as those do who send JSON Web Tokens."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if name := request.headers.get("Authorization"):
            request.user = User.objects.get(username=name)
        return get_response(request)

    return middleware


def named_by_header_lazily(get_response: GetResponse) -> GetResponse:
    """Do it when a page asks for the user."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if name := request.headers.get("Authorization"):
            request.user = SimpleLazyObject(lambda: User.objects.get(username=name))  # type: ignore[assignment]
        return get_response(request)

    return middleware


@pytest.fixture
def serve(
    jobs: SyncProgressManager, settings: Any, transactional_db: None
) -> Callable[..., AsgiServer]:
    """Serves the site with more middleware."""

    def serve(*middleware: str) -> AsgiServer:
        settings.MIDDLEWARE = [*settings.MIDDLEWARE, *middleware]
        return AsgiServer(with_lane(ASGIStaticFilesHandler(get_asgi_application())))

    return serve


async def _who_logged_in(request: Any) -> Any:
    return await request.auser()


def asks_who_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore a user that a middleware set."""
    monkeypatch.setattr(visitors, "_page_user", _who_logged_in)


@pytest.mark.parametrize("middleware", [named_by_header, named_by_header_lazily])
@pytest.mark.parametrize("door", OVER_HTTP)
@without(asks_who_logged_in)
def test_a_user_whom_a_middleware_knows_by_a_header(
    serve: Callable[..., AsgiServer],
    jobs: SyncProgressManager,
    owner: User,
    other: User,
    door: str,
    middleware: GetResponse,
) -> None:
    jobs.create(JOB, owner=owner)
    knock, yes, no = DOORS[door].knock, DOORS[door].yes, DOORS[door].no
    with serve(f"{__name__}.{middleware.__name__}") as site, http.Client() as client:
        assert knock(client, site.url, JOB).status == no
        client.headers["Authorization"] = other.username
        assert knock(client, site.url, JOB).status == no
        client.headers["Authorization"] = owner.username
        assert knock(client, site.url, JOB).status == yes


IMPERSONATE = "impersonate.middleware.ImpersonateMiddleware"


def impersonating(staff: User, user: User) -> httpx.Client:
    """Return a client of one who is logged in and looks at the site as another user does."""
    browser = Client()
    browser.force_login(staff)
    session = browser.session
    session["_impersonate"] = user.pk
    session.save()
    return http.Client(cookies={"sessionid": str(session.session_key)})


@pytest.mark.parametrize("door", OVER_HTTP)
@without(asks_who_logged_in)
def test_who_impersonates_a_user_sees_what_that_user_sees(
    serve: Callable[..., AsgiServer],
    jobs: SyncProgressManager,
    owner: User,
    other: User,
    admin: User,
    door: str,
) -> None:
    jobs.create(JOB, owner=owner)
    knock, yes, no = DOORS[door].knock, DOORS[door].yes, DOORS[door].no
    with serve(IMPERSONATE) as site:
        with login(admin) as client:
            assert knock(client, site.url, JOB).status == yes
        with impersonating(admin, other) as client:
            assert knock(client, site.url, JOB).status == no
        with impersonating(admin, owner) as client:
            assert knock(client, site.url, JOB).status == yes


def impersonated(routes: Any) -> Any:
    """Do for WebSockets what the middleware does for pages."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        async with borrowed_thread():
            pk = await scope["session"].aget("_impersonate")
            if pk is not None:  # pragma: no branch - in an `async with` on Python 3.11
                scope = {**scope, "user": await User.objects.aget(pk=pk)}
        await routes(scope, receive, send)

    return application


def asks_the_session_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the user of the session for that of the socket."""

    async def user_now(self: Visitor) -> Any:
        session: Any = self.session
        return await User.objects.aget(pk=await session.aget("_auth_user_id"))

    monkeypatch.setattr(Visitor, "user_now", user_now)


@pytest.mark.parametrize("door", ["websocket watch", "websocket cancel"])
@without(asks_the_session_again)
def test_so_it_is_over_websockets(
    jobs: SyncProgressManager, owner: User, other: User, admin: User, door: str
) -> None:
    jobs.create(JOB, owner=owner)
    knock, yes, no = DOORS[door].knock, DOORS[door].yes, DOORS[door].no
    with AsgiServer(AuthMiddlewareStack(impersonated(routes))) as site:
        with login(admin) as client:
            assert knock(client, site.url, JOB).status == yes
        with impersonating(admin, other) as client:
            assert knock(client, site.url, JOB).status == no
        with impersonating(admin, owner) as client:
            assert knock(client, site.url, JOB).status == yes


@pytest.fixture
def admin(transactional_db: None) -> User:
    return User.objects.create_superuser("admin")


def logs_out(user: User, admin: User) -> None:
    Session.objects.all().delete()


def user_is_deactivated(user: User, admin: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


def admin_is_deactivated(user: User, admin: User) -> None:
    User.objects.filter(pk=admin.pk).update(is_active=False)


def by_header(admin: User, user: User) -> httpx.Client:
    return http.Client(headers={"Authorization": user.username})


@pytest.mark.parametrize(
    ("middleware", "client_of", "loses_access"),
    [
        (IMPERSONATE, impersonating, logs_out),
        (IMPERSONATE, impersonating, user_is_deactivated),
        (IMPERSONATE, impersonating, admin_is_deactivated),
        (f"{__name__}.{named_by_header.__name__}", by_header, user_is_deactivated),
    ],
)
def test_a_stream_lasts_as_long_as_all_who_look_are_users(
    serve: Callable[..., AsgiServer],
    jobs: SyncProgressManager,
    owner: User,
    admin: User,
    settings: Any,
    middleware: str,
    client_of: Callable[[User, User], httpx.Client],
    loses_access: Callable[[User, User], None],
) -> None:
    asked: list[Any] = []

    def rule(user: Any, job: Job, action: str) -> bool:
        asked.append(user.pk)
        return owner_or_staff(user, job, "watch")

    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.1, "AUTHORIZE": rule}
    jobs.create(JOB, owner=owner)
    with serve(middleware) as site, client_of(admin, owner) as client:
        url = f"{site.url}/progress/jobs/{JOB}/stream/"
        with open_stream(url, client) as (_, events):
            next(events)
            wait_for(lambda: len(asked) > 3, "several heartbeats")
            loses_access(owner, admin)
            assert list(events) == []
    assert set(asked[:4]) == {owner.pk}


@pytest.mark.parametrize("user", [None, SimpleLazyObject(lambda: None)])
async def test_a_user_who_is_none_is_nobody(user: Any) -> None:
    request = RequestFactory().get("/")
    request.user = user
    assert isinstance((await visitor_of(request)).user, Nobody)


async def test_a_page_without_a_login_has_an_anonymous_user() -> None:
    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    assert (await visitor_of(request)).user is request.user
