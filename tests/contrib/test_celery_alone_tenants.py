"""What a worker's processes do for a tenant that they do not know, done in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from billiard.einfo import ExceptionInfo
from celery.exceptions import Ignore, WorkerLostError
from kombu import Connection

from django_import_progress import SyncProgressManager, get_sync_progress_manager
from django_import_progress.contrib.celery_worker import ImportRequest
from django_import_progress.contrib.message_namespace import NAMESPACE_HEADER

from ..kit.jobs_told import state
from ..kit.processes import RedisProcess
from ..kit.tracked import JOB
from ..site import tasks, tenants


@pytest.fixture
def alpha(site: RedisProcess, settings: Any) -> SyncProgressManager:
    """The jobs of a tenant that only messages know."""
    settings.IMPORT_PROGRESS |= {"NAMESPACE": tenants.by_context}
    return get_sync_progress_manager("alpha")


@pytest.fixture
def request_of_worker(alpha: SyncProgressManager) -> Iterator[Any]:
    """What the main process of a worker has of a message of the tenant."""
    token = tenants.current.set("alpha")
    with Connection("memory://") as connection, connection.SimpleQueue("tenants") as queue:
        tasks.import_rows.apply_async(task_id=JOB, queue="tenants", connection=connection)
        tenants.current.reset(token)
        alpha.update(JOB, {"status": "importing"})
        yield ImportRequest(
            queue.get_nowait(), app=tasks.app, task=tasks.import_rows, decoded=False
        )


def is_lost(request: Any) -> None:
    try:
        raise WorkerLostError
    except WorkerLostError:
        request.on_failure(ExceptionInfo())


def is_killed(request: Any) -> None:
    request.on_timeout(soft=False, timeout=1)


@pytest.mark.parametrize("ends", [is_lost, is_killed])
def test_the_main_process_ends_the_job_of_the_message(
    alpha: SyncProgressManager, request_of_worker: Any, ends: Callable[[Any], None]
) -> None:
    ends(request_of_worker)
    assert state(alpha, JOB)["status"] == "failed"


def test_one_that_is_replaced_stays_with_its_tenant(alpha: SyncProgressManager) -> None:
    headers = {NAMESPACE_HEADER: "alpha"}
    tasks.be_replaced.push_request(
        id=JOB, called_directly=False, args=[], kwargs={}, headers=headers
    )
    try:
        with pytest.raises(Ignore):
            tasks.be_replaced()
    finally:
        tasks.be_replaced.pop_request()
    assert (state(alpha, JOB)["status"], state(alpha, JOB)["attempt"]) == ("queued", 1)
