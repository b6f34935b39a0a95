"""What `update()` costs against a bare PING, two steps with redis-py, and Celery's own way."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, aclosing, closing
from functools import partial
from typing import Any

import redis
from celery import Celery
from redis import asyncio as async_redis

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from tests.kit.processes import RedisProcess, valkey_binary

from .report import Report, Target
from .rounds import Seconds, measure, measure_in_loop, medians

CALLS = 500
ROUNDS = 15
JOB = "job"
FIELDS = {"status": "importing", "stage": "rows", "total_rows": 100_000, "processed_rows": 0}

PING = "PING"
UPDATE = "update()"
SHORT, LONG = "HSET, EXPIRE, PUBLISH", "HSET+EXPIRE, then PUBLISH"


def run() -> Report:
    """Measure."""
    with RedisProcess(valkey_binary()) as server:
        sync = _sync(server)
        asynchronous = asyncio.run(_asynchronous(server))
    rows, targets = [], []
    for kind, seconds in (("sync", sync), ("asyncio", asynchronous)):
        middle = medians(seconds)
        rows += [
            [
                f"{name}, {kind}",
                f"{took / middle[PING]:.2f}",
                f"{took / middle[UPDATE]:.2f}",
                f"{took / CALLS * 1e6:.0f}",
            ]
            for name, took in middle.items()
        ]
        found = middle[UPDATE] / middle[PING]
        targets.append(Target(what=f"update() of PING, {kind}", found=found, most=1.4))
    return Report(
        name="update",
        title="what telling how far an import is costs",
        how=(
            f"redis-py as it comes, embedded Valkey, one connection; {CALLS} calls,"
            f" {ROUNDS} interleaved rounds, medians"
        ),
        columns=["call", "of PING", "of update()", "µs"],
        rows=rows,
        targets=targets,
        raw={"calls": CALLS, "sync": sync, "asyncio": asynchronous},
    )


def _changed(number: int) -> dict[str, Any]:
    return {"processed_rows": number}


def _sync(server: RedisProcess) -> Seconds:
    with ExitStack() as stack:
        plain = stack.enter_context(redis.Redis.from_url(server.url))
        client = stack.enter_context(closing(create_sync_redis_client(server.url)))
        manager = SyncProgressManager(client)
        manager.create(JOB, data=FIELDS)
        celery = stack.enter_context(
            Celery(broker="memory://", backend=server.url, set_as_current=False)
        )

        def three_trips(number: int) -> None:
            plain.hset("hash", mapping=_as_texts(number))
            plain.expire("hash", 3600)
            plain.publish("channel", json.dumps({**FIELDS, **_changed(number)}))

        def two_trips(number: int) -> None:
            with plain.pipeline(transaction=False) as pipeline:
                pipeline.hset("hash", mapping=_as_texts(number)).expire("hash", 3600).execute()
            plain.publish("channel", json.dumps({**FIELDS, **_changed(number)}))

        def update_state(number: int) -> None:
            # What `self.update_state(state=…, meta=…)` of a bound task does.
            celery.backend.store_result(JOB, {**FIELDS, **_changed(number)}, "PROGRESS")

        calls: dict[str, Callable[[int], object]] = {
            PING: lambda _: plain.ping(),
            UPDATE: lambda number: manager.update(JOB, _changed(number)),
            LONG: two_trips,
            SHORT: three_trips,
            "Celery's update_state": update_state,
        }
        return measure({name: partial(_many, call) for name, call in calls.items()}, ROUNDS)


async def _asynchronous(server: RedisProcess) -> Seconds:
    async with (
        aclosing(async_redis.Redis.from_url(server.url)) as plain,
        aclosing(create_redis_client(server.url)) as client,
    ):
        manager = ProgressManager(client)

        async def three_trips(number: int) -> None:
            await plain.hset("hash", mapping=_as_texts(number))
            await plain.expire("hash", 3600)
            await plain.publish("channel", json.dumps({**FIELDS, **_changed(number)}))

        calls: dict[str, Callable[[int], Awaitable[object]]] = {
            PING: lambda _: plain.ping(),
            UPDATE: lambda number: manager.update(JOB, _changed(number)),
            SHORT: three_trips,
        }
        many = {name: partial(_many_in_loop, call) for name, call in calls.items()}
        return await measure_in_loop(many, ROUNDS)


def _as_texts(number: int) -> dict[Any, Any]:
    return {name: json.dumps(value) for name, value in {**FIELDS, **_changed(number)}.items()}


def _many(call: Callable[[int], object]) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        call(number)
    return time.perf_counter() - began


async def _many_in_loop(call: Callable[[int], Awaitable[object]]) -> float:
    began = time.perf_counter()
    for number in range(CALLS):
        await call(number)
    return time.perf_counter() - began
