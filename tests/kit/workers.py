"""Real Celery workers, each a process with children, threads or greenlets of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from .started import SiteProcess, environment_of_the_site

APP = "tests.site.tasks"


class CeleryWorker(SiteProcess):
    """One worker; to be used as a context manager.

    Args:
        pool: "prefork", "threads" or "gevent"; also the name of the queue that it takes tasks from.
        broker_url: where the messages are.
        redis_url: where the progress is told.
        arguments: more of the command line's.
        options: other keys of the site's `IMPORT_PROGRESS`.
    """

    def __init__(
        self,
        pool: str,
        broker_url: str,
        redis_url: str,
        *,
        arguments: Sequence[str] = (),
        **options: float,
    ) -> None:
        environment = environment_of_the_site(redis_url, options)
        super().__init__("worker", {**environment, "TEST_SITE_BROKER": broker_url})
        self._command = [sys.executable, "-m", "celery", "-A", APP, "worker", "--pool", pool]
        self._command += ["--concurrency", "2", "--queues", pool, "--hostname", f"{pool}@tests"]
        self._command += ["--loglevel", "INFO", "--without-gossip", "--without-mingle", *arguments]

    def __enter__(self) -> CeleryWorker:
        self._launch(self._command)
        return self

    def wait_until_ready(self) -> CeleryWorker:
        """Wait until it takes tasks."""
        self._expect(lambda: " ready." in self.output(), "the worker to be ready", seconds=40)
        return self
