"""`ImportTask` with real Celery workers: a task's id is its import's, and each end is told."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from celery import Celery
from celery.app.control import Control
from kombu import Connection

from django_import_progress import SyncProgressManager, get_sync_progress_manager, track_import
from django_import_progress.contrib.celery import ImportTask

from ..kit.jobs_told import history, shows, state
from ..kit.processes import RedisProcess, valkey_binary
from ..kit.waiting import wait_for
from ..kit.workers import CeleryWorker
from ..site import tasks

Send = Callable[..., str]
POOLS = ("prefork", "threads", "gevent")


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisProcess]:
    """Where the messages are (database 1), and the progress (database 0)."""
    with RedisProcess(valkey_binary()) as process:
        yield process


@pytest.fixture(scope="module")
def connection(broker: RedisProcess) -> Iterator[Connection]:
    """Ours to the broker."""
    with Connection(_broker_url(broker)) as connection:
        yield connection


@pytest.fixture(scope="module")
def control(broker: RedisProcess) -> Iterator[Control]:
    """Tells all workers something."""
    with Celery(broker=_broker_url(broker), set_as_current=False) as app:
        yield app.control
        pool: Any = app.pool
        pool.force_close_all()


@pytest.fixture
def send(jobs: SyncProgressManager, connection: Connection) -> Send:
    """Queues a task, and gives its id."""

    def send(task: ImportTask, queue: str, *args: Any, **options: Any) -> str:
        return str(task.apply_async(args, queue=queue, connection=connection, **options).id)

    return send


def _broker_url(process: RedisProcess) -> str:
    return process.url.removesuffix("0") + "1"


@pytest.fixture(scope="module")
def workers(broker: RedisProcess) -> Iterator[dict[str, CeleryWorker]]:
    """A worker of each kind, which start at the same time."""
    with ExitStack() as stack:
        started = {
            pool: stack.enter_context(CeleryWorker(pool, _broker_url(broker), broker.url))
            for pool in POOLS
        }
        yield {pool: worker.wait_until_ready() for pool, worker in started.items()}


@pytest.fixture
def jobs(broker: RedisProcess, settings: Any) -> SyncProgressManager:
    """The manager made from the site's settings, which point to the workers' server."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": broker.url}
    return get_sync_progress_manager()


@pytest.fixture
def prefork(workers: dict[str, CeleryWorker]) -> CeleryWorker:
    """A worker with two processes."""
    return workers["prefork"]


@pytest.fixture(params=POOLS)
def pool(request: pytest.FixtureRequest, workers: dict[str, CeleryWorker]) -> str:
    """The queue of each kind of worker."""
    return str(request.param)


def test_it_is_queued_before_a_worker_takes_it(jobs: SyncProgressManager, send: Send) -> None:
    job_id = send(tasks.import_rows, "nobody", progress_owner=7)
    assert state(jobs, job_id)["status"] == "queued"
    assert job_id in [job["job_id"] for job in jobs.jobs(owner=7)]


def test_an_id_of_ones_own_is_the_jobs(jobs: SyncProgressManager, send: Send) -> None:
    jobs.create("mine", data={"file_name": "a.csv"})
    assert send(tasks.import_rows, "nobody", task_id="mine") == "mine"
    assert state(jobs, "mine")["file_name"] == "a.csv"
    jobs.update("mine", {"status": "failed"})
    send(tasks.import_rows, "nobody", task_id="mine")
    assert state(jobs, "mine")["status"] == "queued"


def test_it_counts_to_the_end(jobs: SyncProgressManager, send: Send, pool: str) -> None:
    job_id = send(tasks.import_rows, pool, 5, progress_owner=8)
    ended = shows(jobs, job_id, status="done")
    assert (ended["processed_rows"], ended["total_rows"], ended["created"]) == (5, 5, 5)
    assert ended["attempt"] == 1


