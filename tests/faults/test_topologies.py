"""A fail-over under Sentinel, a primary cut off from the others, a slot of a Cluster that moves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack, nullcontext
from typing import Any

import pytest
from redis import asyncio as async_redis
from redis.asyncio.connection import AbstractConnection

from django_import_progress import ProgressManager, ProgressUnavailable
from django_import_progress.core.snapshot import Stored
from django_import_progress.redis import cluster as clusters
from django_import_progress.redis import executor, factory
from django_import_progress.redis.executor import read_each
from django_import_progress.service import sync_manager
from django_import_progress.service.base import now_text
from django_import_progress.watch import job_reader, subscriber
from tests.kit import waiting
from tests.kit.controls import without
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.proxy import Proxy
from tests.kit.topologies import ClusterGroup, SentinelGroup, ask
from tests.kit.waiting import until, wait_for
from tests.kit.watching import Watching

both_managers = pytest.mark.parametrize("kind", ["async", "sync"])
KEY = "import_progress:hash:j1"


@pytest.fixture
def sentinel(redis_program: str) -> Iterator[SentinelGroup]:
    with SentinelGroup(redis_program) as group:
        yield group


@pytest.fixture
def cluster(redis_program: str) -> Iterator[ClusterGroup]:
    with ClusterGroup(redis_program) as group:
        yield group


async def _updated(progress: Any, **fields: Any) -> None:
    """Update the job as a caller would who tries again while Redis is out of reach."""

    async def is_through() -> bool:
        try:
            await progress.update("j1", fields)
        except ProgressUnavailable:
            return False
        return True

    await until(is_through, f"an update to {fields}")


def a_client_of_the_primary_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connect to the server that is the primary now, as one does who knows of no sentinels."""
    monkeypatch.setattr(SentinelGroup, "url", property(lambda self: self.primary.url))


