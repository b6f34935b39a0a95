"""Several hosts on one Redis that fails over: workers and web servers come and go, nothing is lost.

Each host is a loopback address, and processes of its own.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from kombu import Connection

from django_import_progress import get_sync_progress_manager
from tests.kit.crowd import Visitor, crowd, path_of
from tests.kit.processes import RedisProcess, valkey_binary
from tests.kit.servers import ServerProcess
from tests.kit.topologies import SentinelGroup, ask
from tests.kit.waiting import until, wait_for
from tests.kit.workers import CeleryWorker
from tests.site import tasks

ROWS = 1500
JOBS = 6
"""So many imports begin with each round: more than the workers have processes."""
PATIENCE_SECONDS = 60


class Site:  # pragma: no cover - of a soak
    """Two web servers, two workers, a broker, and a Redis with a replica and a sentinel."""

    def __init__(self, redis_program: str) -> None:
        self._program = redis_program
        self._stack = ExitStack()
        self.faults: Counter[str] = Counter()

    def __enter__(self) -> Site:
        enter = self._stack.enter_context
        # With little patience, and much to do, it would take servers for dead that are only late.
        self.redis = enter(SentinelGroup(self._program, silence_milliseconds=30_000))
        broker = enter(RedisProcess(valkey_binary()))
        self.broker = enter(Connection(broker.url))
        # A heartbeat that is seldom: what is seen in time was told, or read again for a reason.
        self.webs = [
            enter(ServerProcess(self.redis.url, host=f"127.0.0.{number}", HEARTBEAT_SECONDS=15))
            for number in (2, 3)
        ]
        workers = [
            enter(CeleryWorker(pool, broker.url, self.redis.url)) for pool in ("prefork", "threads")
        ]
        for worker in workers:
            worker.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fail_over(self) -> None:
        """Kill the primary, once the replica has all that it has; it comes back as a replica.

        Copies are made asynchronously. What is only on a primary that dies is lost, and to whom it
        was acknowledged does not write it again: that is no fault of ours, and is not what this
        test is about, so writes wait meanwhile.
        """
        group = self.redis
        ask(group.primary, "CLIENT", "PAUSE", 60_000, "WRITE")
        wait_for(lambda: _offset(group.primary) <= _offset(group.replica), "the copy")
        group.primary.kill()
        group.replace_the_primary()
        group.primary, group.replica = group.replica, group.primary
        group.replica.start().replicate(group.primary.port)
        self.faults["fail-overs"] += 1

    def kill_a_web_server(self) -> None:
        """Kill a web server, which its supervisor starts again."""
        web = random.choice(self.webs)
        web.kill()
        web.start()
        self.faults["web servers killed"] += 1

    def cut_the_subscriptions(self) -> None:
        """Have Redis close each pub/sub connection."""
        ask(self.redis.primary, "CLIENT", "KILL", "TYPE", "pubsub")
        self.faults["subscriptions cut"] += 1

    def let_it_be(self) -> None:
        """Do nothing."""


def _offset(process: RedisProcess) -> int:  # pragma: no cover - of a soak
    role = ask(process, "ROLE")
    return int(role[1] if role[0] == "master" else role[4])


@pytest.fixture
def hosts(redis_program: str, settings: Any) -> Iterator[Site]:  # pragma: no cover - of a soak
    with Site(redis_program) as site:
        settings.IMPORT_PROGRESS = {"REDIS_URL": site.redis.url}
        yield site


@pytest.mark.soak
@pytest.mark.timeout(0)
async def test_nothing_is_lost_among_several_hosts(
    hosts: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run for SOAK_SECONDS / 4; what happens when is random."""
    deadline = time.monotonic() + float(os.environ.get("SOAK_SECONDS") or 600) / 4
    faults = [hosts.fail_over, hosts.fail_over, hosts.kill_a_web_server]
    faults += [hosts.cut_the_subscriptions, hosts.let_it_be]
    number = 0
    while time.monotonic() < deadline:
        number += 1
        await one_round(hosts, [f"r{number}-{job}" for job in range(JOBS)], random.choice(faults))
    with capsys.disabled():
        sys.stdout.write(f"\n{number} rounds of {JOBS} imports: {dict(hosts.faults)}\n")


async def one_round(
    hosts: Site, job_ids: list[str], befalls: Callable[[], None]
) -> None:  # pragma: no cover - of a soak
    """Have imports begin, something befall them, and all who watch see them end."""
    for number, job_id in enumerate(job_ids):
        queue = ("prefork", "threads")[number % 2]
        tasks.import_slowly.apply_async(
            (ROWS,), task_id=job_id, queue=queue, connection=hosts.broker
        )
    visitors = [
        Visitor(web.port, path_of(job_id), web.host) for job_id in job_ids for web in hosts.webs
    ]
    async with crowd(visitors):
        await until(lambda: any(visitor.shown.get("percent") for visitor in visitors), "a row")
        await asyncio.to_thread(befalls)
        for visitor in visitors:
            await until(lambda v=visitor: 204 in v.statuses, "an end", PATIENCE_SECONDS)
    for visitor in visitors:
        assert (visitor.shown["status"], visitor.shown["created"]) == ("done", ROWS)
        seen = [event.json.get("processed_rows") or 0 for event in visitor.events if event.data]
        assert seen == sorted(seen)
    stored = {job["job_id"]: job["status"] for job in get_sync_progress_manager().jobs(limit=JOBS)}
    assert stored == dict.fromkeys(job_ids, "done")
