"""A client that stops reading while its job is updated as fast as can be costs no memory."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from django_import_progress import SyncProgressManager
from django_import_progress.watch.hub import Watcher
from tests.kit.controls import without
from tests.kit.crowd import Stream, deaf_client, path_of
from tests.kit.processes import RedisProcess
from tests.kit.servers import ServerProcess, in_the_server
from tests.kit.visitors import subscribers
from tests.kit.waiting import until
from tests.kit.wires import Wire, ticket_path

LARGE = {"text": "x" * 50_000}
WARM_UP = 200
UPDATES = 1000
MAX_GROWTH_MIB = 16
"""The updates are 48 MiB."""


def every_watcher_has_a_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    wake: Any = Watcher.wake
    queue = []

    def put_and_wake(watcher: Watcher) -> None:  # pragma: no cover - in the server's own process
        queue.append(watcher._job.view.state)
        wake(watcher)

    monkeypatch.setattr(Watcher, "wake", put_and_wake)


@without(in_the_server(every_watcher_has_a_queue))
async def test_a_client_that_stops_reading_under_a_flood(
    server: RedisProcess, jobs: SyncProgressManager, wire: type[Wire]
) -> None:
    # With so long a heartbeat the client is not let go meanwhile.
    with ServerProcess(server.url, HEARTBEAT_SECONDS=60) as site:
        job_id = jobs.create()
        with closing(deaf_client(site.port, ticket_path(wire, job_id), wire.headers)):
            await until(lambda: subscribers(jobs, job_id), "the subscription")
            await flood(site, jobs, job_id, WARM_UP)
            before = resident_mib(site.pid)
            await flood(site, jobs, job_id, UPDATES)
            assert resident_mib(site.pid) < before + MAX_GROWTH_MIB


async def flood(site: ServerProcess, jobs: SyncProgressManager, job_id: str, count: int) -> None:
    """Update the job so often, and wait until a client that reads has seen the last."""
    for number in range(count):
        jobs.update(job_id, {**LARGE, "left": count - number - 1})
        if not number % 50:  # Faster, and Redis would end the subscription instead.
            await until(lambda: not _waits_in_redis(jobs), "the updates to be taken")
    async with await Stream.open(site.port, path_of(job_id)) as stream:

        async def is_last() -> bool:
            return not (await stream.event()).json["left"]

        await until(is_last, "the last update")


def _waits_in_redis(jobs: SyncProgressManager) -> int:
    """Return how many bytes for subscribers wait in Redis's output buffers."""
    clients: Any = jobs.redis.client_list(_type="pubsub")
    return sum(int(client["omem"]) for client in clients)


def resident_mib(pid: int) -> float:
    """Return how much memory a process has."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024
