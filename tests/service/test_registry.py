"""Managers from settings: a client and hub per loop, closed with it; a sync one for threads."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

import pytest
import redis
from asgiref.sync import async_to_sync
from django.core.exceptions import ImproperlyConfigured

from django_import_progress import (
    ProgressUnavailable,
    get_progress_manager,
    get_sync_progress_manager,
)
from django_import_progress.service import registry
from django_import_progress.service.registry import (
    get_guarded_manager,
    get_guarded_sync_manager,
    get_impatient_manager,
)

from ..faults.conftest import cluster, defence, lasting_cluster
from ..kit.processes import RedisProcess
from ..kit.waiting import until, wait_for

__all__ = ["cluster", "defence", "lasting_cluster"]

NOWHERE = "redis://127.0.0.1:1/0"

FORKING = """
import os, sys, threading
import django
from django.conf import settings
settings.configure(IMPORT_PROGRESS={"REDIS_URL": sys.argv[1]})
django.setup()
from django_import_progress import get_sync_progress_manager
get_sync_progress_manager().set_progress("parent", {"n": 0})
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        manager = get_sync_progress_manager()
        for n in range(100):
            manager.set_progress(f"child{child}", {"n": n})
            assert manager.get_progress(f"child{child}")["n"] == n
        os._exit(0)
    children.append(pid)
for n in range(100):
    get_sync_progress_manager().update("parent", {"n": n})
    assert get_sync_progress_manager().get_progress("parent")["n"] == n
sys.exit(any(os.waitpid(pid, 0)[1] for pid in children))
"""


@pytest.fixture
def raw(site: RedisProcess) -> Iterator[redis.Redis]:
    """A client of the site's Redis server."""
    with redis.Redis(port=site.port) as client:
        yield client


@pytest.fixture
def new_connections(raw: redis.Redis) -> Callable[[], int]:
    """Count the server's connections that were opened since the test began."""

    def ids() -> set[str]:
        return {client["id"] for client in raw.client_list()}

    before = ids()
    return lambda: len(ids() - before)


async def _watch_and_leave_open() -> None:
    """Use the loop's manager in each way, without cleaning up."""
    progress = get_progress_manager()
    await progress.create("j1")
    watcher = progress.watcher("j1")
    assert await watcher.next(10) is not None
    asyncio.get_running_loop().create_task(watcher.next())
    await progress.delete("j1")


def test_outside_of_a_loop_the_error_says_what_to_use() -> None:
    with pytest.raises(RuntimeError, match="use get_sync_progress_manager"):
        get_progress_manager()


async def test_managers_of_one_loop_share_a_client_and_one_subscription(raw: redis.Redis) -> None:
    products, orders = get_progress_manager(), get_progress_manager("order_imports")
    assert products.redis is orders.redis
    await products.create("j1", data={"n": 1})
    await orders.create("j1", data={"n": 2})
    watchers = [products.watcher("j1"), orders.watcher("j1")]
    states = [await watcher.next(10) for watcher in watchers]
    assert [state and state.fields["n"] for state in states] == [1, 2]
    assert len(raw.client_list(_type="pubsub")) == 1
    for watcher in watchers:
        watcher.close()
    await until(lambda: raw.client_list(_type="pubsub") == [], "the subscription to end")


async def test_settings_are_read_anew_each_time(site: RedisProcess, settings: Any) -> None:
    first = get_progress_manager()
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "NAMESPACE": "other", "TTL_SECONDS": 60}
    second = get_progress_manager()
    assert first.redis is second.redis
    await second.set_progress("j1", {})
    assert 50 < await second.redis.ttl("other:hash:j1") <= 60
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url + "?protocol=3"}
    assert get_progress_manager().redis is not first.redis
    settings.IMPORT_PROGRESS = {"REDIS_URL": "nowhere"}
    with pytest.raises(ImproperlyConfigured):
        get_progress_manager()


