"""Django's view hands its stream over: what is sent, and what is released meanwhile."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.asgi import get_asgi_application
from django.core.signals import request_finished
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject

from django_import_progress import ProgressManager, get_progress_manager
from django_import_progress.access.visitors import Visitor
from django_import_progress.asgi import ProgressStreams
from django_import_progress.web import hand_over, push, views
from django_import_progress.web.hand_over import MARKER, HandOver
from django_import_progress.web.limits import open_streams
from django_import_progress.web.push import PushedStream

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.stub import Connection, scope_of
from ..kit.waiting import until

__all__ = ["defence"]

STREAM = "/progress/jobs/a/stream/"
CLIENT = "user 7"

GetResponse = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
requests: list[weakref.ref[HttpRequest]] = []
"""The requests that the middleware has seen."""
instead: list[HttpResponse] = []
"""What the middleware returns instead of the view's response."""


@sync_and_async_middleware
def log_in(get_response: GetResponse) -> GetResponse:
    """Give the request a lazy user, and its response a cookie."""

    async def middleware(request: HttpRequest) -> HttpResponseBase:
        requests.append(weakref.ref(request))
        request.user = SimpleLazyObject(  # type: ignore[assignment]
            lambda: SimpleNamespace(pk=len(request.path) and 7, is_authenticated=True)
        )
        response = await get_response(request)
        response.set_cookie("seen", "yes")
        return instead.pop() if instead else response

    return middleware


@pytest.fixture(autouse=True)
def site_with_users(site: RedisProcess, settings: Any) -> None:
    settings.MIDDLEWARE = [f"{__name__}.log_in", "django.middleware.common.CommonMiddleware"]
    rule = {"AUTHORIZE": lambda user, job, action: user.pk == 7}
    settings.IMPORT_PROGRESS |= {**rule, "HEARTBEAT_SECONDS": 0.2}
    requests.clear()
    instead.clear()


@pytest.fixture
async def manager(site: RedisProcess) -> ProgressManager:
    manager = get_progress_manager()
    await manager.create("a")
    return manager


@pytest.fixture
async def finished() -> AsyncIterator[list[int]]:
    """What `request_finished` was sent for."""
    seen: list[int] = []

    def note(**_: Any) -> None:
        seen.append(threading.get_ident())

    request_finished.connect(note)
    yield seen
    request_finished.disconnect(note)


def nothing_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "hand_over_of", lambda _: None)


@without(nothing_is_handed_over)
async def test_django_has_finished_while_the_stream_is_open(
    manager: ProgressManager, finished: list[int]
) -> None:
    connection = Connection(scope_of(STREAM))
    async with connection.on(ProgressStreams(get_asgi_application())):
        await connection.shows("queued")
        assert len(finished) == 1
        await manager.update("a", {"n": 1})
        await connection.shows('"n":1')
        assert open_streams.of(CLIENT) == 1
    assert not open_streams.of(CLIENT)
    assert len(finished) == 1


def the_visitor_keeps_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Visitor, "without_request", lambda visitor: visitor)


@without(nothing_is_handed_over, the_visitor_keeps_the_request)
async def test_the_request_is_released(manager: ProgressManager) -> None:
    connection = Connection(scope_of(STREAM))
    async with connection.on(ProgressStreams(get_asgi_application())):
        await connection.shows("queued")
        gc.collect()
        assert [request() for request in requests] == [None]


async def test_the_head_of_the_response_is_that_of_djangos_own(manager: ProgressManager) -> None:
    django = get_asgi_application()
    heads = []
    for application in (django, ProgressStreams(django)):
        connection = Connection(scope_of(STREAM))
        async with connection.on(application):
            await connection.shows("queued")
        head = connection.sent[0]
        heads.append({**head, "headers": sorted(head["headers"])})
    assert heads[0] == heads[1]
    names = dict(heads[1]["headers"])
    assert b"seen=yes" in names[b"Set-Cookie"]
    assert b"Content-Length" not in names


