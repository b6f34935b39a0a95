"""Exceptions that are no `Exception`: those that stop what runs, and those that are failures."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import time
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from greenlet import GreenletExit

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.tracker import outcome

from ..conftest import missing
from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.tracked import JOB, state
from ..kit.waiting import wait_for
from ..site import tasks

__all__ = ["defence"]

STOPPED = "The import exceeded its time limit and was stopped."


class OwnInterrupt(BaseException):
    """As dramatiq's `Interrupt` and many others are."""


def _takes_each_for_a_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "is_cancellation", lambda error: not isinstance(error, Exception))


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Have `track_import` write to the test's server."""


@pytest.mark.parametrize(
    "error",
    [
        OwnInterrupt(),
        gevent.Timeout(1),
        BaseExceptionGroup("both", [asyncio.CancelledError(), OwnInterrupt()]),
        BaseExceptionGroup("both", [asyncio.CancelledError(), ValueError()]),
    ],
    ids=["interrupt", "timeout", "one-of-two", "an-error-of-two"],
)
@without(_takes_each_for_a_cancellation)
def test_one_that_stops_nothing_is_a_failure(
    jobs: SyncProgressManager, error: BaseException
) -> None:
    with pytest.raises(type(error)), track_import(JOB):
        raise error
    assert state(jobs)["status"] == "failed"
    assert state(jobs)["error_message"].startswith("The import failed. Please give this number")


@pytest.mark.parametrize(
    "error",
    [
        GreenletExit(),
        GeneratorExit(),
        BaseExceptionGroup("all", [asyncio.CancelledError(), SystemExit()]),
        BaseExceptionGroup("all", [BaseExceptionGroup("each", [asyncio.CancelledError()])]),
    ],
    ids=["greenlet", "generator", "group", "group-in-a-group"],
)
def test_one_that_stops_what_runs_is_a_cancellation(
    jobs: SyncProgressManager, error: BaseException
) -> None:
    with pytest.raises(type(error)), track_import(JOB):
        raise error
    # What stops a process is not held up for long: the status may be saved a little later.
    wait_for(lambda: state(jobs)["status"] == "cancelled", "the final status")


def test_without_greenlets_none_of_them_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "greenlet")
    assert outcome.is_cancellation(GreenletExit()) is False


def test_its_message_can_be_exposed(jobs: SyncProgressManager) -> None:
    with pytest.raises(OwnInterrupt), track_import(JOB, expose=OwnInterrupt):
        raise OwnInterrupt("Too slow.")
    assert state(jobs)["error_message"] == "Too slow."


@pytest.mark.parametrize(("error", "message"), [("timeout", STOPPED), ("interrupt", "The import")])
def test_in_a_task_as_well(jobs: SyncProgressManager, error: str, message: str) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - it is one of two
        tasks.import_badly.apply((error,), task_id=JOB)
    assert raised.value is tasks.ERRORS[error]
    assert state(jobs)["status"] == "failed"
    assert state(jobs)["error_message"].startswith(message)


@pytest.mark.parametrize("error", ["timeout", "interrupt"])
def test_a_task_that_is_retried_because_of_one_is_queued_again(
    jobs: SyncProgressManager, error: str
) -> None:
    tasks.import_again_after.apply((error,), task_id=JOB)
    assert (state(jobs)["status"], state(jobs)["attempt"]) == ("done", 2)


@pytest.fixture
def dramatiq() -> Iterator[Any]:
    """A broker of dramatiq's with a worker thread, and its real time limit."""
    if importlib.util.find_spec("dramatiq") is None:  # pragma: no cover
        missing("dramatiq")
    from dramatiq import Worker
    from dramatiq.brokers.stub import StubBroker
    from dramatiq.middleware import TimeLimit

    broker = StubBroker(middleware=[TimeLimit(interval=100)])
    broker.emit_after("process_boot")  # The limit's thread begins, as in a worker process.
    worker = Worker(broker, worker_threads=1)
    worker.start()
    yield broker
    worker.stop()
    broker.emit_before("process_stop")


@without(_takes_each_for_a_cancellation)
def test_dramatiqs_time_limit_is_a_failure(jobs: SyncProgressManager, dramatiq: Any) -> None:
    import dramatiq as package

    def import_rows() -> None:
        with track_import(JOB) as job:
            for _ in job.rows(range(1000)):  # pragma: no branch - the limit ends it
                time.sleep(0.01)

    package.actor(import_rows, broker=dramatiq, time_limit=500).send()
    wait_for(lambda: "status" in (jobs.get_progress(JOB) or {}), "the import to begin")
    wait_for(lambda: state(jobs)["status"] != "importing", "the time limit")
    assert state(jobs)["status"] == "failed"
