"""A database or a storage that is away never fails or slows an import; the history follows."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import call_command
from django.db import DataError, IntegrityError, OperationalError, connections

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.history import background as background_module
from django_import_progress.history.background import Task, background
from django_import_progress.history.lost import reconcile
from django_import_progress.history.models import ImportRun
from django_import_progress.tracker.process_exit import finishing

from ..kit.controls import without
from ..kit.databases import DatabaseServer, HistoryRouter
from ..kit.processes import RedisProcess
from ..kit.recorded import ends_of, report_of, the_run
from ..kit.started import ROOT, environment_of_the_site
from ..kit.tracked import JOB
from ..kit.waiting import wait_for
from ..tracker.test_signals import defence

__all__ = ["defence"]

pytestmark = [
    pytest.mark.usefixtures("history"),
    pytest.mark.django_db(transaction=True, databases="__all__"),
]


@pytest.fixture
def stopped(
    postgresql: DatabaseServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DatabaseServer]:
    """A database that is away at first; it is there again at the end."""
    monkeypatch.setattr(HistoryRouter, "alias", "postgresql")
    settings.DATABASE_ROUTERS = ["tests.kit.databases.HistoryRouter"]
    connections["postgresql"].close()
    postgresql.stop()
    yield postgresql
    wait_for(_can_connect, "the database")


def _can_connect() -> bool:
    try:
        connections["postgresql"].ensure_connection()
    except OperationalError:
        return False
    return True


def never_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up at the first failure."""
    monkeypatch.setattr(background_module, "RETRY_SECONDS", 0)


@without(never_repeats, fails_with=(ValueError,))
def test_a_database_that_comes_back_has_the_whole_history(
    stopped: DatabaseServer, caplog: pytest.LogCaptureFixture, defence: bool
) -> None:
    with track_import(JOB) as job:
        for row in job.rows(range(3)):
            if row == 1:
                job.reject("row", "odd")
    wait_for(lambda: "retrying" in caplog.text or not defence, "a try")
    if not defence:
        background.join()
    stopped.start()
    wait_for(_can_connect, "the database")
    run = the_run()
    assert (run.status, run.processed_rows, run.rejected_rows) == ("done", 3, 1)
    assert report_of(run)[1][2] == "odd"
    assert caplog.text.count("Cannot write the history of import job; retrying") == 1


