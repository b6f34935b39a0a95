"""The processes, servers and clients that all schedules share, emptied before each."""

from __future__ import annotations

import asyncio
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import httpx
import redis
from django.test import override_settings

from django_import_progress import (
    ProgressManager,
    ProgressUnavailable,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.processes import DURABLE, RedisProcess, valkey_binary
from tests.kit.waiting import wait_for
from tests.site.asgi import application

from .ear import PATIENCE_SECONDS, Ear, impatient_client
from .wire import LoopThread, Wire, count_tasks

NAMESPACE = "import_progress"


class World:
    """One Redis of our own; the site and the watchers behind a wire; writers on both sides of it.

    To be used as a context manager.
    """

    def __init__(self, heartbeat_seconds: float = 0.5) -> None:
        self.heartbeat_seconds = heartbeat_seconds
        self.process = RedisProcess(valkey_binary(), *DURABLE)
        self.is_up = False
        self.failure: Exception | None = None
        """What went wrong first."""
        self.slowest = 0.0
        """How many seconds it took at most until all had converged."""
        self.rollbacks = 0
        """Grows before and after the store is rolled back: odd while that goes on."""
        self.hasty_until = 0.0
        """Until then what was asked at two heartbeats may be answered at once."""
        self.baseline: dict[str, int] = {}
        """What was held before there were watchers."""
        self.process_metrics: Counter[str] = Counter()
        self._thaw: threading.Timer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> World:
        enter, undo = self._stack.enter_context, self._stack.callback
        self.process.start()
        undo(self.process.close)
        self.is_up = True
        self.data = self.process.directory / "appendonlydir"
        self.older = self.process.directory / "older"
        wires = enter(LoopThread("wires"))
        self.watching = enter(LoopThread("watching"))

        async def make_wire() -> tuple[Wire, int]:
            wire = Wire(self.process.port)
            return wire, await wire.start()

        self.wire, port = wires.run(make_wire())
        undo(lambda: wires.run(self.wire.close()))
        self._wires = wires
        self.url = f"redis://127.0.0.1:{port}/0"
        self.raw = enter(impatient_client(self.process.port))
        self.ear = Ear(self.process.port)
        undo(self.ear.close)
        self.writers = {
            "direct": self._writer(self.process.url, retries=0),
            "wire": self._writer(self.url, retries=1),
        }
        direct = self.writers["direct"]
        self.publishers: dict[str, Callable[[], SyncProgressManager]] = {
            "the writer": lambda: direct,
            "one that remembers nothing": lambda: SyncProgressManager(direct.redis),
        }
        self.elsewhere = self._writer(self.process.url.removesuffix("0") + "1", retries=0)
        self.manager = self.watching.run(self._make_manager())
        undo(lambda: self.watching.run(self.manager.redis.aclose()))
        self.site = enter(AsgiServer(self._application()))
        self.browser = enter(http.Client(base_url=self.site.url, timeout=20))
        self.browser.get("/progress/jobs/@/")  # The server's loop is known now.
        return self

    def __exit__(self, *_: object) -> None:
        self.calm()
        self._stack.close()

    def _application(self) -> Any:
        async def noting_the_loop(scope: Any, receive: Any, send: Any) -> None:
            self.server_loop = asyncio.get_running_loop()
            await application(scope, receive, send)

        return noting_the_loop

    async def _make_manager(self) -> ProgressManager:
        client = create_redis_client(self.url)
        return ProgressManager(client, heartbeat_seconds=self.heartbeat_seconds)

    def settings(self) -> override_settings:
        """Return what has the site's settings point here, which are the whole process's."""
        options = {"REDIS_URL": self.url, "HEARTBEAT_SECONDS": self.heartbeat_seconds}
        return override_settings(IMPORT_PROGRESS=options)

    def _writer(self, url: str, retries: int) -> SyncProgressManager:
        client = create_sync_redis_client(url, timeout_seconds=PATIENCE_SECONDS, retries=retries)
        self._stack.callback(client.close)
        return SyncProgressManager(client)

    def reset(self) -> None:
        """Empty everything."""
        self.calm()
        shutil.rmtree(self.older, ignore_errors=True)
        self.raw.flushall()
        self.raw.script_flush()
        self.ear.forget()

    def link(self, fault: str) -> None:
        """Have something befall the wire, by the name of a method of `Wire`."""
        self._wires.run(getattr(self.wire, fault)())

    def calm(self) -> None:
        """End all faults. A connection that is dead stays dead: who has it must notice."""
        if self._thaw is not None:
            self._thaw.join()
            self._thaw = None
        self.link("calm")
        if not self.is_up:
            self.start()
        wait_for(self._is_calm, "Redis to answer")

    def _is_calm(self) -> bool:
        with suppress(redis.RedisError):
            return bool(self.raw.ping())
        return False  # pragma: no cover - it may answer at once

    def freeze(self, seconds: float) -> None:
        """Stop Redis for a moment, while the schedule goes on."""
        if self._thaw is not None:
            self._thaw.join()
        self.process.signal(signal.SIGSTOP)
        self.hasty_until = time.monotonic() + seconds + 2
        self._thaw = threading.Timer(seconds, partial(self.process.signal, signal.SIGCONT))
        self._thaw.start()

    def kill(self) -> None:
        """End Redis."""
        if self._thaw is not None:
            self._thaw.join()
            self._thaw = None
        self.process.kill()
        self.is_up = False

    def start(self) -> None:
        """Start Redis with what it has on disk."""
        self.process.start()
        self.is_up = True

    def lose_data(self) -> None:
        """Have Redis start empty."""
        shutil.rmtree(self.data)

    def remember(self) -> None:
        """Keep a copy of what Redis has on disk."""
        shutil.rmtree(self.older, ignore_errors=True)
        shutil.copytree(self.data, self.older)

    def roll_back(self) -> None:
        """Have Redis start with that copy."""
        shutil.rmtree(self.data)
        shutil.copytree(self.older, self.data)

    def read(self, job_id: str) -> dict[str, Any] | None:
        """Return what is stored."""
        return self.writers["direct"].get_progress(job_id)

    def read_async(self, job_id: str) -> list[dict[str, Any] | None]:
        """Return the same by the other manager, in a list; none where it cannot tell."""
        with suppress(ProgressUnavailable):
            return [self.watching.run(ProgressManager.get_progress(self.manager, job_id))]
        return []  # pragma: no cover - mostly a connection is well

    def get(self, path: str, **headers: str) -> httpx.Response | None:
        """Return what the site answers; None where it says that Redis is away."""
        response = self.browser.get(path, headers=headers)
        if response.status_code == httpx.codes.SERVICE_UNAVAILABLE:  # pragma: no cover - same
            assert response.headers["Retry-After"]
            return None
        return response

    def clients(self) -> list[str]:
        """Return the names of who is subscribed, ourselves left out."""
        entries: Any = self.raw.client_list(_type="pubsub")
        return [entry["addr"] for entry in entries if entry["name"] != Ear.NAME]

    def held(self) -> dict[str, int]:
        """Return how many there are of all that might leak."""
        counting = asyncio.run_coroutine_threadsafe(count_tasks(), self.server_loop)
        return {
            "tasks of the server": counting.result(20),
            "tasks of the watchers": self.watching.tasks(),
            # The loops' own pools keep the threads they have.
            "threads": sum(not t.name.startswith("asyncio_") for t in threading.enumerate()),
            "subscriptions": len(self.clients()),
        }

    def leaks(self) -> dict[str, int]:
        """Return what is held beyond what was at the beginning."""
        self.link("bury")
        return {
            name: count - self.baseline[name]
            for name, count in self.held().items()
            if count > self.baseline[name]
        }
