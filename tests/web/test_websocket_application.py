"""The WebSocket consumers as ASGI applications, called without a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from channels.routing import URLRouter

from django_import_progress import SyncProgressManager, get_progress_manager, routing
from django_import_progress.access import make_ticket
from django_import_progress.web.limits import open_streams
from django_import_progress.web.websocket import Socket
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.tracked import JOB
from ..kit.visitors import subscribers
from ..kit.waiting import until

__all__ = ["defence"]

CONNECT = {"type": "websocket.connect"}


class Client:
    """Plays the server and its client; clear `open` to stop reading."""

    def __init__(self) -> None:
        self._said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.heard: list[dict[str, Any]] = []
        self.open = asyncio.Event()
        self.open.set()

    def say(self, action: str, job: str) -> None:
        """Send a command."""
        text = json.dumps({"action": action, "job": job})
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    async def hears(self, **fields: Any) -> None:
        """Wait for a message with these fields."""
        await until(
            lambda: any(fields.items() <= json.loads(m["text"]).items() for m in self.messages),
            f"{fields} to be heard",
        )

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the messages since the socket was accepted."""
        return [message for message in self.heard if message["type"] == "websocket.send"]

    async def receive(self) -> dict[str, Any]:
        """The `receive` that the application gets."""
        return await self._said.get()

    async def send(self, message: dict[str, Any]) -> None:
        """The `send` that the application gets."""
        await self.open.wait()
        self.heard.append(message)

    @asynccontextmanager
    async def at(self, path: str, **scope: Any) -> AsyncIterator[asyncio.Task[None]]:
        """Connect; yield the application's task."""
        self._said.put_nowait(CONNECT)
        application = URLRouter(routing.websocket_urlpatterns)
        scope = {"type": "websocket", "path": path, "headers": [], **scope}
        task = asyncio.ensure_future(application(scope, self.receive, self.send))
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@pytest.fixture
def client() -> Client:
    return Client()


def nobody_closes_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Socket, "close", lambda _: None)


@without(nobody_closes_a_socket)
async def test_a_server_that_cancels_the_application_leaves_no_watcher_behind(
    client: Client, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB)
    async with client.at(f"/jobs/{make_ticket(JOB)}/") as task:
        await client.hears(job_id=JOB)
        task.cancel()
        await until(lambda: not subscribers(jobs, JOB), "the hub to unsubscribe")
        await until(lambda: not open_streams, "nothing to be counted")


async def test_without_channels_middleware_everybody_is_a_stranger(
    client: Client, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB, owner=7)
    async with client.at("/", client=None):
        client.say("watch", JOB)
        await client.hears(job=JOB)
        client.say("watch", make_ticket(JOB))
        await client.hears(job_id=JOB)


async def test_a_job_that_is_left_while_another_is_told_ends_nothing(
    client: Client, jobs: SyncProgressManager
) -> None:
    async with client.at("/"):
        for job_id in ("a", "b"):
            client.say("watch", make_ticket(jobs.create(job_id)))
            await client.hears(job_id=job_id)
        client.open.clear()
        for job_id in ("a", "b"):
            jobs.update(job_id, {"n": 1})
        for job_id in ("a", "b"):
            client.say("unwatch", job_id)
        await until(lambda: not subscribers(jobs, "a") and not subscribers(jobs, "b"), "them to go")
        client.open.set()
        client.say("watch", make_ticket(jobs.create("c")))
        await client.hears(job_id="c")


async def test_a_hub_that_is_closed_ends_its_sockets(
    client: Client, jobs: SyncProgressManager
) -> None:
    async with client.at(f"/jobs/{make_ticket(jobs.create(JOB))}/") as task:
        await client.hears(job_id=JOB)
        hub = get_progress_manager()._hub
        assert hub is not None
        await hub.aclose()
        await task
    assert client.heard[-1] == {"type": "websocket.close", "code": 1001}


def waits_for_who_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def say(self: Socket, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    monkeypatch.setattr(Socket, "_send_text", say)


@without(waits_for_who_takes_nothing)
async def test_who_takes_nothing_for_a_heartbeat_is_let_go(
    client: Client, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.2}
    async with client.at(f"/jobs/{make_ticket(jobs.create(JOB))}/") as task:
        await client.hears(job_id=JOB)
        client.open.clear()
        jobs.update(JOB, {"n": 1})
        await until(task.done, "the application to end", seconds=5)
    assert not open_streams


async def test_a_client_that_goes_while_it_is_told_is_no_error(
    client: Client, jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with client.at(f"/jobs/{make_ticket(jobs.create(JOB))}/") as task:
        await client.hears(job_id=JOB)

        def gone() -> None:
            raise OSError  # As uvicorn does.

        monkeypatch.setattr(client.open, "wait", gone)
        jobs.update(JOB, {"n": 1})
        await task
