"""Every way in which a job can be followed, in a thread of its own: all must show the same."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, suppress
from io import StringIO
from typing import Any

from django.core.management import call_command
from django.db import connections
from django.test import Client

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from django_import_progress.access import make_ticket
from django_import_progress.conf import settings
from tests.site.asgi import HANDED, LANE

from .asgi import AsgiServer
from .groups import joined, relaying
from .sockets import of_job, open_socket, say, told
from .sse import open_stream, parse
from .waiting import wait_for

Shown = dict[str, Any]
"""What is shown of a job; with the key "gone" where it is."""
PAUSE_SECONDS = 0.03
"""Between two polls."""
PATIENCE_SECONDS = 20.0
"""After that what is waited for is not shown."""

OURS = {"job_id", "percent", "stalled", "cancelling", "outcome"}
"""What a representation has besides the snapshot's fields."""


def _events(url: str) -> Iterator[Shown]:
    with open_stream(url) as (_, events):
        for event in events:
            if event.type == "end":
                return
            yield {"gone": True} if event.type == "gone" else event.json


def _view(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    return _events(f"{live.url}/progress/jobs/{ticket}/stream/")


def _view_of_several(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    return _events(f"{live.url}/progress/stream/?job={ticket}")


def _lane(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    return _events(f"{live.url}{LANE}/progress/jobs/{ticket}/stream/")


def _handed(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    return _events(f"{live.url}{HANDED}/progress/jobs/{ticket}/stream/")


def _lane_of_several(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    return _events(f"{live.url}{LANE}/progress/stream/?job={ticket}")


def _websocket(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    with of_job(live, ticket) as connection:
        for event in told(connection):
            yield event.json


def _websocket_prefix(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    with open_socket(f"{live.url}/ws/progress/") as connection:
        say(connection, "watch", ticket)
        for event in told(connection):  # pragma: no branch - the socket stays open
            yield event.json
            if is_last(event.json):
                return


def _json(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    client, misses = Client(), 0
    while misses < 3:
        response = client.get(f"/progress/jobs/{ticket}/")
        if response.status_code == 200:
            yield response.json()
            if is_last(response.json()):
                return
        misses = misses + 1 if response.status_code == 404 else 0
        time.sleep(PAUSE_SECONDS)
    yield {"gone": True}


def _wsgi(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    client, last_id = Client(), ""
    while True:
        path = f"/progress/jobs/{ticket}/stream/"
        text = client.get(path, headers={"Last-Event-ID": last_id}).content.decode()
        for event in parse(iter(text.splitlines())):
            if event.type == "end":
                return
            yield {"gone": True} if event.type == "gone" else event.json
            if event.type == "gone":
                return
        last_id = (re.findall("^id: (.*)$", text, re.MULTILINE) or [last_id])[-1]
        time.sleep(PAUSE_SECONDS)


def _async_watch(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    async def watch() -> AsyncIterator[Shown]:
        client = create_redis_client(settings.redis_url)
        manager = ProgressManager(client)
        async for snapshot in manager.watch(job_id):
            yield snapshot
        await manager.aclose()
        await client.aclose()

    return _from_a_loop(watch())


def _relay(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    async def relay() -> AsyncIterator[Shown]:
        url, seen = settings.redis_url, 0
        # Joined before the first is sent.
        async with joined("pubsub", url) as member, relaying(url, "pubsub", url):
            while True:
                messages = member.told(job_id)
                for message in messages[seen:]:
                    yield message
                    if is_last(message):
                        return
                seen = len(messages)
                await asyncio.sleep(PAUSE_SECONDS)

    return _from_a_loop(relay())


def _from_a_loop(shown: Any) -> Iterator[Shown]:
    with asyncio.Runner() as runner:
        try:
            with suppress(StopAsyncIteration):
                while True:
                    yield runner.run(anext(shown))
        finally:
            runner.run(aclosing(shown).__aexit__(None, None, None))


def _sync_watch(live: AsgiServer, job_id: str, ticket: str) -> Iterator[Shown]:
    client = create_sync_redis_client(settings.redis_url)
    yield from SyncProgressManager(client).watch(job_id)
    client.close()


class _Lines(StringIO):
    def __init__(self, take: Callable[[Shown], None]) -> None:
        super().__init__()
        self._take = take

    def write(self, text: str) -> int:
        self._take(json.loads(text))
        return len(text)


WAYS: dict[str, Callable[[AsgiServer, str, str], Iterator[Shown]] | None] = {
    "view": _view,
    "view of several": _view_of_several,
    "lane": _lane,
    "lane of several": _lane_of_several,
    "handed over": _handed,
    "websocket": _websocket,
    "websocket prefix": _websocket_prefix,
    "async watch": _async_watch,
    "sync watch": _sync_watch,
    "relay": _relay,
    "command line": None,  # It is handed what to write to.
    "json": _json,
    "wsgi": _wsgi,
}
POLLS = {"json", "wsgi"}
"""Those that see only what is stored."""


def is_last(shown: Shown) -> bool:
    """Tell whether nothing follows."""
    return "gone" in shown or shown.get("status") in {"done", "failed", "cancelled"}


class Follower(threading.Thread):
    """Follows a job one way, and collects what is shown; it is over when the way ends by itself.

    Args:
        way: one of `WAYS`.
        live: the site.
        job_id: the job.
    """

    def __init__(self, way: str, live: AsgiServer, job_id: str) -> None:
        super().__init__(daemon=True)
        self.seen: list[Shown] = []
        self.error: BaseException | None = None
        self._way, self._live, self._job_id = way, live, job_id
        self._ticket = make_ticket(job_id)
        self.start()

    def run(self) -> None:
        """See `threading.Thread`."""
        follow = WAYS[self._way]
        try:
            if follow is None:
                with suppress(SystemExit):
                    call_command(
                        *("import_progress", "watch", self._job_id, "--json"),
                        stdout=_Lines(self._take),
                    )
            else:
                for shown in follow(self._live, self._job_id, self._ticket):
                    self._take(shown)
        except BaseException as error:
            self.error = error
        finally:
            connections.close_all()

    def _take(self, shown: Shown) -> None:
        fields = {name: value for name, value in shown.items() if name not in OURS}
        if not self.seen or self.seen[-1] != fields:
            self.seen.append(fields)

    @property
    def newest(self) -> Shown:
        """What is shown now."""
        return self.seen[-1] if self.seen else {}

    def shows(self, **fields: Any) -> None:
        """Wait until these fields are shown."""

        def is_shown() -> bool:
            assert self.error is None, self.error
            return fields.items() <= self.newest.items()

        wait_for(is_shown, f"{fields} over {self._way}", PATIENCE_SECONDS)

    def ends(self) -> Shown:
        """Wait until nothing more will come; return what was shown last."""
        what = f"the end over {self._way}; shown: {self.newest}"
        wait_for(lambda: not self.is_alive(), what, PATIENCE_SECONDS)
        assert self.error is None, self.error
        return self.newest
