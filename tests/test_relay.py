"""What a consumer is told that has joined the relay's groups."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from django_import_progress import InvalidJobId, ProgressManager
from django_import_progress import relay as relay_module
from django_import_progress.cancellation import end_tasks
from django_import_progress.relay import progress_group

from .kit.groups import joined, relaying
from .kit.managers import manager_on
from .kit.processes import RedisProcess
from .kit.waiting import until

QUICK = 0.2
"""A heartbeat that tests can wait for."""

each_layer = pytest.mark.parametrize("kind", ["pubsub", "core"])


@pytest.fixture
async def writer(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    """Who tells."""
    async with manager_on("async", server.url) as manager:
        yield manager


@each_layer
async def test_each_update_goes_to_the_group_of_all_and_to_the_jobs(
    kind: str, server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined(kind, server.url) as everybody,
        joined(kind, server.url, progress_group("j1")) as of_the_job,
        relaying(server.url, kind, server.url),
    ):
        await writer.create("j1", data={"total_rows": 4})
        await writer.create("j2")
        await everybody.hears("j2", status="queued")
        await writer.update("j1", {"status": "importing", "processed_rows": 1})
        for member in (everybody, of_the_job):
            snapshot = await member.hears("j1", status="importing")
            extras = {
                "percent": 25.0,
                "stalled": False,
                "cancelling": False,
                "outcome": None,
                "job_id": "j1",
            }
            assert snapshot == {**(await writer.get_progress("j1") or {}), **extras}
        assert of_the_job.told("j2") == []
        assert of_the_job.messages[-1]["type"] == "import_progress.update"


async def test_each_namespace_has_groups_of_its_own(
    server: RedisProcess, writer: ProgressManager
) -> None:
    orders = progress_group(namespace="orders")
    async with (
        manager_on("async", server.url, namespace="orders") as other,
        joined("pubsub", server.url) as ours,
        joined("pubsub", server.url, orders) as theirs,
        relaying(server.url, "pubsub", server.url),
        relaying(server.url, "pubsub", server.url, "orders"),
    ):
        await other.create("o1")
        await writer.create("j1")
        await theirs.hears("o1")
        await ours.hears("j1")
        assert (ours.told("o1"), theirs.told("j1")) == ([], [])


@each_layer
async def test_what_began_or_ended_before_the_relay_did_is_told(
    kind: str, server: RedisProcess, writer: ProgressManager, foreign: redis.Redis
) -> None:
    await writer.create("goes-on")
    await writer.create("expired")
    foreign.delete("import_progress:hash:expired")
    await writer.create("over")
    await writer.update("over", {"status": "done"})
    async with joined(kind, server.url) as member, relaying(server.url, kind, server.url):
        await member.hears("goes-on", status="queued")
        await member.hears("over", status="done")
        assert member.told("expired") == []


async def test_updates_are_thinned_and_an_end_is_never_held_back(
    server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url, max_per_second=0.001),
    ):
        await writer.create("j1")
        await member.hears("j1", status="queued")
        for number in range(100):
            await writer.update("j1", {"processed_rows": number})
        await writer.update("j1", {"status": "done"})
        await member.hears("j1", status="done", processed_rows=99)
        assert len(member.told("j1")) == 2


async def test_a_worker_that_falls_silent_is_told(
    server: RedisProcess, writer: ProgressManager, foreign: redis.Redis
) -> None:
    await writer.create("j1", data={"status": "importing"})
    seconds, microseconds = foreign.time()
    foreign.hset("import_progress:hash:j1", "_d", seconds * 10**6 + microseconds + 2_000_000)
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url),
    ):
        await member.hears("j1", stalled=False)
        await member.hears("j1", stalled=True)


async def test_a_job_that_is_deleted_is_told_to_be_gone_though_it_had_ended_long_ago(
    server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url, heartbeat_seconds=QUICK) as relay,
    ):
        for job_id in ("j1", "j2"):
            await writer.create(job_id)
        await writer.delete("j1")
        assert await member.hears("j1", gone=True) == {"job_id": "j1", "gone": True}
        await writer.update("j2", {"status": "done"})
        await until(lambda: repr(relay) == "<Relay: 0 jobs, 0 unsent>", "j2 to be let go")
        await writer.delete("j2")
        await member.hears("j2", gone=True)
        await writer.create("j2")
        await member.hears("j2", status="queued")


async def test_a_job_that_expires_is_told_to_be_gone_and_may_come_anew(
    server: RedisProcess, writer: ProgressManager, foreign: redis.Redis
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url, heartbeat_seconds=QUICK),
    ):
        await writer.create("j1")
        await member.hears("j1", status="queued")
        foreign.delete("import_progress:hash:j1")
        await member.hears("j1", gone=True)
        await writer.create("j1")
        await member.hears("j1", status="queued")


async def test_what_goes_on_is_told_each_heartbeat_and_an_end_twice(
    server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url, heartbeat_seconds=QUICK) as relay,
    ):
        await writer.create("j1")
        await until(lambda: len(member.told("j1")) >= 3, "it to be told again and again")
        await writer.update("j1", {"status": "done"})
        await until(lambda: repr(relay) == "<Relay: 0 jobs, 0 unsent>", "it to be let go")
        statuses = [snapshot["status"] for snapshot in member.told("j1")]
        assert statuses.count("done") == 2
        assert statuses == sorted(statuses, reverse=True)


async def test_a_job_that_has_ended_and_begins_anew_is_followed_anew(
    server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url, heartbeat_seconds=QUICK) as relay,
    ):
        for status in ("failed", "done"):
            await writer.set_progress("j1", {"status": "queued"})
            await writer.update("j1", {"status": status})
            await member.hears("j1", status=status)
            await until(lambda: repr(relay).startswith("<Relay: 0 jobs"), "it to be let go")


async def test_what_is_published_and_not_stored_is_told_and_then_forgotten(
    server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url, heartbeat_seconds=QUICK) as relay,
    ):
        await writer.publish_update("j1", {"status": "importing"})
        await member.hears("j1", status="importing")
        await until(lambda: repr(relay) == "<Relay: 0 jobs, 0 unsent>", "silence to be noticed")


async def test_what_cannot_be_a_job_is_not_followed(
    server: RedisProcess, writer: ProgressManager, foreign: redis.Redis
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url) as relay,
    ):
        foreign.publish("import_progress:channel:no job", "{}")
        foreign.publish("import_progress:channel:j1", "junk")
        await writer.create("j1")
        await member.hears("j1", status="queued")
        assert repr(relay) == "<Relay: 1 jobs, 0 unsent>"


@each_layer
async def test_two_relays_at_once_only_duplicate(
    kind: str, server: RedisProcess, writer: ProgressManager
) -> None:
    async with (
        joined(kind, server.url) as member,
        relaying(server.url, kind, server.url),
        relaying(server.url, kind, server.url),
    ):
        await writer.create("j1")
        await writer.update("j1", {"status": "done"})
        await until(
            lambda: [told["status"] for told in member.told("j1")].count("done") == 2, "both ends"
        )


async def test_what_a_layer_cannot_carry_is_logged_once_and_holds_up_nobody(
    server: RedisProcess, writer: ProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        joined("pubsub", server.url) as member,
        relaying(server.url, "pubsub", server.url),
    ):
        for number in range(2):
            await writer.set_progress("j1", {"too long for msgpack": 2**70})
            await writer.update("j1", {"number": number})
            await writer.create(f"k{number}")
            await member.hears(f"k{number}", status="queued")
    (record,) = (r for r in caplog.records if r.name == "django_import_progress")
    assert record.levelno == logging.ERROR
    assert "j1" in record.getMessage()
    assert member.told("j1") == []


async def test_a_layer_that_is_away_costs_no_more_with_each_job_that_ends(
    server: RedisProcess, writer: ProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "LENGTH", 2)
    async with relaying(
        server.url, "pubsub", "redis://127.0.0.1:1/0", heartbeat_seconds=2 * QUICK
    ) as relay:
        for number in range(5):
            await writer.create(f"j{number}")
            await writer.update(f"j{number}", {"status": "done"})
        await until(lambda: repr(relay).startswith("<Relay: 5 jobs"), "all to be heard of")
        await until(lambda: repr(relay).startswith("<Relay: 2 jobs"), "the bound to be kept")


async def test_it_remembers_no_more_ends_than_the_list_of_jobs_does(
    server: RedisProcess, writer: ProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "LENGTH", 2)
    async with relaying(server.url, "pubsub", server.url, heartbeat_seconds=QUICK) as relay:
        for number in range(3):
            await writer.create(f"j{number}")
            await writer.update(f"j{number}", {"status": "done"})
            await until(lambda number=number: f"j{number}" in relay._ends, "it to be let go")
        assert list(relay._ends) == ["j1", "j2"]


async def test_it_waits_for_a_redis_that_is_away(
    server: RedisProcess, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager_on("async", "redis://127.0.0.1:1/0") as manager:
        relay = relay_module.Relay(manager, manager, heartbeat_seconds=QUICK)  # type: ignore[arg-type]
        running = asyncio.create_task(relay.run())
        await until(lambda: len(caplog.records) > 0, "the warning")
        await asyncio.sleep(3 * QUICK)
        await end_tasks([running])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_job_that_could_not_be_read_yet_is_kept() -> None:
    async with manager_on("async", "redis://127.0.0.1:1/0") as manager:
        relay = relay_module.Relay(manager, manager)  # type: ignore[arg-type]
        relay._watch("j1")
        assert not relay._send_again(relay._jobs["j1"])
        assert repr(relay) == "<Relay: 1 jobs, 0 unsent>"
        await relay._hub.aclose()


def test_a_group_is_asked_for_with_what_can_be_a_job(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"NAMESPACE": "orders"}
    assert progress_group() == "orders.jobs"
    assert progress_group("j1", namespace="imports") == "imports.job.j1"
    with pytest.raises(InvalidJobId):
        progress_group("no job")
    with pytest.raises(ValueError, match="no namespace"):
        progress_group(namespace="no namespace")
