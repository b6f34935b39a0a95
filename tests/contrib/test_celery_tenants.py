"""A tenant's `ImportTask` in a worker that knows of no tenant: its message does."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery
from kombu import Connection

from django_import_progress import SyncProgressManager, get_sync_progress_manager
from django_import_progress.contrib import message_namespace
from django_import_progress.contrib.celery import ImportTask

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.jobs_told import history, shows, state
from ..kit.processes import RedisProcess, valkey_binary
from ..kit.workers import CeleryWorker
from ..site import tasks, tenants

__all__ = ["defence"]

Send = Callable[..., str]


@pytest.fixture(scope="module")
def broker() -> Iterator[RedisProcess]:
    with RedisProcess(valkey_binary()) as process:
        yield process


@pytest.fixture(scope="module")
def broker_url(broker: RedisProcess) -> str:
    return broker.url.removesuffix("0") + "1"


@pytest.fixture(scope="module")
def worker(broker: RedisProcess, broker_url: str) -> Iterator[CeleryWorker]:
    """A worker in which each call of the callable is an error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_SITE_NAMESPACE", "tests.site.tenants.by_context")
        process = CeleryWorker("prefork", broker_url, broker.url)
    with process:
        yield process.wait_until_ready()


@pytest.fixture
def alpha(broker: RedisProcess, settings: Any) -> Iterator[SyncProgressManager]:
    """The jobs of the tenant whose code runs."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": broker.url, "NAMESPACE": tenants.by_context}
    token = tenants.current.set("alpha")
    yield get_sync_progress_manager()
    tenants.current.reset(token)


@pytest.fixture
def send(broker_url: str, alpha: SyncProgressManager) -> Iterator[Send]:
    """Queues a task and returns its id."""
    with Connection(broker_url) as connection:

        def send(task: ImportTask, *args: Any, queue: str = "prefork", **options: Any) -> str:
            return str(task.apply_async(args, queue=queue, connection=connection, **options).id)

        yield send


def no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send what is sent for a site whose `NAMESPACE` is a text."""
    monkeypatch.setattr(message_namespace, "NAMESPACE_HEADER", "another")


@pytest.mark.usefixtures("worker")
@without(no_header)
def test_it_counts_to_the_end(alpha: SyncProgressManager, send: Send) -> None:
    job_id = send(tasks.import_rows, progress_owner=8)
    assert shows(alpha, job_id, status="done")["processed_rows"] == 3
    assert alpha.jobs(owner=8)[0]["job_id"] == job_id


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("task", "args"),
    [
        (tasks.import_from_afar, [1]),
        (tasks.import_stubbornly, ["outside"]),
        (tasks.be_replaced, ["prefork"]),
    ],
)
def test_so_does_another_attempt(
    alpha: SyncProgressManager, send: Send, task: Any, args: list[Any]
) -> None:
    job_id = send(task, *args)
    assert history(alpha, job_id)[-3:] == [("queued", 1), ("importing", 2), ("done", 2)]


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("task", "args"), [(tasks.fail_before, ["/nowhere"]), (tasks.import_badly, ["invalid"])]
)
def test_it_fails(alpha: SyncProgressManager, send: Send, task: Any, args: list[Any]) -> None:
    shows(alpha, send(task, *args), status="failed")


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize("limit", ["soft_time_limit", "time_limit"])
def test_it_exceeds_its_time_limit(alpha: SyncProgressManager, send: Send, limit: str) -> None:
    shows(alpha, send(tasks.import_for_ever, **{limit: 1}), status="failed")


@pytest.mark.usefixtures("worker")
def test_its_process_is_lost(alpha: SyncProgressManager, send: Send) -> None:
    job_id = send(tasks.import_for_ever)
    shows(alpha, job_id, status="importing")
    os.kill(int(state(alpha, job_id)["stage"]), signal.SIGKILL)
    shows(alpha, job_id, status="failed")


@pytest.mark.usefixtures("worker")
def test_its_process_is_lost_and_it_is_redelivered(alpha: SyncProgressManager, send: Send) -> None:
    job_id = send(tasks.import_at_least_once)
    shows(alpha, job_id, status="importing")
    os.kill(int(state(alpha, job_id)["stage"]), signal.SIGKILL)
    assert shows(alpha, job_id, status="done")["attempt"] == 2


@pytest.mark.usefixtures("worker")
def test_it_has_expired_or_is_revoked(
    alpha: SyncProgressManager, send: Send, broker_url: str
) -> None:
    shows(alpha, send(tasks.import_rows, expires=-1), status="failed")
    job_id = send(tasks.import_for_ever)
    shows(alpha, job_id, status="importing")
    with Celery(broker=broker_url, set_as_current=False) as app:
        app.control.revoke(job_id, terminate=True)
        shows(alpha, job_id, status="cancelled")
        pool: Any = app.pool
        pool.force_close_all()


def test_a_namespace_of_the_task_is_that_of_all_tenants(
    alpha: SyncProgressManager, send: Send
) -> None:
    job_id = send(tasks.import_orders, queue="nobody")
    assert state(get_sync_progress_manager("order_imports"), job_id)["status"] == "queued"


def test_another_tenant_that_the_sender_turns_to_has_its_own(
    alpha: SyncProgressManager, send: Send
) -> None:
    token = tenants.current.set("beta")
    job_id = send(tasks.import_rows, queue="nobody")
    tenants.current.reset(token)
    assert state(alpha, job_id) == {}
    assert state(get_sync_progress_manager("beta"), job_id)["status"] == "queued"
