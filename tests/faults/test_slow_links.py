"""A slow connection, or a frozen server of a Cluster, delays only the jobs that it must."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import redis
from redis.asyncio import BlockingConnectionPool, Redis

from django_import_progress import ProgressManager, ProgressUnavailable
from django_import_progress.metrics import process_metrics
from django_import_progress.redis import cluster as redis_cluster
from django_import_progress.redis import pubsub
from django_import_progress.redis.executor import read_each
from django_import_progress.watch import job_reader, subscriber
from django_import_progress.watch.hub import Watcher
from tests.kit import waiting
from tests.kit.controls import without
from tests.kit.hubs import sees
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.proxy import Proxy
from tests.kit.shards import listeners, owner_of, slot_of
from tests.kit.topologies import ClusterGroup
from tests.kit.waiting import until
from tests.kit.watching import Watching

NEVER = 3600
JOBS = 500
FILLER = "x" * 30_000


@asynccontextmanager
async def _watching_large_jobs(
    server: RedisProcess, proxy: Proxy, jobs: int
) -> AsyncIterator[list[Watcher]]:
    async with (
        manager_on("async", server.url) as writer,
        manager_on("async", proxy.url, heartbeat_seconds=NEVER) as progress,
    ):
        for number in range(jobs):
            await writer.set_progress(f"j{number}", {"n": number, "filler": FILLER})
        watchers = [progress.watcher(f"j{number}") for number in range(jobs)]
        yield watchers
        for watcher in watchers:
            watcher.close()


async def _all_are_served(watchers: list[Watcher]) -> None:
    shown = []
    for number, watcher in enumerate(watchers):
        state = await watcher.next(waiting.PATIENCE_SECONDS)
        assert state is not None
        shown.append(state.fields["n"])
        assert shown[-1] == number


def never_shrinks_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again what has taken too long, in the same way."""
    monkeypatch.setattr(job_reader._Queue, "shrink", lambda *_, **__: None)


