"""Exceptions of listeners and callbacks are logged once and affect nothing else."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest
import redis

from django_import_progress import ProgressManager, cancellation
from django_import_progress.cancellation import end_tasks
from django_import_progress.core.reducer import JobStateReducer
from django_import_progress.metrics import process_metrics
from django_import_progress.watch import hub, subscriber, watched_job
from django_import_progress.watch.hub import Hub
from django_import_progress.watch.subscriber import Pattern

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.hubs import sees
from ..kit.managers import manager_on
from ..kit.processes import RedisProcess
from ..kit.waiting import until

__all__ = ["defence"]

NEVER = 3600
UPDATES = 5


@pytest.fixture
async def progress(server: RedisProcess) -> AsyncIterator[ProgressManager]:
    async with manager_on("async", server.url, heartbeat_seconds=NEVER) as manager:
        yield manager


def _raise_a_fault() -> None:
    raise ZeroDivisionError


def _fetch_a_cancelled_result() -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    future.result()


def _logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


class _Fault(Exception):
    """Never raised."""


def listeners_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an exception of a listener end the task that calls it."""
    for module in (hub, cancellation):
        monkeypatch.setattr(module, "CALLBACK_ERRORS", _Fault)


@pytest.mark.parametrize("listener", [_raise_a_fault, _fetch_a_cancelled_result])
@without(listeners_are_trusted)
async def test_a_listener_that_raises_at_each_update_is_logged_once_and_affects_no_other(
    progress: ProgressManager, caplog: pytest.LogCaptureFixture, listener: Callable[[], None]
) -> None:
    await progress.create("j1")
    faulty, other = progress.watcher("j1"), progress.watcher("j1")
    await sees(faulty, status="queued")
    await sees(other, status="queued")
    calls = []

    def listen() -> None:
        calls.append(faulty.poll())
        listener()

    faulty.on_update = listen
    lost = process_metrics.connections_lost
    for number in range(UPDATES):
        await progress.update("j1", {"n": number})
        await sees(other, n=number)
    faulty.close()
    await until(lambda: faulty.closed, "the watcher to be closed")
    other.close()
    assert len(calls) == UPDATES + 1  # And once more as it is closed.
    assert process_metrics.connections_lost == lost
    assert _logged(caplog) == ["A listener of import j1 raised an exception"]
    assert caplog.records[-1].exc_info is not None


async def test_a_listener_that_raises_when_it_is_called_by_the_timer_is_logged(
    progress: ProgressManager, caplog: pytest.LogCaptureFixture
) -> None:
    await progress.create("j1")
    watcher = progress.watcher("j1", max_per_second=20)
    await sees(watcher, status="queued")
    await progress.update("j1", {"n": 1})
    watcher.on_update = _raise_a_fault
    await until(lambda: caplog.records, "the timer of the held-back update")
    watcher.close()
    assert _logged(caplog) == ["A listener of import j1 raised an exception"]


def callbacks_are_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Call the callbacks of a `Pattern` directly."""
    monkeypatch.setattr(subscriber, "safe_callback", lambda callback: callback)


@without(callbacks_are_trusted)
async def test_a_patterns_callbacks_that_raise_are_logged_once_each(
    progress: ProgressManager, foreign: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = []

    def begin() -> None:
        raise ZeroDivisionError

    def note(job_id: str) -> None:
        unknown.append(job_id)
        raise ZeroDivisionError

    pattern = Pattern(progress.calls.keys, begin, note)
    all_jobs = Hub(progress.redis, heartbeat_seconds=NEVER, pattern=pattern)
    running = asyncio.create_task(all_jobs.run())
    await until(foreign.pubsub_numpat, "the subscription")
    lost = process_metrics.connections_lost
    for number in range(UPDATES):
        await progress.create(f"j{number}")
        await until(lambda: f"j{number}" in unknown, "the job to be reported")  # noqa: B023
    await end_tasks([running])
    assert unknown == [f"j{number}" for number in range(UPDATES)]
    assert process_metrics.connections_lost == lost
    assert len(_logged(caplog)) == 2


def only_junk_is_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an exception that a message causes end the connection."""
    monkeypatch.setattr(
        watched_job.WatchedJob,
        "apply_message",
        lambda self, payload: self.view.apply_message(payload),
    )


@without(only_junk_is_expected)
async def test_a_message_that_raises_is_logged_once_and_breaks_no_connection(
    progress: ProgressManager,
    foreign: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digest = JobStateReducer.apply_message

    def choke(self: JobStateReducer, payload: bytes) -> bool:
        if b"odd" in payload:
            raise ZeroDivisionError
        return digest(self, payload)

    monkeypatch.setattr(JobStateReducer, "apply_message", choke)
    await progress.create("j1")
    watcher = progress.watcher("j1")
    await sees(watcher, status="queued")
    lost = process_metrics.connections_lost
    for number in range(UPDATES):
        foreign.publish("import_progress:channel:j1", b'{"odd":1}')
        await progress.update("j1", {"n": number})
        await sees(watcher, n=number)
    watcher.close()
    assert process_metrics.connections_lost == lost
    assert len(_logged(caplog)) == 1
