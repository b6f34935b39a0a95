"""Threads, forks and event loops, one after the other and at once: each has its own connections.

Each of them is a process of its own: whatever it leaves open or says is an error there.
"""

from __future__ import annotations

import subprocess
import sys

from tests.kit import waiting
from tests.kit.controls import FAILURES, without
from tests.kit.processes import RedisProcess

from . import naive_worker

BUSY_SECONDS = 3.0
"""What a busy machine may add."""

BEGINNING = """
import asyncio, gc, os, sys, threading, warnings
from concurrent.futures import ThreadPoolExecutor
import django, pytest, redis
from asgiref.sync import async_to_sync
from django.conf import settings
settings.configure(IMPORT_PROGRESS={"REDIS_URL": sys.argv[1]})
django.setup()
from django_import_progress import (
    get_progress_manager, get_sync_progress_manager, track_import
)
from tests.faults import naive_worker
from tests.kit.waiting import wait_for
if naive := os.environ.get("NAIVE"):
    getattr(naive_worker, naive)(pytest.MonkeyPatch())

raw = redis.Redis.from_url(sys.argv[1])
jobs = get_sync_progress_manager()
jobs.jobs()
ids = [f"j{number}" for number in range(4)]
for job_id in ids:
    jobs.create(job_id)

def count():
    return sum(client["addr"] != "" for client in raw.client_list())

before = count()

def nothing_is_left():
    gc.collect()  # What was left open warns here.
    wait_for(lambda: count() <= before, "the connections to be closed", 5)

def at_once(do):
    with ThreadPoolExecutor(len(ids)) as threads:
        list(threads.map(do, ids))
"""

A_LOOP_FOR_EACH_CALL = """
async def update(job_id, number):
    await get_progress_manager().update(job_id, {"n": number})

def update_often(job_id):
    for number in range(50):
        async_to_sync(update)(job_id, number)

at_once(update_often)
update_often("j0")
assert [job["n"] for job in jobs.jobs()] == [49] * 4
gc.collect()
wait_for(lambda: count() <= before + 3, "the connections to be closed", 5)  # The pool's may stay.
"""

LEFT_OPEN = """
async def leave_open(job_id):
    progress = get_progress_manager()
    watcher = progress.watcher(job_id)
    assert await watcher.next(10) is not None
    asyncio.get_running_loop().create_task(watcher.next())
    snapshots = progress.watch(job_id)
    await anext(snapshots)
    asyncio.get_running_loop().create_task(anext(snapshots))
    await progress.update(job_id, {"n": 1})

for _ in range(5):
    asyncio.run(leave_open("j0"))
    async_to_sync(leave_open)("j1")
nothing_is_left()
at_once(lambda job_id: asyncio.run(leave_open(job_id)))
nothing_is_left()
"""

WATCHING_AT_ONCE = """
async def watch(job_id):
    progress = get_progress_manager()
    seen = [snapshot async for snapshot in progress.watch(job_id)]
    assert seen[-1] == await progress.get_progress(job_id)
    assert (seen[-1]["status"], seen[-1]["n"]) == ("done", 19)

async def write(job_id):
    progress = get_progress_manager()
    for number in range(20):
        await progress.update(job_id, {"n": number})
    await progress.update(job_id, {"status": "done"})

def watch_and_write(job_id):
    with ThreadPoolExecutor(1) as thread:
        watching = thread.submit(asyncio.run, watch(job_id))
        asyncio.run(write(job_id))
        watching.result(20)

at_once(watch_and_write)
nothing_is_left()
"""

PREFORK = """
async def watch(job_id):
    progress = get_progress_manager()
    async for snapshot in progress.watch(job_id):
        if snapshot.get("n") != 9:
            await progress.update(job_id, {"n": 9})
        else:
            break
    assert (await progress.get_progress(job_id))["n"] == 9

def work(name):
    for number in range(100):
        get_sync_progress_manager().set_progress(name, {"n": number})
        assert jobs.get_progress(name)["n"] == number
    asyncio.run(watch(name))
    async_to_sync(watch)(name)
    with track_import(f"import-{name}") as job:
        for _ in job.rows(range(10)):
            pass
    found = jobs.get_progress(f"import-{name}")
    assert (found["status"], found["processed_rows"]) == ("done", 10)

def child(name):
    for client in inherited:
        # redis-py lets go of them, and their own warning may come before it closes them.
        port = client["addr"].rpartition(":")[2]
        warnings.filterwarnings("ignore", f"unclosed .*laddr=.*, {port}[)], raddr", ResourceWarning)
    work(name)
    gc.collect()

work("before")
inherited = raw.client_list()
children = []
for number in range(3):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            child(f"child{number}")
            code = 0
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
        os._exit(code)
    children.append(pid)
work("parent")
assert not any(os.waitpid(pid, 0)[1] for pid in children)
"""


def _says(script: str, server: RedisProcess) -> tuple[int, str]:
    command = [sys.executable, "-W", "error", "-c", BEGINNING + script, server.url]
    patience = waiting.PATIENCE_SECONDS + BUSY_SECONDS
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=patience
        )
    except subprocess.TimeoutExpired as error:  # pragma: no cover - of a busy machine's control
        raise AssertionError("the script does not end") from error
    return done.returncode, done.stderr


@without(naive_worker.has_one_client_for_all_loops)
def test_threads_call_the_manager_50_times_by_async_to_sync(server: RedisProcess) -> None:
    assert _says(A_LOOP_FOR_EACH_CALL, server) == (0, "")


@without(naive_worker.closes_nothing_with_the_loop)
def test_loops_end_while_watchers_are_open(server: RedisProcess) -> None:
    assert _says(LEFT_OPEN, server) == (0, "")


@without(
    naive_worker.has_one_client_for_all_loops, fails_with=(*FAILURES, subprocess.TimeoutExpired)
)
def test_loops_at_once_watch_and_write(server: RedisProcess) -> None:
    assert _says(WATCHING_AT_ONCE, server) == (0, "")


@without(naive_worker.shares_one_connection)
def test_children_of_a_fork_use_the_sync_manager_that_they_inherited(server: RedisProcess) -> None:
    assert _says(PREFORK, server) == (0, "")


@without(naive_worker.has_one_client_for_all_loops)
def test_children_of_a_fork_have_clients_for_their_own_loops(server: RedisProcess) -> None:
    assert _says(PREFORK, server) == (0, "")