def test_what_is_given_up_is_logged_and_repaired(
    stopped: DatabaseServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_repeats(monkeypatch)
    with track_import(JOB):
        pass
    background.join()
    assert "was not written, because the database or the storage is unavailable" in caplog.text
    stopped.start()
    wait_for(_can_connect, "the database")
    assert reconcile().added == 1
    assert ends_of() == [(1, "done")]


def test_only_so_many_events_wait(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_module, "MOST_TASKS", 1)
    may_end, done = threading.Event(), list[int]()
    background.add(Task("a", may_end.wait))
    wait_for(background._tasks.empty, "the first to run")
    for number in (1, 2):
        background.add(Task(f"job-{number}", lambda number=number: done.append(number)))
    may_end.set()
    background.join()
    assert done == [1]
    assert "import job-2 was not written, because too many wait" in caplog.text


def test_what_cannot_succeed_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    done = []

    def fail() -> None:
        done.append(1)
        raise LookupError

    background.add(Task(JOB, fail))
    background.join()
    assert done == [1]
    assert "Cannot write the history of import job" in caplog.text


def test_a_system_without_further_threads_is_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(background_module._thread, "start_new_thread", refuse)
        background.add(Task(JOB, lambda: done.append(1)))
    assert "cannot be written now: can't start new thread" in caplog.text
    assert not background.is_alive()
    background.add(Task(JOB, lambda: done.append(2)))
    background.join()
    assert done == [1, 2]


def test_a_task_that_is_added_while_the_thread_ends_is_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    done: list[int] = []
    discard = finishing.discard

    class Late(set[Any]):
        def discard(self, thread: Any) -> None:
            discard(thread)
            if not done:
                background.add(Task(JOB, lambda: done.append(2)))
                done.append(1)

    monkeypatch.setattr(background_module, "finishing", Late())
    background.add(Task(JOB, lambda: None))
    wait_for(lambda: len(done) == 2, "both")
    background.join()


def test_joining_waits_no_longer_than_it_may() -> None:
    may_end = threading.Event()
    background.add(Task(JOB, may_end.wait))
    background.join(0.01)
    assert background.is_alive()
    may_end.set()
    background.join()
    assert not background.is_alive()


def test_a_storage_that_is_away_delays_only_the_report(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    field: Any = ImportRun._meta.get_field("report")
    location: Path = field.storage._location
    location.write_text("no folder")
    with track_import(JOB) as job:
        job.reject("row", "odd")
    wait_for(lambda: "retrying" in caplog.text, "a try")
    assert ImportRun.objects.get().status == "done"
    location.unlink()
    assert report_of(the_run())[1][2] == "odd"
    assert isinstance(field.storage, FileSystemStorage)


_PROGRAM = """
import os, sys
import django
django.setup()
from django_import_progress import track_import
from django_import_progress.history import recorder
from django_import_progress.history.background import background
recorder.note = recorder._write_in_background  # As on PostgreSQL.
with track_import("job") as job:
    if sys.argv[1] == "fork" and os.fork() == 0:
        assert not background.is_alive()
        with track_import("child"):
            pass
        sys.exit()
    job.advance()
if sys.argv[1] == "fork":
    os.wait()
"""


@pytest.fixture
def database_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A database with the history's table, for another process."""
    path = tmp_path / "history.sqlite3"
    monkeypatch.setenv("TEST_SITE_DATABASE", str(path))
    return path


def run(server: RedisProcess, how: str) -> str:
    """Run the program in a process of its own, and return its log."""
    environment = environment_of_the_site(server.url, {})
    migrate = ["-m", "django", "migrate", "--verbosity", "0", "import_progress_history"]
    for arguments in (migrate, ["-c", _PROGRAM, how]):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    return done.stderr


def read(path: Path) -> dict[str, str]:
    """Return job id and status of the runs in a database."""
    with sqlite3.connect(path) as connection:
        found = connection.execute("SELECT job_id, status FROM import_progress_history_importrun")
        rows = dict(found.fetchall())
    connection.close()
    return rows


@pytest.mark.parametrize("how", ["exit", "fork"])
def test_a_process_that_exits_writes_what_waits(
    server: RedisProcess, database_file: Path, how: str
) -> None:
    run(server, how)
    found = read(database_file)
    assert found["job"] == "done"
    assert found.get("child", "done") == "done"
    assert len(found) == (2 if how == "fork" else 1)


def test_an_exit_is_not_delayed_by_a_database_that_is_away(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = background_module.time.monotonic()
    monkeypatch.setattr(background_module.time, "monotonic", lambda: now)
    assert background.exit_deadline == now + background_module.EXIT_SECONDS
    monkeypatch.setattr(background, "_is_failing", True)
    assert background.exit_deadline == now + background_module.OUTAGE_SECONDS
    background.give_up()
    assert "exits before the history of all imports was written" in caplog.text


def test_tables_that_are_not_there_do_not_fail_the_import(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_repeats(monkeypatch)
    call_command("migrate", "import_progress_history", "zero", verbosity=0)
    try:
        with track_import(JOB):
            pass
        background.join()
    finally:
        call_command("migrate", "import_progress_history", verbosity=0)
    assert jobs.describe(JOB)
    assert ends_of() == []


@pytest.mark.parametrize("error", [DataError, IntegrityError])
def test_what_the_database_refuses_is_not_tried_again(
    error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def refuse() -> None:
        tries.append(error)
        raise error

    background.add(Task(JOB, refuse))
    background.join(60)
    assert len(tries) == 1
    assert "The database refuses the history of import job" in caplog.text
