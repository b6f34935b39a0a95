"""Event streams of one job, through a real ASGI server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.release import release_request
from django_import_progress.watch.hub import Watcher
from django_import_progress.web.event_stream import EventStream
from django_import_progress.web.limits import open_streams

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.sse import open_stream
from ..kit.visitors import subscribers
from ..kit.waiting import wait_for
from ..site.asgi import HANDED, LANE


@pytest.fixture(params=["", LANE, HANDED], ids=["django", "lane", "handed over"])
def root(request: pytest.FixtureRequest, live: AsgiServer) -> str:
    """The site's URL, without and with the fast lane."""
    return f"{live.url}{request.param}"


def test_a_stream_begins_with_the_snapshot_and_ends_with_the_job(
    root: str, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    with open_stream(f"{root}/progress/jobs/{make_ticket(job_id)}/stream/") as (
        response,
        events,
    ):
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "private, no-store, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert response.headers["Content-Encoding"] == "identity"
        first = next(events)
        assert (first.json["status"], first.json["percent"]) == ("queued", 0.0)
        jobs.update(job_id, {"processed_rows": 1})
        assert next(events).json["percent"] == 25.0
        jobs.update(job_id, {"status": "done"})
        last = next(events)
        assert (last.json["percent"], last.json["job_id"]) == (100.0, job_id)
        assert (end := next(events)).type == "end"
        assert end.data == ""
        assert list(events) == []
    wait_for(lambda: subscribers(jobs, job_id) == 0, "the hub to unsubscribe")


def test_after_the_end_a_reconnect_is_told_to_stop(root: str, jobs: SyncProgressManager) -> None:
    job_id = jobs.create(data={"status": "done"})
    url = f"{root}/progress/jobs/{make_ticket(job_id)}/stream/"
    with open_stream(url) as (_, events):
        last_id = list(events)[-1].id
    assert http.get(url, headers={"Last-Event-ID": last_id}).status_code == 204
    jobs.set_progress(job_id, {"status": "failed"})
    with open_stream(url, last_event_id=last_id) as (response, events):
        assert (response.status_code, next(events).json["status"]) == (200, "failed")


@pytest.mark.parametrize("last_event_id", ["1-2-3", "1-2-3-end", "junk-end", "-end", "'\";--"])
def test_any_last_event_id_gets_a_current_snapshot(
    live: AsgiServer, jobs: SyncProgressManager, last_event_id: str
) -> None:
    url = f"{live.url}/progress/jobs/{make_ticket(jobs.create())}/stream/"
    with open_stream(url, last_event_id=last_event_id) as (_, events):
        assert next(events).json["status"] == "queued"


def test_a_job_that_is_not_there_yet_is_waited_for(root: str, jobs: SyncProgressManager) -> None:
    job_id = str(uuid.uuid4())
    ticket = make_ticket(job_id)
    assert http.get(f"{root}/progress/jobs/{ticket}/").status_code == 404
    with open_stream(f"{root}/progress/jobs/{ticket}/stream/") as (_, events):
        wait_for(lambda: subscribers(jobs, job_id) == 1, "the subscription")
        jobs.create(job_id)
        assert next(events).json["status"] == "queued"


def test_a_deleted_job_is_told_to_be_gone(root: str, jobs: SyncProgressManager) -> None:
    job_id = jobs.create()
    url = f"{root}/progress/jobs/{make_ticket(job_id)}/stream/"
    with open_stream(url) as (_, events):
        next(events)
        jobs.delete(job_id)
        gone = next(events)
        assert (gone.type, gone.json) == ("gone", {"job_id": job_id})
        assert list(events) == []
    assert http.get(url, headers={"Last-Event-ID": gone.id}).status_code == 204


def test_an_idle_stream_is_kept_alive_and_closed_in_the_end(
    root: str, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {
        **settings.IMPORT_PROGRESS,
        "HEARTBEAT_SECONDS": 0.1,
        "STREAM_SECONDS": 0.5,
    }
    url = f"{root}/progress/jobs/{make_ticket(jobs.create())}/stream/"
    lines = http.get(url).text.splitlines()
    assert lines[0].startswith("retry: ")
    assert 500 <= int(lines[0].removeprefix("retry: ")) <= 1500
    assert lines.count(":") >= 2


def test_a_stream_that_is_shorter_than_a_heartbeat_is_closed_in_time(
    root: str, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 3600, "STREAM_SECONDS": 2}
    with open_stream(f"{root}/progress/jobs/{make_ticket(jobs.create())}/stream/") as (_, events):
        assert [event.json["status"] for event in events] == ["queued"]


def test_there_are_at_most_max_streams_of_a_process(
    root: str, jobs: SyncProgressManager, settings: Any
) -> None:
    wait_for(lambda: not open_streams, "the streams of other tests to go")
    settings.IMPORT_PROGRESS |= {"MAX_STREAMS": 2}
    job_id = jobs.create()
    url = f"{root}/progress/jobs/{make_ticket(job_id)}/stream/"
    several = f"{root}/progress/stream/?job={make_ticket(job_id)}"
    with open_stream(url) as (_, first), open_stream(several) as (_, second):
        next(first)
        next(second)
        for refused in (http.get(url), http.get(several)):
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
        assert http.get(f"{root}/progress/jobs/{job_id}/stream/").status_code == 404
    wait_for(lambda: len(open_streams) == 0, "the streams to be closed")
    with open_stream(url) as (response, _):
        assert response.status_code == 200


def test_a_burst_is_thinned(root: str, jobs: SyncProgressManager, settings: Any) -> None:
    settings.IMPORT_PROGRESS |= {"MAX_UPDATES_PER_SECOND": 0.001}
    job_id = jobs.create()
    with open_stream(f"{root}/progress/jobs/{make_ticket(job_id)}/stream/") as (_, events):
        assert next(events).json["status"] == "queued"
        for number in range(10):
            jobs.update(job_id, {"n": number})
        jobs.update(job_id, {"status": "done"})
        assert [event.type for event in events] == ["message", "end"]


def test_a_client_that_goes_is_cleaned_up(root: str, jobs: SyncProgressManager) -> None:
    job_id = jobs.create()
    with open_stream(f"{root}/progress/jobs/{make_ticket(job_id)}/stream/") as (_, events):
        next(events)
        assert subscribers(jobs, job_id) == 1
    wait_for(lambda: subscribers(jobs, job_id) == 0, "the hub to unsubscribe")


async def _nothing() -> list[str]:
    return []


def _event_stream(open_source: Any, *, stream_seconds: float) -> EventStream:
    return EventStream(
        open_source,
        heartbeat_seconds=0.05,
        stream_seconds=stream_seconds,
        lost=_nothing,
        client="",
    )


def test_a_response_that_is_never_sent_leaves_no_watcher_behind() -> None:
    opened: list[Watcher] = []
    _event_stream(opened.pop, stream_seconds=3600).close()
    assert opened == []


class _Talker:
    """A source that always has an event."""

    is_over = False

    def listen(self, on_update: Callable[[], None]) -> None:
        """Do nothing: `poll` always returns an event."""

    def poll(self) -> bytes:
        return b":"

    def close(self) -> None:
        """Do nothing."""


async def test_a_stream_that_always_has_news_is_closed_in_time_too() -> None:
    stream = _event_stream(_Talker, stream_seconds=0.5)
    chunks = []
    async with asyncio.timeout(10):
        async for chunk in stream:
            chunks.append(chunk)
            await asyncio.sleep(0)
    assert chunks[1] == b":"


async def test_there_is_nothing_to_release_outside_of_djangos_handler() -> None:
    await release_request()


def test_a_reconnect_after_gone_is_answered_once_the_job_is_back(
    root: str, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    url = f"{root}/progress/jobs/{make_ticket(job_id)}/stream/"
    with open_stream(url) as (_, events):
        assert next(events).json["status"] == "queued"
        jobs.delete(job_id)
        gone = next(events)
    assert gone.type == "gone"
    assert http.get(url, headers={"Last-Event-ID": gone.id}).status_code == 204
    jobs.create(job_id)
    with open_stream(url, last_event_id=gone.id) as (response, events):
        assert (response.status_code, next(events).json["status"]) == (200, "queued")


def test_a_stream_by_ticket_opens_without_redis_whatever_the_last_event_id(
    root: str, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    url = f"{root}/progress/jobs/{make_ticket('a')}/stream/"
    with open_stream(url, last_event_id=f"end-{'0' * 32}") as (response, _):
        assert response.status_code == 200
