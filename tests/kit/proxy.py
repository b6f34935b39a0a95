"""A TCP proxy between a client and a server: counts round trips, swallows answers, goes silent."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class _Pair:
    """One connection, both sides of it."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.passing = threading.Event()
        self.passing.set()
        self.spoke = False

    def close(self) -> None:
        self.passing.set()
        for side in (self.near, self.far):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)


class Proxy:
    """Listens on a port of its own and passes bytes on; to be used as a context manager."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.round_trips = 0
        """How often a client spoke after the server had, on any connection."""
        self.connections = 0
        self._answers_to_swallow = 0
        self._pairs: list[_Pair] = []
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

    def swallow(self, answers: int = 1) -> None:
        """Let the server do what it is asked next, and cut the link in place of its answer."""
        self._answers_to_swallow = answers

    def blackhole(self) -> None:
        """Pass nothing more on over what is open now, without a FIN, as a pulled cable does."""
        for pair in self._pairs:
            pair.passing.clear()

    def cut(self) -> None:
        """Close all connections."""
        for pair in self._pairs:
            pair.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.connections += 1
                pair = _Pair(near, socket.create_connection(("127.0.0.1", self._target)))
                self._pairs.append(pair)
                for pump in (self._up, self._down):
                    thread = threading.Thread(target=pump, args=(pair,))
                    self._threads.append(thread)
                    thread.start()

    def _up(self, pair: _Pair) -> None:
        with suppress(OSError), pair.near:
            while data := pair.near.recv(65536):
                pair.passing.wait()
                self.round_trips += not pair.spoke
                pair.spoke = True
                pair.far.sendall(data)
        pair.close()

    def _down(self, pair: _Pair) -> None:
        with suppress(OSError), pair.far:
            while data := pair.far.recv(65536):
                pair.passing.wait()
                pair.spoke = False
                if self._answers_to_swallow:
                    self._answers_to_swallow -= 1
                    break
                pair.near.sendall(data)
        pair.close()
