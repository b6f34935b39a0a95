"""Counting in several threads, in a forked process, and by attributes that do not exist."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_import_progress import NotTracking, OutsideOfTheWith, SyncProgressManager, track_import
from django_import_progress.tracker import counters, interrupts
from django_import_progress.tracker.fields import as_count
from django_import_progress.tracker.transactions import TransactionEnd
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.started import ROOT, environment_of_the_site
from ..kit.tracked import JOB, end_writers, state

__all__ = ["defence"]

THREADS, TIMES = 10, 5000


@pytest.fixture(autouse=True)
def of_the_site(jobs: SyncProgressManager) -> None:
    """Make `track_import` write to the test's server."""


@pytest.fixture
def often_switched() -> Iterator[None]:
    """Make Python switch threads as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def adds_without_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def advance(self: Any, n: int = 1) -> None:
        counted = self._counted
        time.sleep(0)  # Other threads may run here.
        self._counted = counted + as_count(n)

    monkeypatch.setattr(counters.ProgressCounters, "advance", advance)


def sets_without_a_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def put(self: Any, fields: dict[str, Any]) -> None:
        kept = self._fields
        time.sleep(0)  # Other threads may run here.
        self._fields = {**kept, **fields}

    monkeypatch.setattr(counters.ProgressCounters, "_set_fields", put)


def _in_threads(body: Callable[[], object]) -> None:
    threads = [threading.Thread(target=body) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("often_switched")
@without(adds_without_a_lock)
def test_rows_that_ten_threads_count_by_hand_are_all_counted(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:

        def advance() -> None:
            for _ in range(TIMES):
                job.advance()
                job.count("created")

        _in_threads(advance)
    assert state(jobs)["processed_rows"] == THREADS * TIMES
    assert state(jobs)["created"] == THREADS * TIMES


@pytest.mark.usefixtures("often_switched")
def test_so_are_those_of_several_loops(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        _in_threads(lambda: [None for _ in job.rows(range(TIMES))])
        assert (job.processed, job._cells) == (THREADS * TIMES, [])
        job.set(processed_rows=5)
        job.advance()
    assert state(jobs)["processed_rows"] == 6


@pytest.mark.usefixtures("often_switched")
@without(sets_without_a_lock)
def test_fields_that_ten_threads_set_are_all_kept(jobs: SyncProgressManager) -> None:
    names = iter(range(THREADS * 100))
    with track_import(JOB) as job:

        def set_fields() -> None:
            for number in itertools.islice(names, 100):
                job.set(**{f"f{number}": 1})

        _in_threads(set_fields)
    assert {f"f{number}" for number in range(THREADS * 100)} <= set(state(jobs))


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("processed_rows", r"job\.advance\(n\)"),
        ("total_rows", r"job\.total"),
        ("stage", r"job\.set\(stage=…\)"),
        ("status", r"job\.set"),
        ("rejected_rows", r"job\.set"),
        ("label", r"job\.set\(label=…\)"),
    ],
)
def test_a_field_is_no_attribute_and_the_error_says_what_to_use(name: str, use: str) -> None:
    with track_import(JOB) as job:
        with pytest.raises(AttributeError, match=use):
            setattr(job, name, 5)
        with pytest.raises(AttributeError, match=use):
            getattr(job, name)
        assert not hasattr(job, name)


def _advance(job: Any) -> None:
    job.advance()


def _count(job: Any) -> None:
    job.count("created")


def _set(job: Any) -> None:
    job.set(stage="indexing")


def _loop(job: Any) -> None:
    list(job.rows([1]))


def sets_wherever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters.ProgressCounters, "_check_tracking", lambda _: None)
    init = counters.ProgressCounters.__init__

    def begin(self: Any, *args: Any) -> None:
        init(self, *args)
        self.interrupt = None

    monkeypatch.setattr(counters.ProgressCounters, "__init__", begin)


@pytest.mark.parametrize("misuse", [_advance, _count, _set, _loop])
@without(sets_wherever_it_is_called)
def test_outside_the_block_nothing_is_counted_or_set(
    jobs: SyncProgressManager, misuse: Callable[[Any], None]
) -> None:
    job = track_import(JOB)
    with pytest.raises(NotTracking, match=r"inside the `with track_import"):
        misuse(job)
    with job:
        misuse(job)
    before = state(jobs)
    with pytest.raises(OutsideOfTheWith):
        misuse(job)
    assert state(jobs) == before


_PROGRAM = """
import os, sys, warnings
warnings.simplefilter("ignore")
import django
django.setup()
from django.db import connection, transaction
from django_import_progress import NotTracking, track_import
from django_import_progress.tracker import interrupts
from django_import_progress.signals import import_finished

if sys.argv[1] == "careless":
    interrupts.Stoppable.deactivate = lambda self: None

def says(**_):
    print("finished in", "parent" if os.getpid() == parent else "child", flush=True)

import_finished.connect(says)
parent = os.getpid()
misuses = [
    lambda: job.advance(), lambda: job.count("x"), lambda: job.set(x=1), lambda: list(job.rows([1]))
]
with track_import("job") as job:
    job.advance(2)
    if os.fork() == 0:
        try:
            refused = 0
            for misuse in misuses:
                try:
                    misuse()
                except NotTracking:
                    refused += 1
            print("refused", refused, flush=True)
            job.__exit__(SystemExit, SystemExit(), None)
        finally:
            sys.stdout.flush()
            os._exit(0)
    os.wait()
    job.advance()
print("through", flush=True)
"""


def _forks(server: RedisProcess, how: str) -> list[str]:
    command = [sys.executable, "-c", _PROGRAM, how]
    environment = environment_of_the_site(server.url, {})
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.splitlines()


def test_in_a_forked_process_nothing_is_counted_and_leaving_does_nothing(
    jobs: SyncProgressManager, server: RedisProcess
) -> None:
    assert _forks(server, "careful") == ["refused 4", "finished in parent", "through"]
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 3)


def test_without_that_the_child_would_end_the_import(server: RedisProcess) -> None:
    assert "finished in child" in _forks(server, "careless")


async def test_a_copy_does_nothing_whichever_way_it_is_left(jobs: SyncProgressManager) -> None:
    job = track_import(JOB).__enter__()
    other = await track_import("other").__aenter__()
    interrupts._deactivate_copies()  # What a fork calls in the child.
    with pytest.raises(NotTracking):
        job.advance()
    assert not job.__exit__(None, None, None)
    assert not await other.__aexit__(None, None, None)
    job._end_after_commit(TransactionEnd.COMMITTED)
    assert (state(jobs)["status"], job._final) == ("importing", {})
    end_writers()
