"""Heartbeats that ask a replica first, under Sentinel, where the URL asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from django_import_progress.core.lua.scripts import CHECK, CHECK_SHARED
from django_import_progress.metrics import process_metrics
from django_import_progress.redis.executor import read_all
from django_import_progress.watch import heartbeats
from django_import_progress.watch.subscriber import Subscriber
from django_import_progress.watch.watched_job import WatchedJob
from tests.kit.controls import without
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.topologies import SentinelGroup, ask
from tests.kit.waiting import until, wait_for
from tests.kit.watching import Watching

KEY = "import_progress:hash:j1"
LONG = "x" * 100
"""Of a job with such a value each server has the fields in an order of its own."""


@pytest.fixture(scope="module")
def group(redis_program: str) -> Iterator[SentinelGroup]:
    # It is patient: here the replica is frozen, and not the primary.
    with SentinelGroup(redis_program, silence_milliseconds=60_000) as group:
        yield group


@pytest.fixture
def sentinel(group: SentinelGroup) -> SentinelGroup:
    ask(group.primary, "FLUSHALL")
    return group


def url_of(sentinel: SentinelGroup) -> str:
    """Return the URL by which replicas are read."""
    return f"{sentinel.url}?read_from_replicas=yes"


def compared(server: RedisProcess) -> int:
    """Return how many scripts a server has run."""
    stats = ask(server, "INFO", "commandstats")
    return sum(stats.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


async def _heartbeats_pass(sentinel: SentinelGroup) -> None:
    """Wait until the replica has been asked a few times more."""
    before = compared(sentinel.replica)

    async def is_asked() -> bool:
        return compared(sentinel.replica) >= before + 4

    await until(is_asked, "the replica to be asked")


def each_server_digests_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CHECK_SHARED", "CHECK_AT_REPLICA"):
        monkeypatch.setattr(heartbeats, name, CHECK)


@without(each_server_digests_in_an_order_of_its_own)
async def test_a_replica_answers_for_what_is_as_it_was(sentinel: SentinelGroup) -> None:
    async with manager_on("async", url_of(sentinel), heartbeat_seconds=0.2) as progress:
        await progress.create("j1", data={"n": 1, "file_name": LONG})
        sentinel.replicates(KEY)
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            await _heartbeats_pass(sentinel)
            before = compared(sentinel.primary)
            await _heartbeats_pass(sentinel)
            assert compared(sentinel.primary) == before
            await progress.set_progress("j1", {"n": 2})  # Told to nobody.
            await watching.sees(n=2)
            await progress.set_progress("j1", {"status": "done"})
            await watching.ends()


def a_replica_that_is_cut_off_is_asked_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "CHECK_AT_REPLICA", CHECK_SHARED)


def a_replica_is_believed_whatever_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Subscriber._read_changed

    async def from_the_replica(link: Subscriber, slots: list[WatchedJob]) -> None:
        primary, link._redis = link._redis, link._redis.replicas
        await read(link, slots)
        link._redis = primary

    monkeypatch.setattr(Subscriber, "_read_changed", from_the_replica)


@without(a_replica_is_believed_whatever_it_says)
async def test_a_replica_that_lags_behind_takes_nothing_back(
    sentinel: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_replica_that_is_cut_off_is_asked_on(monkeypatch)  # As one that has not noticed it yet.
    async with manager_on("async", url_of(sentinel), heartbeat_seconds=0.2) as progress:
        await progress.create("j1", data={"n": 1})
        sentinel.replicates(KEY)
        with lagging(sentinel):
            await progress.update("j1", {"n": 2})
            await progress.create("j2", data={"n": 1})  # Of which the replica knows nothing.
            async with Watching(progress) as one, Watching(progress, "j2") as other:
                await one.sees(n=2)
                await other.sees(n=1)
                await _heartbeats_pass(sentinel)
                await progress.set_progress("j1", {"n": 3})
                await one.sees(n=3)
                for job_id in ("j1", "j2"):
                    await progress.update(job_id, {"status": "done"})
                assert [shown["n"] for shown in await one.ends()] in ([2, 3, 3], [2, 3])
                assert [shown["status"] for shown in await other.ends()][-1] == "done"


@without(a_replica_that_is_cut_off_is_asked_on)
async def test_a_replica_that_is_cut_off_is_not_asked_until_it_is_back(
    sentinel: SentinelGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(heartbeats, "LEFT_SECONDS", 0.1)
    async with manager_on("async", url_of(sentinel), heartbeat_seconds=0.2) as progress:
        await progress.create("j1", data={"n": 1})
        sentinel.replicates(KEY)
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            await _heartbeats_pass(sentinel)
            with lagging(sentinel):
                await progress.set_progress("j1", {"n": 2})  # Told to nobody.
                await watching.sees(n=2)
                await _heartbeats_pass(sentinel)
            assert caplog.text.count("A replica does not serve (it is behind)") == 1
            await until(lambda: progress.redis.replicas_serve, "the replica to be asked again")
            await progress.update("j1", {"status": "done"})
            await watching.ends()


class lagging:  # noqa: N801 - as a context manager is named
    """Keep what is written from the replica meanwhile."""

    def __init__(self, sentinel: SentinelGroup) -> None:
        self._sentinel = sentinel

    def __enter__(self) -> None:
        replica = self._sentinel.replica
        ask(replica, "CONFIG", "SET", "masterauth", "of-another-one")
        ask(self._sentinel.primary, "CLIENT", "KILL", "TYPE", "replica")
        wait_for(lambda: ask(replica, "ROLE")[3] != "connected", "the replica to be cut off")

    def __exit__(self, *_: object) -> None:
        replica = self._sentinel.replica
        ask(replica, "CONFIG", "SET", "masterauth", "")
        wait_for(lambda: ask(replica, "ROLE")[3] == "connected", "the replica to be back")


def a_replica_is_waited_for_as_the_primary_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def or_fail(redis: Any, calls: Any, *, seconds: float) -> Any:
        return await read_all(redis, calls, seconds=3600)

    monkeypatch.setattr(heartbeats, "read_all", or_fail)


@without(a_replica_is_waited_for_as_the_primary_is)
async def test_a_replica_that_hangs_keeps_nobody_from_the_primary(sentinel: SentinelGroup) -> None:
    lost = process_metrics.connections_lost
    async with manager_on("async", url_of(sentinel), heartbeat_seconds=0.2) as progress:
        await progress.create("j1", data={"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            with sentinel.replica.frozen():
                await progress.set_progress("j1", {"n": 2})
                await watching.sees(n=2)
                await progress.set_progress("j1", {"status": "done"})
                await watching.ends()
    assert process_metrics.connections_lost == lost


def a_replica_is_asked_at_each_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeats, "LEFT_SECONDS", 0.0)


@without(a_replica_is_asked_at_each_heartbeat)
async def test_a_replica_that_hangs_is_waited_for_once(
    sentinel: SentinelGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeats, "REPLICA_SECONDS", 0.3)
    async with manager_on("async", url_of(sentinel), heartbeat_seconds=0.2) as progress:
        await progress.create("j1", data={"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            with sentinel.replica.frozen():
                await until(lambda: not progress.redis.replicas_serve, "the replica to be left")
                left_until, before = progress.redis.left_until, compared(sentinel.primary)
                await until(
                    lambda: compared(sentinel.primary) > before + 2, "the primary to be asked"
                )
                assert progress.redis.left_until == left_until
            await progress.update("j1", {"status": "done"})
            await watching.ends()
