"""Sharded pub/sub of a Cluster: each server tells of its own jobs alone, and is followed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from typing import Any

import pytest
from redis.crc import key_slot

from django_import_progress import ProgressUnavailable, line, sharded, subscriptions, sync
from django_import_progress.cancellation import end_tasks
from django_import_progress.shard import Shard
from django_import_progress.sharded import ShardedLink
from django_import_progress.slot import Slot
from django_import_progress.tally import tally
from tests.kit import waiting
from tests.kit.controls import without
from tests.kit.hubs import sees
from tests.kit.managers import manager_on
from tests.kit.processes import RedisProcess
from tests.kit.topologies import ClusterGroup, ask
from tests.kit.waiting import until
from tests.kit.watching import Watching

from .naive import bears_silence, edit, gives_up_a_link_for_good, has_a_hub_for_each_watcher

both_managers = pytest.mark.parametrize("kind", ["async", "sync"])
ask_for_another = subscriptions.ask_for("import_progress:hash:j2")
NEVER = 3600
"""A heartbeat that mends nothing."""
TWINS = ("k889", "k2466")
"""Two jobs in one hash slot."""


@pytest.fixture(scope="module")
def lasting_cluster(redis_program: str) -> Iterator[ClusterGroup]:
    with ClusterGroup(redis_program) as group:
        yield group


CONTROL_PATIENCE_SECONDS = 2.5
"""How long a control waits for what does not come: no heartbeat would mend it later."""


@pytest.fixture
def cluster(
    defence: bool, lasting_cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> ClusterGroup:
    if not defence:
        monkeypatch.setattr(waiting, "PATIENCE_SECONDS", CONTROL_PATIENCE_SECONDS)
    return lasting_cluster.emptied()


@pytest.fixture
def lone_cluster(
    defence: bool, redis_program: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ClusterGroup]:
    """One of which a server may go."""
    with ClusterGroup(redis_program) as group:
        if not defence:
            monkeypatch.setattr(waiting, "PATIENCE_SECONDS", CONTROL_PATIENCE_SECONDS)
        yield group


def slot_of(job_id: str) -> int:
    return int(key_slot(f"import_progress:hash:{job_id}".encode()))


def owner_of(cluster: ClusterGroup, job_id: str) -> int:
    return cluster.owner(slot_of(job_id))


def listeners(node: RedisProcess) -> list[str]:
    """Return who is subscribed to something on a server: a line for each connection."""
    return str(ask(node, "CLIENT", "LIST", "TYPE", "pubsub")).splitlines()


def is_subscribed(node: RedisProcess, job_id: str) -> bool:
    return bool(ask(node, "PUBSUB", "SHARDNUMSUB", f"import_progress:hash:{job_id}")[1])


def sent_to_others(cluster: ClusterGroup) -> int:
    """Return how many messages the servers have passed on to one another."""
    lines = [line for node in cluster.nodes for line in ask(node, "CLUSTER", "INFO").splitlines()]
    return sum(int(line.split(":")[1]) for line in lines if "_messages_publish" in line)


def all_servers_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask for no shards."""
    monkeypatch.setattr(ClusterGroup, "sharded_url", property(lambda self: self.url))


@without(all_servers_tell)
@both_managers
async def test_a_job_is_told_by_its_own_server_alone(kind: str, cluster: ClusterGroup) -> None:
    before = sent_to_others(cluster)
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j1", data={"n": 0})
        async with Watching(progress) as watching:
            for number in range(1, 4):
                await watching.sees(n=number - 1)
                await progress.update("j1", {"n": number})
            assert sent_to_others(cluster) == before
            home = cluster.nodes[owner_of(cluster, "j1")]
            assert [bool(listeners(node)) for node in cluster.nodes] == [
                node is home for node in cluster.nodes
            ]
            await progress.update("j1", {"status": "done"})
            await watching.ends()
    assert sent_to_others(cluster) == before


