"""Tickets bound to an owner, while another owner has a job with the same id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.faults.conftest import defence
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.doors import CSRF, post
from tests.kit.sockets import ask, of_job, open_socket, told
from tests.kit.sse import Event, open_stream
from tests.site.asgi import LANE

from . import naive

__all__ = ["defence"]

JOB = "nightly"
OURS, THEIRS = "7", "8"


@pytest.fixture
def ticket(jobs: SyncProgressManager) -> str:
    """A ticket for our job, before another owner creates a job with the same id."""
    jobs.create(JOB, owner=OURS, data={"file": "ours"})
    ticket = make_ticket(JOB, cancel=True, owner=OURS)
    jobs.delete(JOB)
    jobs.create(JOB, owner=THEIRS, data={"file": "theirs"})
    return ticket


def _stream(live: AsgiServer, path: str) -> Iterator[Event]:
    with open_stream(f"{live.url}{path}") as (_, events):
        yield from events


def _socket(live: AsgiServer, ticket: str) -> Iterator[Event]:
    with of_job(live, ticket) as connection:
        yield from told(connection)


def _prefix_socket(live: AsgiServer, ticket: str) -> Iterator[Event]:
    with open_socket(f"{live.url}/ws/progress/") as connection:
        yield Event("message", json.dumps(ask(connection, "watch", ticket)), "")


WAYS: dict[str, Any] = {
    "view": lambda live, ticket: _stream(live, f"/progress/jobs/{ticket}/stream/"),
    "view of several": lambda live, ticket: _stream(live, f"/progress/stream/?job={ticket}"),
    "lane": lambda live, ticket: _stream(live, f"{LANE}/progress/jobs/{ticket}/stream/"),
    "lane of several": lambda live, ticket: _stream(live, f"{LANE}/progress/stream/?job={ticket}"),
    "websocket": _socket,
    "websocket prefix": _prefix_socket,
}


@pytest.mark.parametrize("way", WAYS)
@without(naive.has_tickets_for_an_id_and_not_for_an_owner)
def test_it_shows_nothing_of_another_owners_job(live: AsgiServer, ticket: str, way: str) -> None:
    first = next(WAYS[way](live, ticket))
    assert "theirs" not in first.data
    assert first.type == "gone" or json.loads(first.data) == {"job_id": JOB, "gone": True}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "websocket prefix"])
def test_a_stream_that_is_open_ends_when_another_owner_takes_the_id(
    live: AsgiServer, jobs: SyncProgressManager, way: str
) -> None:
    jobs.create(JOB, owner=OURS)
    other, ticket = make_ticket(JOB), make_ticket(JOB, owner=OURS)
    with ExitStack() as stack:
        events = WAYS[way](live, ticket)
        stack.callback(events.close)
        assert json.loads(next(events).data)["status"] == "queued"
        # Nobody is told that the job went: Redis was emptied.
        jobs.redis.flushall()
        jobs.create(JOB, owner=THEIRS, data={"file": "theirs"})
        rest = [event.data for event in events]
    assert "gone" in rest[0] or json.loads(rest[0]) == {"job_id": JOB}
    assert not any("theirs" in data for data in rest)
    assert http.get(f"{live.url}/progress/jobs/{other}/").json()["file"] == "theirs"


@without(naive.has_tickets_for_an_id_and_not_for_an_owner)
def test_json_and_cancel_answer_as_for_a_job_that_does_not_exist(
    live: AsgiServer, jobs: SyncProgressManager, ticket: str
) -> None:
    absent = make_ticket("absent", cancel=True, owner=OURS)
    paths = ("", "cancel/")
    with http.Client() as client:
        for path in paths:
            answers = []
            for reference in (ticket, absent):
                url = f"{live.url}/progress/jobs/{reference}/{path}"
                answer = post(client, url, **CSRF) if path else client.get(url)
                answers.append((answer.status_code, answer.content))
            assert answers[0] == answers[1]
            assert answers[0][0] == 404
    described = jobs.describe(JOB)
    assert described is not None
    assert not described["cancelling"]


def test_a_request_to_cancel_over_a_websocket_is_refused(
    live: AsgiServer, jobs: SyncProgressManager, ticket: str
) -> None:
    with open_socket(f"{live.url}/ws/progress/") as connection:
        assert "error" in ask(connection, "cancel", ticket)
    described = jobs.describe(JOB)
    assert described is not None
    assert not described["cancelling"]


def test_under_wsgi_it_is_gone(jobs: SyncProgressManager, ticket: str, client: Any) -> None:
    text = client.get(f"/progress/jobs/{ticket}/stream/").content.decode()
    assert "event: gone" in text
    assert "theirs" not in text


def test_the_owners_own_ticket_is_good_and_survives_another_secret_key(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any
) -> None:
    jobs.create(JOB, owner=OURS, data={"file": "ours"})
    ticket = make_ticket(JOB, cancel=True, owner=OURS)
    assert OURS not in ticket.partition(JOB)[0][:2]
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one"
    url = f"{live.url}/progress/jobs/{ticket}/"
    assert http.get(url).json()["file"] == "ours"
    with http.Client() as client:
        assert post(client, f"{url}cancel/", **CSRF).status_code == 202
    jobs.update(JOB, {"status": "done"})
    jobs.redis.delete(f"import_progress:hash:{JOB}")
    assert http.get(url).json()["expired"]


def test_a_bad_ticket_takes_nothing_from_a_good_one(live: AsgiServer, ticket: str) -> None:
    for good in (make_ticket(JOB, owner=THEIRS), make_ticket(JOB)):
        for path in (f"?job={ticket}&job={good}", f"?job={good}&job={ticket}"):
            events = _stream(live, f"/progress/stream/{path}")
            assert json.loads(next(events).data)["file"] == "theirs"
            events.close()
