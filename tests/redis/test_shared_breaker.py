"""The circuit breaker of a process: shared by threads and event loops, safe after a fork."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from django_import_progress import JobExists, ProgressUnavailable
from django_import_progress.redis import circuit_breaker as core
from django_import_progress.redis.circuit_breaker import PROBE, SharedBreaker

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.waiting import wait_for

__all__ = ["defence"]

THREADS = 20


class Ping:
    """A probe that takes as long as the test lets it, and fails until the test says otherwise."""

    def __init__(self) -> None:
        self.made = self.running = self.most_at_once = 0
        self.fails = True
        self.may_end = threading.Event()
        self._lock = threading.Lock()

    def __call__(self) -> None:
        with self._lock:
            self.made += 1
            self.running += 1
            self.most_at_once = max(self.most_at_once, self.running)
        self.may_end.wait()
        with self._lock:
            self.running -= 1
        if self.fails:
            raise ProgressUnavailable("the probe failed")


@pytest.fixture
def ping(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A probe; any failure opens the breaker, so that no test has to wait for a time-out."""
    monkeypatch.setattr(core, "SLOW_SECONDS", 0)
    monkeypatch.setattr("django_import_progress.redis.circuit_breaker.PAUSE_SECONDS", 0.01)
    ping = Ping()
    yield ping
    ping.fails = False
    ping.may_end.set()
    wait_for(lambda: not probing(), "the probe to end")


@pytest.fixture
def breaker(ping: Ping) -> SharedBreaker:
    return SharedBreaker(ping)


def probing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == PROBE]


def fail(breaker: SharedBreaker) -> None:
    with pytest.raises(ProgressUnavailable, match="timed out"), breaker.guard():
        raise ProgressUnavailable("timed out")


def is_refused(breaker: SharedBreaker) -> bool:
    with suppress(ProgressUnavailable), breaker.guard():
        return False
    return True


def test_a_refusal_says_why_and_has_a_cause(breaker: SharedBreaker) -> None:
    fail(breaker)
    with pytest.raises(ProgressUnavailable, match="did not respond") as caught, breaker.guard():
        raise AssertionError
    assert isinstance(caught.value.__cause__, TimeoutError)


def test_what_redis_has_responded_to_opens_nothing(breaker: SharedBreaker) -> None:
    with pytest.raises(JobExists), breaker.guard():
        raise JobExists("j1")
    assert not is_refused(breaker)


def probes_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core.Breaker, "begin_trial", lambda self, now: self.is_open)


@without(probes_each_time)
def test_many_threads_are_refused_at_once_and_one_probe_is_made(
    breaker: SharedBreaker, ping: Ping
) -> None:
    fail(breaker)
    with ThreadPoolExecutor(THREADS) as threads:
        assert all(threads.map(lambda _: is_refused(breaker), range(THREADS)))
    assert len(probing()) == 1
    assert ping.most_at_once == 1


def test_probes_are_repeated_until_redis_responds(breaker: SharedBreaker, ping: Ping) -> None:
    ping.may_end.set()
    fail(breaker)
    wait_for(lambda: ping.made > 2, "more probes")
    assert is_refused(breaker)
    ping.fails = False
    wait_for(lambda: not is_refused(breaker), "calls to be made again")
    assert ping.most_at_once == 1


def threads_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)


def test_a_caller_who_tries_and_is_cancelled_makes_room_for_another_one(
    breaker: SharedBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads_cannot_start(monkeypatch)
    fail(breaker)
    monkeypatch.setattr(core, "OPEN_SECONDS", 0)

    async def try_for_long() -> None:
        with breaker.guard():
            await asyncio.sleep(3600)

    async def main() -> None:
        task = asyncio.create_task(try_for_long())
        await asyncio.sleep(0)
        assert is_refused(breaker)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert not is_refused(breaker)


def test_without_a_thread_for_the_probe_a_caller_tries(
    breaker: SharedBreaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads_cannot_start(monkeypatch)
    fail(breaker)
    assert is_refused(breaker)
    monkeypatch.setattr(core, "OPEN_SECONDS", 0)
    assert not is_refused(breaker)
    assert not is_refused(breaker)


def test_a_caller_that_tries_and_fails_keeps_it_open(
    breaker: SharedBreaker, ping: Ping, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        threads_cannot_start(patch)
        fail(breaker)
        patch.setattr(core, "OPEN_SECONDS", 0)
        fail(breaker)
    assert is_refused(breaker)
    wait_for(lambda: ping.made, "a probe")


FORKED = """
import os, sys, threading
from django_import_progress import ProgressUnavailable
from django_import_progress.redis.circuit_breaker import SharedBreaker
from django_import_progress.redis import circuit_breaker
circuit_breaker.SLOW_SECONDS = 0
may_end = threading.Event()
breaker = SharedBreaker(may_end.wait)
try:
    with breaker.guard():
        raise ProgressUnavailable("timed out")
except ProgressUnavailable:
    pass
with breaker._lock:  # As another thread may have it.
    child = os.fork()
if child == 0:
    with breaker.guard():  # Nobody probes in this process.
        os._exit(0)
may_end.set()
sys.exit(os.waitpid(child, 0)[1])
"""


def test_a_child_of_a_fork_begins_anew(tmp_path: Any) -> None:
    command = [sys.executable, "-c", FORKED]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_does_so_whoever_has_the_lock(breaker: SharedBreaker) -> None:
    fail(breaker)
    breaker._pid = os.getppid()
    with breaker._lock:
        assert not is_refused(breaker)
