"""The part of an exception that watchers see: never the part for the log."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.access import make_ticket

from ..kit import http
from ..kit.asgi import AsgiServer
from ..kit.ears import Ear
from ..kit.sse import open_stream
from ..kit.tracked import JOB, state

SECRET = "hunter2"
ADDRESS = f"postgres://importer:{SECRET}@db.internal:5432/shop"


class ShownError(Exception):
    pass


class Chained(Exception):
    pass


def _fails(kind: str) -> None:
    """Raise an exception that has the address in it, or in its cause."""
    try:
        raise ConnectionError(f"could not connect to {ADDRESS}")
    except ConnectionError as error:
        if kind == "itself":
            raise
        if kind == "shown":
            raise ShownError("The shop does not answer.") from error
        raise Chained(ADDRESS) from error


@pytest.mark.parametrize("kind", ["itself", "cause", "shown"])
def test_a_connection_string_inside_an_exception_reaches_no_viewer_but_the_log(
    live: AsgiServer,
    jobs: SyncProgressManager,
    foreign: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    kind: str,
) -> None:
    url = f"{live.url}/progress/jobs/{make_ticket(JOB)}/"
    several = f"{live.url}/progress/stream/?job={make_ticket(JOB)}"
    jobs.create(JOB)
    with (
        open_stream(f"{url}stream/") as (_, events),
        open_stream(several) as (_, events_of_several),
        Ear(foreign, JOB) as ear,
    ):
        with (
            caplog.at_level(logging.ERROR, "django_import_progress"),
            pytest.raises((ConnectionError, ShownError, Chained)),
            track_import(JOB, expose=ShownError),
        ):
            _fails(kind)
        told = [event.data for event in (*events, *events_of_several)]
        told += [text.decode() for text in ear.texts()]
    told += [http.get(url).text, str(foreign.hgetall(f"import_progress:hash:{JOB}"))]
    assert all(SECRET not in text and "db.internal" not in text for text in told)
    message = state(jobs)["error_message"]
    assert sum(message in text for text in told) >= 4
    if kind == "shown":
        assert message == "The shop does not answer."
        assert caplog.records == []
    else:
        assert JOB in message
        assert SECRET in caplog.text


@pytest.mark.parametrize("debug", [False, True])
def test_only_with_debug_on_is_a_message_shown_that_is_not_for_the_end_user(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any, debug: bool
) -> None:
    settings.DEBUG = debug
    with pytest.raises(LookupError), track_import(JOB):
        raise LookupError("no column icao")
    shown = http.get(f"{live.url}/progress/jobs/{make_ticket(JOB)}/").json()
    assert ("no column icao" in shown["error_message"]) is debug
