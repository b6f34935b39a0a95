"""What an import takes with Redis dead or frozen, against the same with Redis healthy."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

from tests.kit.processes import RedisProcess, free_port, valkey_binary
from tests.kit.started import ROOT

from .report import Report, Target
from .rounds import measure, medians

ROUNDS = 11
ROWS = 28_298
SECONDS_BEFORE = 0.5
"""After so long the server is frozen that was healthy before. Within the last second or so of an
import, before the writer has noticed, it would be another thing: then the end is tried for 5 s."""


def run() -> Report:
    """Measure."""
    with RedisProcess(valkey_binary()) as healthy, RedisProcess(valkey_binary()) as other:
        contenders: dict[str, Callable[[], float]] = {
            "healthy": partial(_import, healthy.url),
            "dead: nobody listens": partial(_import, f"redis://127.0.0.1:{free_port()}/0"),
            "frozen before it begins": partial(_import, other.url, other.frozen),
            "frozen after half a second": partial(_import, other.url, midway=other.frozen),
        }
        seconds = measure(contenders, ROUNDS)
    middle = medians(seconds)
    normal = middle["healthy"]
    return Report(
        name="outage",
        title="what an import takes with Redis away",
        how=f"{ROWS:,} airports into SQLite, {ROUNDS} interleaved rounds, medians",
        columns=["Redis", "of healthy", "seconds"],
        rows=[
            [name, f"{took / normal:.3f}", f"{took:.2f} ({min(each):.2f} to {max(each):.2f})"]
            for (name, took), each in zip(middle.items(), seconds.values(), strict=True)
        ],
        targets=[
            Target(what=f"{name}, of healthy", found=took / normal, most=1.05)
            for name, took in middle.items()
            if name != "healthy"
        ],
        raw={"rows": ROWS, "seconds": seconds},
    )


def _import(
    redis_url: str,
    before: Callable[[], AbstractContextManager[None]] = nullcontext,
    midway: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> float:
    """Import once, in a process of its own, and return how long the import took."""
    with tempfile.TemporaryDirectory() as directory:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example_project")]),
            "TEST_SITE_REDIS": redis_url,
            "BENCH_DATABASE": f"{directory}/database",
            "BENCH_MEDIA": directory,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.one_import"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        with process, before():
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "begins\n", "the import did not begin"
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(SECONDS_BEFORE)
            with midway():
                seconds, rows = process.stdout.readline().split()
            process.kill()  # It would give the end a last chance.
    assert int(rows) == ROWS
    return float(seconds)
