"""Under WSGI an `EventSource` polls by itself, and stops when there is nothing more to come."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.web import views
from tests.kit.controls import without
from tests.kit.crowd import Visitor, crowd, path_of
from tests.kit.processes import RedisProcess
from tests.kit.waiting import until
from tests.kit.wsgi import wsgi_server


@pytest.fixture
def port(site: RedisProcess) -> Iterator[int]:
    with wsgi_server() as port:
        yield port


def a_stream_that_ended_is_begun_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "is_end_id", lambda event_id: False)


@without(a_stream_that_ended_is_begun_anew)
async def test_a_browser_sees_the_job_through_and_stops(
    port: int, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    async with crowd([Visitor(port, path_of(job_id))]) as (visitor,):
        await until(lambda: visitor.shown.get("status") == "queued", "the first snapshot")
        jobs.update(job_id, {"n": 1})
        await until(lambda: visitor.shown.get("n") == 1, "the next")
        jobs.update(job_id, {"status": "done"})
        await until(lambda: visitor.statuses[-1] == 204, "the browser to be told to stop")
    assert [event.type for event in visitor.events][-2:] == ["message", "end"]
    assert visitor.shown["percent"] == 100.0
    assert visitor.statuses[:-1] == [200] * (len(visitor.statuses) - 1)
