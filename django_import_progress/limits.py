"""How many streams are open, in this process and of one client; how many jobs one tells of."""

from __future__ import annotations

import weakref
from typing import Any

MAX_JOBS = 100
"""How many jobs one stream may tell of."""


class OpenStreams:
    """Those of this process. Weak: a response that was never sent leaves no stream behind."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()
        self._by_client: dict[str, weakref.WeakSet[Any]] = {}

    def __len__(self) -> int:
        return len(self._all)

    def of(self, client: str) -> int:
        """Return how many of them are this client's."""
        return len(self._by_client.get(client, ()))

    def add(self, stream: object, client: str) -> None:
        """Count a stream; of no client in particular where `client` is empty."""
        self._all.add(stream)
        if client:
            self._by_client.setdefault(client, weakref.WeakSet()).add(stream)

    def discard(self, stream: object, client: str) -> None:
        """Count it no more. May be called from any thread, and more than once."""
        self._all.discard(stream)
        if client in self._by_client:
            self._by_client[client].discard(stream)
            if not self._by_client[client]:
                self._by_client.pop(client, None)


open_streams = OpenStreams()
