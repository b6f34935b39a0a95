"""Limits of a WebSocket: message size and rate, number of jobs, age."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.core.pacing import TokenBucket
from django_import_progress.web import websocket
from django_import_progress.web.limits import open_streams
from tests.faults.conftest import defence

from ..kit.asgi import AsgiServer
from ..kit.controls import without
from ..kit.sockets import ask, close_code, hear, of_job, open_socket, say
from ..kit.tracked import JOB
from ..kit.waiting import wait_for

__all__ = ["defence"]

TOO_LONG = "x" * (64 * 1024 + 1)


def bears_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_MESSAGE_BYTES", 10**9)


@pytest.mark.parametrize("message", [TOO_LONG, TOO_LONG.encode(), "é" * 40_000])
@without(bears_any_size)
def test_a_message_that_is_too_long_ends_the_connection(
    prefix_socket: ClientConnection, message: str | bytes
) -> None:
    prefix_socket.send(message)
    assert close_code(prefix_socket) == 1009


def bears_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TokenBucket, "take", lambda *_: True)


@without(bears_any_number)
def test_a_flood_of_messages_ends_the_connection(
    live: AsgiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket, "MESSAGES_PER_SECOND", 0)
    with open_socket(f"{live.url}/ws/progress/") as connection:
        for _ in range(200):
            say(connection, "unwatch", "a")
        connection.send("one more")
        assert close_code(connection) == 1008


@contextmanager
def _watched(prefix_socket: ClientConnection, jobs: SyncProgressManager) -> Iterator[str]:
    for number in range(100):
        ask(prefix_socket, "watch", make_ticket(jobs.create(f"j{number}")))
    yield make_ticket(jobs.create(JOB))


def watches_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "MAX_JOBS", 1000)


@without(watches_any_number, fails_with=(KeyError,))
def test_a_hundred_jobs_are_watched_and_no_more(
    prefix_socket: ClientConnection, jobs: SyncProgressManager
) -> None:
    with _watched(prefix_socket, jobs) as ticket:
        assert "unwatch" in ask(prefix_socket, "watch", ticket)["error"]
        assert ask(prefix_socket, "watch", make_ticket("j7"))["job_id"] == "j7"
        say(prefix_socket, "unwatch", "j7")
        assert ask(prefix_socket, "watch", ticket)["job_id"] == JOB


@pytest.mark.parametrize("limit", ["MAX_STREAMS", "MAX_STREAMS_PER_CLIENT"])
@pytest.mark.parametrize("path", ["", "jobs/{ticket}/"])
def test_where_there_is_no_room_it_is_accepted_and_closed(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any, limit: str, path: str
) -> None:
    wait_for(lambda: not open_streams, "the streams of other tests to go")
    settings.IMPORT_PROGRESS |= {limit: 1}
    ticket = make_ticket(jobs.create(JOB))
    url = f"{live.url}/ws/progress/{path.format(ticket=ticket)}"
    with of_job(live, ticket) as first:
        hear(first)
        with open_socket(url) as second:
            assert close_code(second) == 1013
    wait_for(lambda: not open_streams, "the first to go")
    with of_job(live, ticket) as third:
        assert hear(third)["job_id"] == JOB


@pytest.mark.parametrize("path", ["no%20id", "a/b", "%0a", "a%2Fb", "x" * 200, "@", "é", "/"])
def test_an_id_that_cannot_be_is_refused(live: AsgiServer, path: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        of_job(live, path).__enter__()
    assert refusal.value.response.status_code == 403


def test_a_socket_that_is_too_old_is_closed(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"STREAM_SECONDS": 2, "HEARTBEAT_SECONDS": 0.5}
    with of_job(live, make_ticket(jobs.create(JOB))) as connection:
        hear(connection)
        assert close_code(connection) == 1001
