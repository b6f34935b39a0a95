"""An import that ends while Redis is away, in processes that end in different ways.

To be run as a program: ``python -m tests.site.outage WAY PID BROKER``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import django
import pytest
from django.utils.module_loading import import_string

JOB = "ends-in-an-outage"


def end_in_an_outage(redis_pid: int) -> None:  # pragma: no cover - in a worker
    """Stop Redis within the block, and leave it once the tracker knows that Redis is away."""
    django.setup()
    from django_import_progress import track_import

    with track_import(JOB) as job:
        leave_in_an_outage(job, redis_pid)
    print("through", flush=True)  # noqa: T201


def leave_in_an_outage(job: Any, redis_pid: int) -> None:  # pragma: no cover - in a worker
    """Stop Redis, and return once the tracker knows that Redis is away."""
    if switch := os.environ.get("TEST_SITE_SWITCH"):
        import_string(switch)(pytest.MonkeyPatch())  # For a negative control: a defence is off.
    os.kill(redis_pid, signal.SIGSTOP)
    job.advance()
    while not job._writer._is_redis_unavailable:
        time.sleep(0.01)
    print("leaving", flush=True)  # noqa: T201


def _in_a_process(redis_pid: int, process: Any) -> None:  # pragma: no cover - in a worker
    child = process(target=end_in_an_outage, args=(redis_pid,))
    child.start()
    child.join()


def _in_a_pool(redis_pid: int) -> None:  # pragma: no cover - in a worker
    with ProcessPoolExecutor(1) as pool:
        pool.submit(end_in_an_outage, redis_pid).result()


def _in_billiard(redis_pid: int) -> None:  # pragma: no cover - in a worker
    import billiard

    _in_a_process(redis_pid, billiard.Process)


def _in_rq(redis_pid: int) -> None:  # pragma: no cover - in a worker
    import redis
    import rq

    with redis.Redis.from_url(sys.argv[3]) as connection:
        rq.Queue(connection=connection).enqueue(
            f"tests.site.outage.{end_in_an_outage.__name__}", redis_pid
        )
        rq.Worker(["default"], connection=connection).work(burst=True)


WAYS: dict[str, Callable[[int], None]] = {
    "program": end_in_an_outage,
    "fork": lambda pid: _in_a_process(pid, multiprocessing.get_context("fork").Process),
    "spawn": lambda pid: _in_a_process(pid, multiprocessing.get_context("spawn").Process),
    "pool": _in_a_pool,
    "billiard": _in_billiard,
    "rq": _in_rq,
}
"""What starts the process that imports, and ends it."""

if __name__ == "__main__":  # pragma: no cover - in a worker
    WAYS[sys.argv[1]](int(sys.argv[2]))
