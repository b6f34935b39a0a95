"""Streams and WebSockets of jobs that Redis has forgotten."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from django_import_progress import SyncProgressManager, get_progress_manager
from django_import_progress.access import make_ticket
from django_import_progress.history.models import ImportRun
from django_import_progress.watch import archive
from tests.site.asgi import LANE

from ..faults.conftest import defence
from ..kit.asgi import AsgiServer
from ..kit.controls import without
from ..kit.facade import AsyncFacade
from ..kit.held import open_files
from ..kit.runs import past_run, without_the_table
from ..kit.sockets import ask, hear, of_job, told
from ..kit.sse import open_stream
from ..kit.tracked import JOB
from ..kit.visitors import login
from ..kit.waiting import wait_for
from ..kit.watching import Watching

__all__ = ["defence"]

RUNNING: dict[str, Any] = {"status": "running", "ended_at": None, "processed_rows": 4}


@pytest.fixture(autouse=True)
def quick_heartbeats(transactional_db: None, archived: None, site: Any, settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "HEARTBEAT_SECONDS": 0.2}


def heartbeats(jobs: SyncProgressManager, count: int) -> None:
    """Wait until the watched jobs were read as often."""

    def calls() -> int:
        stats: Any = jobs.redis.info("commandstats")
        return int(stats["cmdstat_evalsha"]["calls"])

    before = calls()
    wait_for(lambda: calls() >= before + count, "heartbeats")


def stream_of(live: AsgiServer, *references: str) -> str:
    if len(references) == 1:
        return f"{live.url}/progress/jobs/{references[0]}/stream/"
    return f"{live.url}/progress/stream/?job={'&job='.join(references)}"


def history_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "has_to_look_up", lambda read: False)


@without(history_is_not_looked_up, fails_with=(ValueError,))
@pytest.mark.parametrize("lane", ["", LANE], ids=["view", "lane"])
def test_a_stream_ends_with_what_the_history_knows(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any, lane: str
) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "STREAM_SECONDS": 3}
    past_run()
    url = stream_of(live, make_ticket(JOB)).replace("/progress/", f"{lane}/progress/")
    with open_stream(url) as (_, events):
        shown, end = events
    assert shown.json == jobs.describe(JOB)
    assert (end.type, end.data) == ("end", "")
    with open_stream(url, last_event_id=end.id) as (response, _):
        assert response.status_code == 204
    past_run(attempt=2)
    with open_stream(url, last_event_id=end.id) as (response, events):
        assert (response.status_code, next(events).json["attempt"]) == (200, 2)


def test_a_stream_of_several_jobs_has_those_of_redis_and_of_the_history(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    past_run("past")
    jobs.create("now", data={"status": "done"})
    with open_stream(stream_of(live, make_ticket("past"), make_ticket("now"))) as (_, events):
        *shown, end = events
    assert {event.json["job_id"]: event.json.get("expired") for event in shown} == {
        "past": True,
        "now": None,
    }
    assert end.type == "end"


def test_by_bare_id_the_owner_may_watch(live: AsgiServer, jobs: SyncProgressManager) -> None:
    owner = User.objects.create_user("owner")
    past_run(owner=owner.pk)
    with login(owner) as browser, open_stream(stream_of(live, JOB), browser) as (_, events):
        assert next(events).json["status"] == "done"
    with open_stream(stream_of(live, JOB)) as (response, _):
        assert response.status_code == 404


def test_a_ticket_of_another_owner_shows_nothing(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    past_run(owner="8")
    with open_stream(stream_of(live, make_ticket(JOB, owner=7))) as (_, events):
        assert [event.type for event in events] == ["gone"]


def test_a_websocket_shows_it(live: AsgiServer, jobs: SyncProgressManager) -> None:
    past_run()
    with of_job(live, make_ticket(JOB)) as connection:
        assert [event.json for event in told(connection)] == [jobs.describe(JOB)]
        assert connection.close_code == 1000


def test_so_does_the_websocket_of_several_jobs(
    prefix_socket: Any, jobs: SyncProgressManager
) -> None:
    past_run()
    assert ask(prefix_socket, "watch", make_ticket(JOB)) == jobs.describe(JOB)
    past_run("running", **RUNNING)
    assert ask(prefix_socket, "watch", make_ticket("running"))["stalled"] is True
    jobs.create("running", data={"status": "importing", "processed_rows": 5})
    assert hear(prefix_socket)["processed_rows"] == 5


def test_a_running_job_is_waited_for_until_its_worker_reports(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    past_run(**RUNNING)
    with open_stream(stream_of(live, make_ticket(JOB))) as (_, events):
        known = next(events)
        assert (known.json["status"], known.json["stalled"]) == ("importing", True)
        assert (known.json["percent"], known.json["expired"]) == (40.0, True)
        jobs.create(JOB, data={"status": "importing", "processed_rows": 5})
        reported = next(events)
        assert (reported.json["processed_rows"], reported.json["stalled"]) == (5, False)
        assert "expired" not in reported.json


@without(history_is_not_looked_up)
def test_after_redis_was_emptied_a_running_job_is_not_gone(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB, data={"status": "importing", "processed_rows": 3, "attempt": 1})
    past_run(**RUNNING)
    with open_stream(stream_of(live, make_ticket(JOB))) as (_, events):
        assert next(events).json["processed_rows"] == 3
        jobs.redis.flushall()
        heartbeats(jobs, 4)
        jobs.create(JOB, data={"status": "importing", "processed_rows": 6})
        event = next(events)
        assert (event.type, event.json.get("processed_rows")) == ("message", 6)


@pytest.mark.parametrize("status", ["lost", "done"])
def test_a_stream_ends_when_the_history_learns_of_the_end(
    live: AsgiServer, jobs: SyncProgressManager, status: str
) -> None:
    jobs.create(JOB, data={"status": "importing", "processed_rows": 3, "attempt": 1})
    run = past_run(**RUNNING)
    with open_stream(stream_of(live, make_ticket(JOB))) as (_, events):
        next(events)
        jobs.redis.flushall()
        ImportRun.objects.filter(pk=run.pk).update(status=status)
        shown, end = events
    assert shown.json["status"] == {"lost": "failed"}.get(status, status)
    assert end.type == "end"


@pytest.mark.parametrize(
    "known",
    [
        {"status": "importing", "attempt": 2},
        {"status": "queued", "attempt": 1},
        {"status": "interrupted", "attempt": 1},
    ],
)
def test_the_end_of_an_earlier_attempt_ends_no_later_one(
    live: AsgiServer, jobs: SyncProgressManager, known: dict[str, Any]
) -> None:
    jobs.create(JOB, data=known)
    past_run(status="failed")
    with open_stream(stream_of(live, make_ticket(JOB))) as (_, events):
        assert next(events).json["status"] == known["status"]
        jobs.redis.flushall()
        assert next(events).type == "gone"  # As without the history.


def test_while_the_history_is_unavailable_streams_wait(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    past_run()
    jobs.create("known", data={"status": "importing"})
    url = stream_of(live, make_ticket(JOB), make_ticket("known"))
    with without_the_table(), open_stream(url) as (response, events):
        assert response.status_code == 200
        assert next(events).json["job_id"] == "known"
        for number in range(3):
            jobs.update("known", {"processed_rows": number})
            assert next(events).json["processed_rows"] == number
    with open_stream(url) as (_, events):
        assert {next(events).json["job_id"], next(events).json["job_id"]} == {JOB, "known"}


def connections_stay_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "looked_up_aside", archive.looked_up)


@without(connections_stay_open)
def test_an_open_stream_holds_no_database_connection(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    past_run(**RUNNING)
    database = str(connection.settings_dict["NAME"])
    before = open_files(database)
    with open_stream(stream_of(live, make_ticket(JOB))) as (_, events):
        next(events)
        heartbeats(jobs, 6)
        wait_for(lambda: open_files(database) == before, "the connections to be closed")


def test_under_wsgi_a_poll_shows_it_and_stops(jobs: SyncProgressManager) -> None:
    past_run()
    past_run("running", **RUNNING)
    url = f"/progress/jobs/{make_ticket(JOB)}/stream/"
    response: Any = Client().get(url)
    assert b'"expired":true' in response.content
    assert b"event: end" in response.content
    last = response.content.decode().split("id: ")[-1].split("\n")[0]
    assert Client().get(url, headers={"Last-Event-ID": last}).status_code == 204
    response = Client().get(f"/progress/jobs/{make_ticket('running')}/stream/")
    assert b"event: end" not in response.content


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_watch_yields_it(jobs: SyncProgressManager, kind: str) -> None:
    await sync_to_async(past_run)()
    progress: Any = AsyncFacade(jobs) if kind == "sync" else get_progress_manager()
    async with Watching(progress, JOB) as watching:
        [shown] = await watching.ends()
    assert (shown["status"], shown["expired"]) == ("done", True)
