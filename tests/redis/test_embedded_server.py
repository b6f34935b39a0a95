"""The program that starts the embedded server and stops it, run within the tests' process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from django_import_progress.redis import embedded_server
from django_import_progress.redis.embedded_server import ServerError, connect, ensure, lock, watch

from ..kit.embedded import is_watched, server_pid, short_folder
from ..kit.processes import valkey_binary
from ..kit.waiting import wait_for


@pytest.fixture
def folder() -> Iterator[Path]:
    """A server's folder."""
    with short_folder() as folder:
        yield folder


class Watchdog:
    """Watches the folder's server in a thread, and counts how often it has looked."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, idle_seconds: float) -> None:
        self.rounds = 0
        has_ended = embedded_server._has_ended

        def counted(connection: socket.socket, seconds: float) -> bool:
            self.rounds += 1
            return has_ended(connection, min(seconds, 0.01))

        monkeypatch.setattr(embedded_server, "_has_ended", counted)
        started = ensure(folder, valkey_binary())
        assert started
        self.held, connection = started
        self.thread = threading.Thread(target=watch, args=(folder, connection, idle_seconds))
        self.thread.start()

    def looks_again(self) -> None:
        """Wait until it has looked several times more."""
        seen = self.rounds
        wait_for(lambda: self.rounds > seen + 5 or not self.thread.is_alive(), "another round")

    def ended(self) -> None:
        """Wait until it has ended."""
        self.thread.join(30)
        assert not self.thread.is_alive()
        os.close(self.held)


@contextmanager
def used(folder: Path) -> Iterator[None]:
    """Be a user of the server meanwhile."""
    file = os.open(folder / embedded_server.USERS_LOCK, os.O_RDWR | os.O_CREAT)
    wait_for(lambda: lock(file, shared=True), "the lock")
    yield
    os.close(file)


def test_a_folder_that_is_deleted_before_the_watchdog_looks(folder: Path) -> None:
    started = ensure(folder, valkey_binary())
    assert started
    held, connection = started
    shutil.rmtree(folder)
    with connection.dup() as other:
        watch(folder, connection, 60)
        assert other.recv(1) == b""
    os.close(held)


def test_a_used_server_runs_and_an_idle_one_stops(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with used(folder):
        watchdog = Watchdog(folder, monkeypatch, idle_seconds=0)
        assert is_watched(folder)
        watchdog.looks_again()
        assert server_pid(folder)
    watchdog.ended()
    wait_for(lambda: not server_pid(folder), "the server to stop")


def test_an_idle_server_stops_only_after_the_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watchdog = Watchdog(folder, monkeypatch, idle_seconds=1000)
    watchdog.looks_again()
    assert server_pid(folder)
    with used(folder):  # The lock is free in between.
        watchdog.looks_again()
    shutil.rmtree(folder)
    watchdog.ended()


def test_a_server_that_runs_is_taken_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with used(folder):
        held, connection = ensure(folder, valkey_binary()) or (0, socket.socket())
        connection.close()
        assert ensure(folder, valkey_binary()) is None  # It is watched, and responds.
        os.close(held)
        pid = server_pid(folder)
        watchdog = Watchdog(folder, monkeypatch, idle_seconds=0)
        assert server_pid(folder) == pid
    watchdog.ended()


def test_a_killed_server_ends_its_watchdog(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with used(folder):
        watchdog = Watchdog(folder, monkeypatch, idle_seconds=0)
        os.kill(server_pid(folder), signal.SIGKILL)
        watchdog.ended()
        assert not is_watched(folder)


def test_what_does_not_respond_is_no_server(folder: Path) -> None:
    assert connect(folder) is None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / embedded_server.SOCKET))
        listener.listen()

        def refuse() -> None:
            accepted, _ = listener.accept()
            accepted.recv(64)
            accepted.sendall(b"-ERR no\r\n")
            accepted.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        assert connect(folder) is None
        thread.join()


def test_a_server_that_ends_while_it_is_stopped_is_none(folder: Path) -> None:
    one, other = socket.socketpair()
    other.close()
    embedded_server._stop(one)
    one.close()


def test_a_lock_without_a_server_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_server, "START_SECONDS", 0.1)
    held = os.open(folder / embedded_server.SERVER_LOCK, os.O_RDWR | os.O_CREAT)
    assert lock(held)
    with pytest.raises(ServerError, match=r"processes that hold server\.lock"):
        ensure(folder, valkey_binary())
    os.close(held)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("#!/bin/sh\nexec sleep 1000", "did not respond within"),
        ("#!/bin/sh\necho one\necho reason\nexit 3", "ended with code 3: reason"),
        ("", "Exec format error"),
    ],
)
def test_a_start_that_fails_says_why(
    folder: Path, program: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_server, "START_SECONDS", 2.0)
    binary = folder / "program"
    binary.write_text(program)
    binary.chmod(0o700)
    with pytest.raises(ServerError, match=why):
        ensure(folder, str(binary))
    assert not is_watched(folder)
