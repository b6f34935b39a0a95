"""What grows with the watchers of one process, in the fast lane, and what a heartbeat takes."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import statistics
import time
from collections.abc import Sequence

import psutil

from django_import_progress import ProgressManager, create_redis_client
from django_import_progress.redis.executor import read_all
from django_import_progress.watch.hub import Hub
from tests.kit.processes import RedisProcess, valkey_binary

from .contenders import FAST_LANE, Served, ours
from .report import Report, Target
from .watchers import Watchers

ROUNDS = 3
FEW, MANY = 1_000, 10_000
UPDATES = 10
JOBS = 10_000
HEARTBEAT_SECONDS = 15
"""The setting's default."""
HEARTBEATS = 2
AT_ONCE = 500
"""So many jobs are read in one pipeline."""
FIELDS = {"status": "importing", "stage": "rows", "total_rows": 100_000}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Crowd:
    """One server with so many watchers of one job."""

    event_us: float
    """Of the server's CPU, for each event that arrived."""
    memory_mb: float
    connections: int
    """Of the server, to Redis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heartbeat:
    """What is spent for jobs that nothing happens to."""

    share: float
    """Of one core: all that the hub does."""
    in_full_share: float
    """The same if each job were read, at each heartbeat."""


def run() -> Report:
    """Measure."""
    crowds: dict[int, list[Crowd]] = {FEW: [], MANY: []}
    heartbeats = []
    for _ in range(ROUNDS):
        with RedisProcess(valkey_binary()) as server:
            with ours(server, lane=FAST_LANE) as served, Watchers() as watchers:
                served.begin("job", FIELDS)
                for number, more in ((FEW, FEW), (MANY, MANY - FEW)):
                    crowds[number].append(_crowd(served, watchers, more, number))
            heartbeats.append(asyncio.run(_heartbeat(server)))
    few, many = (_medians(crowds[number]) for number in (FEW, MANY))
    share = statistics.median(one.share for one in heartbeats)
    in_full = statistics.median(one.in_full_share for one in heartbeats)
    more = many.connections - few.connections
    return Report(
        name="growth",
        title="what grows with the watchers of one process",
        how=(
            f"one server process with the fast lane, {FEW:,} watchers of one job and then {MANY:,};"
            f" a hub with {JOBS:,} jobs, which nothing happens to; {ROUNDS} rounds, medians"
        ),
        columns=["", f"{FEW:,}", f"{MANY:,}", "ratio"],
        rows=[
            _row("µs of CPU an event", few.event_us, many.event_us),
            _row("MB of memory, all in all", few.memory_mb, many.memory_mb),
            _row("connections to Redis", few.connections, many.connections),
        ],
        targets=[
            Target(what="CPU an event, of 1,000", found=many.event_us / few.event_us, most=1.3),
            Target(what="memory with all watchers", found=many.memory_mb, most=250, unit=" MB"),
            Target(what="connections to Redis that the others add", found=more, most=0),
            Target(what="idle jobs, of a core", found=share * 100, most=2, unit=" %"),
        ],
        notes=[_in_full(share, in_full)],
        raw={
            "crowds": {
                number: [dataclasses.asdict(one) for one in each] for number, each in crowds.items()
            },
            "heartbeats": [dataclasses.asdict(one) for one in heartbeats],
        },
    )


def _in_full(share: float, in_full: float) -> str:
    return (
        f"If each job were read at each heartbeat: {in_full * 100:.1f} % of a core, or"
        f" {in_full / share:.0f} times as much."
    )


def _row(what: str, few: float, many: float) -> Sequence[str]:
    return [what, f"{few:.3g}", f"{many:.3g}", f"{many / few:.2f}"]


def _medians(rounds: Sequence[Crowd]) -> Crowd:
    return Crowd(
        event_us=statistics.median(one.event_us for one in rounds),
        memory_mb=statistics.median(one.memory_mb for one in rounds),
        connections=max(one.connections for one in rounds),
    )


def _crowd(served: Served, watchers: Watchers, more: int, number: int) -> Crowd:
    """Have `more` join, so that there are `number`, and tell them of some updates."""
    watchers.open(served.port, [served.ask("job")] * more, served.ready)
    server, arrived = psutil.Process(served.pid), 0
    before = served.cpu_seconds()
    for _ in range(UPDATES):
        watchers.begin_to_hear(number)
        served.tell("job", {**FIELDS, "sent": time.monotonic_ns()})
        arrived += len(watchers.heard().sent_ns)
    # All of an event's work: what the loop of events does at the end of its turn as well.
    time.sleep(0.1)
    return Crowd(
        event_us=(served.cpu_seconds() - before) / arrived * 1e6,
        memory_mb=server.memory_info().rss / 2**20,
        connections=sum(
            bool(end.raddr) and end.laddr.port != served.port
            for end in server.net_connections("tcp")
        ),
    )


async def _heartbeat(server: RedisProcess) -> Heartbeat:
    """Watch jobs in this process that nothing happens to."""
    server.do("FLUSHALL")
    client = create_redis_client(server.url)
    hub = Hub(client, heartbeat_seconds=HEARTBEAT_SECONDS)
    manager = ProgressManager(client, hub=hub)
    fields = {**FIELDS, "processed_rows": 5, "created": 3, "rows_per_second": 12.5}
    jobs = [await manager.create(owner=7, data=fields) for _ in range(JOBS)]
    watchers = [manager.watcher(job_id) for job_id in jobs]
    for watcher in watchers:
        await watcher.next()
    await asyncio.sleep(HEARTBEAT_SECONDS)  # The first one reads each job.
    gc.collect()
    before = time.process_time()
    await asyncio.sleep(HEARTBEATS * HEARTBEAT_SECONDS)
    share = (time.process_time() - before) / HEARTBEATS / HEARTBEAT_SECONDS
    before = time.process_time()
    for start in range(0, JOBS, AT_ONCE):
        await read_all(client, [manager.calls.get(job_id) for job_id in jobs[start:][:AT_ONCE]])
    in_full_share = (time.process_time() - before) / HEARTBEAT_SECONDS
    await hub.aclose()
    await client.aclose()
    return Heartbeat(share=share, in_full_share=in_full_share)
