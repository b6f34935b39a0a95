"""`manage.py import_progress watch` in its own process, on a real terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from django_import_progress import SyncProgressManager, create_sync_redis_client

from ..kit.processes import DURABLE, RedisProcess, valkey_binary
from ..kit.started import ROOT, environment_of_the_site
from ..kit.tracked import JOB
from ..kit.waiting import wait_for


@contextmanager
def in_a_terminal(redis_url: str, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Yield the real process, and the user's end of its terminal."""
    near, far = pty.openpty()
    environment = environment_of_the_site(redis_url, {}) | {"TERM": "xterm"}
    command = [sys.executable, "-m", "django", "import_progress", *words]
    # Background jobs of a shell ignore SIGINT, and so do their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=far, stderr=far)
    signal.signal(signal.SIGINT, before)
    os.close(far)
    try:
        yield process, near
    finally:
        process.kill()
        process.wait()
        os.close(near)


def read_until(descriptor: int, text: str) -> None:
    """Read from the terminal until `text` is shown."""
    shown = b""

    def is_there() -> bool:
        nonlocal shown
        shown += os.read(descriptor, 65536)
        return text.encode() in shown

    wait_for(is_there, f"{text!r} to be shown")


def exit_code(process: subprocess.Popen[bytes], descriptor: int) -> int:
    """Wait for the exit, and read on: writing to a terminal that nobody reads blocks."""
    with suppress(OSError):  # EIO: the other end was closed.
        while True:
            os.read(descriptor, 65536)
    return process.wait(60)


def test_in_a_real_terminal_watch_survives_a_restart_of_redis() -> None:
    with (
        RedisProcess(valkey_binary(), *DURABLE) as process,
        in_a_terminal(process.url, "watch", JOB) as (command, screen),
        create_sync_redis_client(process.url) as client,
    ):
        jobs = SyncProgressManager(client)
        jobs.create(JOB, data={"stage": "first"})
        read_until(screen, "first")
        process.kill()
        process.start()
        jobs.update(JOB, {"stage": "second"})
        read_until(screen, "second")
        jobs.update(JOB, {"status": "failed"})
        assert exit_code(command, screen) == 1


def test_an_interrupt_ends_watch_without_a_traceback(
    site: RedisProcess, jobs: SyncProgressManager
) -> None:
    jobs.create(JOB)
    with in_a_terminal(site.url, "watch", JOB) as (command, screen):
        read_until(screen, "queued")
        command.send_signal(signal.SIGINT)
        assert exit_code(command, screen) == 130
