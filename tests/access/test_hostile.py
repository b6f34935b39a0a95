"""Progress data is not trusted: it may come from an uploaded file."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.core import job_state, reducer
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.sockets import hear, open_socket
from tests.kit.sse import open_stream

JOB = "the-job"
CHANNEL = f"import_progress:channel:{JOB}"
HOSTILE = {
    "stage": "one\r\ndata: two\n\nevent: end\rid: 7\u2028\u2029\0\x1b[2J\x85",
    "error_message": "</script><img src=x onerror=alert(1)>",
    "total_rows": {"__proto__": {"percent": 7}, "constructor": "x"},
    "processed_rows": "a lot",
    "status": "done\n",
    "job_id": "another",
    "percent": 1e308,
    "stalled": "yes",
    "\r\n\0": "\ufeff",
    "proto": {"__proto__": None},
    "deep": [[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]],
}
SHOWN = HOSTILE | {
    "job_id": JOB,
    "percent": None,
    "stalled": False,
    "cancelling": False,
    "outcome": None,
}

Look = Callable[[ExitStack, str], Any]


def _json(stack: ExitStack, url: str) -> Any:
    return http.get(f"{url}/progress/jobs/{make_ticket(JOB)}/").json()


def _event(stack: ExitStack, url: str) -> Any:
    path = f"/progress/jobs/{make_ticket(JOB)}/stream/"
    _, events = stack.enter_context(open_stream(f"{url}{path}"))
    return next(events).json


def _message(stack: ExitStack, url: str) -> Any:
    path = f"/ws/progress/jobs/{make_ticket(JOB)}/"
    return hear(stack.enter_context(open_socket(f"{url}{path}")))


each_way = pytest.mark.parametrize("look", [_json, _event, _message])


def writes_values_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode JSON with line breaks."""
    monkeypatch.setattr(job_state, "to_json", lambda value: json.dumps(value, indent=1).encode())


@each_way
def test_whatever_a_field_holds_it_is_one_representation(
    live: AsgiServer, jobs: SyncProgressManager, look: Look
) -> None:
    stored = jobs.set_progress(JOB, HOSTILE)
    with ExitStack() as stack:
        assert look(stack, live.url) == SHOWN | {"updated_at": stored["updated_at"]}


@without(writes_values_as_they_are, fails_with=(json.JSONDecodeError,))
def test_no_line_end_in_a_value_ends_its_event(live: AsgiServer, jobs: SyncProgressManager) -> None:
    jobs.set_progress(JOB, HOSTILE)
    with ExitStack() as stack:
        assert _event(stack, live.url)["stage"] == HOSTILE["stage"]


LARGE = '{"stage": "' + "x" * 10_000_000 + '"}'
JUNK = ["", "junk", "[]", "7", '{"a": NaN}', '{"a": 1e999}', "[" * 100_000, b"\xff\xfe"]
JUNK += ['{"_x": 1}', '{"_v": 1, "_l": "x"}', '{"_gone": 7}', LARGE]


@each_way
def test_junk_on_a_channel_harms_nobody(
    live: AsgiServer, jobs: SyncProgressManager, foreign: redis.Redis, look: Look
) -> None:
    jobs.create(JOB, data={"stage": "first"})
    with ExitStack() as stack:
        assert look(stack, live.url)["stage"] == "first"
        for junk in JUNK:
            foreign.publish(CHANNEL, junk)
        jobs.update(JOB, {"stage": "last"})
        assert look(stack, live.url)["stage"] == "last"


def shows_what_is_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reducer, "MAX_MESSAGE_BYTES", 10**9)


@without(shows_what_is_of_any_size)
def test_ten_megabytes_on_a_channel_are_not_shown(
    live: AsgiServer, jobs: SyncProgressManager, foreign: redis.Redis
) -> None:
    jobs.create(JOB)
    with open_stream(f"{live.url}/progress/jobs/{make_ticket(JOB)}/stream/") as (_, events):
        next(events)
        foreign.publish(CHANNEL, LARGE)
        jobs.update(JOB, {"status": "done"})
        assert next(events).json["status"] == "done"
