"""Limits for a client, so that others are still served."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.access.visitors import Nobody, Visitor
from django_import_progress.web.limits import COMMANDS_AT_ONCE, OpenStreams, Turns, open_streams
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.doors import DOORS
from tests.kit.sockets import ask, hear, open_socket, say
from tests.kit.sse import open_stream
from tests.kit.visitors import login
from tests.kit.waiting import wait_for

from . import naive


class Stream:
    """A stream to count."""


@without(naive.counts_no_client)
def test_a_client_has_a_bound_of_its_own(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, settings: Any
) -> None:
    wait_for(lambda: not open_streams, "the streams of other tests to go")
    settings.IMPORT_PROGRESS |= {"MAX_STREAMS_PER_CLIENT": 2}
    ticket = make_ticket(jobs.create())
    url = f"{live.url}/progress/jobs/{ticket}/stream/"
    with ExitStack() as stack:
        nobody, user = stack.enter_context(http.Client()), stack.enter_context(login(owner))
        opened = [stack.enter_context(open_stream(url, nobody)) for _ in range(2)]
        for _, events in opened:
            next(events)
        refused = DOORS["stream"].knock(nobody, live.url, ticket)
        assert refused.status == 429
        assert int(dict(refused.headers)["retry-after"]) > 0
        _, events = stack.enter_context(open_stream(url, user))
        assert next(events)
        opened[0][0].close()
        wait_for(lambda: open_streams.of("address 127.0.0.1") < 2, "the stream to be closed")
        _, events = stack.enter_context(open_stream(url, nobody))
        assert next(events)


@without(naive.counts_no_client)
def test_a_user_has_a_hundred_streams_and_no_more(
    live: AsgiServer, jobs: SyncProgressManager, owner: User
) -> None:
    wait_for(lambda: not open_streams, "the streams of other tests to go")
    job_id = jobs.create(owner=owner)
    url = f"{live.url}/progress/jobs/{job_id}/stream/"
    with ExitStack() as stack:
        user = stack.enter_context(login(owner))
        for _ in range(100):
            _, events = stack.enter_context(open_stream(url, user))
            next(events)
        assert DOORS["stream"].knock(user, live.url, job_id).status == 429
        assert DOORS["json"].knock(user, live.url, job_id).status == 200


class SlowForStrangers:
    """A slow rule."""

    def __init__(self) -> None:
        self.asked = 0
        self.goes_on = threading.Event()

    async def __call__(self, user: Any, job: Any, action: str) -> bool:
        if not user.is_authenticated:
            self.asked += 1
            await asyncio.to_thread(self.goes_on.wait)
        return True


@without(naive.obeys_all_at_once)
def test_a_client_who_says_much_waits_for_itself_and_nobody_else_does(
    live: AsgiServer, jobs: SyncProgressManager, owner: User, settings: Any
) -> None:
    rule = SlowForStrangers()
    settings.IMPORT_PROGRESS |= {"AUTHORIZE": rule}
    job_id, url = jobs.create(owner=owner), f"{live.url}/ws/progress/"
    with ExitStack() as stack:
        stack.callback(rule.goes_on.set)
        strangers = [stack.enter_context(open_socket(url)) for _ in range(COMMANDS_AT_ONCE + 1)]
        for stranger in strangers[1:]:
            say(stranger, "watch", job_id)
        wait_for(lambda: rule.asked == COMMANDS_AT_ONCE, "as many as may to be obeyed")
        say(strangers[0], "watch", "*")
        user = stack.enter_context(login(owner))
        assert ask(stack.enter_context(open_socket(url, user)), "watch", job_id)["job_id"] == job_id
        with suppress(TimeoutError):
            pytest.fail(f"is obeyed as well: {strangers[0].recv(timeout=0.2)!r}")
        rule.goes_on.set()
        answers = [hear(stranger) for stranger in strangers]
    assert [answer.get("job_id") for answer in answers] == [None, *[job_id] * COMMANDS_AT_ONCE]


async def test_who_cannot_be_told_apart_waits_for_nobody() -> None:
    turns = Turns(1)
    async with turns.of(""), turns.of(""), turns.of("user 7"), turns.of("user 8"):
        assert turns.of("user 7") is turns.of("user 7")


@pytest.mark.parametrize(
    ("visitor", "client"),
    [
        (Visitor(user=User(pk=7), address="192.0.2.1"), "user 7"),
        (Visitor(user=AnonymousUser(), address="192.0.2.1"), "address 192.0.2.1"),
        (Visitor(user=Nobody(), address="2001:db8:0:1:2::3"), "address 2001:db8:0:1::/64"),
        (Visitor(user=Nobody(), address="2001:DB8:0:1:ffff::"), "address 2001:db8:0:1::/64"),
        (Visitor(user=Nobody(), address="2001:db8:0:2::3"), "address 2001:db8:0:2::/64"),
        (Visitor(user=Nobody(), address="::ffff:192.0.2.1"), "address 192.0.2.1"),
        (Visitor(user=Nobody(), address="fe80::1%eth0"), "address fe80::/64"),
        (Visitor(user=Nobody(), address="/run/site.sock"), "address /run/site.sock"),
        (Visitor(user=Nobody(), address="192.0.2.1 "), "address 192.0.2.1 "),
        (Visitor(user=Nobody()), ""),
    ],
)
def test_a_client_is_a_user_or_an_address(visitor: Visitor, client: str) -> None:
    assert visitor.client == client


def test_who_cannot_be_told_apart_is_counted_with_all_only() -> None:
    streams, stream = OpenStreams(), Stream()
    streams.add(stream, "")
    assert (len(streams), streams.of("")) == (1, 0)
    for _ in range(2):
        streams.discard(stream)
    assert len(streams) == 0


def test_a_stream_that_nobody_holds_is_not_counted() -> None:
    streams = OpenStreams()
    streams.add(Stream(), "user 7")
    assert (len(streams), streams.of("user 7")) == (0, 0)
    assert not streams._by_client


def test_a_client_without_streams_leaves_nothing_behind() -> None:
    streams, first, second = OpenStreams(), Stream(), Stream()
    for stream in (first, second):
        streams.add(stream, "user 7")
    streams.discard(first)
    assert streams.of("user 7") == 1
    for _ in range(2):
        streams.discard(second)
    assert not streams._by_client