async def test_the_heartbeat_of_the_settings_holds(site: RedisProcess, settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "HEARTBEAT_SECONDS": 0.05}
    progress = get_progress_manager()
    await progress.create("j1")
    watcher = progress.watcher("j1")
    await watcher.next(10)
    await progress.set_progress("j1", {"n": 1})
    state = await watcher.next(5)
    assert state is not None
    assert state.fields["n"] == 1
    watcher.close()


@pytest.mark.parametrize(
    "run", [lambda main: asyncio.run(main()), lambda main: async_to_sync(main)()]
)
def test_a_loop_that_ends_leaves_no_connection_and_no_warning(
    run: Callable[[Any], None], new_connections: Callable[[], int]
) -> None:
    for _ in range(2):
        run(_watch_and_leave_open)
        gc.collect()  # What was left open would warn here, and a warning is an error.
        wait_for(lambda: new_connections() == 0, "the connections to be closed")


def test_each_loop_has_a_client_of_its_own_and_a_loop_that_ended_is_forgotten(
    site: RedisProcess,
) -> None:
    async def client_of_loop() -> Any:
        await get_progress_manager().get_progress("j1")
        return get_progress_manager().redis

    first, second = asyncio.run(client_of_loop()), asyncio.run(client_of_loop())
    assert first is not second


def test_loops_in_threads_at_once_do_not_disturb_each_other(
    new_connections: Callable[[], int],
) -> None:
    async def main(job_id: str) -> None:
        progress = get_progress_manager()
        await progress.create(job_id)
        for number in range(20):
            await progress.update(job_id, {"n": number})

    def run(job_id: str) -> None:
        asyncio.run(main(job_id))

    with ThreadPoolExecutor(8) as executor:
        list(executor.map(run, [f"j{n}" for n in range(8)]))
    wait_for(lambda: new_connections() == 0, "the connections to be closed")


def test_the_sync_manager_has_one_client_for_all_threads_and_namespaces(raw: redis.Redis) -> None:
    managers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: managers.append(get_sync_progress_manager()))
        for _ in range(10)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    managers.append(get_sync_progress_manager("order_imports"))
    assert len({id(manager.redis) for manager in managers}) == 1
    managers[-1].set_progress("j1", {})
    assert raw.keys() == [b"order_imports:hash:j1"]


def test_the_sync_manager_heeds_the_settings(site: RedisProcess, settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "NAMESPACE": "other", "TTL_SECONDS": 60}
    progress = get_sync_progress_manager()
    progress.set_progress("j1", {})
    assert 50 < progress.redis.ttl("other:hash:j1") <= 60


def test_the_impatient_manager_has_a_client_of_its_own(site: RedisProcess) -> None:
    assert get_impatient_manager().redis is not get_sync_progress_manager().redis
    get_impatient_manager("other").set_progress("j1", {})
    assert get_sync_progress_manager("other").get_progress("j1") is not None


async def test_guarded_managers_of_a_process_share_a_breaker_for_each_url(
    site: RedisProcess, settings: Any
) -> None:
    plain, guarded = get_progress_manager(), get_guarded_manager("other")
    assert guarded.redis is plain.redis
    assert (guarded.calls.keys.namespace, plain._guard) == ("other", nullcontext)
    assert get_impatient_manager()._manager._guard is nullcontext
    assert get_guarded_sync_manager().redis is get_impatient_manager().redis
    assert guarded._guard == get_guarded_sync_manager()._manager._guard
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url + "?protocol=3"}
    assert guarded._guard != get_guarded_sync_manager()._manager._guard


@pytest.mark.parametrize("place", ["server", "cluster"])
def test_a_probe_reaches_each_kind_of_redis(request: pytest.FixtureRequest, place: str) -> None:
    registry._ping(registry.ServerAtUrl(request.getfixturevalue(place).url))
    with pytest.raises(ProgressUnavailable):
        url = "redis+cluster://127.0.0.1:1" if place == "cluster" else NOWHERE
        registry._ping(registry.ServerAtUrl(url))


def test_children_of_a_fork_and_their_parent_go_on_side_by_side(server: RedisProcess) -> None:
    command = [sys.executable, "-W", "error", "-c", FORKING, server.url]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