def scripts_tell_on_all_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish as one does who knows of no shards."""
    for name in ("UPDATE", "CANCEL", "DELETE"):
        edit(monkeypatch, name, ("channel == KEYS[1] and 'SPUBLISH' or 'PUBLISH'", "'PUBLISH'"))


@without(scripts_tell_on_all_servers)
@both_managers
async def test_whatever_is_told_is_heard(kind: str, cluster: ClusterGroup) -> None:
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j1", data={"n": 1})
        async with Watching(progress) as watching:
            await watching.sees(n=1)
            await progress.update("j1", {"n": 2})
            await watching.sees(n=2)
            assert await progress.publish_update("j1", {"n": 3}) == 1
            await watching.sees(n=3)
            assert await progress.request_cancel("j1")
            await progress.delete("j1")
            await watching.ends()


@without(has_a_hub_for_each_watcher)
async def test_a_server_has_one_connection_however_many_watch(cluster: ClusterGroup) -> None:
    async with manager_on("async", cluster.sharded_url) as progress:
        watchers = [progress.watcher(f"j{number % 9}") for number in range(30)]
        try:
            for number in range(9):
                home = cluster.nodes[owner_of(cluster, f"j{number}")]
                await until(lambda n=number, home=home: is_subscribed(home, f"j{n}"), "all")
            assert [len(listeners(node)) for node in cluster.nodes] == [1, 1, 1]
        finally:
            for watcher in watchers:
                watcher.close()
            await until(lambda: not any(map(listeners, cluster.nodes)), "all to have gone")


def stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not mind being unsubscribed."""
    monkeypatch.setattr(ShardedLink, "_moved", lambda *_: None)
    monkeypatch.setattr(sync, "_raise_if_moved", lambda _: None)


async def tried(write: Callable[[], Awaitable[Any]], what: object) -> None:
    """Write as a caller would who tries again while Redis is out of reach."""
    through = []

    async def is_through() -> bool:
        with suppress(ProgressUnavailable):
            through.append(await write())
        return bool(through)

    await until(is_through, what)


async def updated(progress: Any, job_id: str, **fields: Any) -> None:
    await tried(lambda: progress.update(job_id, fields), f"an update to {fields}")


@without(stays_where_it_was)
@both_managers
async def test_hash_slots_move_under_watchers_and_writers(kind: str, cluster: ClusterGroup) -> None:
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j1", data={"n": 0})
        slot = slot_of("j1")
        async with Watching(progress) as watching:
            await watching.sees(n=0)
            for number in range(1, 7):
                cluster.move(slot, (cluster.owner(slot) + 1) % 3)
                await updated(progress, "j1", n=number)
                await watching.sees(n=number)
            await updated(progress, "j1", status="done")
            seen = [snapshot["n"] for snapshot in await watching.ends()]
            assert seen == sorted(seen)


