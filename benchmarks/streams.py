"""What a thousand watchers take of the server, and how soon each sees an update, against peers."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

import psutil

from tests.kit.processes import RedisProcess, valkey_binary

from .contenders import (
    EVENTSTREAM,
    HANDED,
    LANE,
    NCHAN,
    NCHAN_NAME,
    OURS,
    STARLETTE,
    Served,
    contenders,
    has_nchan,
)
from .report import Report, Target
from .watchers import Watchers

ROUNDS = 3
WATCHERS = 1000
OPENED = 2000
"""So many are opened for the opening rate of ours."""
LEAST = 0.9
"""Of all events: where fewer arrive, the round is void."""
FIELDS = {"status": "importing", "stage": "rows", "total_rows": 100_000}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """How the jobs are told."""

    updates: int
    """Of all jobs together, which take turns."""
    a_second: float
    watchers: int
    """Of each job."""


ALONE = Load(updates=150, a_second=50, watchers=1)
CROWD = Load(updates=25, a_second=5, watchers=WATCHERS)
EACH_ITS_OWN = Load(updates=5000, a_second=1000, watchers=1)

Measured = dict[str, float]
"""What one round found of one contender."""

ALONE_P50, ALONE_P99 = "one watcher, p50 ms", "one watcher, p99 ms"
CROWD_CPU, CROWD_P50, CROWD_P99 = "1,000 of one job, µs", "p50 ms", "p99 ms"
JOBS_CPU, MEMORY = "1,000 jobs, µs", "KiB a watcher"
OPENING, OPENING_CPU = "opened a second", "µs of CPU an opening"
COLUMNS = (CROWD_CPU, JOBS_CPU, ALONE_P50, ALONE_P99, CROWD_P50, CROWD_P99, MEMORY)


def run() -> Report:
    """Measure."""
    found: dict[str, list[Measured]] = {name: [] for name in contenders()}
    with RedisProcess(valkey_binary()) as redis:
        for _ in range(ROUNDS):
            for name, contender in contenders().items():
                redis.do("FLUSHALL")
                found[name].append(_measure(contender(redis), opens=name in {OURS, LANE, HANDED}))
    middle = {name: _medians(rounds) for name, rounds in found.items()}
    return Report(
        name="streams",
        title="what watching takes of the server, and how soon an update is there",
        how=(
            f"{WATCHERS:,} watchers in a process of their own, one server process; µs of its CPU an"
            f" event that arrived; {ROUNDS} interleaved rounds, each with new servers, medians"
        ),
        columns=["who serves", *COLUMNS],
        rows=[
            [name, *(f"{one[column]:.3g}" for column in COLUMNS)] for name, one in middle.items()
        ],
        targets=_targets(middle),
        notes=_notes(middle),
        raw={"rounds": found, "watchers": WATCHERS},
    )


def _medians(rounds: Sequence[Measured]) -> Measured:
    return {what: statistics.median(one[what] for one in rounds) for what in rounds[0]}


def _targets(middle: dict[str, Measured]) -> list[Target]:
    targets = []
    ours = middle[OURS]

    def add(what: str, found: float, most: float, unit: str = "") -> None:
        targets.append(Target(what=what, found=found, most=most, unit=unit))

    for peer in (STARLETTE, EVENTSTREAM):
        add(f"CPU an event, of {peer}", ours[CROWD_CPU] / middle[peer][CROWD_CPU], 0.25)
    better = min(middle[peer][JOBS_CPU] for peer in (STARLETTE, EVENTSTREAM))
    add("CPU an event of 1,000 jobs, of the better Python peer", ours[JOBS_CPU] / better, 0.6)
    for column in (ALONE_P50, ALONE_P99, CROWD_P50, CROWD_P99):
        better = min(middle[peer][column] for peer in (STARLETTE, EVENTSTREAM))
        where = column if "one" in column else f"{WATCHERS:,} watchers, {column}"
        add(f"{where}, of the better Python peer", ours[column] / better, 1)
    add("memory a watcher", ours[MEMORY], 48, " KiB")
    lane = middle[LANE]
    if nchan := middle.get(NCHAN_NAME):
        add("CPU an event, of nchan", ours[CROWD_CPU] / nchan[CROWD_CPU], 2.4)
        add("fast lane: CPU an event, of nchan", lane[CROWD_CPU] / nchan[CROWD_CPU], 2.0)
    add("fast lane: memory a watcher", lane[MEMORY], 16, " KiB")
    add("fast lane: CPU an opening, of the view", lane[OPENING_CPU] / ours[OPENING_CPU], 1 / 8)
    return targets


def _notes(middle: dict[str, Measured]) -> list[str]:
    notes = [
        f"{name}: {one[OPENING]:.0f} of {OPENED:,} streams opened a second,"
        f" {one[OPENING_CPU]:.0f} µs of the server's CPU each"
        for name, one in middle.items()
        if OPENING in one
    ]
    if not has_nchan():
        notes.append(f"nchan is not here: {NCHAN} is Debian's libnginx-mod-nchan")
    return notes


def _measure(contender: AbstractContextManager[Served], *, opens: bool) -> Measured:
    """Start a server, and find all of it."""
    found: Measured = {}
    with contender as served, Watchers() as watchers:
        server = psutil.Process(served.pid)
        _begin(served, ["alone", "crowd"])
        watchers.open(served.port, [served.ask("alone")], served.ready)
        alone = _tell(served, watchers, ["alone"], ALONE)
        found |= {ALONE_P50: _percentile(alone, 50), ALONE_P99: _percentile(alone, 99)}
        watchers.leave()

        before = server.memory_info().rss
        watchers.open(served.port, [served.ask("crowd")] * WATCHERS, served.ready)
        cpu = served.cpu_seconds()
        crowd = _tell(served, watchers, ["crowd"], CROWD)
        found[CROWD_CPU] = (served.cpu_seconds() - cpu) / len(crowd) * 1e6
        found |= {CROWD_P50: _percentile(crowd, 50), CROWD_P99: _percentile(crowd, 99)}
        found[MEMORY] = (server.memory_info().rss - before) / WATCHERS / 1024
        watchers.leave()

        jobs = [f"job-{number}" for number in range(WATCHERS)]
        _begin(served, jobs)
        watchers.open(served.port, [served.ask(job_id) for job_id in jobs], served.ready)
        cpu = served.cpu_seconds()
        heard = _tell(served, watchers, jobs, EACH_ITS_OWN)
        found[JOBS_CPU] = (served.cpu_seconds() - cpu) / len(heard) * 1e6
        watchers.leave()

        if opens:
            began, cpu = time.perf_counter(), served.cpu_seconds()
            watchers.open(served.port, [served.ask("crowd")] * OPENED, served.ready)
            found[OPENING] = OPENED / (time.perf_counter() - began)
            found[OPENING_CPU] = (served.cpu_seconds() - cpu) / OPENED * 1e6
    return found


def _begin(served: Served, jobs: Sequence[str]) -> None:
    for job_id in jobs:
        served.begin(job_id, {**FIELDS, "processed_rows": 0})


def _tell(served: Served, watchers: Watchers, jobs: Sequence[str], load: Load) -> list[int]:
    """Tell the jobs in turn, and return how long each event took, ns.

    Raises:
        RuntimeError: some have not arrived.
    """
    expected = load.updates * load.watchers
    watchers.begin_to_hear(expected)
    due = time.monotonic()
    for number in range(load.updates):
        time.sleep(max(0.0, due - time.monotonic()))
        due += 1 / load.a_second
        fields = {**FIELDS, "processed_rows": number, "sent": time.monotonic_ns()}
        served.tell(jobs[number % len(jobs)], fields)
    heard = watchers.heard()
    # A watcher of ours skips what was overtaken, as it may where the machine is busy.
    if len(heard.sent_ns) < expected * LEAST or heard.broken:
        raise RuntimeError(f"{len(heard.sent_ns)} of {expected} came, {heard.broken} broken")
    return heard.sent_ns


def _percentile(nanoseconds: Sequence[int], percent: int) -> float:
    """Return it in milliseconds."""
    place = math.ceil(len(nanoseconds) * percent / 100) - 1
    return sorted(nanoseconds)[place] / 1e6
