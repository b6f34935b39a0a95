"""What to do where a Cluster's client knows of nobody who has a hash slot: have it learn anew."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from redis.exceptions import SlotNotCoveredError

T = TypeVar("T")

UNKNOWN = (SlotNotCoveredError, KeyError)
"""What redis-py raises then. It looks a slot up in a dictionary; that none is there only its sync
client bears, and neither does where a server names the owner (MOVED). No code of ours runs in those
calls, so no `KeyError` of ours is taken for it."""


@contextmanager
def _by_its_name() -> Iterator[None]:
    try:
        yield
    except KeyError as error:
        raise SlotNotCoveredError(f"nobody has hash slot {error}") from error


def server_of(cluster: Any, key: str) -> str:
    """Return the name of the server that has a key, as far as an asynchronous client knows.

    Of a key that no server is known to have: the number of its hash slot, as text.
    """
    try:
        return str(cluster.get_node_from_key(key).name)
    except SlotNotCoveredError:
        return str(cluster.keyslot(key))


async def with_owners(cluster: Any, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask; where nobody is known to have the hash slot, once more when the servers have said who.

    redis-py does not have them say it, so a client that began while nobody had a slot would refuse
    its jobs for ever.

    Args:
        cluster: the client.
        ask: what is to be done by it.

    Raises:
        SlotNotCoveredError: nobody has it.
    """
    # Else redis-py 8 sends the first command to any server, for it routes before it has begun.
    await cluster.initialize()
    try:
        return await ask()
    except UNKNOWN:
        await cluster.nodes_manager.initialize()
    with _by_its_name():
        return await ask()


def with_owners_sync(cluster: Any, ask: Callable[[], T]) -> T:
    """Do the same with a client of the sync kind."""
    try:
        return ask()
    except UNKNOWN:
        cluster.nodes_manager.initialize()
    with _by_its_name():
        return ask()