def asks_nobody_for_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Go where it was, and stay there."""
    stays_where_it_was(monkeypatch)
    monkeypatch.setattr(subscriptions, "ask_for", lambda _: ask_for_another)


@without(asks_nobody_for_the_way)
@both_managers
async def test_who_comes_with_old_knowledge_is_shown_the_way(
    kind: str, cluster: ClusterGroup
) -> None:
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.get_progress("j1")  # What the client knows is from now.
        slot = slot_of(TWINS[0])
        cluster.move(slot, (cluster.owner(slot) + 1) % 3)
        async with AsyncExitStack() as stack, manager_on("async", cluster.sharded_url) as writer:
            watchings = [
                await stack.enter_async_context(Watching(progress, twin, writer)) for twin in TWINS
            ]
            home = cluster.nodes[cluster.owner(slot)]
            for twin, watching in zip(TWINS, watchings, strict=True):
                await until(lambda twin=twin: is_subscribed(home, twin), "the subscription")
                await writer.create(twin, data={"n": 1})
                await watching.sees(n=1)
                await writer.update(twin, {"status": "done"})
                await watching.ends()


@without(gives_up_a_link_for_good)
@both_managers
async def test_a_connection_that_breaks_is_mended(kind: str, cluster: ClusterGroup) -> None:
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j2", data={"n": 1})
        async with Watching(progress, "j2") as watching:
            await watching.sees(n=1)
            ask(cluster.nodes[owner_of(cluster, "j2")], "CLIENT", "KILL", "TYPE", "pubsub")
            await progress.update("j2", {"n": 2})
            await watching.sees(n=2)
            await progress.update("j2", {"status": "done"})
            await watching.ends()


@without(bears_silence)
async def test_a_server_that_is_silent_is_noticed(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "PING_SECONDS", 0.1)
    if line.SILENCE_SECONDS < NEVER:
        monkeypatch.setattr(line, "SILENCE_SECONDS", 0.5)
    async with manager_on("async", cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j3", data={"n": 1})
        watcher = progress.watcher("j3")
        await sees(watcher, n=1)
        before = tally.links_lost
        try:
            with cluster.nodes[owner_of(cluster, "j3")].frozen():
                await until(lambda: tally.links_lost > before, "the loss to be noticed")
            await progress.update("j3", {"n": 2})
            await sees(watcher, n=2)
        finally:
            watcher.close()


async def test_who_leaves_is_unsubscribed_and_may_come_back(cluster: ClusterGroup) -> None:
    async with manager_on("async", cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        home = cluster.nodes[owner_of(cluster, TWINS[0])]
        staying, leaving = map(progress.watcher, TWINS)
        for twin in TWINS:
            await until(lambda twin=twin: is_subscribed(home, twin), "the subscription")
        leaving.close()
        await until(lambda: not is_subscribed(home, TWINS[1]), "the end of the subscription")
        leaving.close()
        back = progress.watcher(TWINS[1])
        await progress.create(TWINS[0], data={"n": 1})
        await progress.create(TWINS[1], data={"n": 2})
        await sees(staying, n=1)
        await sees(back, n=2)
        staying.close()
        back.close()


class _Broken(Exception):
    """One connection of a link is."""


def one_lost_is_all_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the link fail with the first of its connections."""

    async def serve(self: ShardedLink, shard: Shard) -> None:
        try:
            await shard.run()
        except Exception:
            self._is_over = True
            self._has_changed.set()

    async def watch_over(self: ShardedLink) -> None:
        while not self._is_over:
            self._has_changed.clear()
            await self._has_changed.wait()
        raise _Broken

    monkeypatch.setattr(ShardedLink, "_serve", serve)
    monkeypatch.setattr(ShardedLink, "_wait_until_nobody_watches", watch_over)


