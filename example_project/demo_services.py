"""The demo's processes: each is started, monitored, and stopped with all of its children."""

# ruff: noqa: INP001

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

PAUSE_SECONDS = 0.1
GRACE_SECONDS = 5
LOG_LINES = 15
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The user pressed Ctrl-C."""


class DemoError(Exception):
    """The demo cannot continue; the message says why."""


class Supervisor:
    """Waits for a condition, for Ctrl-C, or for the death of a process.

    Signal handlers only set a flag. An exception from one could occur between the start of a
    process and its registration, and that process would never be stopped.
    """

    def __init__(self) -> None:
        self.services: list[Service] = []
        self.is_interrupted = False
        for number in SIGNALS:
            signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.is_interrupted = True

    def wait_for(
        self, condition: Callable[[], object], what: str, seconds: float = float("inf")
    ) -> None:
        """Wait until `condition` holds.

        Raises:
            Interrupted: a signal was received.
            DemoError: a process ended, or it takes longer than `seconds`.
        """
        deadline = time.monotonic() + seconds
        while True:
            if self.is_interrupted:
                raise Interrupted
            for service in self.services:
                service.check()
            if condition():
                return
            if time.monotonic() > deadline:
                raise DemoError(f"Timed out after {seconds} s waiting for {what}.{self._logs()}")
            time.sleep(PAUSE_SECONDS)

    def _logs(self) -> str:
        return "".join(f"\n{service.last_lines()}" for service in self.services)


class Service:
    """A process and its children, in a process group of their own.

    Ctrl-C in a terminal signals every process of the terminal's group at once. In groups of their
    own, processes stop in order, and `killpg` reaches children that a parent left behind.
    """

    def __init__(self, name: str, *command: str, cwd: Path, log: Path) -> None:
        self.name = name
        self.log = log
        self._command = command
        self._cwd = cwd

    def __enter__(self) -> Service:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self._signal(signal.SIGKILL)
        self._process.wait()

    def _signal(self, number: int) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def check(self) -> None:
        """Raise `DemoError` if the process has ended."""
        if (code := self._process.poll()) is not None:
            raise DemoError(f"The {self.name} ended with code {code}.\n{self.last_lines()}")

    def has_logged(self, text: str) -> bool:
        """Return whether `text` is in the log."""
        return text in self.log.read_text(errors="replace")

    def last_lines(self) -> str:
        """Return the end of the log."""
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"The last lines of {self.log}:", *(f"  {line}" for line in lines)])


def check_port(text: str) -> int:
    """Return the port.

    Raises:
        DemoError: it is invalid or in use.
    """
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**16):
        raise DemoError(f"Invalid PORT {text!r}: pass 1 to 65535, for example make demo PORT=8001")
    with socket.socket() as listener:
        # Like uvicorn: a port that was closed a moment ago is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", int(text)))
        except OSError as error:
            raise DemoError(
                f"Port {text} cannot be used ({error.strerror})."
                f" Choose another one: make demo PORT={_other(int(text))}"
            ) from None
    return int(text)


def _other(port: int) -> int:
    return port + 1 if 1024 <= port < 2**16 - 1 else 8001


def site_responds(port: int) -> bool:
    """Return whether the site responds."""
    # Not `urllib.request`, which would use a proxy from the environment.
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
