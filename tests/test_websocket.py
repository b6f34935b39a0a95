"""What a WebSocket of the site says, and what may be said to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib.auth.models import User
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection

from django_import_progress import SyncProgressManager, sockets, track_import
from django_import_progress.access import make_ticket
from django_import_progress.core.pacing import Allowance
from django_import_progress.limits import open_streams
from django_import_progress.visitors import Visitor
from tests.faults.conftest import defence

from .kit import http
from .kit.asgi import AsgiServer
from .kit.controls import without
from .kit.sockets import ask, close_code, hear, open_socket, say
from .kit.tracked import JOB, state
from .kit.visitors import login, subscribers
from .kit.waiting import wait_for

__all__ = ["defence"]

NO_SUCH_JOB = "There is no such job."
TOO_LONG = "x" * (64 * 1024 + 1)


@pytest.fixture
def socket(live: AsgiServer) -> Iterator[ClientConnection]:
    """The WebSocket of the prefix itself."""
    with open_socket(f"{live.url}/ws/progress/") as connection:
        yield connection


@contextmanager
def of_job(live: AsgiServer, reference: str, **how: Any) -> Iterator[ClientConnection]:
    """Give the WebSocket of one job."""
    with open_socket(f"{live.url}/ws/progress/jobs/{reference}/", **how) as connection:
        yield connection


def test_one_job_is_told_until_its_end(live: AsgiServer, jobs: SyncProgressManager) -> None:
    ticket = make_ticket(jobs.create(JOB, data={"total_rows": 4}))
    with of_job(live, ticket) as connection:
        assert hear(connection) == http.get(f"{live.url}/progress/jobs/{ticket}/").json()
        jobs.update(JOB, {"processed_rows": 1})
        assert hear(connection)["percent"] == 25.0
        jobs.update(JOB, {"status": "done"})
        assert hear(connection)["percent"] == 100.0
        assert close_code(connection) == 1000
    wait_for(lambda: not subscribers(jobs, JOB), "the hub to unsubscribe")


def test_a_job_that_is_not_there_yet_is_waited_for(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    with of_job(live, make_ticket(JOB)) as connection:
        wait_for(lambda: subscribers(jobs, JOB), "the hub to subscribe")
        jobs.create(JOB)
        assert hear(connection)["status"] == "queued"


def test_a_job_that_is_deleted_is_gone(live: AsgiServer, jobs: SyncProgressManager) -> None:
    with of_job(live, make_ticket(jobs.create(JOB))) as connection:
        hear(connection)
        jobs.delete(JOB)
        assert hear(connection) == {"job_id": JOB, "gone": True}
        assert close_code(connection) == 1000


def test_another_namespace_has_routes_of_its_own(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    orders = SyncProgressManager(jobs.redis, namespace="order_imports")
    orders.create(JOB, data={"stage": "orders"})
    ticket = make_ticket(JOB, namespace="order_imports")
    with open_socket(f"{live.url}/ws/orders/jobs/{ticket}/") as connection:
        assert hear(connection)["stage"] == "orders"


def test_whatever_is_said_to_one_jobs_socket_is_passed_over(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    with of_job(live, make_ticket(jobs.create(JOB))) as connection:
        hear(connection)
        connection.send("hello")
        jobs.update(JOB, {"status": "done"})
        assert hear(connection)["status"] == "done"


def test_the_client_says_which_jobs_it_watches(
    socket: ClientConnection, jobs: SyncProgressManager
) -> None:
    tickets = {job_id: make_ticket(jobs.create(job_id)) for job_id in ("a", "b:c")}
    for job_id, ticket in tickets.items():
        assert ask(socket, "watch", ticket)["job_id"] == job_id
    assert ask(socket, "watch", tickets["a"])["job_id"] == "a"  # Again, from its state on.
    say(socket, "unwatch", tickets["b:c"])
    say(socket, "unwatch", "never watched")
    wait_for(lambda: not subscribers(jobs, "b:c"), "the hub to unsubscribe")
    jobs.update("b:c", {"n": 1})
    jobs.update("a", {"status": "done"})
    assert hear(socket)["status"] == "done"
    assert ask(socket, "watch", tickets["b:c"])["n"] == 1  # It is open still.
    jobs.delete("b:c")
    assert hear(socket) == {"job_id": "b:c", "gone": True}


BAD = [
    "",
    "no JSON",
    "[]",
    "{}",
    "[" * 60_000,
    '{"action": "watch"}',
    '{"action": "watch", "job": 7}',
]
BAD += [
    '{"action": "fly", "job": "a"}',
    '{"action": ["watch"], "job": "a"}',
    "NaN",
    b"{}",
    "\ud800",
]


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_a_malformed_message_gets_an_error_and_ends_nothing(
    socket: ClientConnection, jobs: SyncProgressManager, message: str | bytes
) -> None:
    is_text = isinstance(message, str)
    socket.send(message.encode("utf-8", "replace") if is_text else message, text=is_text)
    assert set(hear(socket)) == {"error"}
    assert ask(socket, "watch", make_ticket(jobs.create(JOB)))["job_id"] == JOB


@pytest.mark.parametrize("reference", ["*", "{}", "a\nb", "@", "@x", "é", "x" * 50_000, ""])
@pytest.mark.parametrize("action", ["watch", "cancel"])
def test_what_cannot_be_a_job_is_one_that_is_not_there(
    socket: ClientConnection, action: str, reference: str
) -> None:
    assert ask(socket, action, reference) == {"error": NO_SUCH_JOB, "job": reference}


def test_an_import_is_cancelled(socket: ClientConnection, jobs: SyncProgressManager) -> None:
    ticket = make_ticket(JOB, cancel=True)
    with track_import(JOB) as job:
        for _ in job.rows(iter(int, 1)):  # pragma: no branch
            if not job.processed:
                assert ask(socket, "cancel", ticket)["cancelling"]
    assert state(jobs)["status"] == "cancelled"
    assert ask(socket, "cancel", ticket) == {"error": "The job has ended.", "job": ticket}


def bears_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_MESSAGE_BYTES", 10**9)


@pytest.mark.parametrize("message", [TOO_LONG, TOO_LONG.encode(), "é" * 40_000])
@without(bears_any_size)
def test_a_message_that_is_too_long_ends_the_connection(
    socket: ClientConnection, message: str | bytes
) -> None:
    socket.send(message)
    assert close_code(socket) == 1009


def bears_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Allowance, "take", lambda *_: True)


@without(bears_any_number)
def test_a_flood_of_messages_ends_the_connection(
    live: AsgiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MESSAGES_PER_SECOND", 0)
    with open_socket(f"{live.url}/ws/progress/") as connection:
        for _ in range(200):
            say(connection, "unwatch", "a")
        connection.send("one more")
        assert close_code(connection) == 1008


@contextmanager
def _watched(socket: ClientConnection, jobs: SyncProgressManager) -> Iterator[str]:
    for number in range(100):
        ask(socket, "watch", make_ticket(jobs.create(f"j{number}")))
    yield make_ticket(jobs.create(JOB))


def watches_any_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MAX_JOBS", 1000)


@without(watches_any_number, fails_with=(KeyError,))
def test_a_hundred_jobs_are_watched_and_no_more(
    socket: ClientConnection, jobs: SyncProgressManager
) -> None:
    with _watched(socket, jobs) as ticket:
        assert "unwatch" in ask(socket, "watch", ticket)["error"]
        assert ask(socket, "watch", make_ticket("j7"))["job_id"] == "j7"
        say(socket, "unwatch", "j7")
        assert ask(socket, "watch", ticket)["job_id"] == JOB


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


def test_without_redis_a_ticket_waits_and_a_bare_id_comes_back(
    live: AsgiServer, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    with of_job(live, JOB) as connection:
        assert close_code(connection) == 1013
    with of_job(live, make_ticket(JOB)) as connection, pytest.raises(TimeoutError):
        connection.recv(timeout=0.3)
    with open_socket(f"{live.url}/ws/progress/") as connection:
        error = "Progress is unavailable right now."
        assert ask(connection, "watch", JOB) == {"error": error, "job": JOB}


def asks_about_the_user_of_the_handshake(monkeypatch: pytest.MonkeyPatch) -> None:
    async def user(visitor: Visitor) -> Any:
        return visitor.user

    monkeypatch.setattr(Visitor, "user_now", user)


@without(asks_about_the_user_of_the_handshake)
def test_who_has_lost_access_meanwhile_may_watch_nothing_more(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    owner = User.objects.create_user("owner")
    jobs.create(JOB, owner=owner)
    with login(owner) as client, open_socket(f"{live.url}/ws/progress/", client) as connection:
        assert ask(connection, "watch", JOB)["job_id"] == JOB
        owner.delete()
        assert ask(connection, "watch", JOB) == {"error": NO_SUCH_JOB, "job": JOB}


@without(asks_about_the_user_of_the_handshake, fails_with=(TimeoutError,))
def test_each_heartbeat_it_is_asked_again_which_jobs_may_be_watched(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.2}
    monkeypatch.setattr("tests.kit.sockets.PATIENCE_SECONDS", 5)
    owner = User.objects.create_user("owner")
    jobs.create(JOB, owner=owner)
    ticket = make_ticket(jobs.create("other"))
    with login(owner) as client, open_socket(f"{live.url}/ws/progress/", client) as connection:
        assert ask(connection, "watch", ticket)["job_id"] == "other"
        assert ask(connection, "watch", JOB)["job_id"] == JOB
        owner.delete()
        assert hear(connection) == {"error": NO_SUCH_JOB, "job": JOB}
        jobs.update(JOB, {"n": 1})
        jobs.update("other", {"n": 2})
        assert hear(connection)["n"] == 2


def test_a_ticket_adds_to_what_the_rule_allows_and_takes_nothing_away(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.1}
    owner = User.objects.create_user("owner")
    jobs.create(JOB, owner=owner)
    jobs.create("other", owner=owner)
    with login(owner) as client, open_socket(f"{live.url}/ws/progress/", client) as connection:
        for reference in (JOB, make_ticket(JOB), JOB, "other"):
            ask(connection, "watch", reference)
        owner.delete()
        assert hear(connection) == {"error": NO_SUCH_JOB, "job": "other"}
        jobs.update(JOB, {"n": 1})
        assert hear(connection)["n"] == 1