def any_response_stands_for_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    original = HandOver._stands_for_stream

    def marked(self: HandOver, start: Any) -> bool:
        marker = (MARKER.encode(), b"")
        return original(self, {**start, "headers": [*start["headers"], marker]})

    monkeypatch.setattr(HandOver, "_stands_for_stream", marked)


@without(any_response_stands_for_the_stream)
async def test_middleware_may_return_another_response(manager: ProgressManager) -> None:
    instead.append(HttpResponse("Closed for today", status=503))
    connection = Connection(scope_of(STREAM))
    async with connection.on(ProgressStreams(get_asgi_application())) as task:
        await until(task.done, "the response")
        assert connection.sent[0]["status"] == 503
        assert connection.body == "Closed for today"
    assert not open_streams.of(CLIENT)


def nobody_notes_that_the_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    original = HandOver.__setattr__

    def forget(self: HandOver, name: str, value: Any) -> None:
        original(self, name, name != "_has_disconnected" and value)

    monkeypatch.setattr(HandOver, "__setattr__", forget)


@without(nobody_notes_that_the_client_has_left)
async def test_a_client_that_leaves_before_the_stream_is_sent(manager: ProgressManager) -> None:
    """A server need not say twice that the client has left: nobody would wait for it."""
    connection = Connection(scope_of(STREAM))

    async def left_meanwhile(scope: Any, receive: Any, send: Any) -> None:
        await get_asgi_application()(scope, receive, send)
        connection.leave()
        assert (await receive())["type"] in {"http.disconnect", "http.request"}

    task = asyncio.ensure_future(
        ProgressStreams(left_meanwhile)(connection.scope, connection._said.get, connection.send)
    )
    try:
        await until(task.done, "the request to end")
    finally:
        task.cancel()
        await asyncio.wait([task])
    assert connection.sent == []
    assert not open_streams.of(CLIENT)


def nobody_closes_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PushedStream, "close", lambda _: None)


@without(nobody_closes_a_stream)
async def test_a_response_that_fails_after_the_view_leaves_no_stream(
    manager: ProgressManager,
) -> None:
    kept = []

    async def fails(scope: Any, receive: Any, send: Any) -> None:
        await get_asgi_application()(scope, receive, send)
        kept.append(scope[hand_over._KEY].stream)
        raise ValueError("a fault")

    connection = Connection(scope_of(STREAM))
    async with connection.on(ProgressStreams(fails)) as task:
        await asyncio.wait([task])
        assert str(task.exception()) == "a fault"
    assert kept[0] is not None
    assert not open_streams.of(CLIENT)


def nobody_relieves_the_pump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push.Pump, "_hand_over", lambda _: None)


@without(nobody_relieves_the_pump)
async def test_one_check_that_takes_long_holds_up_no_other_stream(
    manager: ProgressManager, settings: Any
) -> None:
    checking, may_go_on = asyncio.Event(), asyncio.Event()
    is_open = False

    async def rule(user: Any, job: Any, action: str) -> bool:
        if is_open and job.job_id == "slow":
            checking.set()
            await may_go_on.wait()
            return False
        return True

    settings.IMPORT_PROGRESS |= {"AUTHORIZE": rule}
    await manager.create("slow")
    site = ProgressStreams(get_asgi_application())
    slow = Connection(scope_of("/progress/jobs/slow/stream/"))
    other = Connection(scope_of(STREAM))
    async with slow.on(site) as task, other.on(site):
        await slow.shows("queued")
        await other.shows("queued")
        is_open = True
        await until(checking.is_set, "the check of the slow one")
        await manager.update("slow", {"n": 1})
        await manager.update("a", {"n": 1})
        await other.shows('"n":1')
        may_go_on.set()
        await until(task.done, "the slow one to be closed")
        assert '"n":1' not in slow.body


async def test_a_stranger_gets_a_404_and_nothing_is_opened(
    manager: ProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"AUTHORIZE": lambda user, job, action: False}
    connection = Connection(scope_of(STREAM))
    async with connection.on(ProgressStreams(get_asgi_application())) as task:
        await asyncio.wait([task])
    assert connection.sent[0]["status"] == 404
    assert MARKER.lower() not in str(connection.sent).lower()
    assert not open_streams.of(CLIENT)
