"""The OpenAPI document and the TypeScript types: up to date, and true of real responses."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import httpx
import pytest
from django.test import Client
from jsonschema import Draft202012Validator, ValidationError
from websockets.sync.client import ClientConnection

from django_import_progress import Representation, SyncProgressManager, track_import
from django_import_progress.access import make_ticket

from .kit import http
from .kit.asgi import AsgiServer
from .kit.sse import open_stream
from .kit.started import ROOT

DOCUMENT = json.loads((ROOT / "docs/openapi.json").read_text())


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module that makes both."""
    monkeypatch.syspath_prepend(str(ROOT / ".ci"))
    yield import_module("schemas")
    del sys.modules["schemas"]


def test_both_are_up_to_date(schemas: Any) -> None:
    assert schemas.OPENAPI.read_text() == schemas.openapi(), "run .ci/schemas.py"
    assert schemas.TYPESCRIPT.read_text() == schemas.typescript(), "run .ci/schemas.py"


def validate(value: Any, name: str = "Representation") -> None:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])
    Draft202012Validator(schema).validate(value)


def holds(path: str, response: Any, content: bytes, method: str = "get") -> None:
    """Check that a response is one that the document promises for the path."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    promised = responses[str(response.status_code)].get("content", {})
    media = response.headers.get("Content-Type", "").partition(";")[0]
    if promised:
        assert list(promised) == [media]
        if media == "application/json":
            validate(json.loads(content), promised[media]["schema"]["$ref"].rpartition("/")[2])
    else:
        assert content == b""


@pytest.fixture
def tracked(jobs: SyncProgressManager) -> str:
    """A job with all known fields, and with a user's own."""
    job_id = jobs.create(data={"label": "Products", "kind": "import", "file": "a.csv"})
    with track_import(job_id, total=2, stage="importing") as job:
        for row in job.rows(["good", "bad"]):
            job.count("created")
            if row == "bad":
                job.reject(row, "no")
        job.link("See them", "/products/")
    return job_id


def test_every_field_is_described(jobs: SyncProgressManager, tracked: str) -> None:
    represented = jobs.describe(tracked)
    validate(represented)
    assert represented is not None
    assert represented["outcome"] == "partial"
    described = {*Representation.__required_keys__, *Representation.__optional_keys__}
    # Of a job that has failed, that is queued, or of which only the outcome is left.
    absent = {"error_message", "queued_at", "ended_at", "expired"}
    assert described - set(represented) <= absent
    assert set(represented) - described == {"created", "file"}


@pytest.mark.parametrize("field", sorted(Representation.__required_keys__))
def test_what_lacks_a_field_is_no_representation(
    jobs: SyncProgressManager, tracked: str, field: str
) -> None:
    represented = jobs.describe(tracked) or {}
    del represented[field]
    with pytest.raises(ValidationError, match=field):
        validate(represented)


def test_json(live: AsgiServer, jobs: SyncProgressManager, tracked: str) -> None:
    jobs.create("queued")
    for job in (tracked, "queued"):
        url = f"{live.url}/progress/jobs/{make_ticket(job)}/"
        response = http.get(url)
        holds("/jobs/{job}/", response, response.content)
        response = http.get(url, headers={"If-None-Match": response.headers["ETag"]})
        holds("/jobs/{job}/", response, response.content)
    response = http.get(f"{live.url}/progress/jobs/unknown/")
    assert response.status_code == httpx.codes.NOT_FOUND
    holds("/jobs/{job}/", response, response.content)


def test_rejected_rows(live: AsgiServer, tracked: str) -> None:
    for job in (make_ticket(tracked), "unknown"):
        response = http.get(f"{live.url}/progress/jobs/{job}/rejects/")
        holds("/jobs/{job}/rejects/", response, response.content)


def test_streams(live: AsgiServer, tracked: str) -> None:
    ticket = make_ticket(tracked)
    urls = {"/jobs/{job}/stream/": f"jobs/{ticket}/stream/", "/stream/": f"stream/?job={ticket}"}
    for path, url in urls.items():
        with open_stream(f"{live.url}/progress/{url}") as (response, events):
            assert response.headers["Content-Type"] == "text/event-stream"
            assert (
                "text/event-stream" in DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
            )
            seen = list(events)
        validate(seen[0].json)
        assert [event.type for event in seen[1:]] == ["end"]
        last = {"Last-Event-ID": seen[-1].id}
        response = http.get(f"{live.url}/progress/{url}", headers=last)
        assert response.status_code == httpx.codes.NO_CONTENT
        holds(path, response, response.content)
    response = http.get(f"{live.url}/progress/stream/")
    assert response.status_code == httpx.codes.BAD_REQUEST
    holds("/stream/", response, response.content)


@pytest.mark.usefixtures("transactional_db")
def test_cancelling(jobs: SyncProgressManager, tracked: str) -> None:
    jobs.create("queued")
    statuses = []
    for job in ("queued", tracked, "unknown"):
        response = Client().post(f"/progress/jobs/{make_ticket(job, cancel=True)}/cancel/")
        holds("/jobs/{job}/cancel/", response, response.content, "post")
        statuses.append(response.status_code)
    assert statuses == [202, 409, 404]


def test_websocket(prefix_socket: ClientConnection, tracked: str) -> None:
    prefix_socket.send(json.dumps({"action": "watch", "job": make_ticket(tracked)}))
    validate(json.loads(prefix_socket.recv(30)))
