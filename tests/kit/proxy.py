"""A TCP proxy between clients and a server, that does to their connections what networks do."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

_PIECE = 4096
"""So many bytes pass at once where the rate is limited: all connections have their turns."""
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close throws away what is on its way, and says RST.


class Connection:
    """One client's connection, both sides of it."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.said = b""
        """What the client said first, 64 KiB of it."""
        self.asked = b""
        """What the client said last."""
        self.spoke = False
        self.stuck = False
        """Whether nothing passes any more."""
        self.closed = False

    def close(self, *, reset: bool = False) -> None:
        """End it on both sides."""
        self.closed = True
        for side in (self.near, self.far):
            with suppress(OSError):
                if reset:
                    side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    side.close()
                side.shutdown(socket.SHUT_RDWR)


def subscribers(connection: Connection) -> bool:
    """Choose those over which a Redis client has subscribed, or is about to."""
    return b"\r\nSUBSCRIBE\r\n" in connection.said


Choice = Callable[[Connection], bool]


class Proxy:
    """Listens on a port of its own and passes bytes on; to be used as a context manager.

    Args:
        port: whom to pass to, on the loopback interface; see `retarget`.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.round_trips = 0
        """How often a client spoke after the server had, on any connection."""
        self.connections = 0
        """How many there have been, those that were refused as well."""
        self._answers_to_swallow = 0
        self._to_what = ""
        self._refusing = False
        self._held: list[Choice] = []
        self.holds = 0
        """How often something is being held back at this moment."""
        self._seconds_per_byte = 0.0
        self._free_at = 0.0
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._open: list[Connection] = []
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Proxy:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def swallow(self, answers: int = 1, *, to: str = "") -> None:
        """Let the server do what it is asked next, and cut the link in place of its answer.

        Args:
            answers: of so many.
            to: what must be in the question; without it a handshake may come first.
        """
        self._answers_to_swallow, self._to_what = answers, to

    def blackhole(self) -> None:
        """Pass nothing more on over what is open now, without a FIN, as a pulled cable does."""
        for connection in self._open:
            connection.stuck = True

    def throttle(self, bytes_per_second: float) -> None:
        """Limit how much the server says from now on, over all connections."""
        self._seconds_per_byte = 1 / bytes_per_second

    def cut(self, *, reset: bool = False) -> None:
        """Close all connections: with a FIN, or with a RST."""
        for connection in self._open:
            connection.close(reset=reset)
        self._notify()

    def retarget(self, port: int) -> None:
        """Pass new connections to another port, as a fail-over does."""
        self._target = port

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Take no new connections meanwhile."""
        self._refusing = True
        try:
            yield
        finally:
            self._refusing = False

    @contextmanager
    def holding(self, whose: Choice = subscribers) -> Iterator[None]:
        """Hold back what is said over some connections, either way; it comes late, and in order."""
        self._held.append(whose)
        try:
            yield
        finally:
            self._held.remove(whose)
            self._notify()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                self._take(near)

    def _take(self, near: socket.socket) -> None:
        try:
            if self._refusing:  # pragma: no cover - if somebody comes meanwhile
                raise ConnectionRefusedError
            far = socket.create_connection(("127.0.0.1", self._target))
        except ConnectionRefusedError:  # pragma: no cover - the same
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            near.close()
            return
        connection = Connection(near, far)
        self._open.append(connection)
        for pump in (self._up, self._down):
            thread = threading.Thread(target=pump, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _up(self, connection: Connection) -> None:
        with suppress(OSError), connection.near:
            while data := connection.near.recv(65536):
                connection.said = (connection.said + data)[:65536]
                connection.asked = data
                self._wait_to_pass(connection)
                self.round_trips += not connection.spoke
                connection.spoke = True
                connection.far.sendall(data)
        connection.close()
        self._notify()

    def _down(self, connection: Connection) -> None:
        with suppress(OSError), connection.far:
            while data := connection.far.recv(65536):
                self._wait_to_pass(connection)
                connection.spoke = False
                if self._answers_to_swallow and self._to_what.encode() in connection.asked:
                    self._answers_to_swallow -= 1
                    break
                for start in range(0, len(data), _PIECE):
                    self._wait_for_turn(len(data[start : start + _PIECE]))
                    connection.near.sendall(data[start : start + _PIECE])
        connection.close()
        self._notify()

    def _wait_for_turn(self, size: int) -> None:
        with self._turn:
            now = time.monotonic()
            seconds = max(self._free_at - now, 0)
            self._free_at = now + seconds + size * self._seconds_per_byte
        time.sleep(seconds)

    def _wait_to_pass(self, connection: Connection) -> None:
        def may_pass() -> bool:
            held = connection.stuck or any(whose(connection) for whose in self._held)
            return connection.closed or not held

        with self._changed:
            if not may_pass():
                self.holds += 1
                self._changed.wait_for(may_pass)
                self.holds -= 1

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()
