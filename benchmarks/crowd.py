"""Many watchers in a process of their own: `python -m benchmarks.crowd` is told what to do by JSON.

It does as little as it can with what arrives, so that it is the servers that are measured: bytes
come in, and what counts as an event is a time in it, `"sent":123,`, by the monotonic clock.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import struct
import sys
import time
from collections import deque

SENT = re.compile(rb'"sent":(\d+)[,}]')
LONGEST_CUT = 64
"""A time that the end of a chunk has cut in two is found in so many bytes before it."""
AT_ONCE = 50
"""How many connections are being opened at a time."""
LINGER_FOR_NOTHING = struct.pack("ii", 1, 0)


class Watcher:
    """One connection."""

    __slots__ = ("is_open", "rest", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.is_open = False
        self.rest = b""


class Crowd:
    """All connections, over one selector with the orders on standard input."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        self._watchers: list[Watcher] = []
        self._to_open: deque[bytes] = deque()
        self._port, self._ready = 0, b""
        self._open = 0
        self._broken = 0
        self._latencies: list[int] = []

    def run(self) -> None:
        """Obey until standard input is closed."""
        while line := self._next_order():
            order = json.loads(line)
            getattr(self, f"do_{order.pop('do')}")(**order)
            answer = {"open": self._open, "broken": self._broken, "sent_ns": self._latencies}
            print(json.dumps(answer), flush=True)
            self._latencies = []

    def _next_order(self) -> str:
        while not self._read(None):
            pass
        return sys.stdin.readline()

    def do_open(self, port: int, requests: list[str], ready: str, seconds: float) -> None:
        """Open a connection for each request; one is open once `ready` has arrived on it."""
        self._port, self._ready = port, ready.encode()
        self._to_open = deque(request.encode() for request in requests)
        wanted = self._open + len(requests)
        for _ in range(min(AT_ONCE, len(requests))):
            self._connect()
        deadline = time.monotonic() + seconds
        while self._open < wanted and (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def do_hear(self, events: int, seconds: float) -> None:
        """Take so many events, those included that came since the last order."""
        deadline = time.monotonic() + seconds
        while len(self._latencies) < events and (left := deadline - time.monotonic()) > 0:
            self._read(left)

    def do_reset(self) -> None:
        """Let go of all connections at once."""
        for watcher in self._watchers:
            self._drop(watcher)
        self._watchers, self._open, self._broken = [], 0, 0

    def _connect(self) -> None:
        if not self._to_open:
            return
        watcher = Watcher(socket.create_connection(("127.0.0.1", self._port)))
        watcher.socket.sendall(self._to_open.popleft())
        watcher.socket.setblocking(False)
        self._watchers.append(watcher)
        self._selector.register(watcher.socket, selectors.EVENT_READ, watcher)

    def _read(self, seconds: float | None) -> bool:
        """Take what has arrived; whether there is an order."""
        is_ordered = False
        for key, _ in self._selector.select(seconds):
            if key.data is None:
                is_ordered = True
            else:
                self._take(key.data)
        return is_ordered

    def _take(self, watcher: Watcher) -> None:
        try:
            data = watcher.rest + watcher.socket.recv(262_144)
        except BlockingIOError:
            return
        except OSError:
            data = watcher.rest
        now = time.monotonic_ns()
        if len(data) == len(watcher.rest):
            self._broken += 1
            self._drop(watcher)
            return
        end = 0
        for found in SENT.finditer(data):
            self._latencies.append(now - int(found[1]))
            end = found.end()
        if not watcher.is_open and self._ready in data:
            watcher.is_open = True
            self._open += 1
            self._connect()
        keep = LONGEST_CUT if watcher.is_open else len(data)
        watcher.rest = b"" if data.endswith(b"\n\n\r\n") else data[end:][-keep:]

    def _drop(self, watcher: Watcher) -> None:
        if watcher.socket.fileno() >= 0:
            self._selector.unregister(watcher.socket)
            watcher.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_FOR_NOTHING)
            watcher.socket.close()


def main() -> None:
    """Obey."""
    Crowd().run()


if __name__ == "__main__":
    main()
