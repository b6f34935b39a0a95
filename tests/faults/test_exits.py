"""Redis is unavailable when an import and then its process end: the final status is not lost."""

from __future__ import annotations

import importlib.util
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from kombu import Connection

from django_import_progress import get_sync_progress_manager
from tests.conftest import missing
from tests.kit.controls import without
from tests.kit.jobs_told import shows
from tests.kit.processes import RedisProcess, valkey_binary
from tests.kit.started import SiteProcess, environment_of_the_site
from tests.kit.waiting import wait_for
from tests.kit.workers import CeleryWorker
from tests.site import tasks
from tests.site.outage import JOB, WAYS

from . import naive_worker
from .noted import impatient


class Program(SiteProcess):
    """A process that starts the import in one of several ways, and logs."""

    def __init__(self, way: str, process: RedisProcess, broker: RedisProcess) -> None:
        super().__init__("outage", environment_of_the_site(process.url, {}))
        self._way = way
        assert process.process is not None
        arguments = [way, str(process.process.pid), broker.url]
        self._command = [sys.executable, "-m", "tests.site.outage", *arguments]

    def __enter__(self) -> Program:
        self._launch(self._command)
        # RQ's job waits itself; a moment later it would have been over.
        line, moment = ("leaving", 0.5) if self._way == "rq" else ("through", 0)
        self._expect(lambda: line in self.output(), f"{line!r} in the log", seconds=40)
        time.sleep(moment)
        return self

    def wait_for_end(self) -> None:
        """Wait until the process has ended."""
        assert self.process is not None
        self.process.wait()


@pytest.fixture
def process() -> Iterator[RedisProcess]:
    """The server of the progress; the started processes stop it themselves."""
    with RedisProcess(valkey_binary()) as process:
        yield process


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """What starts the process that imports, and ends it."""
    if request.param == "rq" and importlib.util.find_spec("rq") is None:  # pragma: no cover
        missing("rq")
    return str(request.param)


@without(naive_worker.leaves_nothing_for_the_exit)
def test_a_final_status_is_written_before_the_process_ends(
    process: RedisProcess, server: RedisProcess, way: str
) -> None:
    with Program(way, process, server) as program:
        process.signal(signal.SIGCONT)
        program.wait_for_end()
    with impatient(process.url) as manager:
        snapshot = manager.get_progress(JOB)
    assert snapshot is not None
    assert (snapshot["status"], snapshot["processed_rows"]) == ("done", 1)


@pytest.mark.parametrize("way", ["program", "fork", "rq"], indirect=True)
@without(naive_worker.leaves_nothing_for_the_exit)
def test_a_final_status_that_is_lost_is_logged(
    process: RedisProcess, server: RedisProcess, way: str
) -> None:
    with Program(way, process, server) as program:
        program.wait_for_end()
        lines = program.output()
    assert f"Final status of import {JOB} could not be saved to Redis" in lines


@pytest.fixture
def broker_url(server: RedisProcess) -> str:
    """The URL of Celery's broker."""
    return server.url.removesuffix("0") + "1"


@pytest.fixture
def worker(broker_url: str, process: RedisProcess) -> Iterator[CeleryWorker]:
    """A Celery worker with a new process for each task."""
    arguments = ("--max-tasks-per-child", "1")
    with CeleryWorker("prefork", broker_url, process.url, arguments=arguments) as worker:
        yield worker.wait_until_ready()


@pytest.mark.parametrize("task", [tasks.end_in_an_outage, tasks.end_plainly_in_an_outage])
@without(naive_worker.leaves_nothing_for_the_exit)
def test_final_statuses_of_celery_children_that_run_one_task(
    worker: CeleryWorker, process: RedisProcess, broker_url: str, settings: Any, task: Any
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": process.url}
    assert process.process is not None
    with Connection(broker_url) as connection:
        for comes_back in (True, False):
            job_id = task.apply_async(
                [process.process.pid], queue="prefork", connection=connection
            ).id
            succeeded = f"{job_id}] succeeded"
            wait_for(lambda: succeeded in worker.output(), "the task's end")  # noqa: B023
            if comes_back:
                process.signal(signal.SIGCONT)
                shows(get_sync_progress_manager(), job_id, status="done", processed_rows=1)
    line = f"Final status of import {job_id} could not be saved to Redis"
    wait_for(lambda: line in worker.output(), "the loss to be logged")
