"""Creates the managers that the settings describe, and shares them within a loop or process."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import Any, Protocol

from ..conf import settings
from ..redis.circuit_breaker import SharedBreaker
from ..redis.executor import CALL_SECONDS, AsyncClient, SyncClient, ping_sync
from ..redis.factory import create_redis_client, create_sync_redis_client
from ..watch.hub import Hub
from .manager import ProgressManager
from .sync_manager import SyncProgressManager

IMPATIENT_SECONDS = 1.0
"""Time-out for callers that can do without a response: a page, a probe, and the tracker, which
retries by itself."""


MOST_MANAGERS = 1000
"""How many managers of each kind are kept. A site may have many tenants, each with a namespace."""


class Server(Protocol):
    """Creates clients of one Redis server."""

    @property
    def url(self) -> str:
        """Identifies the server in this process."""

    def create_client(self) -> AsyncClient:
        """Return a client for the running event loop."""

    def create_sync_client(self, timeout_seconds: float, retries: int) -> SyncClient:
        """Return a client for any thread."""


@dataclasses.dataclass(frozen=True, slots=True)
class ServerAtUrl:
    """The server of a `REDIS_URL`."""

    url: str

    def create_client(self) -> AsyncClient:
        """Return a client for the running event loop."""
        return create_redis_client(self.url)

    def create_sync_client(self, timeout_seconds: float, retries: int) -> SyncClient:
        """Return a client for any thread."""
        return create_sync_redis_client(self.url, timeout_seconds=timeout_seconds, retries=retries)


@dataclasses.dataclass(frozen=True, slots=True)
class _Connection:
    """The client, hub and managers of one event loop, made from these settings."""

    url: str
    heartbeat_seconds: float
    redis: AsyncClient
    hub: Hub
    closing: AsyncGenerator[None, None]
    """Kept alive so that the loop closes it: see `_close_with_loop`."""
    managers: dict[tuple[object, ...], ProgressManager] = dataclasses.field(default_factory=dict)
    """By their options. Reused, since a manager remembers the versions that it has written."""


# No locks: a lock that another thread holds during a fork stays locked in the child. Each loop has
# its own key, and `setdefault` is atomic.
_per_loop: dict[asyncio.AbstractEventLoop, _Connection] = {}
_sync_clients: dict[tuple[str, float, int], SyncClient] = {}
_sync_managers: dict[tuple[object, ...], SyncProgressManager] = {}
_breakers: dict[str, SharedBreaker] = {}
_replacements: list[Server] = []


def _server() -> Server:
    return _replacements[-1] if _replacements else ServerAtUrl(settings.redis_url)


@contextmanager
def replace_server(server: Server) -> Iterator[None]:
    """Use another server than that of the settings, in all threads and loops of this process.

    Managers that were created before keep their server. Of several blocks the last one counts.
    """
    _replacements.append(server)
    try:
        yield
    finally:
        _replacements.remove(server)
        _breakers.pop(server.url, None)
        for key in [key for key in _sync_clients if key[0] == server.url]:
            client = _sync_clients.pop(key)
            for made in [made for made in _sync_managers if made[0] is client]:
                del _sync_managers[made]
            client.close()


def get_progress_manager(namespace: str | None = None) -> ProgressManager:
    """Return the manager for the running event loop, made from the settings.

    All managers of a loop share a client and a hub, and so one pub/sub connection. They are closed
    when the loop shuts down (`asyncio.run`, `async_to_sync`, an ASGI server).

    Args:
        namespace: default: the setting's.

    Raises:
        RuntimeError: no event loop is running; use `get_sync_progress_manager` in sync code.
    """
    return _manager(namespace)


def get_guarded_manager(namespace: str | None = None) -> ProgressManager:
    """Return a manager for views: its calls fail at once while Redis does not respond."""
    return _manager(namespace, _breaker(_server()))


def _manager(namespace: str | None, breaker: SharedBreaker | None = None) -> ProgressManager:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "get_progress_manager() needs a running event loop;"
            " in sync code use get_sync_progress_manager()"
        ) from None
    server = _server()
    made_for = (server.url, settings.heartbeat_seconds)
    connection = _per_loop.get(loop)
    if connection is None or (connection.url, connection.heartbeat_seconds) != made_for:
        _forget_closed_loops()
        redis = server.create_client()
        hub = Hub(redis, heartbeat_seconds=settings.heartbeat_seconds)
        connection = _Connection(*made_for, redis, hub, _close_with_loop(redis, hub))
        _per_loop[loop] = connection
    options = _options(namespace)
    key = (*options.values(), breaker)
    manager = connection.managers.get(key)
    if manager is None:
        manager = connection.managers[key] = ProgressManager(
            connection.redis, hub=connection.hub, breaker=breaker, **options
        )
        _forget_oldest(connection.managers)
    return manager


def _forget_oldest(managers: dict[tuple[object, ...], Any]) -> None:
    for key in list(managers)[:-MOST_MANAGERS]:
        managers.pop(key, None)  # Another thread may have removed it.


def _options(namespace: str | None) -> dict[str, Any]:
    return {
        "namespace": namespace or settings.namespace,
        "ttl_seconds": settings.ttl_seconds,
        "queued_seconds": settings.queued_seconds,
        "ended_seconds": settings.ended_seconds,
    }


def _close_with_loop(redis: AsyncClient, hub: Hub) -> AsyncGenerator[None, None]:
    """Arrange for `redis` and `hub` to be closed when the running loop shuts down.

    A loop has no hook for that, but it closes the async generators that were started in it:
    https://docs.python.org/3/library/asyncio-eventloop.html#asyncio.loop.shutdown_asyncgens
    """

    async def closing() -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await hub.aclose()
            await redis.aclose()

    generator = closing()
    with suppress(StopIteration):
        generator.asend(None).send(None)  # Runs up to the yield, without waiting.
    return generator


def _forget_closed_loops() -> None:
    for loop in list(_per_loop):
        if loop.is_closed():
            _per_loop.pop(loop, None)


def open_hubs() -> list[Hub]:
    """Return the hubs of this process, one for each event loop that has a manager."""
    return [connection.hub for connection in list(_per_loop.values())]


def get_sync_progress_manager(namespace: str | None = None) -> SyncProgressManager:
    """Return the sync manager made from the settings; safe in threads and after a fork.

    Args:
        namespace: default: the setting's.
    """
    return _sync_manager(namespace, CALL_SECONDS, retries=1)


def get_impatient_manager(namespace: str | None = None) -> SyncProgressManager:
    """Return a sync manager with short time-outs and no retries."""
    return _sync_manager(namespace, IMPATIENT_SECONDS, retries=0)


def get_guarded_sync_manager(namespace: str | None = None) -> SyncProgressManager:
    """Return a sync manager for pages and for code that queues imports.

    Its calls have short time-outs, and fail at once while Redis does not respond.
    """
    breaker = _breaker(_server())
    return _sync_manager(namespace, IMPATIENT_SECONDS, retries=0, breaker=breaker)


def _breaker(server: Server) -> SharedBreaker:
    """Return this process's circuit breaker for a server."""
    breaker = _breakers.get(server.url)
    return breaker or _breakers.setdefault(server.url, SharedBreaker(partial(_ping, server)))


def _ping(server: Server) -> None:
    """Ping Redis with a separate client, whose pool other callers cannot have exhausted.

    Raises:
        ProgressUnavailable: Redis did not respond in time, or refused.
    """
    client = server.create_sync_client(IMPATIENT_SECONDS, 0)
    with closing(client):
        ping_sync(client)


def _sync_manager(
    namespace: str | None,
    timeout_seconds: float,
    retries: int,
    *,
    breaker: SharedBreaker | None = None,
) -> SyncProgressManager:
    server = _server()
    made_for = (server.url, timeout_seconds, retries)
    client = _sync_clients.get(made_for)
    if client is None:
        made_client = server.create_sync_client(timeout_seconds, retries)
        client = _sync_clients.setdefault(made_for, made_client)
    options = {**_options(namespace), "heartbeat_seconds": settings.heartbeat_seconds}
    key = (client, *options.values(), breaker)
    manager = _sync_managers.get(key)
    if manager is None:
        made = SyncProgressManager(client, breaker=breaker, **options)
        manager = _sync_managers.setdefault(key, made)
        _forget_oldest(_sync_managers)
    return manager
