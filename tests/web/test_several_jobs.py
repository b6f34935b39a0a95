"""Several jobs on one connection."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client

from django_import_progress import SyncProgressManager, get_progress_manager
from django_import_progress.access import make_ticket
from django_import_progress.web.event_stream import Source

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.processes import RedisProcess
from ..kit.sse import Event, open_stream, parse
from ..kit.visitors import login, subscribers
from ..kit.waiting import wait_for


def _path(*references: str) -> str:
    return f"/progress/stream/?{urlencode([('job', reference) for reference in references])}"


def _next(events: Iterator[Event], count: int) -> dict[str, Any]:
    """Return the next events by their job."""
    found = [next(events) for _ in range(count)]
    return {event.json["job_id"]: (event.type, event.json.get("status")) for event in found}


def test_each_job_is_told_until_its_end_and_then_the_end_of_all(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    for job_id in ("a", "b", "c"):
        jobs.create(job_id)
    url = live.url + _path(*map(make_ticket, ("a", "b", "c")))
    with open_stream(url) as (response, events):
        assert response.headers["X-Accel-Buffering"] == "no"
        queued = ("message", "queued")
        assert _next(events, 3) == {"a": queued, "b": queued, "c": queued}
        jobs.update("b", {"status": "done"})
        assert _next(events, 1) == {"b": ("message", "done")}
        wait_for(lambda: not subscribers(jobs, "b"), "the hub to unsubscribe")
        jobs.update("a", {"status": "importing"})
        assert _next(events, 1) == {"a": ("message", "importing")}
        jobs.delete("a")
        assert _next(events, 1) == {"a": ("gone", None)}
        jobs.update("c", {"status": "failed"})
        assert _next(events, 1) == {"c": ("message", "failed")}
        end = next(events)
        assert (end.type, end.data) == ("end", "")
        assert list(events) == []
    headers = {"Last-Event-ID": end.id}
    assert http.get(url, headers=headers).status_code == 204
    jobs.create("a", data={"status": "done"})
    with open_stream(url, last_event_id=end.id) as (response, events):
        assert _next(events, 3)["a"] == ("message", "done")
        assert next(events).type == "end"


def test_the_end_of_one_job_is_not_the_end_of_all(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    jobs.create("a")
    jobs.create("b", data={"status": "done"})
    url = live.url + _path(make_ticket("a"), make_ticket("b"))
    with open_stream(url) as (_, events):
        last_id = [next(events).id for _ in range(2)][-1]
    with open_stream(url, last_event_id=last_id) as (_, events):
        assert set(_next(events, 2)) == {"a", "b"}


def test_jobs_that_one_may_not_watch_are_gone_at_once_whether_they_exist_or_not(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    owner = User.objects.create_user("owner")
    jobs.create("mine", owner=owner, data={"status": "done"})
    jobs.create("foreign", owner="another")
    references = ["mine", "foreign", "unknown", "@forged:x:y", "no id"]
    with login(owner) as browser, open_stream(live.url + _path(*references), browser) as (_, seen):
        assert _next(seen, 5) == {
            "mine": ("message", "done"),
            "foreign": ("gone", None),
            "unknown": ("gone", None),
            "@forged:x:y": ("gone", None),
            "no id": ("gone", None),
        }
        end = next(seen)
        assert end.type == "end"
    with login(owner) as browser:
        answer = browser.get(live.url + _path(*references), headers={"Last-Event-ID": end.id})
    assert answer.status_code == 204


def test_where_none_may_be_watched_there_is_no_stream(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    jobs.create("foreign")
    answers = [http.get(live.url + _path(job_id)) for job_id in ("foreign", "unknown")]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize("count", [0, 101])
def test_no_job_or_more_than_100_is_a_bad_request(live: AsgiServer, count: int) -> None:
    answer = http.get(live.url + _path(*(f"j{number}" for number in range(count))))
    assert (answer.status_code, "1 to 100" in answer.json()["error"]) == (400, True)


def test_100_jobs_of_which_some_are_named_twice_are_one_stream(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    ids = [f"j{number}" for number in range(100)]
    for job_id in ids:
        jobs.create(job_id)
    tickets = [make_ticket(job_id) for job_id in ids]  # Made a second later they would differ.
    with open_stream(live.url + _path(*tickets, *tickets)) as (_, seen):
        assert set(_next(seen, 100)) == set(ids)
        for job_id in ids:
            jobs.update(job_id, {"status": "done"})
        assert set(_next(seen, 100)) == set(ids)
        assert next(seen).type == "end"
        assert list(seen) == []


def test_a_job_and_its_ticket_are_told_once(live: AsgiServer, jobs: SyncProgressManager) -> None:
    owner = User.objects.create_user("owner")
    jobs.create("a", owner=owner, data={"status": "done"})
    url = live.url + _path("a", make_ticket("a"))
    with login(owner) as browser, open_stream(url, browser) as (_, events):
        assert [event.type for event in events] == ["message", "end"]


def test_a_ticket_takes_nothing_away_where_the_bare_id_is_refused(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    jobs.create("a", data={"status": "done"})
    url = live.url + _path(make_ticket("a"), "a")
    with open_stream(url) as (_, events):
        found = list(events)
    assert [event.type for event in found] == ["message", "end"]
    assert http.get(url, headers={"Last-Event-ID": found[-1].id}).status_code == 204


def test_a_job_that_is_not_there_yet_is_waited_for(
    live: AsgiServer, jobs: SyncProgressManager
) -> None:
    jobs.create("a")
    with open_stream(live.url + _path(make_ticket("a"), make_ticket("later"))) as (_, events):
        assert set(_next(events, 1)) == {"a"}
        wait_for(lambda: subscribers(jobs, "later"), "the subscription")
        jobs.create("later")
        assert set(_next(events, 1)) == {"later"}


def test_an_idle_stream_is_kept_alive_and_closed_in_the_end_without_an_end(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.1, "STREAM_SECONDS": 0.5}
    jobs.create("a")
    lines = http.get(live.url + _path(make_ticket("a"))).text.splitlines()
    assert lines.count(":") >= 2
    assert [event.type for event in parse(iter(lines))] == ["message"]


def test_a_client_that_goes_is_cleaned_up(live: AsgiServer, jobs: SyncProgressManager) -> None:
    for job_id in ("a", "b"):
        jobs.create(job_id)
    with open_stream(live.url + _path(make_ticket("a"), make_ticket("b"))) as (_, events):
        _next(events, 2)
    wait_for(
        lambda: not subscribers(jobs, "a") and not subscribers(jobs, "b"), "the hub to unsubscribe"
    )


def test_without_redis_a_stream_by_tickets_opens_whatever_the_last_event_id(
    live: AsgiServer, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    url = live.url + _path(make_ticket("a"))
    with open_stream(url, last_event_id=f"end-{'0' * 32}") as (response, _):
        assert response.status_code == 200
    assert http.get(live.url + _path("bare")).status_code == 503


def test_under_wsgi_a_stream_is_one_snapshot_of_each(jobs: SyncProgressManager) -> None:
    jobs.create("a", data={"status": "done"})
    jobs.create("b")
    path = _path(make_ticket("a"), make_ticket("b"), "@forged")

    def seen(**headers: str) -> list[Event]:
        response = Client().get(path, headers=headers)
        assert response.status_code == 200
        return list(parse(iter(response.content.decode().splitlines())))

    first = seen()
    assert [event.type for event in first] == ["gone", "message", "message"]
    jobs.update("b", {"status": "failed"})
    last = seen()
    assert [event.type for event in last] == ["gone", "message", "message", "end"]
    assert json.loads(last[2].data)["status"] == "failed"
    assert Client().get(path, headers={"Last-Event-ID": last[-1].id}).status_code == 204


def test_under_wsgi_who_polls_several_is_told_of_a_deleted_one(jobs: SyncProgressManager) -> None:
    for job_id in "abc":
        jobs.create(job_id)
    jobs.redis.delete("import_progress:hash:c")  # Never seen: it may come yet.
    path = _path(*map(make_ticket, "abc"))
    known = ""

    def poll() -> list[tuple[str, str]]:
        nonlocal known
        text = Client().get(path, headers={"Last-Event-ID": known}).content.decode()
        known = re.findall("^id: (.*)$", text, re.MULTILINE)[-1]
        events = parse(iter(text.splitlines()))
        return [(event.type, json.loads(event.data or "{}").get("job_id", "")) for event in events]

    assert poll() == [("message", "a"), ("message", "b")]
    jobs.redis.delete("import_progress:hash:b")
    assert poll() == [("message", "a")]  # Redis may have been emptied, and be written again.
    assert poll() == poll() == [("gone", "b"), ("message", "a")]
    jobs.create("b")
    jobs.create("c", data={"status": "done"})
    assert poll() == [("message", job_id) for job_id in "abc"]
    for job_id in "ab":
        jobs.delete(job_id)
    assert poll() == [("gone", "a"), ("gone", "b"), ("message", "c"), ("end", "")]
    assert Client().get(path, headers={"Last-Event-ID": known}).status_code == 204
    # What was said of other jobs, or is made up, says nothing of these.
    for job_id in "ab":
        jobs.create(job_id)
        jobs.redis.delete(f"import_progress:hash:{job_id}")
    known = f"polled-{'0' * 16}-mmm"
    assert poll() == [("message", "c")]


async def test_a_hub_that_is_closed_ends_a_stream_without_an_end(site: RedisProcess) -> None:
    manager = get_progress_manager()
    await manager.create("a")
    source = Source([manager.watcher("a"), manager.watcher("b")])
    has_news = asyncio.Event()
    source.listen(has_news.set)
    await has_news.wait()
    assert source.poll()
    assert manager._hub is not None
    await manager._hub.aclose()
    assert (source.poll(), source.is_over) == (b"", True)
