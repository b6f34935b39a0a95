"""`manage.py import_progress`: its output and its exit codes."""

from __future__ import annotations

import io
import json
import os
import threading
from contextlib import suppress
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.management import display, terminal_text
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.tracked import JOB
from ..kit.visitors import subscribers
from ..kit.waiting import wait_for

__all__ = ["defence"]

EVIL = "\x1b[2J\x9b31m\u202egnp.exe\r\nfake\x07"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def run(*arguments: str, out: io.StringIO | None = None) -> str:
    """Run the command in this process, and return its output."""
    out = io.StringIO() if out is None else out
    call_command("import_progress", *arguments, stdout=out)
    return out.getvalue()


def watched(jobs: SyncProgressManager, out: io.StringIO, *options: str) -> int:
    """Watch a job that runs to its end once it is watched, and return the exit code."""

    def run_to_end() -> None:
        wait_for(lambda: subscribers(jobs, JOB), "the command to watch")
        jobs.create(JOB, data={"total_rows": 4, "processed_rows": 1, "stage": EVIL})
        wait_for(lambda: "25" in out.getvalue(), "the first state to be shown")
        jobs.update(JOB, {"status": "done", "processed_rows": 4})

    running = threading.Thread(target=run_to_end)
    running.start()
    with pytest.raises(SystemExit) as exit_of:
        run("watch", JOB, *options, out=out)
    running.join()
    assert isinstance(exit_of.value.code, int)
    return exit_of.value.code


@pytest.fixture
def several(jobs: SyncProgressManager) -> None:
    jobs.create("a", owner=7, data={"total_rows": 3, "processed_rows": 1, "stage": "first"})
    jobs.create("b", data={"status": "failed", "error_message": "Row 3."})


def test_list_prints_one_line_per_job_newest_first(several: None) -> None:
    lines = run("list").splitlines()
    assert lines[0] == "b  failed · Row 3."
    assert lines[1] == "a  queued · first  33.3 %, 1 of 3 rows"


def test_a_stalled_job_has_no_forecast(jobs: SyncProgressManager) -> None:
    jobs.create(JOB, data={"status": "importing", "rows_per_second": 5, "eta_seconds": 60})
    assert run("list").endswith("importing  5 a second, 1:00 left\n")
    jobs.redis.hset(f"import_progress:hash:{JOB}", "_d", "1")  # The end of its lease.
    assert run("list").endswith("importing · stalled\n")
    shown = json.loads(run("show", JOB, "--json"))
    assert (shown["rows_per_second"], shown["eta_seconds"]) == (None, None)


def test_list_filters_by_owner_limits_and_prints_json(several: None) -> None:
    assert [job["job_id"] for job in json.loads(run("list", "--json"))] == ["b", "a"]
    assert [job["percent"] for job in json.loads(run("list", "--json", "--owner", "7"))] == [33.3]
    assert len(run("list", "--limit", "1").splitlines()) == 1
    with pytest.raises(CommandError, match="positive int"):
        run("list", "--limit", "0")


def test_show_prints_each_field(several: None) -> None:
    first, *fields = run("show", "a").splitlines()
    assert first == "queued · first  33.3 %, 1 of 3 rows"
    assert "  processed_rows  1" in fields
    assert json.loads(run("show", "a", "--json"))["percent"] == 33.3


def test_show_of_a_missing_job_exits_with_1(jobs: SyncProgressManager) -> None:
    with pytest.raises(CommandError, match="unknown does not exist") as error:
        run("show", "unknown")
    assert error.value.returncode == 1


def test_another_namespace(jobs: SyncProgressManager) -> None:
    SyncProgressManager(jobs.redis, namespace="order_imports").create("a")
    assert "queued" in run("show", "a", "--namespace", "order_imports")
    with pytest.raises(CommandError, match="a does not exist"):
        run("show", "a")


