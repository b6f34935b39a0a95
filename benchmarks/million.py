"""A simulation: what a million watchers take, and how a crowd comes back after a restart.

Nothing runs here: it is arithmetic on what `streams` and `growth` have measured, and a queue.
"""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Callable, Sequence

from django_import_progress.web.event_stream import RETRY_MILLISECONDS

from .report import Report, Target


@dataclasses.dataclass(frozen=True, kw_only=True)
class Process:
    """What one server process was measured to take, rounded up."""

    event_us: float = 25
    """Of CPU for each event that is sent."""
    opening_us: float = 700
    """Of CPU for each stream that is opened."""
    watcher_kib: float = 16
    idle_us: float = 20
    """Of CPU for each watcher's comment, once a heartbeat."""
    message_us: float = 150
    """Of CPU for each message that comes from Redis, however many watch the job."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Site:
    """How many watch what."""

    watchers: int = 1_000_000
    jobs: int = 10_000
    updates_a_second: float = 1
    """Of each job: `track_import` writes about twice a second, and a page needs no more."""
    event_bytes: int = 420
    heartbeat_seconds: float = 15
    are_together: bool = False
    """Whether the balancer leads all who watch a job to the same process."""
    streams: int = 20_000
    """`MAX_STREAMS`."""
    core: float = 0.6
    """How much of a core a process may be busy, so that there is room for a storm."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Needs:
    """What a site takes, all in all."""

    processes: int
    watchers_each: int
    memory_gib: float
    sent_mib_a_second: float
    redis_messages_a_second: float
    redis_mib_a_second: float


def needs(site: Site, process: Process) -> Needs:
    """Return how many processes are enough. Each hears of all jobs that somebody there watches."""
    each_a_second = site.updates_a_second * process.event_us
    each_a_second += process.idle_us / site.heartbeat_seconds
    processes = 1
    while True:
        watchers = math.ceil(site.watchers / processes)
        # A job is watched in a process unless all of its watchers happen to be in others.
        elsewhere = (1 - 1 / processes) ** (site.watchers / site.jobs)
        heard = site.jobs * (1 / processes if site.are_together else 1 - elsewhere)
        messages = heard * site.updates_a_second
        busy = (watchers * each_a_second + messages * process.message_us) / 1e6
        if busy <= site.core and watchers <= site.streams:
            break
        processes += max(1, processes // 200)
    return Needs(
        processes=processes,
        watchers_each=watchers,
        memory_gib=site.watchers * process.watcher_kib / 2**20,
        sent_mib_a_second=site.watchers * site.updates_a_second * site.event_bytes / 2**20,
        redis_messages_a_second=messages * processes,
        redis_mib_a_second=messages * processes * site.event_bytes / 2**20,
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Storm:
    """How a crowd came back."""

    seconds: float
    """Until the last stream was open."""
    waits_p99: float
    """How long it took of 99 of 100 from coming to being served."""
    longest_queue: int


def storm(watchers: int, opening_us: float, wait: Callable[[], float]) -> Storm:
    """Have so many come back to one process, each after `wait()` seconds; it opens one by one."""
    arrivals = sorted(wait() for _ in range(watchers))
    free_at, waited = 0.0, []
    in_queue: list[float] = []
    longest = 0
    for arrival in arrivals:
        while in_queue and in_queue[0] <= arrival:
            heapq.heappop(in_queue)
        free_at = max(free_at, arrival) + opening_us / 1e6
        heapq.heappush(in_queue, free_at)
        longest = max(longest, len(in_queue))
        waited.append(free_at - arrival)
    waited.sort()
    return Storm(seconds=free_at, waits_p99=waited[len(waited) * 99 // 100], longest_queue=longest)


def run() -> Report:
    """Simulate."""
    dice = random.Random(1)
    process = Process()
    least, most = (milliseconds / 1000 for milliseconds in RETRY_MILLISECONDS)
    ways: dict[str, Callable[[], float]] = {
        "all at once": lambda: 0.0,
        f"after {least:g} to {most:g} s, as they are told": lambda: dice.uniform(least, most),
    }
    storms = {
        (watchers, how): storm(watchers, process.opening_us, wait)
        for watchers in (1_000, 10_000, 20_000)
        for how, wait in ways.items()
    }
    sites = [
        ("10,000 jobs, an update a second", Site()),
        ("the same, each job's watchers together", Site(are_together=True)),
        ("10,000 jobs, one in five seconds", Site(updates_a_second=0.2)),
        ("a job each, one in five seconds", Site(jobs=1_000_000, updates_a_second=0.2)),
        ("one job for all, an update a second", Site(jobs=1)),
    ]
    spread = storms[10_000, list(ways)[1]]
    return Report(
        name="million",
        title="a million watchers, and a crowd that comes back: simulated",
        how=f"a process takes {process.event_us:g} µs an event, {process.opening_us:g} an opening",
        columns=[
            *("site", "processes", "watchers each", "GiB", "MiB/s sent", "messages/s of Redis"),
            "MiB/s of Redis",
        ],
        rows=[_row(name, needs(site, process)) for name, site in sites],
        targets=[
            Target(what="10,000 are back after", found=spread.seconds, most=10, unit=" s"),
        ],
        notes=[
            f"{watchers:,} come back {how}: the last after {found.seconds:.1f} s, 99 % served"
            f" within {found.waits_p99:.1f} s, {found.longest_queue:,} at once in the queue"
            for (watchers, how), found in storms.items()
        ],
        raw={
            "process": dataclasses.asdict(process),
            "sites": {name: dataclasses.asdict(needs(site, process)) for name, site in sites},
            "storms": {str(key): dataclasses.asdict(found) for key, found in storms.items()},
        },
    )


def _row(name: str, found: Needs) -> Sequence[str]:
    return [
        name,
        f"{found.processes:,}",
        f"{found.watchers_each:,}",
        f"{found.memory_gib:.0f}",
        f"{found.sent_mib_a_second:.0f}",
        f"{found.redis_messages_a_second:,.0f}",
        f"{found.redis_mib_a_second:.0f}",
    ]
