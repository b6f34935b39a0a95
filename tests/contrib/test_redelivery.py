"""A broker delivers a message again while its import runs: the import is not started again.

With ``acks_late`` that happens after the broker's visibility timeout, which is short here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection

from django_import_progress import SyncProgressManager, get_sync_progress_manager

from ..faults import naive_worker
from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.jobs_told import shows, state
from ..kit.processes import RedisProcess
from ..kit.waiting import wait_for
from ..kit.workers import CeleryWorker
from ..site import tasks

__all__ = ["defence"]

LEASE_SECONDS = 3


class Broker:
    """Celery's messages, in Redis."""

    def __init__(self, connection: Connection, queue: str) -> None:
        self.queue = queue
        self._connection = connection
        self._channel: Any = connection.default_channel

    def send(self, task: Any, *args: Any) -> str:
        """Queue a task; return its id."""
        return str(task.apply_async(args, queue=self.queue, connection=self._connection).id)

    def deliver_again(self) -> None:
        """Put what was not acknowledged in time back into the queue, as workers do at times."""
        self._channel.qos.restore_visible(interval=1)

    def holds_a_copy(self) -> bool:
        """Return whether a worker has a message with a delay.

        One that is on its way to a worker would be lost with it: that is Celery's transport.
        """
        held = map(json.loads, self._channel.client.hvals("unacked"))
        return any(message["headers"]["eta"] for message, *_ in held)

    def is_empty(self) -> bool:
        """Return whether there is no message, neither in the queue nor with a worker.

        One that is on its way to a worker is in neither place for a moment.
        """
        client = self._channel.client
        return not (client.llen(self.queue) or client.hlen("unacked"))


@pytest.fixture(params=["prefork", "threads", "gevent"])
def broker(request: pytest.FixtureRequest, server: RedisProcess) -> Iterator[Broker]:
    """The messages of a kind of worker."""
    options = {"visibility_timeout": tasks.VISIBILITY_SECONDS}
    with Connection(_broker_url(server), transport_options=options) as connection:
        yield Broker(connection, request.param)


@pytest.fixture
def worker(broker: Broker, server: RedisProcess, defence: bool) -> Iterator[CeleryWorker]:
    """A worker of that kind."""
    with CeleryWorker(
        broker.queue, _broker_url(server), server.url, STALLED_AFTER_SECONDS=LEASE_SECONDS
    ) as worker:
        yield worker.wait_until_ready()


def _broker_url(server: RedisProcess) -> str:
    return server.url.removesuffix("0") + "1"


@pytest.fixture
def jobs(server: RedisProcess, settings: Any) -> SyncProgressManager:
    """The manager made from the site's settings."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": server.url}
    return get_sync_progress_manager()


def _redelivered(broker: Broker, worker: CeleryWorker, job_id: str, times: int) -> None:
    """Wait until a worker has received the task's message so often."""

    def received() -> bool:
        broker.deliver_again()
        return worker.output().count(f"{job_id}] received") >= times

    wait_for(received, f"{times} deliveries")


@without(naive_worker.runs_what_is_delivered_again)
def test_a_copy_waits_until_the_import_has_ended(
    jobs: SyncProgressManager, broker: Broker, worker: CeleryWorker, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    job_id = broker.send(tasks.import_until, str(end))
    shows(jobs, job_id, status="importing", attempt=1)
    _redelivered(broker, worker, job_id, times=4)
    assert (state(jobs, job_id)["status"], state(jobs, job_id)["attempt"]) == ("importing", 1)
    end.touch()
    ended = shows(jobs, job_id, status="done")
    wait_for(broker.is_empty, "the last copy to be dropped")
    assert state(jobs, job_id) == ended
    assert ended["attempt"] == 1


def test_a_copy_continues_the_import_of_a_worker_that_was_lost(
    jobs: SyncProgressManager, broker: Broker, worker: CeleryWorker, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    job_id = broker.send(tasks.import_until, str(end))
    shows(jobs, job_id, status="importing")
    _redelivered(broker, worker, job_id, times=3)
    wait_for(broker.holds_a_copy, "a copy to wait")
    worker.kill()
    end.touch()

    def has_ended() -> bool:
        broker.deliver_again()
        return bool(state(jobs, job_id)["status"] == "done")

    with worker:
        _redelivered(broker, worker, job_id, times=4)
        wait_for(has_ended, "the import's end")
        wait_for(broker.is_empty, "the last copy to be dropped")
        assert (state(jobs, job_id)["status"], state(jobs, job_id)["attempt"]) == ("done", 2)


def test_a_retry_is_no_copy_and_copies_leave_the_import_to_it(
    jobs: SyncProgressManager, broker: Broker, worker: CeleryWorker, tmp_path: Path
) -> None:
    end = tmp_path / "end"
    job_id = broker.send(tasks.import_until, str(end), 1)
    shows(jobs, job_id, status="importing")
    _redelivered(broker, worker, job_id, times=3)
    end.touch()
    ended = shows(jobs, job_id, status="done")
    assert ended["attempt"] == 2
    wait_for(broker.is_empty, "the last copy to be dropped")
    assert state(jobs, job_id) == ended