def test_in_a_chain_each_task_is_an_import(
    jobs: SyncProgressManager, connection: Connection, pool: str
) -> None:
    first, second = (
        tasks.import_rows.si(rows).set(queue=pool, task_id=f"{rows}-{pool}", progress_owner=rows)
        for rows in (2, 3)
    )
    (first | second).apply_async(connection=connection)
    assert shows(jobs, f"3-{pool}", status="done")["processed_rows"] == 3
    assert f"3-{pool}" in [job["job_id"] for job in jobs.jobs(owner=3)]


def test_without_the_base_class_it_is_as_short(
    jobs: SyncProgressManager, send: Send, pool: str
) -> None:
    job_id = send(tasks.import_plainly, pool, 4)
    assert shows(jobs, job_id, status="done")["processed_rows"] == 4


def test_redis_away_keeps_nobody_from_queuing(
    jobs: SyncProgressManager,
    send: Send,
    pool: str,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    there = settings.IMPORT_PROGRESS
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    job_id = send(tasks.import_rows, pool, progress_owner=9)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    settings.IMPORT_PROGRESS = there
    shows(jobs, job_id, status="done")
    assert job_id in [job["job_id"] for job in jobs.jobs(owner=9)]


@pytest.mark.parametrize(
    ("task", "args"),
    [
        (tasks.import_from_afar, [1]),
        (tasks.import_stubbornly, ["inside"]),
        (tasks.import_stubbornly, ["outside"]),
    ],
)
def test_a_retry_is_a_new_attempt_and_queued_before(
    jobs: SyncProgressManager, send: Send, pool: str, task: Any, args: list[Any]
) -> None:
    job_id = send(task, pool, *args, progress_owner=10)
    assert history(jobs, job_id)[-3:] == [("queued", 1), ("importing", 2), ("done", 2)]
    assert job_id in [job["job_id"] for job in jobs.jobs(owner=10)]


def test_one_that_is_replaced_within_its_block_goes_on_in_another(
    jobs: SyncProgressManager, send: Send, pool: str
) -> None:
    job_id = send(tasks.be_replaced, pool, pool)
    assert history(jobs, job_id)[-3:] == [("queued", 1), ("importing", 2), ("done", 2)]


def test_one_that_fails_before_its_block_has_failed(
    jobs: SyncProgressManager, send: Send, pool: str
) -> None:
    job_id = send(tasks.fail_before, pool, "/nowhere")
    assert job_id in shows(jobs, job_id, status="failed")["error_message"]


@pytest.mark.usefixtures("workers")
def test_a_hard_time_limit_of_gevent_is_a_failure(jobs: SyncProgressManager, send: Send) -> None:
    ended = shows(jobs, send(tasks.import_for_ever, "gevent", time_limit=1), status="failed")
    assert ended["error_message"] == "The import exceeded its time limit and was stopped."


def test_only_the_last_failure_is_one(jobs: SyncProgressManager, send: Send, pool: str) -> None:
    job_id = send(tasks.import_stubbornly, pool, "outside", 9)
    assert history(jobs, job_id)[-3:] == [("queued", 1), ("importing", 2), ("failed", 2)]
    assert state(jobs, job_id)["error_message"] == "Row 3."


def test_one_that_is_revoked_before_it_runs_is_cancelled(
    jobs: SyncProgressManager,
    send: Send,
    control: Control,
    pool: str,
    workers: dict[str, CeleryWorker],
) -> None:
    job_id = f"revoked-{pool}"
    answers = control.revoke(job_id, reply=True, limit=len(workers), timeout=20)
    assert len(answers or ()) == len(workers)
    send(tasks.import_rows, pool, task_id=job_id)
    assert history(jobs, job_id)[-1] == ("cancelled", None)


def test_one_that_has_expired_has_failed(jobs: SyncProgressManager, send: Send, pool: str) -> None:
    job_id = send(tasks.import_rows, pool, expires=-1)
    ended = shows(jobs, job_id, status="failed")
    assert "was not begun" in ended["error_message"]


@pytest.mark.parametrize("kind", ["prefork", "gevent"])
def test_one_that_is_terminated_is_cancelled(
    jobs: SyncProgressManager,
    send: Send,
    control: Control,
    workers: dict[str, CeleryWorker],
    kind: str,
) -> None:
    job_id = send(tasks.import_for_ever, kind)
    shows(jobs, job_id, status="importing")
    control.revoke(job_id, terminate=True)
    ended = shows(jobs, job_id, status="cancelled")
    assert (ended["error_message"], ended["eta_seconds"]) == (None, None)


@pytest.mark.parametrize("limit", ["soft_time_limit", "time_limit"])
def test_one_that_takes_too_long_fails_and_says_so(
    jobs: SyncProgressManager, send: Send, prefork: CeleryWorker, limit: str
) -> None:
    job_id = send(tasks.import_for_ever, "prefork", **{limit: 1})
    ended = shows(jobs, job_id, status="failed")
    assert ended["error_message"] == "The import exceeded its time limit and was stopped."
    assert ended["processed_rows"] > 0


def test_one_whose_process_is_lost_has_failed(
    jobs: SyncProgressManager, send: Send, prefork: CeleryWorker
) -> None:
    job_id = send(tasks.import_for_ever, "prefork")
    shows(jobs, job_id, status="importing")
    os.kill(int(state(jobs, job_id)["stage"]), signal.SIGKILL)
    assert job_id in shows(jobs, job_id, status="failed")["error_message"]


def test_redelivered_after_its_process_was_lost_it_is_a_new_attempt(
    jobs: SyncProgressManager, send: Send, prefork: CeleryWorker
) -> None:
    job_id = send(tasks.import_at_least_once, "prefork")
    shows(jobs, job_id, status="importing")
    os.kill(int(state(jobs, job_id)["stage"]), signal.SIGKILL)
    assert shows(jobs, job_id, status="done")["attempt"] == 2


def test_one_that_is_asked_to_stop_ends_in_order(
    jobs: SyncProgressManager, send: Send, pool: str, workers: dict[str, CeleryWorker]
) -> None:
    job_id = send(tasks.import_for_ever, pool)
    shows(jobs, job_id, status="importing")
    assert jobs.request_cancel(job_id)
    shows(jobs, job_id, status="cancelled")
    wait_for(lambda: f"{job_id}] succeeded" in workers[pool].output(), "the task's end")


def test_two_at_once_are_told_of_while_they_run(
    jobs: SyncProgressManager, send: Send, pool: str
) -> None:
    both = [send(tasks.import_for_ever, pool) for _ in range(2)]
    for job_id in both:
        shows(jobs, job_id, status="importing")
    told = {job_id: state(jobs, job_id)["processed_rows"] for job_id in both}
    wait_for(
        lambda: all(state(jobs, job_id)["processed_rows"] > told[job_id] for job_id in both),
        "more rows of both",
    )
    for job_id in both:
        assert jobs.request_cancel(job_id)
        shows(jobs, job_id, status="cancelled")


def test_one_that_is_superseded_is_ignored_and_its_worker_lives_on(
    jobs: SyncProgressManager, send: Send, pool: str, workers: dict[str, CeleryWorker]
) -> None:
    job_id = send(tasks.import_for_ever, pool)
    shows(jobs, job_id, status="importing")
    with track_import(job_id):
        wait_for(lambda: f"{job_id}] ignored" in workers[pool].output(), "the task to be ignored")
    assert state(jobs, job_id)["attempt"] == 2
    threads = [send(tasks.import_rows, pool) for _ in range(4)]
    for other in threads:
        shows(jobs, other, status="done")
    assert "WorkerLost" not in workers["threads"].output()


def test_who_watched_before_it_was_queued_is_told_of_each(
    jobs: SyncProgressManager, send: Send, pool: str
) -> None:
    job_id = f"watched-{pool}"
    seen: list[str] = []
    watcher = threading.Thread(
        target=lambda: seen.extend(snapshot["status"] for snapshot in jobs.watch(job_id))
    )
    watcher.start()
    channel = jobs.calls.keys.channel(job_id)
    wait_for(lambda: jobs.redis.pubsub_numsub(channel)[0][1], "the watcher")
    send(tasks.import_rows, pool, task_id=job_id, countdown=tasks.RETRY_SECONDS)
    watcher.join()
    assert (seen[0], seen[-1]) == ("queued", "done")