@pytest.mark.parametrize("command", ["list", "show a", "watch a", "cancel a", "relay"])
def test_an_invalid_namespace_is_refused(command: str) -> None:
    with pytest.raises(CommandError, match="Invalid namespace 'a:hash': use 1 to 128 characters"):
        run(*command.split(), "--namespace", "a:hash")


def test_cancel_requests_cancellation_and_reports_the_result(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)  # On a busy machine an import may run before it is in Redis.
    with track_import(JOB) as job:
        for _ in job.rows(iter(int, 1)):  # pragma: no branch
            if not job.processed:
                assert f"Cancellation of job {JOB} was requested" in run("cancel", JOB)
    for job_id, problem in (
        (JOB, f"Job {JOB} has ended"),
        ("unknown", "Job unknown does not exist"),
    ):
        with pytest.raises(CommandError, match=problem) as error:
            run("cancel", job_id)
        assert error.value.returncode == 1


def test_an_invalid_id_is_an_error_message(jobs: SyncProgressManager) -> None:
    with pytest.raises(CommandError, match="Invalid job id"):
        run("show", "no id")


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:secret@127.0.0.1:1/0?socket_timeout=1&password=secret",
        "redis+sentinel://:secret@127.0.0.1:1/main/0?sentinel_password=secret@secret",
    ],
)
def test_without_redis_the_error_has_the_address_without_the_password(
    settings: Any, url: str
) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": url}
    with pytest.raises(CommandError, match=r"at redis\S*://127.0.0.1:1/") as error:
        run("cancel", "a")
    assert "secret" not in str(error.value)


class Interrupted(io.StringIO):
    """A stream that raises KeyboardInterrupt once something is printed."""

    def write(self, text: str) -> int:
        super().write(text)
        raise KeyboardInterrupt