@without(a_client_of_the_primary_alone)
@both_managers
async def test_watchers_and_writers_follow_a_fail_over(kind: str, sentinel: SentinelGroup) -> None:
    async with manager_on(kind, sentinel.url) as progress:
        await progress.create("j1", data={"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            sentinel.replicates(KEY)
            sentinel.primary.kill()
            sentinel.fails_over()
            await _updated(progress, n=2)
            await watching.sees(n=2)
            await progress.update("j1", {"status": "done"})
            assert (await watching.ends())[-1]["status"] == "done"


@pytest.mark.soak  # The sentinel takes ten seconds to demote a primary that still answers.
@without(a_client_of_the_primary_alone)
@both_managers
async def test_a_primary_is_demoted_under_open_sockets(kind: str, sentinel: SentinelGroup) -> None:
    async with manager_on(kind, sentinel.url) as progress:
        await progress.create("j1", data={"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            sentinel.replicates(KEY)
            sentinel.fail_over()
            await _updated(progress, n=2)
            await watching.sees(n=2)
            await progress.update("j1", {"status": "done"})
            assert (await watching.ends())[-1]["status"] == "done"


def sockets_are_kept_whatever_they_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(*_: Any) -> None:
        """Close nothing."""

    monkeypatch.setattr(executor, "drop_idle_connections", keep)


@without(sockets_are_kept_whatever_they_answer)
@both_managers
async def test_an_address_leads_to_another_primary_while_sockets_to_the_old_one_are_open(
    kind: str, redis_program: str
) -> None:
    with (
        RedisProcess(redis_program) as old,
        RedisProcess(redis_program) as new,
        Proxy(old.port) as address,
    ):
        async with manager_on(kind, address.url) as progress:
            await progress.create("j1", data={"n": 1})
            new.replicate(old.port)
            wait_for(lambda: ask(new, "EXISTS", KEY), "the copy")
            new.promote()
            old.replicate(new.port)
            address.retarget(new.port)
            with pytest.raises(ProgressUnavailable):
                await progress.update("j1", {"n": 2})
            await _updated(progress, n=2)
            assert ask(new, "HGET", KEY, "n") == "2"


def nobody_asks_who_the_primary_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(*_: Any) -> None:
        """Find nothing."""

    monkeypatch.setattr(subscriber, "check_primary", check)
    monkeypatch.setattr(sync_manager, "check_primary", check)


@without(nobody_asks_who_the_primary_is)
@both_managers
async def test_who_hangs_on_a_primary_that_was_replaced_and_does_not_know_is_brought_over(
    kind: str, redis_program: str
) -> None:
    with SentinelGroup(redis_program, stubborn=True) as sentinel:
        async with (
            manager_on(kind, sentinel.url) as progress,
            manager_on("async", sentinel.replica.url) as successor,
        ):
            await progress.create("j1", data={"n": 1})
            sentinel.replicates(KEY)
            async with Watching(progress, ender=successor) as watching:
                await watching.sees(n=1)
                sentinel.fail_over()
                await successor.update("j1", {"status": "done", "n": 2})
                assert (await watching.ends())[-1]["n"] == 2


def a_client_of_one_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ClusterGroup, "url", property(lambda self: self.nodes[0].url))


@without(a_client_of_one_server, fails_with=(ProgressUnavailable,))
@both_managers
async def test_every_verb_works_over_a_cluster(kind: str, cluster: ClusterGroup) -> None:
    async with manager_on(kind, cluster.url) as progress:
        for number in range(20):  # All over the slots.
            await progress.create(f"j{number}", owner=number % 2, data={"n": number})
        assert len(await progress.jobs()) == 20
        assert [job["job_id"] for job in await progress.jobs(owner=1, limit=2)] == ["j19", "j17"]
        assert await progress.delete("j19")
        assert [job["job_id"] for job in await progress.jobs(owner=1, limit=2)] == ["j17", "j15"]
        await progress.set_progress("j1", {"n": 5})
        await progress.publish_update("j1", {"n": 6})
        assert (await progress.update("j1", {"m": 1}))["n"] == 5
        assert (await progress.get_progress("j1"))["m"] == 1
    for node in cluster.nodes:
        for key in ask(node, "KEYS", "*"):
            assert ask(node, "TTL", key) > 0


@without(a_client_of_one_server, fails_with=(ProgressUnavailable,))
@both_managers
async def test_a_slot_moves_under_watchers_and_writers(kind: str, cluster: ClusterGroup) -> None:
    async with manager_on(kind, cluster.url, heartbeat_seconds=0.2) as progress:
        await progress.create("j1", data={"n": 0})
        slot = cluster.slot(KEY)
        async with Watching(progress) as watching:
            await watching.sees(n=0)
            for number in range(1, 7):
                cluster.move(slot, (cluster.owner(slot) + 1) % 3)
                await _updated(progress, n=number)
                await watching.sees(n=number)
            await _updated(progress, status="done")
            seen = [snapshot["n"] for snapshot in await watching.ends()]
            assert seen == sorted(seen)


def asks_in_the_order_of_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "Sentinels", async_redis.Sentinel)


@without(asks_in_the_order_of_the_url)
async def test_a_sentinel_that_is_silent_is_asked_first_once(sentinel: SentinelGroup) -> None:
    """Under WSGI each request has a client of its own, and would wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        first = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:"
        for expected in (silent.getsockname()[1], sentinel.sentinel.port):
            async with manager_on("async", sentinel.url.replace("127.0.0.1:", first)) as progress:
                sentinels = progress.redis.connection_pool.sentinel_manager.sentinels
                assert sentinels[0].connection_pool.connection_kwargs["port"] == expected
                await progress.get_progress("j1")


def the_first_server_alone_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "start_with_any_server", lambda _: None)


@without(the_first_server_alone_is_asked, fails_with=(ProgressUnavailable,))
async def test_a_client_begins_though_the_first_server_is_down(cluster: ClusterGroup) -> None:
    kept = _job_elsewhere(cluster, 0)
    cluster.nodes[0].kill()
    async with manager_on("async", cluster.url) as progress:
        await _can_be_written(progress, kept)
        assert (await progress.get_progress(kept))["n"] == 1


def _job_elsewhere(cluster: ClusterGroup, server: int) -> str:
    """Return the id of a job that another server has."""
    return next(f"k{n}" for n in range(99) if cluster.owner(_slot(cluster, f"k{n}")) != server)


async def _can_be_written(progress: ProgressManager, job_id: str) -> None:
    # A busy machine may need longer to begin than a caller waits, who would then try again.
    write = progress.calls.set(job_id, {"n": 1}, now_text(), None)
    await executor.perform(progress.redis, write, seconds=waiting.PATIENCE_SECONDS)


@without(the_first_server_alone_is_asked, fails_with=(ProgressUnavailable,))
async def test_a_client_begins_though_any_server_is_frozen(cluster: ClusterGroup) -> None:
    """It takes connections, and says nothing; the one that has responded last may be it."""
    for number, node in enumerate(cluster.nodes):
        kept = _job_elsewhere(cluster, number)
        with node.frozen():
            async with manager_on("async", cluster.url) as progress:
                await _can_be_written(progress, kept)


async def test_a_client_that_could_not_begin_asks_any_server_again(cluster: ClusterGroup) -> None:
    for node in cluster.nodes:
        node.do("ACL", "SETUSER", "default", "-command")
    async with manager_on("async", cluster.url) as progress:
        with pytest.raises(ProgressUnavailable):
            await progress.get_progress("j1")
        for node in cluster.nodes:
            node.do("ACL", "SETUSER", "default", "+command")
        names = [f"127.0.0.1:{node.port}" for node in cluster.nodes]
        responded = names.index(clusters._responded[frozenset(names)])
        kept = _job_elsewhere(cluster, responded)
        with cluster.nodes[responded].frozen():
            await _can_be_written(progress, kept)


async def test_the_first_command_of_a_client_goes_to_the_server_that_has_the_job(
    cluster: ClusterGroup,
) -> None:
    """Under WSGI each request has a client of its own; another server may be frozen."""
    for number in range(9):
        async with manager_on("async", cluster.url) as progress:
            await progress.get_progress(f"k{number}")
    assert not any("errorstat_MOVED" in ask(node, "INFO", "errorstats") for node in cluster.nodes)


def one_job_keeps_all_from_being_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # pragma: no cover - of a soak
    monkeypatch.setattr(subscriber, "server_of", lambda *_: "")
    monkeypatch.setattr(job_reader._Queue, "shrink", lambda *_, **__: None)


@pytest.mark.soak  # redis-py's client begins anew again and again while one server is down.
@without(one_job_keeps_all_from_being_read)
async def test_jobs_on_a_server_that_is_down_keep_nobody_from_the_others(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "PATIENCE_SECONDS", 45)
    async with manager_on("async", cluster.url, heartbeat_seconds=0.5) as progress:
        lost = cluster.owner(cluster.slot(KEY))
        kept = [f"k{n}" for n in range(99) if cluster.owner(_slot(cluster, f"k{n}")) != lost][:2]
        for job_id in ("j1", *kept):
            await progress.create(job_id, data={"n": 1})
        orphan = progress.watcher("j1")
        assert await orphan.next(10) is not None
        cluster.nodes[lost].kill()
        async with AsyncExitStack() as stack:
            stack.callback(orphan.close)
            for job_id in kept:  # One after the other: the second joins while the link has to do.
                watching = await stack.enter_async_context(Watching(progress, job_id))
                await watching.sees(n=1)
                await progress.set_progress(job_id, {"status": "done"})  # Told to nobody.
                assert (await watching.ends())[-1]["status"] == "done"


async def test_what_is_on_a_server_that_is_down_is_answered_by_an_exception(
    cluster: ClusterGroup,
) -> None:
    async with manager_on("async", cluster.url) as progress:
        lost = cluster.owner(cluster.slot(KEY))
        kept = next(f"k{n}" for n in range(99) if cluster.owner(_slot(cluster, f"k{n}")) != lost)
        await progress.create(kept, data={"n": 1})
        cluster.nodes[lost].kill()
        gets = [progress.calls.get(job_id) for job_id in ("j1", kept)]

        async def is_found() -> bool:
            missing, found = await read_each(progress.redis, gets, seconds=10)
            assert isinstance(missing, Exception)
            # What looks for the lost server may close the connection that the other read is on;
            # the hub reads again as well.
            return isinstance(found, Stored) and found.fields["n"] == 1

        await until(is_found, "the job on another server to be read")


@without(a_client_of_one_server, fails_with=(ProgressUnavailable,))
@both_managers
async def test_a_server_of_a_cluster_goes_and_the_jobs_of_the_others_are_served_on(
    kind: str, cluster: ClusterGroup
) -> None:
    async with manager_on(kind, cluster.url, heartbeat_seconds=0.5) as progress:
        lost = cluster.owner(cluster.slot(KEY))
        kept = next(f"k{n}" for n in range(99) if cluster.owner(_slot(cluster, f"k{n}")) != lost)
        await progress.create(kept, data={"n": 1})
        async with Watching(progress, kept) as watching:
            await watching.sees(n=1)
            cluster.nodes[lost].kill()
            await progress.update(kept, {"n": 2})
            await watching.sees(n=2)
            await progress.update(kept, {"status": "done"})
            await watching.ends()


def _slot(cluster: ClusterGroup, job_id: str) -> int:
    return cluster.slot(f"import_progress:hash:{job_id}")


def each_task_starts_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters.asyncio, "Lock", nullcontext)


@without(each_task_starts_the_client, fails_with=(AssertionError, ProgressUnavailable))
async def test_tasks_that_start_a_client_together_connect_to_one_server(
    cluster: ClusterGroup,
) -> None:
    async with manager_on("async", cluster.url) as progress:
        named = list(progress.redis.nodes_manager.startup_nodes.values())
        await asyncio.gather(*(progress.get_progress(f"j{number}") for number in range(20)))
        connected = [node for node in named if node._connections]
        for node in named:
            await node.disconnect()
    assert len(connected) == 1


def lets_the_attribute_error_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "with_owners", clusters._send_with_owners)
    monkeypatch.setattr(executor, "with_owners", clusters._send_with_owners)


@without(lets_the_attribute_error_out, fails_with=(AttributeError,))
async def test_a_connection_that_another_task_closes_while_it_opens_is_unavailable(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    send = AbstractConnection._send_packed_command

    async def closed_meanwhile(self: Any, *command: Any) -> None:
        await self.disconnect(nowait=True)  # As a refresh of the servers does.
        await send(self, *command)

    async with manager_on("async", cluster.url) as progress:
        await progress.create("j1")
        for node in progress.redis.get_nodes():
            await node.disconnect()
        monkeypatch.setattr(AbstractConnection, "_send_packed_command", closed_meanwhile)
        with pytest.raises(ProgressUnavailable):
            await progress.get_progress("j1")
