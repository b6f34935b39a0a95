"""Folders of embedded servers, and the processes that use one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from django_import_progress.redis import embedded, embedded_server

from .started import ROOT
from .waiting import wait_for

_PROGRAM = """
import os, sys
from django_import_progress import SyncProgressManager, create_sync_redis_client

with create_sync_redis_client(sys.argv[1]) as client:
    SyncProgressManager(client).create(f"of-{os.getpid()}")
    client.connection_pool.disconnect()
    if "fork" in sys.argv and os.fork():
        os._exit(0)
    print("uses it", flush=True)
    sys.stdin.read()
"""


def url_of(folder: Path) -> str:
    """Return the URL of the server in a folder."""
    return f"embedded://{quote(os.fsencode(folder))}"


def is_used(folder: Path) -> bool:
    """Return whether some process counts as a user of the folder's server."""
    return _is_locked(folder / embedded_server.USERS_LOCK)


def is_watched(folder: Path) -> bool:
    """Return whether the server has a watchdog."""
    return _is_locked(folder / embedded_server.SERVER_LOCK)


def _is_locked(path: Path) -> bool:
    file = os.open(path, os.O_RDWR)
    try:
        return not embedded_server.lock(file)
    finally:
        os.close(file)


def _client(folder: Path) -> redis.Redis:
    path = str(folder / embedded_server.SOCKET)
    return redis.Redis(unix_socket_path=path, retry=Retry(NoBackoff(), 0))


def server_pid(folder: Path) -> int:
    """Return the server's process id; 0 if no server responds."""
    with _client(folder) as client:
        try:
            return int(client.info("server")["process_id"])
        except redis.ConnectionError:
            return 0


def watchdog_pid(folder: Path) -> int:
    """Return the process id of the program that runs in the folder."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"embedded_server.py" in command and (process / "cwd").samefile(folder):
                return int(process.name)
    raise AssertionError(f"nobody watches {folder}")


def leave(folder: Path) -> None:
    """Let this process be no user of the folder's server any more."""
    if joined := embedded._users.pop(folder, None):
        with suppress(OSError):
            os.close(joined[0])


def stop(folder: Path) -> None:
    """Stop the folder's server, and wait until its watchdog has ended."""
    leave(folder)
    with _client(folder) as client, suppress(redis.RedisError):
        client.shutdown(nosave=True, now=True, force=True)
    if (folder / embedded_server.SERVER_LOCK).exists():
        wait_for(lambda: not is_watched(folder), "the watchdog to end")


@contextmanager
def short_folder() -> Iterator[Path]:
    """Yield a new folder whose path is short enough for a socket, and stop its server."""
    place = Path(os.path.realpath(tempfile.mkdtemp(prefix="embedded-")))
    try:
        yield place
    finally:
        stop(place)
        shutil.rmtree(place, ignore_errors=True)


class UserProcess:
    """A process that creates a job on the folder's server, and then holds no connection to it.

    Args:
        folder: the server's.
        arguments: `fork` for a process whose child goes on after it.
    """

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", _PROGRAM, url_of(folder), *arguments],
            cwd=folder.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0,
        )

    def __enter__(self) -> UserProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def wait_until_it_uses_the_server(self) -> UserProcess:
        """Wait until it has created its job."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"uses it\n"
        return self

    def end(self) -> None:
        """Let it end; more than once, if need be."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if self.process.stdin.closed:
            return
        self.process.stdin.close()
        self.process.stdout.read()  # Until a child that it left has ended, too.
        self.process.stdout.close()
        self.process.wait()
