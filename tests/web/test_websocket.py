"""The messages and commands of WebSockets, through a real ASGI server."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from websockets.sync.client import ClientConnection

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.access import make_ticket
from django_import_progress.access.visitors import Visitor
from tests.faults.conftest import defence

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.controls import without
from ..kit.sockets import ask, close_code, hear, of_job, open_socket, say
from ..kit.tracked import JOB, state
from ..kit.visitors import login, subscribers
from ..kit.waiting import wait_for

__all__ = ["defence"]

NO_SUCH_JOB = "There is no such job."


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
    prefix_socket: ClientConnection, jobs: SyncProgressManager
) -> None:
    tickets = {job_id: make_ticket(jobs.create(job_id)) for job_id in ("a", "b:c")}
    for job_id, ticket in tickets.items():
        assert ask(prefix_socket, "watch", ticket)["job_id"] == job_id
    assert ask(prefix_socket, "watch", tickets["a"])["job_id"] == "a"  # Again, from its state on.
    say(prefix_socket, "unwatch", tickets["b:c"])
    say(prefix_socket, "unwatch", "never watched")
    wait_for(lambda: not subscribers(jobs, "b:c"), "the hub to unsubscribe")
    jobs.update("b:c", {"n": 1})
    jobs.update("a", {"status": "done"})
    assert hear(prefix_socket)["status"] == "done"
    assert ask(prefix_socket, "watch", tickets["b:c"])["n"] == 1  # It is open still.
    jobs.delete("b:c")
    assert hear(prefix_socket) == {"job_id": "b:c", "gone": True}


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
    prefix_socket: ClientConnection, jobs: SyncProgressManager, message: str | bytes
) -> None:
    is_text = isinstance(message, str)
    prefix_socket.send(message.encode("utf-8", "replace") if is_text else message, text=is_text)
    assert set(hear(prefix_socket)) == {"error"}
    assert ask(prefix_socket, "watch", make_ticket(jobs.create(JOB)))["job_id"] == JOB


@pytest.mark.parametrize("reference", ["*", "{}", "a\nb", "@", "@x", "é", "x" * 50_000, ""])
@pytest.mark.parametrize("action", ["watch", "cancel"])
def test_what_cannot_be_a_job_is_one_that_is_not_there(
    prefix_socket: ClientConnection, action: str, reference: str
) -> None:
    assert ask(prefix_socket, action, reference) == {"error": NO_SUCH_JOB, "job": reference}


def test_an_import_is_cancelled(prefix_socket: ClientConnection, jobs: SyncProgressManager) -> None:
    ticket = make_ticket(JOB, cancel=True)
    with track_import(JOB) as job:
        for _ in job.rows(iter(int, 1)):  # pragma: no branch
            if not job.processed:
                assert ask(prefix_socket, "cancel", ticket)["cancelling"]
    assert state(jobs)["status"] == "cancelled"
    assert ask(prefix_socket, "cancel", ticket) == {"error": "The job has ended.", "job": ticket}


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
