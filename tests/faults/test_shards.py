"""Sharded pub/sub in a Cluster: each server publishes only its own jobs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from django_import_progress import cancellation
from django_import_progress.cancellation import end_tasks
from django_import_progress.metrics import process_metrics
from django_import_progress.watch import pubsub_connection
from django_import_progress.watch.reconnect import ReconnectPolicy
from django_import_progress.watch.sharded_subscriber import ShardedSubscriber
from django_import_progress.watch.watched_job import WatchedJob
from tests.kit.controls import without
from tests.kit.hubs import sees
from tests.kit.managers import manager_on
from tests.kit.shards import NEVER, TWINS, is_subscribed, listeners, owner_of, slot_of, updated
from tests.kit.topologies import ClusterGroup, ask
from tests.kit.waiting import until
from tests.kit.watching import Watching

from .naive import bears_silence, edit, gives_up_a_link_for_good, has_a_hub_for_each_watcher

both_managers = pytest.mark.parametrize("kind", ["async", "sync"])


def sent_to_others(cluster: ClusterGroup) -> int:
    """Return how many messages the servers have passed on to each other."""
    lines = [
        pubsub_connection
        for node in cluster.nodes
        for pubsub_connection in ask(node, "CLUSTER", "INFO").splitlines()
    ]
    return sum(
        int(pubsub_connection.split(":")[1])
        for pubsub_connection in lines
        if "_messages_publish" in pubsub_connection
    )


def uses_no_sharded_pubsub(monkeypatch: pytest.MonkeyPatch) -> None:
    """Use plain pub/sub."""
    monkeypatch.setattr(ClusterGroup, "sharded_url", property(lambda self: self.url))


@without(uses_no_sharded_pubsub)
@both_managers
async def test_a_job_is_published_only_by_its_own_server(kind: str, cluster: ClusterGroup) -> None:
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


def scripts_publish_on_all_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish without shards."""
    for name in ("UPDATE", "CANCEL", "DELETE"):
        edit(monkeypatch, name, ("channel == KEYS[1] and 'SPUBLISH' or 'PUBLISH'", "'PUBLISH'"))


@without(scripts_publish_on_all_servers)
@both_managers
async def test_all_kinds_of_messages_are_received(kind: str, cluster: ClusterGroup) -> None:
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
async def test_a_server_has_one_connection_for_any_number_of_watchers(
    cluster: ClusterGroup,
) -> None:
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
            await until(
                lambda: not any(map(listeners, cluster.nodes)), "all connections to be closed"
            )


@without(gives_up_a_link_for_good)
@both_managers
async def test_a_broken_connection_is_restored(
    kind: str, cluster: ClusterGroup, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with manager_on(kind, cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j2", data={"n": 1})
        async with Watching(progress, "j2") as watching:
            await watching.sees(n=1)
            ask(
                cluster.nodes[owner_of(cluster, "j2")],
                "CLIENT",
                "KILL",
                "TYPE",
                "pubsub",
            )
            await progress.update("j2", {"n": 2})
            await watching.sees(n=2)
            await progress.update("j2", {"status": "done"})
            await watching.ends()
    said = [record.message[:27] for record in caplog.records if "subscription" in record.message]
    lines = ["Lost the subscription to Re", "Redis subscription restored"]
    assert said == (lines if kind == "async" else [])


@without(bears_silence)
async def test_a_silent_server_is_detected(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pubsub_connection, "PING_SECONDS", 0.1)
    if pubsub_connection.SILENCE_SECONDS < NEVER:
        monkeypatch.setattr(pubsub_connection, "SILENCE_SECONDS", 0.5)
    async with manager_on("async", cluster.sharded_url, heartbeat_seconds=NEVER) as progress:
        await progress.create("j3", data={"n": 1})
        watcher = progress.watcher("j3")
        await sees(watcher, n=1)
        before = process_metrics.connections_lost
        try:
            with cluster.nodes[owner_of(cluster, "j3")].frozen():
                await until(
                    lambda: process_metrics.connections_lost > before, "the loss to be noticed"
                )
            await progress.update("j3", {"n": 2})
            await sees(watcher, n=2)
        finally:
            watcher.close()


async def test_a_job_without_watchers_is_unsubscribed_and_may_be_watched_again(
    cluster: ClusterGroup,
) -> None:
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


async def test_a_job_watched_before_the_client_is_initialized_is_subscribed(
    cluster: ClusterGroup,
) -> None:
    async with manager_on("async", cluster.sharded_url) as progress:
        slot = WatchedJob(progress.calls, "j6")
        slots: dict[str, WatchedJob] = {}
        link = ShardedSubscriber(progress.redis, ReconnectPolicy(progress.redis), slots, NEVER)
        slots[slot.channel] = slot
        link.channel_changed(slot.channel)
        running = asyncio.create_task(link.run())
        await until(lambda: link.policy.is_working, "the first read, after the subscription")
        assert is_subscribed(cluster.nodes[owner_of(cluster, "j6")], "j6")
        await end_tasks([running])


def ignores_unexpected_exceptions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cancellation.Tasks, "_note_end", lambda *_: None)


@without(ignores_unexpected_exceptions)
async def test_an_unexpected_exception_is_logged_and_watching_continues(
    cluster: ClusterGroup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = []

    async def find(*_: Any) -> bool:
        faults.append(ZeroDivisionError())
        raise faults[-1]

    monkeypatch.setattr(ShardedSubscriber, "_refresh_owner", find)
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


async def test_a_subscriber_that_has_ended_starts_no_task(cluster: ClusterGroup) -> None:
    async with manager_on("async", cluster.sharded_url) as progress:
        slots: dict[str, WatchedJob] = {}
        link = ShardedSubscriber(progress.redis, ReconnectPolicy(progress.redis), slots, NEVER)
        await link.run()  # Nobody watches.
        slot = WatchedJob(progress.calls, "j1")
        slots[slot.channel] = slot
        link.channel_changed(slot.channel)
        assert asyncio.all_tasks() == {asyncio.current_task()}
