"""How much one client may take: open streams, jobs a stream, and the time of its commands."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

MAX_JOBS = 100
"""How many jobs one stream may tell of."""
COMMANDS_AT_ONCE = 4
"""How many commands of one client are obeyed at a time, over all its sockets."""


class OpenStreams:
    """Those of this process. Weak: a response that was never sent leaves no stream behind."""

    def __init__(self) -> None:
        # Each with those of the same client, whom they keep: without one a client is forgotten. So
        # nobody has to look who was the last, which two threads at once would get wrong.
        self._all: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any] | None] = (
            weakref.WeakKeyDictionary()
        )
        self._by_client: weakref.WeakValueDictionary[str, weakref.WeakSet[Any]] = (
            weakref.WeakValueDictionary()
        )

    def __len__(self) -> int:
        return len(self._all)

    def of(self, client: str) -> int:
        """Return how many of them are this client's."""
        return len(self._by_client.get(client, ()))

    def add(self, stream: object, client: str) -> None:
        """Count a stream; of no client in particular where `client` is empty."""
        same = self._by_client.setdefault(client, weakref.WeakSet()) if client else None
        self._all[stream] = same
        if same is not None:
            same.add(stream)

    def discard(self, stream: object) -> None:
        """Count it no more. May be called from any thread, and more than once."""
        same = self._all.pop(stream, None)
        if same is not None:
            same.discard(stream)


class Turns:
    """Has each client wait for its own commands, and not all others.

    Args:
        at_once: how many of one client's are obeyed at a time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # Weak: a client's is kept by its sockets. By event loop, too, to which it belongs.
        self._by_client: weakref.WeakValueDictionary[Any, asyncio.Semaphore] = (
            weakref.WeakValueDictionary()
        )

    def of(self, client: str) -> AbstractAsyncContextManager[None]:
        """Return what is to be entered for each command; of who is not known, to no effect."""
        if not client:
            return nullcontext()
        key = (asyncio.get_running_loop(), client)
        return self._by_client.setdefault(key, asyncio.Semaphore(self._at_once))


turns = Turns(COMMANDS_AT_ONCE)
open_streams = OpenStreams()
