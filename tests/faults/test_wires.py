"""Faults of the link to Redis as a browser sees them: over each wire, and from each server."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
import redis

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit.controls import without
from tests.kit.lone import LoneWorker
from tests.kit.processes import RedisProcess, valkey_binary
from tests.kit.proxy import Proxy
from tests.kit.servers import ServerProcess, documented, in_the_server
from tests.kit.tracked import JOB
from tests.kit.waiting import until
from tests.kit.wires import SocketWire, Wire

from . import naive
from .cutting import cut_off_and_update, subscriptions

each_server = pytest.mark.parametrize("program", ["uvicorn", "daphne"])
NEVER = 3600
"""A heartbeat that nothing is mended by."""


async def shows(watching: Wire, **fields: Any) -> None:
    """Take what is shown until it says so."""

    async def says_so() -> bool:
        return fields.items() <= (await watching.shown()).items()

    await until(says_so, f"{fields} to be shown")


@each_server
@without(in_the_server(naive.bears_silence))
async def test_a_link_that_goes_silent_is_mended(
    server: RedisProcess, jobs: SyncProgressManager, program: str, wire: type[Wire]
) -> None:
    jobs.create(JOB)
    with (
        Proxy(server.port) as proxy,
        ServerProcess(proxy.url, documented(program), HEARTBEAT_SECONDS=NEVER) as site,
    ):
        async with await wire.of(site.port, make_ticket(JOB)) as watching:
            await shows(watching, status="queued")
            proxy.blackhole()
            jobs.update(JOB, {"n": 1})
            await shows(watching, n=1)
            jobs.update(JOB, {"status": "done"})
            await shows(watching, status="done")
            assert await watching.has_ended()


@each_server
@without(in_the_server(naive.reads_a_job_only_once))
async def test_after_a_kill_and_a_restart_the_current_state_is_shown_and_then_the_end(
    jobs: SyncProgressManager, program: str, wire: type[Wire]
) -> None:
    with (
        RedisProcess(valkey_binary()) as process,
        Proxy(process.port) as proxy,
        ServerProcess(proxy.url, documented(program), HEARTBEAT_SECONDS=NEVER) as site,
        redis.Redis(port=process.port) as client,
    ):
        own = SyncProgressManager(client)
        own.create(JOB)
        async with await wire.of(site.port, make_ticket(JOB)) as watching:
            await shows(watching, status="queued")
            with proxy.refusing():
                proxy.cut(reset=True)
                process.kill()
                process.start()
                own.create(JOB, data={"n": 1})  # A worker writes the job again.
            await shows(watching, n=1)
            own.update(JOB, {"status": "failed"})
            await shows(watching, status="failed")
            assert await watching.has_ended()


@each_server
@without(in_the_server(naive.reads_a_job_only_once))
async def test_an_end_that_is_told_while_the_subscription_is_killed_arrives(
    server: RedisProcess,
    jobs: SyncProgressManager,
    foreign: redis.Redis,
    program: str,
    wire: type[Wire],
) -> None:
    with ServerProcess(server.url, documented(program), HEARTBEAT_SECONDS=NEVER) as site:
        async with AsyncExitStack() as stack:
            watchings = [
                await stack.enter_async_context(
                    await wire.of(site.port, make_ticket(jobs.create(f"j{number}")))
                )
                for number in range(20)
            ]
            for watching in watchings:
                await shows(watching, status="queued")
            for number in range(20):
                await until(lambda: subscriptions(foreign), "a subscription to kill")
                cut_off_and_update(foreign, f"j{number}", status="done")
            for watching in watchings:
                await shows(watching, status="done")
                assert await watching.has_ended()


@without(in_the_server(naive.looks_for_lost_workers_at_heartbeats_only))
async def test_a_lost_worker_is_shown_over_a_websocket_and_a_deleted_job_is_gone(
    site: RedisProcess, jobs: SyncProgressManager
) -> None:
    with (
        LoneWorker(site.url, STALLED_AFTER_SECONDS=1) as worker,
        ServerProcess(site.url, HEARTBEAT_SECONDS=NEVER) as web,
    ):
        worker.has_entered()
        async with await SocketWire.of(web.port, make_ticket(JOB)) as watching:
            await shows(watching, status="importing", stalled=False)
            worker.kill()
            await shows(watching, stalled=True)
            jobs.delete(JOB)
            await shows(watching, gone=True)
            assert await watching.has_ended()
