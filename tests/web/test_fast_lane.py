"""The fast lane: requests it serves, requests it leaves to Django, and sending to a stub server.

The contents of a stream are tested in `test_streams.py`, with and without the fast lane.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.core.asgi import get_asgi_application

from django_import_progress import ProgressManager, asgi, get_progress_manager
from django_import_progress.access import make_ticket
from django_import_progress.asgi import ProgressStreams
from django_import_progress.web import push
from django_import_progress.web.limits import open_streams
from django_import_progress.web.push import PushedStream

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.servers import ROOT
from ..kit.stub import Connection, Message, nobody, scope_of
from ..kit.waiting import until

__all__ = ["defence"]

TICKET = make_ticket("a")
STREAM = f"/progress/jobs/{TICKET}/stream/"


ALONE = ProgressStreams(nobody)


@pytest.fixture
async def manager(site: RedisProcess) -> ProgressManager:
    manager = get_progress_manager()
    await manager.create("a")
    return manager


async def is_passed_on(scope: Message) -> bool:
    """Return whether the fast lane leaves the request to Django."""
    asked = []

    async def django(*args: Any) -> None:
        asked.append(args)

    connection = Connection(scope)
    async with connection.on(ProgressStreams(django)) as task:
        await until(lambda: connection.sent or task.done(), "an answer")
    return bool(asked)


MANY = "&".join(f"job={make_ticket(str(number))}" for number in range(101))
SEVERAL = f"/progress/stream/?job={TICKET}&job={make_ticket('b', cancel=True)}"


@pytest.mark.parametrize(
    "scope",
    [
        scope_of(STREAM),
        scope_of(f"/lane{STREAM}", root_path="/lane"),
        scope_of(f"{SEVERAL}&job={TICKET}"),
        scope_of(f"/progress/stream/?job={TICKET.replace('@', '%40').replace(':', '%3A')}"),
        scope_of(f"/orders/jobs/{make_ticket('a', namespace='order_imports')}/stream/"),
        scope_of(STREAM, headers=[(b"host", b"localhost"), (b"last-event-id", b"1-2-3")]),
        scope_of(STREAM, client=None),
    ],
)
async def test_it_answers_by_itself(manager: ProgressManager, scope: Message) -> None:
    assert not await is_passed_on(scope)


@pytest.mark.parametrize(
    "scope",
    [
        {"type": "lifespan"},
        scope_of(STREAM, type="websocket"),
        *(scope_of(STREAM, method=method) for method in ("HEAD", "POST", "OPTIONS")),
        *(scope_of(path) for path in ("/", "/stream/", "/progress/jobs/a/", "/mine/")),
        scope_of(f"/progress/jobs/{TICKET}/"),
        scope_of("/progress/jobs/a/stream/"),
        scope_of(f"/progress/jobs/{TICKET}x/stream/"),
        scope_of("/progress/jobs/@/stream/"),
        scope_of(f"/orders/jobs/{TICKET}/stream/"),
        scope_of("/progress/stream/"),
        scope_of(f"{SEVERAL}&job=b"),
        scope_of(f"{SEVERAL}&job=@"),
        scope_of(f"/progress/stream/?{MANY}"),
        scope_of(f"/progress/stream/?{'x=1&' * 2000}job={TICKET}"),
        scope_of(STREAM, query_string=b"\xff"),
    ],
)
async def test_it_passes_on_what_is_no_stream_by_tickets(
    manager: ProgressManager, scope: Message
) -> None:
    assert await is_passed_on(scope)


def lets_middleware_be_middleware(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "_needs_middleware", lambda _: False)


@pytest.mark.parametrize(
    "header",
    [
        (b"host", b"elsewhere.example"),
        (b"origin", b"https://elsewhere.example"),
        (b"last-event-id", b"end-0123456789abcdef0123456789abcdef"),
    ],
    ids=str,
)
@without(lets_middleware_be_middleware)
async def test_it_passes_on_what_may_need_another_answer(
    manager: ProgressManager, header: tuple[bytes, bytes]
) -> None:
    headers = [header] if header[0] == b"host" else [(b"host", b"localhost"), header]
    assert await is_passed_on(scope_of(STREAM, headers=headers))


@without(lets_middleware_be_middleware)
async def test_it_passes_on_what_is_to_be_redirected(
    manager: ProgressManager, settings: Any
) -> None:
    settings.SECURE_SSL_REDIRECT = True
    assert await is_passed_on(scope_of(STREAM))
    assert not await is_passed_on(scope_of(STREAM, scheme="https"))


@pytest.mark.parametrize("of", ["MAX_STREAMS", "MAX_STREAMS_PER_CLIENT"])
async def test_it_passes_on_who_comes_when_there_are_too_many(
    manager: ProgressManager, settings: Any, of: str
) -> None:
    await until(lambda: not open_streams, "the streams of other tests to go")
    settings.IMPORT_PROGRESS |= {of: 1}
    connection = Connection(scope_of(STREAM))
    async with connection.on(ALONE):
        await connection.shows("queued")
        assert open_streams.of("address 192.0.2.1") == 1
        assert await is_passed_on(scope_of(STREAM))
    assert not await is_passed_on(scope_of(STREAM))


async def test_it_finds_streams_where_the_project_has_them(
    manager: ProgressManager, settings: Any
) -> None:
    settings.ROOT_URLCONF = "tests.site.no_urls"
    assert await is_passed_on(scope_of(STREAM))


async def test_django_says_what_is_wrong_with_the_setting(
    manager: ProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"TICKET_SECONDS": "soon"}
    assert await is_passed_on(scope_of(STREAM))


async def test_the_head_of_the_answer_is_the_same_as_djangos(
    manager: ProgressManager, settings: Any
) -> None:
    settings.MIDDLEWARE = []
    heads = []
    for application in (get_asgi_application(), ProgressStreams(nobody)):
        for path in (STREAM, SEVERAL):
            connection = Connection(scope_of(path))
            async with connection.on(application):
                await connection.shows("queued")
            heads.append(connection.sent[0])
    assert heads == [heads[0]] * 4


async def test_several_jobs_are_told_of_until_the_last_has_ended(manager: ProgressManager) -> None:
    await manager.create("b")
    connection = Connection(scope_of(SEVERAL))
    async with connection.on(ALONE) as task:
        await manager.update("a", {"status": "done"})
        await connection.shows('"status":"done"')
        await manager.update("b", {"status": "done"})
        await asyncio.wait([task])
    assert connection.body.count('"status":"done"') == 2
    assert "event: end" in connection.body
    assert connection.sent[-1] == {"type": "http.response.body"}
    assert not open_streams.of("address 192.0.2.1")


def nobody_relieves_the_pump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push.Pump, "_hand_over", lambda _: None)


@without(nobody_relieves_the_pump)
async def test_a_server_that_waits_holds_up_nobody_else_and_is_then_told_the_newest(
    manager: ProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"MAX_UPDATES_PER_SECOND": 1000}
    slow, other = Connection(scope_of(STREAM)), Connection(scope_of(STREAM))
    async with slow.on(ALONE), other.on(ALONE):
        await slow.shows("queued")
        slow.takes.clear()
        for number in range(5):
            await manager.update("a", {"n": number})
            await other.shows(f'"n":{number}')
        sent = len(slow.sent)
        slow.takes.set()
        await slow.shows('"n":4')
        # The one that was on its way, and the newest.
        assert len(slow.sent) - sent <= 2
        await manager.update("a", {"n": 5})
        await slow.shows('"n":5')


async def test_so_do_many_who_are_sent_to_in_turn(manager: ProgressManager) -> None:
    number = push.AT_ONCE + 2
    connections = [Connection(scope_of(STREAM)) for _ in range(number)]
    async with AsyncExitStack() as stack:
        for connection in connections:
            await stack.enter_async_context(connection.on(ALONE))
        for connection in connections:
            await connection.shows("queued")
        await manager.update("a", {"n": 1})
        for connection in connections:
            await connection.shows('"n":1')


Leaving = Callable[[Connection, "asyncio.Task[None]"], object]


def nobody_closes_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PushedStream, "close", lambda _: None)


@pytest.mark.parametrize("is_stuck", [False, True])
@pytest.mark.parametrize(
    "leaves",
    [lambda connection, _: connection.leave(), lambda _, task: task.cancel()],
    ids=["the client", "the server"],
)
@without(nobody_closes_a_stream)
async def test_whoever_leaves_lets_go_of_all(
    manager: ProgressManager, leaves: Leaving, is_stuck: bool, defence: bool
) -> None:
    connection = Connection(scope_of(STREAM))
    async with connection.on(ALONE) as task:
        await connection.shows("queued")
        before = len(asyncio.all_tasks())
        if is_stuck:
            connection.takes.clear()
            await manager.update("a", {"n": 1})
            await until(lambda: len(asyncio.all_tasks()) > before, "the pump to wait")
        leaves(connection, task)
        await asyncio.wait([task])
        assert not open_streams.of("address 192.0.2.1")
        await until(lambda: len(asyncio.all_tasks()) < before, "the pump to end")
        await until(lambda: "0 watchers" in repr(manager._hub), "the watcher to go")


@pytest.mark.parametrize(
    ("error", "is_raised"), [(OSError("gone"), False), (ValueError("a fault"), True)]
)
async def test_what_a_server_raises(
    manager: ProgressManager, error: Exception, is_raised: bool
) -> None:
    connection, other = Connection(scope_of(STREAM)), Connection(scope_of(STREAM))
    async with connection.on(ALONE) as task, other.on(ALONE):
        await connection.shows("queued")
        connection.raises = error
        await manager.update("a", {"n": 1})
        await asyncio.wait([task])
        assert task.exception() is (error if is_raised else None)
        await other.shows('"n":1')


def test_it_can_be_imported_before_anything_is_configured() -> None:
    code = "import django_import_progress.asgi as a; a.ProgressStreams(None)"
    subprocess.run([sys.executable, "-c", code], check=True, env={}, cwd=ROOT)
