"""A client that is gone, or that takes nothing any more, is let go."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from logging.handlers import QueueHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.web.event_stream import OpenStream
from django_import_progress.web.websocket import Socket
from tests.kit import waiting
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.crowd import deaf_client
from tests.kit.observed import Observed
from tests.kit.processes import RedisProcess
from tests.kit.visitors import subscribers
from tests.kit.waiting import until, wait_for
from tests.kit.wires import Wire, on_each_wire
from tests.site.asgi import application

LARGE = {"text": "x" * 50_000}
HEARTBEAT_SECONDS = 1.0
LAST_CHUNK = b"\r\n0\r\n\r\n"


@pytest.fixture
def observed() -> Observed:
    return Observed(application)


@pytest.fixture
def web(site: RedisProcess, observed: Observed) -> Iterator[AsgiServer]:
    with AsgiServer(observed) as server:
        yield server


@pytest.fixture
def heartbeat(settings: Any, site: RedisProcess) -> Callable[[float], None]:
    def set_to(seconds: float) -> None:
        settings.IMPORT_PROGRESS = {
            **settings.IMPORT_PROGRESS,
            "HEARTBEAT_SECONDS": seconds,
            "MAX_UPDATES_PER_SECOND": 1000,
        }

    return set_to


@pytest.fixture
def server_log(web: AsgiServer) -> Iterator[SimpleQueue[logging.LogRecord]]:
    """What uvicorn complains about."""
    queue: SimpleQueue[logging.LogRecord] = SimpleQueue()
    handler = QueueHandler(queue)
    logger = logging.getLogger("uvicorn.error")
    logger.addHandler(handler)
    yield queue
    logger.removeHandler(handler)


def nobody_closes_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (OpenStream, Socket):
        monkeypatch.setattr(kind, "close", lambda _: None)


def deaf(wire: type[Wire], port: int, job_id: str) -> socket.socket:
    """Return a connection to the job that is never read."""
    return deaf_client(port, wire.path(make_ticket(job_id)), wire.headers)


def fill(jobs: SyncProgressManager, job_id: str, observed: Observed) -> None:
    """Update a job until the server cannot send any more of it."""

    def is_full() -> bool:
        jobs.update(job_id, LARGE)
        return observed.stuck(seconds=0.3) > 0

    wait_for(is_full, "the buffers to be full", seconds=20)


@on_each_wire
@without(nobody_closes_a_stream)
async def test_a_client_that_goes_is_let_go_at_once(
    web: AsgiServer,
    jobs: SyncProgressManager,
    observed: Observed,
    heartbeat: Callable[[float], None],
    wire: type[Wire],
) -> None:
    heartbeat(3600)  # Which is not what finds out.
    finished, reset, stuck = watched = [jobs.create() for _ in range(3)]
    with closing(deaf(wire, web.port, stuck)) as deaf_one:
        one = await wire.of(web.port, make_ticket(finished))
        other = await wire.of(web.port, make_ticket(reset))
        await one.shown()
        await other.shown()
        fill(jobs, stuck, observed)
        one.finish()
        other.reset()
        deaf_one.close()
        await until(
            lambda: not any(subscribers(jobs, job_id) for job_id in watched),
            "the watchers to go",
            seconds=5,
        )


def nobody_looks_whether_it_takes_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OpenStream, "_check", lambda stream: None)

    async def say(self: Socket, text: str) -> None:
        await self._send({"type": "websocket.send", "text": text})

    monkeypatch.setattr(Socket, "_send_text", say)


@on_each_wire
@without(nobody_looks_whether_it_takes_anything)
def test_a_client_that_takes_nothing_for_a_heartbeat_is_let_go(
    web: AsgiServer,
    jobs: SyncProgressManager,
    observed: Observed,
    heartbeat: Callable[[float], None],
    server_log: SimpleQueue[logging.LogRecord],
    wire: type[Wire],
) -> None:
    heartbeat(HEARTBEAT_SECONDS)
    job_id = jobs.create()
    with closing(deaf(wire, web.port, job_id)) as client:
        fill(jobs, job_id, observed)
        wait_for(lambda: not subscribers(jobs, job_id), "the watcher to go", seconds=5)
        # No server drops what is on the way, but there is nothing behind it.
        read_all(client)
    # Whoever is deaf writes no tracebacks into the log of the server.
    assert server_log.empty(), server_log.get().getMessage()


def read_all(client: socket.socket) -> None:
    """Read what is on the way to a client, up to the end of the answer or of the connection."""
    client.settimeout(waiting.PATIENCE_SECONDS)
    tail = b""
    while not tail.endswith(LAST_CHUNK) and (data := client.recv(1_000_000)):
        tail = (tail + data)[-len(LAST_CHUNK) :]


@on_each_wire
@without(nobody_closes_a_stream)
async def test_after_hundreds_of_abrupt_disconnects_nothing_is_left(
    web: AsgiServer,
    jobs: SyncProgressManager,
    observed: Observed,
    server: RedisProcess,
    heartbeat: Callable[[float], None],
    defence: bool,
    settings: Any,
    wire: type[Wire],
) -> None:
    heartbeat(15)
    times = 2 if defence else 1
    await all_are_let_go(wire, web, jobs, observed, server, settings, times=times)


@pytest.mark.soak
async def test_nor_is_anything_after_thousands(
    web: AsgiServer,
    jobs: SyncProgressManager,
    observed: Observed,
    server: RedisProcess,
    heartbeat: Callable[[float], None],
    settings: Any,
    wire: type[Wire],
) -> None:
    heartbeat(15)
    await all_are_let_go(wire, web, jobs, observed, server, settings, times=8)


async def all_are_let_go(
    wire: type[Wire],
    web: AsgiServer,
    jobs: SyncProgressManager,
    observed: Observed,
    server: RedisProcess,
    settings: Any,
    *,
    times: int,
) -> None:
    """See that 250 clients come and go that often, and what is held is what was held before."""
    settings.IMPORT_PROGRESS |= {"MAX_STREAMS_PER_CLIENT": 1000}
    tickets = [make_ticket(jobs.create()) for _ in range(50)]
    with redis.Redis(port=server.port) as raw:

        def held() -> dict[str, int]:
            return {
                "files": len(list(Path("/proc/self/fd").iterdir())),
                "threads": threading.active_count(),
                "tasks": observed.tasks(),
                "connections": int(raw.info("clients")["connected_clients"]),
                "subscriptions": len(raw.pubsub_channels()),
            }

        await come_and_go(wire, web.port, tickets, 10)
        await until(lambda: not raw.pubsub_channels(), "the first few to be let go")
        await until(lambda: observed.tasks() <= 3, "the hub to end")
        before = held()
        for _ in range(times):
            await come_and_go(wire, web.port, tickets, 250)
        await until(lambda: is_back(held(), before), f"{before} to be held again")


def is_back(now: dict[str, int], before: dict[str, int]) -> bool:
    return all(now[what] <= before[what] for what in before)


async def come_and_go(wire: type[Wire], port: int, tickets: list[str], count: int) -> None:
    """Open as many wires at once, and drop half by a FIN, half by a RST."""
    wires = [await wire.of(port, tickets[number % len(tickets)]) for number in range(count)]
    for one in wires:
        await one.shown()
    for one in wires[::2]:
        one.finish()
    for one in wires[1::2]:
        one.reset()
