"""Workers in processes of their own, each of which tracks the one job, row by row as it is told."""

from __future__ import annotations

import atexit
import signal
import subprocess
import sys
from contextlib import suppress

from .started import ROOT, environment_of_the_site
from .tracked import JOB

_PROGRAM = """
import os, sys
import django
from django.utils.module_loading import import_string

django.setup()
if switch := os.environ.get("TEST_SITE_SWITCH"):
    import pytest
    import_string(switch)(pytest.MonkeyPatch())  # For a negative control: a defence is off.

from django_import_progress import track_import

try:
    with track_import(sys.argv[1]) as job:
        print("entered", flush=True)
        for _ in job.rows(sys.stdin):
            job.count("seen_by_" + sys.argv[2])
    print("through", flush=True)
except BaseException as error:
    print(type(error).__name__, flush=True)
"""


class LoneWorker:
    """A process that does `track_import` as soon as it is started; to be used as a context manager.

    Args:
        redis_url: what the site's `REDIS_URL` is set to.
        name: it counts its rows in a counter that is called ``seen_by_…``.
        options: other keys of the site's `IMPORT_PROGRESS`.
    """

    def __init__(self, redis_url: str, name: str = "worker", **options: float) -> None:
        environment = environment_of_the_site(redis_url, options)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, JOB, name],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        atexit.register(self.close)  # A test that fails half-way leaves nothing behind.

    def __enter__(self) -> LoneWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().decode().strip()

    def has_entered(self) -> LoneWorker:
        """Wait until it is in the `with`."""
        line = self._line()
        assert line == "entered", line
        return self

    def row(self) -> None:
        """Give it one more row, if it still takes any."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"row\n")
            self._process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def pause(self) -> None:
        """Stop it where it is, all its threads."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as `kill -9` and the OOM killer do."""
        self._process.kill()
        self._process.wait()

    @property
    def has_left(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def finish(self) -> str:
        """Give no more rows, and return what came of it: "through", or the exception's name."""
        self._give_no_more()
        return self._line()

    def wait(self) -> None:
        """Wait until the process has ended."""
        self._process.wait()

    def outcome(self) -> str:
        """Return what came of it, and wait for the process as well."""
        line = self.finish()
        self.wait()
        return line

    def _give_no_more(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # Of what it has not taken.
            self._process.stdin.close()

    def close(self) -> None:
        """End the process; more than once, if need be."""
        atexit.unregister(self.close)
        self.kill()
        self._give_no_more()
        assert self._process.stdout is not None
        self._process.stdout.close()
