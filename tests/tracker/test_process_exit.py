"""What waits at the end of a process; see `tests/faults/test_exits.py` for real processes."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.tracker import process_exit

from ..kit.tracked import JOB, state


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


def test_without_celery_only_python_is(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_exit, "_finalizers", {})
    for package in ("billiard.util", "celery.signals"):
        monkeypatch.delitem(sys.modules, package, raising=False)
    with track_import(JOB):
        pass
    assert list(process_exit._finalizers) == ["multiprocessing.util"]
    assert state(jobs)["status"] == "done"


@pytest.mark.parametrize("job", [None, object()])
def test_a_job_of_rq_waits_itself(monkeypatch: pytest.MonkeyPatch, job: object) -> None:
    waits: list[object] = []
    monkeypatch.setitem(sys.modules, "rq", SimpleNamespace(get_current_job=lambda: job))  # type: ignore[arg-type]
    monkeypatch.setattr(process_exit, "wait_for_finishing", lambda **_: waits.append(job))
    with track_import(JOB):
        pass
    assert waits == [job] * (job is not None)
