"""What an import of 100,000 rows takes of Redis's memory, and of its own thread's time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any
from uuid import uuid4

import redis

from django_import_progress import SyncProgressManager, create_sync_redis_client, track_import
from tests.kit.processes import RedisProcess, valkey_binary

from .report import Report, Target
from .rounds import measure, medians

ROWS, BATCH_ROWS = 100_000, 10_000
ROUNDS = 15
JOBS = 1000
BATCH_SECONDS = 0.05
"""What saving a batch takes: the thread beside the loop writes meanwhile."""

OURS, BY_HAND = "track_import", "HSET+EXPIRE, then PUBLISH, a batch"


def run() -> Report:
    """Measure."""
    with RedisProcess(valkey_binary()) as server:
        client = create_sync_redis_client(server.url)
        with closing(client), redis.Redis(port=server.port) as plain:
            manager = SyncProgressManager(client)
            contenders = {OURS: partial(_tracked, manager), BY_HAND: partial(_by_hand, plain)}
            seconds = measure(contenders, ROUNDS)
            each, size = _bytes_of_a_job(manager, plain)
    ours, theirs = medians(seconds).values()
    return Report(
        name="stored",
        title="what an import takes of Redis",
        how=(f"{ROWS:,} rows in batches of {BATCH_ROWS:,}, {ROUNDS} interleaved rounds, medians"),
        columns=["who tells", "of two steps a batch", "ms of the import's thread"],
        rows=[
            [OURS, f"{ours / theirs:.2f}", f"{ours * 1e3:.2f}"],
            [BY_HAND, "1.00", f"{theirs * 1e3:.2f}"],
        ],
        targets=[
            Target(what="the import's thread", found=ours * 1e3, most=10, unit=" ms"),
            Target(what="a job in Redis", found=each, most=400, unit=" bytes"),
        ],
        notes=[f"Its hash takes {size} bytes of that; its places in two lists take the rest."],
        raw={"seconds": seconds, "bytes": each, "hash": size},
    )


def _batches() -> Iterator[range]:
    for first in range(0, ROWS, BATCH_ROWS):
        yield range(first, first + BATCH_ROWS)


def _tracked(manager: SyncProgressManager) -> float:
    """Return what entering, counting, and leaving take: all that is not the body's own."""
    saving = 0.0
    began = time.perf_counter()
    with track_import(uuid4(), total=ROWS, owner=7, manager=manager) as job:
        for _ in job.batches(_batches()):
            begun = time.perf_counter()
            time.sleep(BATCH_SECONDS)
            saving += time.perf_counter() - begun
    return time.perf_counter() - began - saving


def _by_hand(plain: redis.Redis) -> float:
    took = 0.0
    for batch in _batches():
        time.sleep(BATCH_SECONDS)
        began = time.perf_counter()
        fields: dict[Any, Any] = {"status": "importing", "processed_rows": batch.stop}
        with plain.pipeline(transaction=False) as pipeline:
            pipeline.hset("hash", mapping=fields)
            pipeline.expire("hash", 3600)
            pipeline.execute()
        plain.publish("channel", str(fields))
        took += time.perf_counter() - began
    return took


def _bytes_of_a_job(manager: SyncProgressManager, plain: redis.Redis) -> tuple[float, int]:
    """Return what a job adds to Redis, its places in the lists included, and its hash alone."""
    plain.flushall()
    ids = [str(uuid4()) for _ in range(JOBS)]
    for job_id in ids:
        with track_import(job_id, total=ROWS, owner=7, stage="importing", manager=manager) as job:
            job.advance(ROWS)
    keys: list[Any] = list(plain.scan_iter(count=JOBS))
    total = sum(int(plain.memory_usage(key, samples=0) or 0) for key in keys)
    hash_bytes = plain.memory_usage(manager.calls.keys.hash(ids[0]))
    return total / JOBS, int(hash_bytes or 0)