def test_watch_waits_for_redis_and_prints_its_address(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://:secret@127.0.0.1:1/0"}
    err = Interrupted()
    with pytest.raises(SystemExit) as exit_of:
        call_command("import_progress", "watch", JOB, stderr=err)
    assert exit_of.value.code == 130
    assert "at redis://127.0.0.1:1/0; waiting" in err.getvalue()


ENDS = {"done": 0, "failed": 1, "cancelled": 2}


@pytest.mark.parametrize("status", ENDS)
def test_watch_exits_with_the_code_of_the_outcome(jobs: SyncProgressManager, status: str) -> None:
    jobs.create(JOB, data={"status": status})
    with pytest.raises(SystemExit) as exit_of:
        run("watch", JOB)
    assert exit_of.value.code == ENDS[status]


@pytest.mark.parametrize("status", ENDS)
def test_a_remembered_outcome_counts(jobs: SyncProgressManager, status: str) -> None:
    jobs.create(JOB, data={"status": status, "processed_rows": 4})
    jobs.redis.delete(f"import_progress:hash:{JOB}")
    with pytest.raises(SystemExit) as exit_of:
        run("watch", JOB)
    assert exit_of.value.code == ENDS[status]
    assert "4 rows" in run("show", JOB)
    assert status in run("list")
    with pytest.raises(CommandError, match=f"Job {JOB} has ended"):
        run("cancel", JOB)


@pytest.mark.parametrize("wait", ["0", "0.2"])
def test_a_job_that_does_not_appear_exits_with_3(jobs: SyncProgressManager, wait: str) -> None:
    errors = io.StringIO()
    with pytest.raises(SystemExit, match="3"):
        call_command("import_progress", "watch", "absent", "--wait", wait, stderr=errors)
    # In Python 3.11 a time-out ends the tracing of this function, but not of others.
    assert_printed(errors, f"Job absent did not appear within {wait} seconds")  # pragma: no cover


def assert_printed(out: io.StringIO, text: str) -> None:
    assert text in out.getvalue()


@pytest.mark.parametrize("wait", ["-1", "inf", "nan", "soon"])
def test_an_invalid_waiting_time_is_refused(jobs: SyncProgressManager, wait: str) -> None:
    with pytest.raises(CommandError, match="--wait: invalid"):
        call_command("import_progress", "watch", "absent", f"--wait={wait}")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watch_prints_lines_without_a_terminal(
    jobs: SyncProgressManager, options: list[str]
) -> None:
    out = io.StringIO()
    assert watched(jobs, out, *options) == 0
    first, *_, last = out.getvalue().splitlines()
    if options:
        assert (json.loads(first)["percent"], json.loads(last)["percent"]) == (25.0, 100.0)
    else:
        assert "25.0 %, 1 of 4 rows" in first
        assert last.startswith("done")


@pytest.mark.parametrize("has_rich", [True, False])
def test_watch_redraws_one_line_on_a_terminal(
    jobs: SyncProgressManager, monkeypatch: pytest.MonkeyPatch, has_rich: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    if not has_rich:
        monkeypatch.setattr(display, "Console", None)
    out = Terminal()
    assert watched(jobs, out) == 0
    assert "4 of 4 rows" in out.getvalue()
    assert "\x1b[2K" in out.getvalue() if has_rich else "\r" in out.getvalue()
    assert out.getvalue().count("\n") < 3


@pytest.mark.parametrize("has_rich", [True, False])
@pytest.mark.parametrize("kind", [Terminal, io.StringIO])
def test_a_job_that_disappears_exits_with_3(
    jobs: SyncProgressManager,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[io.StringIO],
    has_rich: bool,
) -> None:
    if not has_rich:
        monkeypatch.setattr(display, "Console", None)
    jobs.create(JOB)
    out = kind()

    def delete() -> None:
        wait_for(lambda: "queued" in out.getvalue(), "the job to be shown")
        jobs.delete(JOB)

    deleting = threading.Thread(target=delete)
    deleting.start()
    with pytest.raises(SystemExit) as exit_of:
        run("watch", JOB, out=out)
    deleting.join()
    assert exit_of.value.code == 3
    assert f"Job {JOB} no longer exists" in out.getvalue()


def prints_a_job_unescaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal_text, "printable", str)
    subcommands = "django_import_progress.management.subcommands"
    monkeypatch.setattr(f"{subcommands}.show.printable", str)
    for module in (
        f"{subcommands}.show",
        f"{subcommands}.list",
        "django_import_progress.management.display",
    ):
        monkeypatch.setattr(f"{module}.printable_json", str)


@without(prints_a_job_unescaped)
@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("words", [["show", JOB], ["list"], ["watch", JOB]])
def test_a_jobs_control_characters_are_not_sent_to_the_terminal(
    jobs: SyncProgressManager, words: list[str], options: list[str]
) -> None:
    jobs.create(JOB, data={"status": "done", "stage": EVIL, "x" + EVIL: [EVIL]})
    out = io.StringIO()
    with suppress(SystemExit):
        run(*words, *options, out=out)
    assert JOB in out.getvalue() or "done" in out.getvalue()
    assert out.getvalue().replace("\n", "").isprintable()
    assert "\nfake" not in out.getvalue()


def test_a_closed_pipe_ends_the_command_without_a_traceback(several: None) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as out, pytest.raises(SystemExit) as exit_of:  # noqa: PTH123
        call_command("import_progress", "list", stdout=out)
    assert exit_of.value.code == 141


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_characters_that_the_terminal_cannot_encode_are_escaped(
    jobs: SyncProgressManager, options: list[str]
) -> None:
    jobs.create(JOB, data={"stage": "日本"})
    with io.TextIOWrapper(io.BytesIO(), encoding="latin-1") as out:
        call_command("import_progress", "list", *options, stdout=out)
        assert rb"\u65e5\u672c" in out.buffer.getvalue()


def test_an_interrupt_has_an_exit_code(jobs: SyncProgressManager) -> None:
    jobs.create(JOB)
    with pytest.raises(SystemExit) as exit_of:
        run("watch", JOB, out=Interrupted())
    assert exit_of.value.code == 130
