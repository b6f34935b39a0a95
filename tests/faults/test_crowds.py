"""Many who watch at once: they come back spread out, and hold nothing but a socket each."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from django.test import Client

from django_import_progress import SyncProgressManager
from django_import_progress.web import event_stream
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.crowd import Visitor, crowd, path_of
from tests.kit.held import open_files
from tests.kit.processes import RedisProcess
from tests.kit.servers import ServerProcess, in_the_server
from tests.kit.waiting import until
from tests.kit.wires import SocketWire, SseWire, Wire

VISITORS = 500
STREAMS = 200


def everybody_waits_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "RETRY_MILLISECONDS", (2000, 2000))
    monkeypatch.setattr(event_stream.retry, "__defaults__", ((2000, 2000),))


@without(in_the_server(everybody_waits_two_seconds))
async def test_the_clients_of_a_server_that_was_killed_come_back_spread_out(
    server: RedisProcess, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"n": 1})
    path = path_of(job_id)
    with ServerProcess(server.url, MAX_STREAMS_PER_CLIENT=VISITORS * 2) as site:
        async with crowd(Visitor(site.port, path) for _ in range(VISITORS)) as visitors:
            await until(lambda: all(v.shown.get("n") == 1 for v in visitors), "all to be there")
            site.kill()
            jobs.update(job_id, {"n": 2})
            await asyncio.to_thread(site.start)
            await until(lambda: all(v.shown["n"] == 2 for v in visitors), "all to be back")
        came_back = [moment for v in visitors for moment in v.attempts[1:]]
    assert len(came_back) >= VISITORS
    assert busiest(came_back, seconds=0.2) < VISITORS / 2


def busiest(moments: Sequence[float], seconds: float) -> int:
    """Return the most that happened within so many seconds."""
    return max(sum(0 <= other - first < seconds for other in moments) for first in moments)


async def _nothing() -> None:
    pass


def the_request_is_not_released(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "release_request", _nothing)


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def cookie(owner: User) -> dict[str, str]:
    """The header of a browser in which the owner is logged in."""
    browser = Client()
    browser.force_login(owner)
    return {"Cookie": f"sessionid={browser.cookies['sessionid'].value}"}


@without(the_request_is_not_released)
async def test_idle_streams_hold_no_database_connection_and_no_thread(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, cookie: dict[str, str], settings: Any
) -> None:
    await hold_nothing(SseWire, live, jobs, owner, cookie, settings)


async def test_nor_do_idle_websockets(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, cookie: dict[str, str], settings: Any
) -> None:
    await hold_nothing(SocketWire, live, jobs, owner, cookie, settings)


async def hold_nothing(
    wire: type[Wire],
    live: AsgiServer,
    jobs: SyncProgressManager,
    owner: User,
    cookie: dict[str, str],
    settings: Any,
) -> None:
    settings.IMPORT_PROGRESS |= {"MAX_STREAMS_PER_CLIENT": STREAMS}
    job_id = jobs.create(owner=owner)
    database = str(connections["default"].settings_dict["NAME"])
    threads, files = threading.active_count(), open_files(database)
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS):
            # By its bare id, so that the database is asked who this is.
            watching = await stack.enter_async_context(await wire.of(live.port, job_id, cookie))
            assert (await watching.shown())["status"] == "queued"
        await until(lambda: threading.active_count() <= threads + 2, "the threads to end")
        await until(lambda: open_files(database) <= files + 1, "the connections to be closed")
