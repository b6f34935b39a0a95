"""`manage.py import_progress` shows what the history knows, and prints rejected rows."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.watch import archive

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.runs import REPORT, past_run, without_the_table
from ..kit.tracked import JOB
from ..management.test_command import EVIL, Terminal, run

__all__ = ["defence"]

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("archived")]

ENDS = {"done": 0, "failed": 1, "cancelled": 2, "lost": 1}


def history_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "current", lambda: None)


def printed(*arguments: str) -> bytes:
    """Return what the command writes to a file, or to a pipe that has another encoding."""
    with io.TextIOWrapper(io.BytesIO(), encoding="latin-1") as out:
        call_command("import_progress", *arguments, stdout=out)
        return out.buffer.getvalue()  # type: ignore[attr-defined,no-any-return]


@without(history_is_not_read, fails_with=(AssertionError, CommandError))
def test_a_forgotten_job_is_shown_and_listed(jobs: SyncProgressManager, defence: Any) -> None:
    jobs.create("a")
    past_run(outcome="partial", rejected_rows=2, counters={"created": 8})
    line = "done · partly imported · Products  100.0 %, 10 of 10 rows, 2 rejected"
    assert run("list").splitlines() == ["a  queued", f"{JOB}  {line}"]
    assert [job["job_id"] for job in json.loads(run("list", "--json"))] == ["a", JOB]
    first, *fields = run("show", JOB).splitlines()
    assert first == line
    assert {text.split()[0]: text.split()[1] for text in fields}["created"] == "8"


@pytest.mark.parametrize("status", ENDS)
def test_watch_exits_with_the_code_of_the_outcome(jobs: SyncProgressManager, status: str) -> None:
    past_run(status=status)
    with pytest.raises(SystemExit) as exit_of:
        run("watch", JOB)
    assert exit_of.value.code == ENDS[status]


def test_a_job_that_has_ended_cannot_be_cancelled(jobs: SyncProgressManager) -> None:
    past_run()
    with pytest.raises(CommandError, match=f"Job {JOB} has ended"):
        run("cancel", JOB)


def test_without_the_database_redis_is_still_listed(jobs: SyncProgressManager) -> None:
    jobs.create("a")
    out, errors = io.StringIO(), io.StringIO()
    with without_the_table():
        call_command("import_progress", "list", stdout=out, stderr=errors)
        assert "queued" in run("show", "a")
        for command in ("show", "rejects"):
            with pytest.raises(CommandError, match="The import history is unavailable"):
                run(command, JOB)
    assert out.getvalue() == "a  queued\n"
    assert "The import history is unavailable" in errors.getvalue()


@pytest.mark.usefixtures("history")
def test_rejected_rows_are_the_same_bytes_as_in_the_browser(jobs: SyncProgressManager) -> None:
    with track_import(JOB) as job:
        job.reject({"name": "日本"}, "no price", line=2)
    report = printed("rejects", JOB)
    assert report == "\ufeffrow,line,reason,name\r\n1,2,no price,日本\r\n".encode()
    jobs.redis.flushall()
    assert printed("rejects", JOB) == report


def a_terminal_gets_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django_import_progress.management.subcommands.rejects.printable", str)


@without(a_terminal_gets_the_file)
def test_a_terminal_gets_no_control_characters(jobs: SyncProgressManager, defence: Any) -> None:
    past_run(rejected_rows=1, report=REPORT + f'4,5,"{EVIL}",ä\r\n'.encode())
    out = Terminal()
    run("rejects", JOB, out=out)
    first, *lines = out.getvalue().split("\n")
    assert first == "row,line,reason,name"
    assert "".join(lines).isprintable()
    assert lines[-2].endswith('",ä')


def there_is_no_report(jobs: SyncProgressManager) -> None:
    past_run(rejected_rows=3)


def its_file_is_missing(jobs: SyncProgressManager) -> None:
    Path(past_run(rejected_rows=3, report=REPORT).report.path).unlink()


def another_attempt_is_running(jobs: SyncProgressManager) -> None:
    past_run(rejected_rows=3, report=REPORT)
    jobs.set_progress(JOB, {"status": "importing", "attempt": 2})


def it_was_deleted(jobs: SyncProgressManager) -> None:
    past_run(rejected_rows=3, report=REPORT)
    jobs.create(JOB)
    jobs.delete(JOB)


@pytest.mark.parametrize(
    ("cause", "problem"),
    [
        (there_is_no_report, "has no rejected rows"),
        (its_file_is_missing, "has no rejected rows"),
        (another_attempt_is_running, "has no rejected rows"),
        (it_was_deleted, "does not exist"),
        (id, "does not exist"),
    ],
)
def test_without_rejected_rows_it_exits_with_1(
    jobs: SyncProgressManager, cause: Any, problem: str
) -> None:
    cause(jobs)
    with pytest.raises(CommandError, match=f"Job {JOB} {problem}") as error:
        run("rejects", JOB)
    assert error.value.returncode == 1
