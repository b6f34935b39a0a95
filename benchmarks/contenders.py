"""What serves event streams: how each is started, asked for a stream, and told of an update."""

from __future__ import annotations

import dataclasses
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import redis
from django.conf import settings

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit.crowd import request
from tests.kit.nginx import nginx_binary
from tests.kit.processes import RedisProcess, free_port
from tests.kit.started import ROOT
from tests.kit.waiting import wait_for

OPTIONS = {
    "MAX_UPDATES_PER_SECOND": 1000,
    "MAX_STREAMS_PER_CLIENT": 20_000,
    "AUTHORIZE": "benchmarks.settings.anyone",
}
"""Nobody else thins updates, or counts what one address has open: so that all do the same."""
UVICORN = ("--log-level", "warning", "--no-access-log")
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
FAST_LANE = "django_import_progress.asgi.ProgressStreams"
CONFIGURATION = Path(__file__).parent / "peers" / "nchan.conf"

Fields = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Served:
    """A server that runs, and what is needed to measure it."""

    port: int
    pid: int
    tell: Callable[[str, Fields], object]
    """Tells one job's newest fields: what the latency begins with."""
    ask: Callable[[str], str]
    """Returns the bytes that ask for the events of a job."""
    ready: str
    """What has come once a watcher hears of each update."""
    begin: Callable[[str, Fields], object] = lambda job_id, fields: None
    """Makes a job."""

    def cpu_seconds(self) -> float:
        """Return what the server has had of the processors."""
        times = psutil.Process(self.pid).cpu_times()
        return float(times.user + times.system)


Contender = Callable[[RedisProcess], AbstractContextManager[Served]]


@contextmanager
def _process(command: list[str], environment: Mapping[str, str], port: int) -> Iterator[int]:
    """Start a server, and end it."""
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment})
    try:
        wait_for(partial(_accepts, port), f"{command[0]} to listen", seconds=30)
        yield process.pid
    finally:
        process.kill()
        process.wait()


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


@contextmanager
def _uvicorn(
    server: RedisProcess, application: str, site: Mapping[str, str]
) -> Iterator[tuple[int, int]]:
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.peers.{application}:application"]
    command += ["--host", "127.0.0.1", "--port", str(port), *UVICORN]
    environment = {
        **site,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example_project")]),
        "TEST_SITE_REDIS": server.url,
        "TEST_SITE_OPTIONS": json.dumps(OPTIONS),
    }
    with _process(command, environment, port) as pid:
        yield port, pid


@contextmanager
def ours(
    server: RedisProcess, lane: str = "", reference_of: Callable[[str], str] = make_ticket
) -> Iterator[Served]:
    """Serve our streams.

    Args:
        server: Redis.
        lane: what goes around Django's application.
        reference_of: returns what clients send for a job id: a ticket, or the bare id.
    """
    site = {"DJANGO_SETTINGS_MODULE": "benchmarks.settings", "BENCH_LANE": lane}
    with (
        _uvicorn(server, "django_app", site) as (port, pid),
        redis.Redis(port=server.port) as client,
    ):
        manager = SyncProgressManager(client)
        yield Served(
            port=port,
            pid=pid,
            tell=manager.update,
            ask=lambda job_id: request(f"/progress/jobs/{reference_of(job_id)}/stream/"),
            ready="data: ",
            begin=lambda job_id, fields: manager.create(job_id, data=fields),
        )


@contextmanager
def starlette(server: RedisProcess) -> Iterator[Served]:
    """Serve with sse-starlette, one pub/sub connection a watcher."""
    with (
        _uvicorn(server, "starlette_app", {}) as (port, pid),
        redis.Redis(port=server.port) as client,
    ):

        def tell(job_id: str, fields: Fields) -> None:
            text = shown(job_id, fields)
            with client.pipeline(transaction=False) as pipeline:
                pipeline.set(f"stored:{job_id}", text, ex=3600).publish(f"told:{job_id}", text)
                pipeline.execute()

        yield Served(
            port=port,
            pid=pid,
            tell=tell,
            ask=lambda job_id: request(f"/jobs/{job_id}/"),
            ready="data: ",
            begin=tell,
        )


@contextmanager
def eventstream(server: RedisProcess) -> Iterator[Served]:
    """Serve with django-eventstream, over Redis."""
    settings.EVENTSTREAM_REDIS = {"host": "127.0.0.1", "port": server.port}
    from django_eventstream import send_event  # noqa: PLC0415 - looks at the settings at once

    site = {"DJANGO_SETTINGS_MODULE": "benchmarks.peers.eventstream_settings"}
    with _uvicorn(server, "django_app", site) as (port, pid):
        yield Served(
            port=port,
            pid=pid,
            tell=lambda job_id, fields: send_event(
                job_id, "message", shown(job_id, fields), json_encode=False
            ),
            ask=lambda job_id: request(f"/jobs/{job_id}/"),
            ready="stream-open",
        )


@contextmanager
def nchan(server: RedisProcess) -> Iterator[Served]:
    """Serve with nchan: what is published lies in nginx's own memory."""
    port, binary = free_port(), nginx_binary()
    assert binary is not None
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "nginx.conf"
        text = CONFIGURATION.read_text(encoding="utf-8")
        file.write_text(text.format(directory=directory, port=port, module=NCHAN))
        command = [binary, "-p", directory, "-c", str(file), "-e", f"{directory}/error.log"]
        with (
            _process(command, {}, port) as pid,
            closing(http.client.HTTPConnection("127.0.0.1", port)) as connection,
        ):

            def tell(job_id: str, fields: Fields) -> None:
                connection.request("POST", f"/told/{job_id}/", shown(job_id, fields))
                connection.getresponse().read()

            yield Served(
                port=port,
                pid=pid,
                tell=tell,
                ask=lambda job_id: request(f"/jobs/{job_id}/"),
                ready=": hi",
            )


@contextmanager
def pubsub(server: RedisProcess) -> Iterator[Served]:
    """Have Redis serve itself: pub/sub, one connection a watcher, nothing in between."""
    assert server.process is not None
    with redis.Redis(port=server.port) as client:
        yield Served(
            port=server.port,
            pid=server.process.pid,
            tell=lambda job_id, fields: client.publish(job_id, shown(job_id, fields)),
            ask=lambda job_id: f"SUBSCRIBE {job_id}\r\n",
            ready=":1\r\n",
        )


OURS, LANE, HANDED = "ours, Django view", "ours, fast lane", "ours, handed over"
STARLETTE, EVENTSTREAM, NCHAN_NAME = "sse-starlette", "django-eventstream", "nchan (C)"
PUBSUB = "Redis pub/sub alone (C)"


def contenders() -> dict[str, Contender]:
    """Return those that can be had here."""
    in_c = {NCHAN_NAME: nchan} if has_nchan() else {}
    return {
        OURS: ours,
        LANE: partial(ours, lane=FAST_LANE),
        HANDED: partial(ours, lane=FAST_LANE, reference_of=str),
        STARLETTE: starlette,
        EVENTSTREAM: eventstream,
        **in_c,
        PUBSUB: pubsub,
    }


def has_nchan() -> bool:
    """Tell whether nginx is here with nchan."""
    return nginx_binary() is not None and NCHAN.exists()


def shown(job_id: str, fields: Fields) -> str:
    """Return the message of those who tell what they are given: as long as ours, with the same."""
    whole = {
        **fields,
        "updated_at": "2026-01-01T00:00:00.000000+00:00",
        "job_id": job_id,
        "percent": 10.0,
        "stalled": False,
        "cancelling": False,
    }
    return json.dumps(whole, separators=(",", ":"))
