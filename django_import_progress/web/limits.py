"""Limits for a client: open streams, jobs in a stream, and commands at the same time."""

from __future__ import annotations

import asyncio
import weakref
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from ..conf import settings
from ..core.messages import TOO_MANY_OF_YOURS, TOO_MANY_STREAMS

MAX_JOBS = 100
"""Maximum number of jobs in a stream."""
COMMANDS_AT_ONCE = 4
"""How many commands of a client run at the same time, over all its sockets."""


class OpenStreams:
    """The open streams of this process. Weak: an unsent response leaves no stream behind."""

    def __init__(self) -> None:
        # Each stream keeps the set of its client's streams alive. So a client is forgotten with its
        # last stream, and nobody has to check which is the last: two threads could get that wrong.
        self._all: weakref.WeakKeyDictionary[Any, weakref.WeakSet[Any] | None] = (
            weakref.WeakKeyDictionary()
        )
        self._by_client: weakref.WeakValueDictionary[str, weakref.WeakSet[Any]] = (
            weakref.WeakValueDictionary()
        )

    def __len__(self) -> int:
        return len(self._all)

    def of(self, client: str) -> int:
        """Return how many open streams a client has."""
        return len(self._by_client.get(client, ()))

    def add(self, stream: object, client: str) -> None:
        """Count a stream; if `client` is empty, for no client."""
        same = self._by_client.setdefault(client, weakref.WeakSet()) if client else None
        self._all[stream] = same
        if same is not None:
            same.add(stream)

    def discard(self, stream: object) -> None:
        """Stop counting a stream. May be called from any thread, and more than once."""
        same = self._all.pop(stream, None)
        if same is not None:
            same.discard(stream)


class Turns:
    """Makes each client wait for its own commands, so that others need not wait for them.

    Args:
        at_once: how many commands of a client run at the same time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        # Weak: a client's sockets keep its semaphore. By event loop, too, since it belongs to one.
        self._by_client: weakref.WeakValueDictionary[Any, asyncio.Semaphore] = (
            weakref.WeakValueDictionary()
        )

    def of(self, client: str) -> AbstractAsyncContextManager[None]:
        """Return the context in which a command runs; it does nothing if `client` is empty."""
        if not client:
            return nullcontext()
        key = (asyncio.get_running_loop(), client)
        return self._by_client.setdefault(key, asyncio.Semaphore(self._at_once))


turns = Turns(COMMANDS_AT_ONCE)
open_streams = OpenStreams()


def too_many(client: str) -> str:
    """Return why this client gets no further stream; empty if it does."""
    if len(open_streams) >= settings.max_streams:
        return TOO_MANY_STREAMS
    if open_streams.of(client) >= settings.max_streams_per_client:
        return TOO_MANY_OF_YOURS
    return ""
