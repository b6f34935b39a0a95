"""The exact response of every endpoint to every kind of visitor."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.core.exceptions import PermissionDenied
from websockets.exceptions import ConnectionClosed

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import Switch, without
from tests.kit.doors import DOORS, Answer
from tests.kit.rejected import begin_with_a_reject
from tests.kit.sse import open_stream
from tests.kit.visitors import login

from . import naive

JOB = "the-job"
NO_SUCH_JOB = "no-such-job"
ALL = {"watch", "cancel"}

MAY: dict[str, set[str]] = {
    "anonymous": set(),
    "other user": set(),
    "owner": ALL,
    "staff": ALL,
    "ticket": {"watch"},
    "cancel ticket": ALL,
    "forged ticket": set(),
    "ticket of another key": set(),
    "another job's ticket": set(),
    "expired ticket": set(),
    "ticket of another namespace": set(),
    "no ticket at all": set(),
}
"""The allowed actions, by visitor."""

USERS = {"other user": "other", "owner": "owner", "staff": "staff"}


def _old(ticket_of: str) -> str:
    """Return a ticket that was made two days ago."""
    now, time_ago = time.time, 2 * 86400
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(signing.time, "time", lambda: now() - time_ago)
        return make_ticket(ticket_of, cancel=True)


def _reference(visitor: str) -> str:
    """Return the reference that the visitor uses in the URL."""
    good = make_ticket(JOB, cancel=True)
    references = {
        "ticket": make_ticket(JOB),
        "cancel ticket": good,
        "forged ticket": good[:-1] + ("A" if good[-1] != "A" else "B"),
        "ticket of another key": "@"
        + signing.TimestampSigner(
            key="another", salt="django_import_progress.ticket.import_progress"
        ).sign(f"c{JOB}"),
        "another job's ticket": make_ticket("another-job", cancel=True).replace("another-job", JOB),
        "expired ticket": _old(JOB),
        "ticket of another namespace": make_ticket(JOB, cancel=True, namespace="order_imports"),
        "no ticket at all": "@",
    }
    return references.get(visitor, JOB)


@pytest.fixture
def job(jobs: SyncProgressManager, owner: User) -> str:
    """A running job with a rejected row."""
    begin_with_a_reject(jobs, JOB, owner)
    return JOB


@contextmanager
def client_of(request: pytest.FixtureRequest, visitor: str) -> Iterator[httpx.Client]:
    with ExitStack() as stack:
        name = USERS.get(visitor)
        client = http.Client() if name is None else login(request.getfixturevalue(name))
        yield stack.enter_context(client)


def unknown(client: httpx.Client, live: AsgiServer, door: str) -> Answer:
    """Return this endpoint's response for a job that does not exist."""
    with http.Client() as nobody:
        answer = DOORS[door].knock(nobody, live.url, NO_SUCH_JOB)
    assert answer.status == DOORS[door].no
    return answer


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("visitor", MAY)
def test_each_visitor_gets_the_promised_answer_at_each_door(
    request: pytest.FixtureRequest, live: AsgiServer, job: str, door: str, visitor: str
) -> None:
    is_allowed = DOORS[door].action in MAY[visitor]
    with client_of(request, visitor) as client:
        answer = DOORS[door].knock(client, live.url, _reference(visitor))
        assert answer.status == (DOORS[door].yes if is_allowed else DOORS[door].no)
        assert (answer == unknown(client, live, door)) is not is_allowed


REFUSED: list[tuple[str, Switch]] = [
    ("anonymous", naive.lets_everybody_in),
    ("other user", naive.lets_everybody_in),
    ("forged ticket", naive.believes_every_signature),
    ("ticket of another key", naive.believes_every_signature),
    ("another job's ticket", naive.believes_every_signature),
    ("expired ticket", naive.has_tickets_that_never_grow_old),
    ("ticket of another namespace", naive.has_tickets_for_all_namespaces),
]


@pytest.mark.xfail(raises=AssertionError, strict=True)
@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(("visitor", "switch"), REFUSED, ids=[name for name, _ in REFUSED])
def test_without_its_defence_a_door_is_open(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    live: AsgiServer,
    job: str,
    door: str,
    visitor: str,
    switch: Switch,
) -> None:
    switch(monkeypatch)
    with client_of(request, visitor) as client:
        answer = DOORS[door].knock(client, live.url, _reference(visitor))
        assert answer.status == DOORS[door].no


def fails_for_what_is_not_there(user: Any, job: Any, action: str) -> bool:
    return bool(job.snapshot["team"] == "ours")


def fails_for_what_is_there(user: Any, job: Any, action: str) -> bool:
    if job.snapshot is not None:
        raise PermissionDenied
    return False


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("rule", [fails_for_what_is_not_there, fails_for_what_is_there])
@without(naive.lets_a_failing_rule_answer, fails_with=(AssertionError, ConnectionClosed))
def test_a_rule_that_fails_does_not_tell_what_is_there(
    live: AsgiServer, jobs: SyncProgressManager, settings: Any, door: str, rule: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"AUTHORIZE": rule}
    jobs.create(JOB, data={"team": "theirs"})
    with http.Client() as client:
        assert DOORS[door].knock(client, live.url, JOB) == unknown(client, live, door)


@pytest.mark.parametrize("door", [name for name in DOORS if DOORS[name].action == "cancel"])
@without(naive.has_tickets_for_all_actions)
def test_who_may_watch_may_not_cancel(
    live: AsgiServer, job: str, jobs: SyncProgressManager, door: str
) -> None:
    with http.Client() as client:
        answer = DOORS[door].knock(client, live.url, make_ticket(JOB))
    assert answer.status == DOORS[door].no
    assert jobs.request_cancel(JOB)  # It goes on.


@pytest.mark.parametrize("door", [name for name in DOORS if DOORS[name].decides_first])
@without(naive.limits_before_it_decides)
def test_access_is_decided_before_limits(
    live: AsgiServer, job: str, settings: Any, door: str
) -> None:
    with ExitStack() as stack:
        settings.IMPORT_PROGRESS |= {"MAX_STREAMS": 1, "MAX_STREAMS_PER_CLIENT": 1}
        url = f"{live.url}/progress/jobs/{make_ticket(JOB)}/stream/"
        stack.enter_context(open_stream(url))
        client = stack.enter_context(http.Client())
        assert DOORS[door].knock(client, live.url, JOB).status == DOORS[door].no
