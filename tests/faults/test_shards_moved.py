"""Hash slots of a Cluster with sharded pub/sub move, and its servers are lost."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from django_import_progress import ProgressUnavailable
from django_import_progress.metrics import process_metrics
from django_import_progress.redis import cluster as clusters
from django_import_progress.redis import pubsub
from django_import_progress.service import sync_manager
from django_import_progress.watch import sharded_subscriber
from django_import_progress.watch.shard_connection import ShardConnection
from django_import_progress.watch.sharded_subscriber import ShardedSubscriber
from tests.kit.controls import FAILURES, without
from tests.kit.hubs import sees
from tests.kit.managers import manager_on
from tests.kit.shards import (
    NEVER,
    TWINS,
    is_subscribed,
    listeners,
    owner_of,
    slot_of,
    tried,
    updated,
)
from tests.kit.topologies import ClusterGroup, ask
from tests.kit.waiting import until
from tests.kit.watching import Watching

both_managers = pytest.mark.parametrize("kind", ["async", "sync"])
locate_another_key = pubsub.locate_key("import_progress:hash:j2")


def stays_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore that the server unsubscribes."""
    monkeypatch.setattr(ShardedSubscriber, "_handle_moved", lambda *_: None)
    monkeypatch.setattr(sync_manager, "_raise_if_moved", lambda _: None)


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


def refreshes_no_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep using the old owner."""
    stays_where_it_was(monkeypatch)
    monkeypatch.setattr(pubsub, "locate_key", lambda _: locate_another_key)


@without(refreshes_no_owner)
@both_managers
async def test_a_client_with_outdated_slots_finds_the_owner(
    kind: str, cluster: ClusterGroup
) -> None:
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.get_progress("j1")  # What the client knows is from now.
        slot = slot_of(TWINS[0])
        cluster.move(slot, (cluster.owner(slot) + 1) % 3)
        async with (
            AsyncExitStack() as stack,
            manager_on("async", cluster.sharded_url) as writer,
        ):
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


class _Broken(Exception):
    """One of the connections is broken."""


def one_lost_is_all_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """End the subscriber with the first broken connection."""

    async def serve(self: ShardedSubscriber, shard: ShardConnection) -> None:
        try:
            await shard.run()
        except Exception:
            self._is_over = True
            self._has_changed.set()

    async def watch_over(self: ShardedSubscriber) -> None:
        while not self._is_over:
            self._has_changed.clear()
            await self._has_changed.wait()
        raise _Broken

    monkeypatch.setattr(ShardedSubscriber, "_stay_connected", serve)
    monkeypatch.setattr(ShardedSubscriber, "_wait_until_nobody_watches", watch_over)


@without(one_lost_is_all_lost)
async def test_after_the_loss_of_a_server_the_other_connections_are_kept(
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
            known, losses = before.split()[0], process_metrics.connections_lost
            lost.kill()
            await until(
                lambda: process_metrics.connections_lost > losses + 2, "the loss to be noticed"
            )
            await updated(progress, "j2", n=2)
            await watching.sees(n=2)
            assert [line.split()[0] for line in listeners(kept)] == [known]
            await updated(progress, "j2", status="done")
            await watching.ends()
        orphan.close()


def keeps_slots_at_a_lost_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stay(*_: Any) -> bool:
        """Wait for the lost server."""
        return False

    monkeypatch.setattr(ShardedSubscriber, "_leave", stay)
    monkeypatch.setattr(pubsub, "locate_key", lambda _: locate_another_key)


@without(keeps_slots_at_a_lost_server)
@both_managers
async def test_another_server_takes_over_the_slots_of_a_lost_one(
    kind: str, lone_cluster: ClusterGroup, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    lost, heir = owner_of(lone_cluster, "j1"), owner_of(lone_cluster, "j2")
    async with (
        manager_on(kind, lone_cluster.sharded_url, heartbeat_seconds=NEVER) as progress,
        manager_on("async", lone_cluster.sharded_url) as writer,
    ):
        for job_id in ("j1", "j4"):
            await writer.create(job_id, data={"n": 1})
        async with AsyncExitStack() as stack:
            if kind == "async":  # One more on the same server, whose slot nobody takes at first.
                stack.callback(progress.watcher("j4").close)
            watching = await stack.enter_async_context(Watching(progress, ender=writer))
            await watching.sees(n=1)
            lone_cluster.nodes[lost].kill()
            lone_cluster.own(slot_of("j1"), heir, but=lost)
            await tried(lambda: writer.create("j1", data={"n": 2}), "the job, made anew")
            await watching.sees(n=2)
            await updated(writer, "j1", status="done")
            await watching.ends()
            if kind == "async":
                assert "Redis subscription restored" not in caplog.text
                lone_cluster.own(slot_of("j4"), heir, but=lost)
                await until(lambda: "Redis subscription restored" in caplog.text, "the log line")


async def test_a_hash_slot_of_a_lost_server_is_waited_for(
    lone_cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_subscriber, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(sharded_subscriber, "REFRESH_SECONDS", 10)  # Longer than redis-py tries.
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
        link = progress._hub._subscriber
        await until(lambda: len(link._ownerless) == 2, "both slots to wait")
        leaving.close()
        await until(lambda: len(link._ownerless) == 1, "the unwatched slot to wait no longer")
        lone_cluster.own(slot_of("j1"), home, but=down)
        await tried(lambda: progress.create("j1", data={"n": 2}), "the job")
        await sees(staying, n=2)
        staying.close()


def servers_are_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "UNOWNED_SLOT", ())


@without(servers_are_not_asked_again, fails_with=(*FAILURES, KeyError))
@both_managers
async def test_a_hash_slot_without_an_owner_at_the_start_is_found(
    kind: str, cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharded_subscriber, "RETRY_SECONDS", 0.05)
    home, slot = owner_of(cluster, "j1"), slot_of("j1")
    try:
        cluster.disown(slot)
        async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
            await progress.get_progress("j2")  # What the client knows is from now.
            with pytest.raises(ProgressUnavailable):
                await progress.create("j1")
            async with Watching(progress) as watching:
                cluster.own(slot, home)
                await tried(lambda: progress.create("j1", data={"n": 1}), "the job")
                await watching.sees(n=1)
                await updated(progress, "j1", status="done")
                await watching.ends()
    finally:
        cluster.own(slot, home)