def reads_all_jobs_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read hundreds of jobs in one pipeline."""
    monkeypatch.setattr(job_reader, "FIRST_CHUNK", JOBS)
    never_shrinks_chunks(monkeypatch)


@without(reads_all_jobs_at_once)
async def test_hundreds_of_large_jobs_are_read_over_a_slow_connection(
    server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    lost = process_metrics.connections_lost
    with Proxy(server.port) as proxy:
        proxy.throttle(3_000_000)  # Five seconds for all: longer than one pipeline may take.
        async with _watching_large_jobs(server, proxy, JOBS) as watchers:
            await _all_are_served(watchers)
    assert process_metrics.connections_lost == lost
    assert caplog.records == []


@without(never_shrinks_chunks)
async def test_chunks_that_time_out_are_split(
    server: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "READ_SECONDS", 0.5)
    lost = process_metrics.connections_lost
    with Proxy(server.port) as proxy:
        proxy.throttle(400_000)  # A second and a half for the first chunk.
        async with _watching_large_jobs(server, proxy, 2 * job_reader.FIRST_CHUNK) as watchers:
            await _all_are_served(watchers)
    assert process_metrics.connections_lost == lost


async def test_a_read_that_times_out_is_retried_with_one_log_line(
    server: RedisProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "READ_SECONDS", 0.2)
    monkeypatch.setattr(subscriber, "RETRY_SECONDS", 0.1)
    with Proxy(server.port) as proxy:
        async with _watching_large_jobs(server, proxy, 1) as [watcher]:
            proxy.throttle(50_000)
            await until(lambda: caplog.records, "the log line")
            with pytest.raises(TimeoutError):
                await watcher.next(1)
            proxy.throttle(50_000_000)
            await _all_are_served([watcher])
    assert [record.getMessage() for record in caplog.records] == [
        "Cannot read the progress of import j0 (TimeoutError); retrying"
    ]


async def test_reads_wait_for_a_connection_of_an_exhausted_pool(
    server: RedisProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscriber, "RETRY_SECONDS", 0.1)
    lost = process_metrics.connections_lost
    pool = BlockingConnectionPool.from_url(server.url, max_connections=1, timeout=0.1)
    client = Redis.from_pool(pool)
    progress = ProgressManager(client)
    await progress.create("j1", data={"n": 1})
    held = await pool.get_connection()
    watcher = progress.watcher("j1")
    await until(lambda: caplog.records, "the log line")
    await pool.release(held)
    await sees(watcher, n=1)
    watcher.close()
    await progress.aclose()
    await client.aclose()
    assert process_metrics.connections_lost == lost


async def test_a_hash_slot_without_an_owner_does_not_affect_other_jobs(
    cluster: ClusterGroup,
) -> None:
    lost, kept = _jobs_of_each(cluster)[:2]
    slot = slot_of(lost)
    owner = cluster.owner(slot)
    cluster.disown(slot)
    try:
        async with manager_on("async", cluster.url, heartbeat_seconds=0.3) as progress:
            await progress.create(kept, data={"n": 1})
            gets = [progress.calls.get(job_id) for job_id in (lost, kept)]
            missing, found = await read_each(progress.redis, gets)
            assert isinstance(missing, ProgressUnavailable)
            assert found.fields["n"] == 1
            orphan, watcher = progress.watcher(lost), progress.watcher(kept)
            await sees(watcher, n=1)
            orphan.close()
            watcher.close()
    finally:
        cluster.own(slot, owner)


def _jobs_of_each(cluster: ClusterGroup) -> list[str]:
    """Return a job of each server, in their order."""
    owners = {owner_of(cluster, job_id): job_id for job_id in (f"k{n}" for n in range(99))}
    return [owners[number] for number in range(3)]


def the_servers_share_a_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscriber, "server_of", lambda *_: "")


@without(the_servers_share_a_pipeline)
async def test_a_frozen_server_of_a_cluster_delays_only_its_own_jobs(
    cluster: ClusterGroup, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = _jobs_of_each(cluster)
    async with manager_on("async", cluster.url, heartbeat_seconds=0.3) as progress:
        watchers = []
        for job_id in jobs:
            await progress.create(job_id, data={"n": 1})
            watchers.append(progress.watcher(job_id))
            await sees(watchers[-1], n=1)
        [subscribed] = [number for number in range(3) if listeners(cluster.nodes[number])]
        frozen, other = (subscribed + 1) % 3, (subscribed + 2) % 3
        with cluster.nodes[frozen].frozen():
            for n in (2, 3):
                await progress.set_progress(jobs[other], {"n": n})  # Without a message.
                async with asyncio.timeout(waiting.PATIENCE_SECONDS):
                    await sees(watchers[other], n=n)
        await progress.update(jobs[frozen], {"n": 2})
        await sees(watchers[frozen], n=2)
        for watcher in watchers:
            watcher.close()


class _Forgetful(dict[Any, Any]):
    def __setitem__(self, *_: object) -> None:
        """Keep nothing."""


def it_may_subscribe_there_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pubsub, "_subscribed_at", _Forgetful())
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 8.0)


@without(it_may_subscribe_there_again)
async def test_a_subscription_at_a_frozen_server_moves_to_another_one(
    lasting_cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = lasting_cluster.emptied()
    first = types.SimpleNamespace(choice=lambda nodes: min(nodes, key=lambda node: node.port))
    monkeypatch.setattr(pubsub, "random", first)
    frozen = min(range(3), key=lambda number: cluster.nodes[number].port)
    job_id = _jobs_of_each(cluster)[(frozen + 1) % 3]
    async with manager_on("async", cluster.url, heartbeat_seconds=NEVER) as progress:
        await progress.create(job_id, data={"n": 1})
        async with Watching(progress, job_id) as watching:
            await watching.sees(n=1)
            assert listeners(cluster.nodes[frozen])
            with cluster.nodes[frozen].frozen():
                await progress.update(job_id, {"n": 2})
                await watching.sees(n=2)
                await progress.update(job_id, {"status": "done"})
                await watching.ends()


def it_subscribes_somewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the server with the lowest port, whichever has the job."""

    def server_of(client: Any, _: str) -> redis.Redis:
        node = min(client.get_nodes(), key=lambda node: node.port)
        found: redis.Redis = client.get_redis_connection(node)
        return found

    monkeypatch.setattr(pubsub, "_server_of", server_of)


async def _asks_by_default(progress: Any, port: int) -> None:
    """Let the client send to this server what may go to any server."""
    client = progress.manager.redis
    [node] = [node for node in client.get_nodes() if node.port == port]
    client.set_default_node(node)


def it_asks_one_server_for_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find the keys of scripts as redis-py does."""
    monkeypatch.setattr(redis_cluster, "find_script_keys_locally", lambda _: None)
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 3.0)


@without(it_subscribes_somewhere, it_asks_one_server_for_the_keys)
async def test_a_sync_watcher_uses_only_the_server_of_its_job(
    cluster: ClusterGroup,
) -> None:
    frozen = min(range(3), key=lambda number: cluster.nodes[number].port)
    job_id = _jobs_of_each(cluster)[(frozen + 1) % 3]
    async with (
        manager_on("async", cluster.url) as writer,
        manager_on("sync", cluster.url, heartbeat_seconds=NEVER) as progress,
    ):
        await writer.create(job_id, data={"n": 1})
        await progress.get_progress(job_id)  # Now the client knows all servers.
        await _asks_by_default(progress, cluster.nodes[frozen].port)
        with cluster.nodes[frozen].frozen():
            async with Watching(progress, job_id, ender=writer) as watching:
                await watching.sees(n=1)
                await writer.update(job_id, {"status": "done"})
                await watching.ends()
