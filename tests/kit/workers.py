"""Real Celery workers, each a process with children, threads or greenlets of its own."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .servers import ROOT, kill_group
from .waiting import wait_for

APP = "tests.site.tasks"


class CeleryWorker:
    """One worker; to be used as a context manager.

    Args:
        pool: "prefork", "threads" or "gevent"; also the name of the queue that it takes tasks from.
        broker_url: where the messages are.
        redis_url: where the progress is told.
        options: other keys of the site's `IMPORT_PROGRESS`.
    """

    def __init__(self, pool: str, broker_url: str, redis_url: str, **options: float) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="worker-of-a-test-"))
        self._log = self._directory / "log"
        self._command = [sys.executable, "-m", "celery", "-A", APP, "worker", "--pool", pool]
        self._command += ["--concurrency", "2", "--queues", pool, "--hostname", f"{pool}@tests"]
        self._command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle"]
        self._environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.site.settings",
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example_project")]),
            "TEST_SITE_BROKER": broker_url,
            "TEST_SITE_REDIS": redis_url,
            "TEST_SITE_OPTIONS": json.dumps(options),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> CeleryWorker:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        atexit.register(self.close)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_until_ready(self) -> CeleryWorker:
        """Wait until it takes tasks."""
        assert self.process is not None
        try:
            wait_for(lambda: " ready." in self.output(), "the worker to be ready", seconds=40)
        except AssertionError as error:  # pragma: no cover - no negative control may fail with it
            raise RuntimeError(self.output()) from error
        return self

    def output(self) -> str:
        """Return what the worker has logged so far."""
        return self._log.read_text(errors="replace")

    def close(self) -> None:
        """End the whole group, and remove its files; more than once, if need be."""
        assert self.process is not None
        atexit.unregister(self.close)
        kill_group(self.process)
        shutil.rmtree(self._directory, ignore_errors=True)