@without(one_lost_is_all_lost)
async def test_a_server_goes_and_the_connections_to_the_others_are_kept(
    lone_cluster: ClusterGroup,
) -> None:
    async with manager_on("async", lone_cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        lost, kept = (lone_cluster.nodes[owner_of(lone_cluster, job_id)] for job_id in ("j1", "j2"))
        orphan = progress.watcher("j1")
        await until(lambda: is_subscribed(lost, "j1"), "the subscription")
        await progress.create("j2", data={"n": 1})
        async with Watching(progress, "j2") as watching:
            await watching.sees(n=1)
            (before,) = listeners(kept)
            known, losses = before.split()[0], tally.links_lost
            lost.kill()
            await until(lambda: tally.links_lost > losses + 2, "the loss to be noticed")
            await updated(progress, "j2", n=2)
            await watching.sees(n=2)
            assert [line.split()[0] for line in listeners(kept)] == [known]
            await updated(progress, "j2", status="done")
            await watching.ends()
        orphan.close()


def what_is_lost_stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stay(*_: Any) -> None:
        """Expect it back."""

    monkeypatch.setattr(ShardedLink, "_place_anew", stay)
    monkeypatch.setattr(subscriptions, "ask_for", lambda _: ask_for_another)


@without(what_is_lost_stays_where_it_was)
@both_managers
async def test_another_server_takes_over_what_one_had_that_is_down(
    kind: str, lone_cluster: ClusterGroup
) -> None:
    lost, heir = owner_of(lone_cluster, "j1"), owner_of(lone_cluster, "j2")
    async with (
        manager_on(kind, lone_cluster.sharded_url, heartbeat_seconds=NEVER) as progress,
        manager_on("async", lone_cluster.sharded_url) as writer,
    ):
        for job_id in ("j1", "j4"):
            await writer.create(job_id, data={"n": 1})
        async with AsyncExitStack() as stack:
            if kind == "async":  # One more on the same server, whose slot nobody takes.
                stack.callback(progress.watcher("j4").close)
            watching = await stack.enter_async_context(Watching(progress, ender=writer))
            await watching.sees(n=1)
            lone_cluster.nodes[lost].kill()
            lone_cluster.own(slot_of("j1"), heir, but=lost)
            await tried(lambda: writer.create("j1", data={"n": 2}), "the job, made anew")
            await watching.sees(n=2)
            await updated(writer, "j1", status="done")
            await watching.ends()


async def test_a_hash_slot_whose_server_is_down_is_waited_for_elsewhere(
    lone_cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(sharded, "ASK_SECONDS", 10)  # Longer than redis-py tries.
    home, down = owner_of(lone_cluster, "j1"), owner_of(lone_cluster, "j2")
    async with manager_on("async", lone_cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        staying, leaving = map(progress.watcher, ("j1", "j4"))
        for job_id in ("j1", "j4"):
            await progress.create(job_id, data={"n": 1})
        await sees(staying, n=1)
        await sees(leaving, n=1)
        lone_cluster.nodes[down].kill()
        for job_id in ("j1", "j4"):
            ask(lone_cluster.nodes[home], "DEL", f"import_progress:hash:{job_id}")
            lone_cluster.own(slot_of(job_id), down, but=down)
        link = progress._hub._link
        await until(lambda: len(link._sought) == 2, "both to be looked for")
        leaving.close()
        await until(lambda: len(link._sought) == 1, "the other to be looked for no longer")
        lone_cluster.own(slot_of("j1"), home, but=down)
        await tried(lambda: progress.create("j1", data={"n": 2}), "the job")
        await sees(staying, n=2)
        staying.close()


async def test_who_comes_before_the_client_has_begun_is_placed(cluster: ClusterGroup) -> None:
    async with manager_on("async", cluster.sharded_url) as progress:
        slot = Slot(progress.calls, "j6")
        slots: dict[str, Slot] = {}
        link = ShardedLink(progress.redis, slots, NEVER)
        slots[slot.channel] = slot
        link.changed(slot.channel)
        running = asyncio.create_task(link.run())
        home = cluster.nodes[owner_of(cluster, "j6")]
        await until(lambda: is_subscribed(home, "j6"), "the subscription")
        await end_tasks([running])


def a_fault_ends_what_it_befalls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ShardedLink, "_note_the_end", lambda *_: None)


@without(a_fault_ends_what_it_befalls)
async def test_a_fault_of_ours_is_said_and_the_watchers_are_served_on(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = []

    async def find(*_: Any) -> bool:
        faults.append(ZeroDivisionError())
        raise faults[-1]

    monkeypatch.setattr(ShardedLink, "_is_found", find)
    async with manager_on("async", cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j7", data={"n": 1})
        slot = slot_of("j7")
        async with Watching(progress, "j7") as watching:
            await watching.sees(n=1)
            cluster.move(slot, (cluster.owner(slot) + 1) % 3)
            await until(lambda: faults, "the fault")
            await updated(progress, "j7", n=2)
            await watching.sees(n=2)
            await updated(progress, "j7", status="done")
            await watching.ends()
    assert "ZeroDivisionError" in caplog.text


async def test_a_link_that_is_over_begins_nothing(cluster: ClusterGroup) -> None:
    async with manager_on("async", cluster.sharded_url) as progress:
        slots: dict[str, Slot] = {}
        link = ShardedLink(progress.redis, slots, NEVER)
        await link.run()  # Nobody watches.
        slot = Slot(progress.calls, "j1")
        slots[slot.channel] = slot
        link.changed(slot.channel)
        assert asyncio.all_tasks() == {asyncio.current_task()}
