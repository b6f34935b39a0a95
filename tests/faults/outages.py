"""Ways in which a server stays away for a while."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

from tests.kit.processes import RedisProcess
from tests.kit.waiting import wait_for

Outage = Callable[[RedisProcess], AbstractContextManager[None]]
PATIENCE_SECONDS = 30.0
"""How long one is waited for that a test is about to end."""


@contextmanager
def killed(process: RedisProcess) -> Iterator[None]:
    """Nothing listens; then all is there that was stored, if it was stored on disk."""
    process.kill()
    try:
        yield
    finally:
        process.start()


@contextmanager
def full(process: RedisProcess) -> Iterator[None]:
    """It answers, and takes no more data."""
    process.do("CONFIG", "SET", "maxmemory", 1)
    try:
        yield
    finally:
        process.do("CONFIG", "SET", "maxmemory", 0)


@contextmanager
def hung(process: RedisProcess) -> Iterator[None]:
    """It says nothing until somebody starts it anew: what it was sent meanwhile is lost."""
    process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.kill()
        process.start()


OUTAGES: dict[str, Outage] = {"killed": killed, "hung": hung, "full": full}


@contextmanager
def away_until(
    outage: AbstractContextManager[None], is_over: Callable[[], object]
) -> Iterator[None]:
    """Begin an outage, which ends in another thread as soon as a condition holds."""
    began = threading.Event()

    def go_and_come_back() -> None:
        with outage:
            began.set()
            wait_for(is_over, "the outage to have been noticed")

    with ThreadPoolExecutor(1) as thread:
        outcome = thread.submit(go_and_come_back)
        assert began.wait(PATIENCE_SECONDS)
        yield
        outcome.result()
