"""Real ASGI servers, each in a process of its own, started as the documentation says."""

from __future__ import annotations

import functools
import http.client
import os
import shlex
import signal
import subprocess
import sys

import pytest

from .controls import Switch
from .processes import free_port
from .started import ROOT, SiteProcess, environment_of_the_site

APPLICATION = "tests.site.asgi:application"
DOCUMENTED_APPLICATION = "mysite.asgi:application"
AT: dict[str, str] = {
    "uvicorn": "--host {host} --port {port}",
    "daphne": "-b {host} -p {port}",
    "hypercorn": "--bind {host}:{port}",
    "granian": "--host {host} --port {port}",
    "gunicorn": "--bind {host}:{port}",
}
"""How each server is told where to listen."""


def documented(kind: str, page: str = "docs/servers.md", *, reloads: bool = False) -> str:
    """Return the command line by which a page of the documentation starts this server.

    Args:
        kind: the server.
        page: the page.
        reloads: whether the server is to start anew when a file changes.
    """
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if ("--reload" in line) is reloads]
    (line,) = (line for line in lines if f"{kind} {DOCUMENTED_APPLICATION} " in f"{line} ")
    return line


def in_the_server(switch: Switch) -> Switch:
    """Have `switch` turn a defence off in the servers that the test starts, and here as well."""

    @functools.wraps(switch)
    def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TEST_SITE_SWITCH", f"{switch.__module__}.{switch.__name__}")
        switch(monkeypatch)

    return everywhere


class ServerProcess(SiteProcess):
    """One server, with all its workers in one process group; to be used as a context manager.

    Args:
        redis_url: what the site's `REDIS_URL` is set to.
        command: a documented command line; of uvicorn where none is given.
        host: the loopback address at which it listens: each is a host of its own.
        options: other keys of the site's `IMPORT_PROGRESS`.
    """

    def __init__(
        self, redis_url: str, command: str = "", *, host: str = "127.0.0.1", **options: float
    ) -> None:
        self.host = host
        self.port = free_port()
        self.url = f"http://{host}:{self.port}"
        self._command = command or documented("uvicorn")
        super().__init__("server", environment_of_the_site(redis_url, options))

    def __enter__(self) -> ServerProcess:
        return self.start()

    @property
    def arguments(self) -> list[str]:
        """What is started: the documented line, for the tests' site, and where to listen."""
        words = shlex.split(self._command)
        place = words.index(DOCUMENTED_APPLICATION)
        kind = words[place - 1]
        words[place - 1 : place + 1] = [sys.executable, "-m", kind, APPLICATION]
        return words + shlex.split(AT[kind].format(host=self.host, port=self.port))

    @property
    def pid(self) -> int:
        """The process that was started; its workers are its children."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> ServerProcess:
        """Start the server, and wait until the site answers; once more after it was killed, too."""
        self._launch(self.arguments)
        self._expect(self._answers, "the server to answer", seconds=60)
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server has ended"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        headers = {"Host": "127.0.0.1", "Connection": "close"}
        try:
            connection.request("GET", "/progress/jobs/@/", headers=headers)
            return connection.getresponse().status == http.HTTPStatus.NOT_FOUND
        except OSError:
            return False
        finally:
            connection.close()

    def terminate(self) -> None:
        """Send SIGTERM to the process that was started, as a supervisor does."""
        os.kill(self.pid, signal.SIGTERM)

    def exit_code(self, seconds: float) -> int:
        """Wait until the process ends, and return its exit code.

        Raises:
            AssertionError: it did not.
        """
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"runs on after {seconds} s: {self.output()}") from None
