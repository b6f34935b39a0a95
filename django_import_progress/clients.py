"""Redis clients, and the calls of `core.calls` performed on them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, TypeVar

import redis as sync_redis
from redis import asyncio as async_redis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from .core.calls import Call
from .core.errors import ProgressUnavailable

T = TypeVar("T")
AsyncClient = async_redis.Redis
SyncClient = sync_redis.Redis

SCHEMES = ("redis", "rediss", "unix")
CALL_SECONDS = 5.0
"""How long a verb may take. redis-py's own retries would let a GET on a stopped server last for
most of a minute."""
CONNECTIONS = 50
"""Of one client. Who needs one more waits for it, as redis-py's plain pool would not."""
HEALTH_CHECK_SECONDS = 15


def is_redis_url(url: object) -> bool:
    """Tell whether a client can be made from `url`: its scheme, port, path and options."""
    return isinstance(url, str) and _can_be_made_from(url)


@lru_cache(maxsize=8)  # Asked with each look at the settings, and half a millisecond's work.
def _can_be_made_from(url: str) -> bool:
    if url.partition("://")[0] not in SCHEMES:
        return False
    try:
        sync_redis.ConnectionPool.from_url(url).make_connection()  # It connects when it is used.
    except (ValueError, TypeError):
        return False
    return True


def _options(url: str, decode_responses: bool, retries: int) -> dict[str, Any]:
    if not is_redis_url(url):  # The URL is not quoted: it may hold a password.
        raise ValueError(
            "A Redis URL begins with redis://, rediss:// or unix://, as in"
            " redis://localhost:6379/0; special characters in a password are percent-encoded"
        )
    options = {
        "decode_responses": decode_responses,
        "encoding_errors": "replace",
        "health_check_interval": HEALTH_CHECK_SECONDS,
        "max_connections": CONNECTIONS,
        "timeout": CALL_SECONDS,
    }
    backoff = ExponentialWithJitterBackoff(base=0.05, cap=0.5)
    return options | {"retry": (backoff, retries)}


def create_redis_client(url: str, decode_responses: bool = False) -> AsyncClient:
    """Return a `redis.asyncio` client with health checks on. It connects when it is first used.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        decode_responses: whether answers come as `str`; `ProgressManager` takes both kinds.

    Raises:
        ValueError: the URL is of another kind.
    """
    options = _options(url, decode_responses, retries=1)
    options["retry"] = AsyncRetry(*options["retry"])
    pool = async_redis.BlockingConnectionPool.from_url(url, **options)
    return async_redis.Redis.from_pool(pool)


def create_sync_redis_client(
    url: str,
    decode_responses: bool = False,
    *,
    timeout_seconds: float = CALL_SECONDS,
    retries: int = 1,
) -> SyncClient:
    """Return a `redis` client with health checks on. It connects when it is first used.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        decode_responses: whether answers come as `str`; `SyncProgressManager` takes both kinds.
        timeout_seconds: how long to wait for a connection, and for an answer.
        retries: how often a command is sent again after a broken connection.

    Raises:
        ValueError: the URL is of another kind.
    """
    options = _options(url, decode_responses, retries)
    options["retry"] = Retry(*options["retry"])
    options["socket_timeout"] = timeout_seconds
    if not url.startswith("unix"):
        options["socket_connect_timeout"] = timeout_seconds
    pool = sync_redis.BlockingConnectionPool.from_url(url, **options)
    return sync_redis.Redis.from_pool(pool)


@contextmanager
def _as_unavailable() -> Iterator[None]:
    """Turn what a client raises into `ProgressUnavailable`."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        # Only the kind of the error: its text may hold the URL's password.
        raise ProgressUnavailable(
            f"Redis is out of reach or refuses to serve ({type(error).__name__});"
            " is REDIS_URL right, and the server up?"
        ) from error


async def drop_idle_connections(redis: AsyncClient) -> None:
    """Close what lies idle in the pool: when one link has fallen silent, they may be as dead."""
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(CALL_SECONDS):
            await redis.connection_pool.disconnect(inuse_connections=False)


def drop_idle_connections_sync(redis: SyncClient) -> None:
    """Do the same with a client of the sync kind."""
    try:
        redis.connection_pool.disconnect(inuse_connections=False)
    except TypeError:  # pragma: no cover - redis-py 6: those in use go as well, and come back.
        redis.connection_pool.disconnect()


async def perform(redis: AsyncClient, call: Call[T], *, seconds: float = CALL_SECONDS) -> T:
    """Send one call and return its result.

    Raises:
        ProgressUnavailable: no answer within `seconds`, or Redis refused.
        ProgressError: what the answer says.
    """
    with _as_unavailable():
        async with asyncio.timeout(seconds):
            try:
                reply = await redis.execute_command(*call.command)
            except NoScriptError:
                reply = await redis.execute_command(*call.with_text)
    return call.parse(reply)


async def read_all(
    redis: AsyncClient, calls: Sequence[Call[T]], *, seconds: float = CALL_SECONDS
) -> list[T | None]:
    """Send reads that are plain commands in one pipeline, and return their results.

    None stands for a key of another type, which is no job of ours: one such key must not keep the
    other jobs from being read.

    Raises:
        ProgressUnavailable: no answer within `seconds`, or Redis refused.
    """
    with _as_unavailable():
        async with asyncio.timeout(seconds), redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                pipeline.execute_command(*call.command)
            replies = await pipeline.execute(raise_on_error=False)
        for reply in replies:
            if isinstance(reply, Exception) and not _is_wrong_type(reply):
                raise reply
    return [
        None if isinstance(reply, Exception) else call.parse(reply)
        for call, reply in zip(calls, replies, strict=True)
    ]


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")


def perform_sync(redis: SyncClient, call: Call[T]) -> T:
    """Send one call and return its result.

    Raises:
        ProgressUnavailable: no answer within the client's time-outs, or Redis refused.
        ProgressError: what the answer says.
    """
    with _as_unavailable():
        try:
            reply = redis.execute_command(*call.command)
        except NoScriptError:
            reply = redis.execute_command(*call.with_text)
    return call.parse(reply)
