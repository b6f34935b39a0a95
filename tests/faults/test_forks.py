"""A process is forked inside an import: the child's exit does not end the import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from django_import_progress import SyncProgressManager
from tests.kit.processes import RedisProcess
from tests.kit.started import ROOT, environment_of_the_site
from tests.kit.tracked import JOB, state

_PROGRAM = """
import logging, multiprocessing, os, sys, warnings
from concurrent.futures import ProcessPoolExecutor
warnings.simplefilter("ignore")
logging.basicConfig(level=logging.INFO)
import django
django.setup()
from django_import_progress import NotTracking, track_import
from django_import_progress.signals import import_finished
from tests.site import tasks

parent = os.getpid()
def receive(status, **_):
    print(status, os.getpid() == parent, flush=True)

import_finished.connect(receive)

def count(_):
    try:
        job.advance()
    except NotTracking:
        return "refused"

how = sys.argv[1]
if how in tasks.ERRORS:
    tasks.import_and_fork.apply((how,), task_id="job")
    os._exit(0) if os.getpid() != parent else None
else:
    fork = multiprocessing.get_context("fork")
    with track_import("job") as job:
        if how == "pool":
            with fork.Pool(2) as pool:
                print(set(pool.map(count, range(4))), flush=True)
        elif how == "executor":
            with ProcessPoolExecutor(2, mp_context=fork) as pool:
                print(set(pool.map(count, range(4))), flush=True)
        elif os.fork() == 0:  # how == "leave"
            sys.exit(3)  # Through the block, and to the end of the child.
        else:
            print(os.waitstatus_to_exitcode(os.wait()[1]), flush=True)
        job.advance()
"""


def run(server: RedisProcess, how: str) -> tuple[list[str], str]:
    """Return what the program printed, and its log."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, how],
        cwd=ROOT,
        env=environment_of_the_site(server.url, {}),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize(
    ("how", "says"), [("pool", "{'refused'}"), ("executor", "{'refused'}"), ("leave", "3")]
)
def test_a_child_counts_nothing_and_ends_nothing(
    jobs: SyncProgressManager, server: RedisProcess, how: str, says: str
) -> None:
    lines, log = run(server, how)
    assert lines == [says, "done True"]
    assert "could not be saved" not in log
    assert log.count(f"Import {JOB} is") == 1
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 1)


@pytest.mark.parametrize("how", ["exit", "invalid"])
def test_a_child_of_a_task_counts_nothing_and_ends_nothing(
    jobs: SyncProgressManager, server: RedisProcess, how: str
) -> None:
    lines, log = run(server, how)
    assert lines == ["done True"]
    assert "could not be saved" not in log
    assert log.count(f"Import {JOB} is") == 1
    assert (state(jobs)["status"], state(jobs)["processed_rows"]) == ("done", 1)
