"""`demo.py` as users run it: real processes that start, import, and all stop."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.urls import reverse

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket

from ..kit import http
from ..kit.processes import RedisProcess, free_port
from ..kit.waiting import wait_for

DEMO = Path(__file__).parents[2] / "example_project" / "demo.py"
SAMPLE_ROWS = 28_298
PROC = Path("/proc")

pytestmark = [
    pytest.mark.skipif(not PROC.is_dir(), reason="looks for processes in /proc"),
    pytest.mark.timeout(300),
]


def started_by(var: Path) -> list[int]:
    """Return the processes that inherited this directory in their environment."""
    mark = f"EXAMPLE_VAR={var}\0".encode()
    found = []
    for process in PROC.glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:  # pragma: no cover - it ended while we looked
            continue
    return found


def running(var: Path, module: str) -> int:
    """Return the first process of the demo that runs this; 0 if there is none."""
    command = f"\0{module}\0".encode()
    pids = [pid for pid in started_by(var) if command in (PROC / str(pid) / "cmdline").read_bytes()]
    return min(pids, default=0)


@contextmanager
def demo(var: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run the demo; at the end none of its processes may be left."""
    clean = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "ONCE"}}
    process = subprocess.Popen(
        [sys.executable, str(DEMO)],
        env={**clean, "EXAMPLE_VAR": str(var), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()
    left = started_by(var)
    for pid in left:  # pragma: no cover - where the test fails
        os.kill(pid, signal.SIGKILL)
    assert not left


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Return the lines that the demo prints, up to one with `text`."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    raise AssertionError(f"{text!r} never came: {''.join(lines)}")  # pragma: no cover


def output(process: subprocess.Popen[str]) -> str:
    """Return everything that the demo prints until it ends."""
    text, _ = process.communicate()
    return text


def airports(var: Path) -> int:
    """Return the number of airports in the database."""
    with closing(sqlite3.connect(var / "db.sqlite3")) as connection:
        count: int = connection.execute("SELECT count(*) FROM airports_airport").fetchone()[0]
        return count


def test_once_imports_the_sample_and_ends(
    tmp_path: Path, server: RedisProcess, jobs: SyncProgressManager
) -> None:
    text = _imported_once(tmp_path)
    assert "28,298 of 28,298 rows  28,298 created" in text
    # The database is kept between runs, and a Redis that runs already is used.
    text = _imported_once(tmp_path, REDIS_URL=server.url)
    assert "28,298 of 28,298 rows  28,298 updated" in text
    assert jobs.jobs()[0]["updated"] == SAMPLE_ROWS


def _imported_once(var: Path, **environment: str) -> str:
    with demo(var, ONCE="1", PORT=str(free_port()), **environment) as process:
        text = output(process)
    assert process.returncode == 0, text
    assert airports(var) == SAMPLE_ROWS
    return text


def test_a_redis_out_of_reach_is_named(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    with demo(tmp_path, PORT=str(free_port()), REDIS_URL=url) as process:
        text = output(process)
    assert process.returncode == 1
    assert "REDIS_URL" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("port", ["99999", "0", "http"])
def test_a_port_that_is_none_is_named(tmp_path: Path, port: str) -> None:
    with demo(tmp_path, PORT=port) as process:
        text = output(process)
    assert process.returncode == 1
    assert "make demo PORT=8001" in text


def test_a_port_that_is_taken_is_named_with_the_fix(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with demo(tmp_path, PORT=str(port)) as process:
            text = output(process)
    assert process.returncode == 1
    assert f"Port {port} cannot be used" in text
    assert "make demo PORT=" in text


def test_a_sigterm_ends_all_in_spite_of_an_open_stream(tmp_path: Path, settings: Any) -> None:
    port = free_port()
    # Of a job that never comes, so that the stream doesn't end by itself.
    stream_url = reverse("import_progress:stream", args=[make_ticket("never")])
    with demo(tmp_path, PORT=str(port), SECRET_KEY=settings.SECRET_KEY) as process:
        lines_until(process, "stays up")
        with http.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert client.get("/static/airports/site.css").status_code == httpx.codes.OK
            with client.stream("GET", stream_url) as stream:
                assert next(stream.iter_lines()).startswith("retry:")
                process.terminate()
                wait_for(lambda: not started_by(tmp_path), "every process to end")
        assert process.wait() == 0


def test_a_sigint_in_the_middle_of_an_import_ends_all(tmp_path: Path) -> None:
    with demo(tmp_path, ONCE="1", PORT=str(free_port())) as process:
        lines_until(process, "% ")
        process.send_signal(signal.SIGINT)
        wait_for(lambda: not started_by(tmp_path), "every process to end")
        assert process.wait() == 130
    assert 0 < airports(tmp_path) < SAMPLE_ROWS


@pytest.mark.parametrize(
    ("module", "name"),
    [("celery", "worker"), ("uvicorn", "web server"), ("import_progress", "relay")],
)
def test_a_process_that_dies_is_reported_with_its_log(
    tmp_path: Path, module: str, name: str
) -> None:
    with demo(tmp_path, PORT=str(free_port())) as process:
        lines_until(process, "Starting the web server")
        os.kill(wait_for(lambda: running(tmp_path, module), f"the {name} to start"), signal.SIGKILL)
        text = output(process)
    assert process.returncode == 1
    assert f"The {name} ended with code -9." in text
    assert "The last lines of" in text
