"""nginx in front, as Debian installs it, with a `proxy_pass` and nothing for event streams."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.conf import Settings
from django_import_progress.watch.subscriber import Subscriber
from django_import_progress.watch.watched_job import WatchedJob
from django_import_progress.web import views
from django_import_progress.web.event_stream import OpenStream
from tests.conftest import missing
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.crowd import Stream, Visitor, all_comes_through, crowd, path_of
from tests.kit.nginx import Nginx, nginx_binary, passed_on
from tests.kit.processes import RedisProcess
from tests.kit.servers import ServerProcess, documented, in_the_server
from tests.kit.sockets import hear, open_socket
from tests.kit.tracked import JOB
from tests.kit.visitors import subscribers
from tests.kit.waiting import until
from tests.site.asgi import application

CUT = (asyncio.IncompleteReadError,)


@pytest.fixture
def nginx() -> str:
    binary = nginx_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("nginx")
    return str(binary)


def nothing_tells_nginx_not_to_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(views.HEADERS, "X-Accel-Buffering")


@without(nothing_tells_nginx_not_to_buffer)
async def test_each_event_comes_through_at_once(
    site: RedisProcess, jobs: SyncProgressManager, nginx: str
) -> None:
    with AsgiServer(application) as web, Nginx(nginx, web.port) as proxy:
        await all_comes_through(proxy.port, jobs)


def nothing_is_read_but_at_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    request_read = Subscriber.request_read

    def at_a_heartbeat(link: Subscriber, slot: WatchedJob, *, heartbeat: bool = False) -> None:
        if heartbeat:  # pragma: no cover - the control ends before
            request_read(link, slot, heartbeat=heartbeat)

    monkeypatch.setattr(Subscriber, "request_read", at_a_heartbeat)


@without(in_the_server(nothing_is_read_but_at_a_heartbeat))
async def test_a_client_that_tries_again_after_a_502_sees_the_current_state(
    server: RedisProcess, jobs: SyncProgressManager, nginx: str
) -> None:
    job_id = jobs.create()
    with ServerProcess(server.url) as web, Nginx(nginx, web.port) as proxy:
        async with crowd([Visitor(proxy.port, path_of(job_id))]) as (visitor,):
            await until(lambda: subscribers(jobs, job_id), "the subscription")
            jobs.update(job_id, {"n": 1})
            await until(lambda: visitor.shown.get("n") == 1, "the first update")
            web.kill()
            jobs.update(job_id, {"n": 2})
            await until(lambda: visitor.statuses[-1] == 502, "nginx to have nobody to ask")
            await asyncio.to_thread(web.start)
            await until(lambda: visitor.shown["n"] == 2, "what was missed")


def nginx_is_told_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Nginx.__init__

    def without_it(nginx: Nginx, binary: str, upstream: int, more: str) -> None:
        start(nginx, binary, upstream, more.replace("proxy_http_version 1.1;", ""))

    monkeypatch.setattr(Nginx, "__init__", without_it)


@without(nginx_is_told_no_version, fails_with=(InvalidStatus,))
def test_a_websocket_comes_through_to_a_server_that_heeds_no_upgrade_in_http_1_0(
    server: RedisProcess, jobs: SyncProgressManager, nginx: str
) -> None:
    _, sockets = passed_on("docs/servers.md")
    path = f"/ws/progress/jobs/{make_ticket(jobs.create(JOB))}/"
    with (
        ServerProcess(server.url, documented("hypercorn")) as web,
        Nginx(nginx, web.port, sockets) as proxy,
        open_socket(f"http://127.0.0.1:{proxy.port}{path}") as connection,
    ):
        assert hear(connection)["job_id"] == JOB


def nothing_is_sent_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenStream, "_check", lambda _: None)


@without(nothing_is_sent_that_says_nothing, fails_with=CUT)
async def test_a_heartbeat_keeps_an_idle_stream_open(
    site: RedisProcess, jobs: SyncProgressManager, nginx: str, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "HEARTBEAT_SECONDS": 0.5}
    await stays_open(jobs, nginx, heartbeats=6, more="proxy_read_timeout 2s;")


def the_heartbeat_is_longer_than_nginx_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Settings, "heartbeat_seconds", 75)  # pragma: no cover - takes minutes


@pytest.mark.soak
@pytest.mark.timeout(200)
@without(the_heartbeat_is_longer_than_nginx_waits, fails_with=CUT)
async def test_the_default_heartbeat_keeps_an_idle_stream_open(
    site: RedisProcess, jobs: SyncProgressManager, nginx: str
) -> None:
    await stays_open(jobs, nginx, heartbeats=6)  # pragma: no cover - takes minutes


async def stays_open(
    jobs: SyncProgressManager, nginx: str, heartbeats: int, more: str = ""
) -> None:
    """Wait for so many heartbeats through nginx, with nothing else to tell."""
    with AsgiServer(application) as web, Nginx(nginx, web.port, more) as proxy:
        async with await Stream.open(proxy.port, path_of(jobs.create())) as stream:
            await stream.event()
            while heartbeats:
                assert await anext(stream.blocks) == ":"
                heartbeats -= 1
