"""Processes of the tests' site: their environment, their log, their children in one group."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from .waiting import wait_for

ROOT = Path(__file__).parents[2]


def environment_of_the_site(redis_url: str, options: Mapping[str, float]) -> dict[str, str]:
    """Return the environment in which a process is one of the tests' site.

    Args:
        redis_url: what the site's `REDIS_URL` is set to.
        options: other keys of the site's `IMPORT_PROGRESS`.
    """
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.site.settings",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example_project")]),
        "TEST_SITE_REDIS": redis_url,
        "TEST_SITE_OPTIONS": json.dumps(options),
    }


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group, and all who are in it, as `kill -9` does."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class SiteProcess:
    """A process with all its children in one group, and a log.

    Args:
        kind: what it is; the name of its folder begins so.
        environment: see `environment_of_the_site`.
    """

    def __init__(self, kind: str, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._directory = Path(tempfile.mkdtemp(prefix=f"{kind}-of-a-test-"))
        self._log = self._directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    def __exit__(self, *_: object) -> None:
        self.close()

    def _launch(self, command: list[str]) -> None:
        """Start the process, whose log goes on where it was."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        atexit.register(self.close)  # A test that fails half-way leaves nothing behind.

    def _expect(self, condition: Callable[[], bool], what: str, *, seconds: float) -> None:
        """Wait for a condition; if that is in vain, say what is in the log."""
        try:
            wait_for(condition, what, seconds=seconds)
        except AssertionError as error:  # pragma: no cover - no negative control may fail with it
            raise RuntimeError(self.output()) from error

    def output(self) -> str:
        """Return what the process has written so far."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End the whole group as `kill -9` does."""
        assert self.process is not None
        kill_group(self.process)

    def close(self) -> None:
        """End the whole group, and remove its files; more than once, if need be."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
