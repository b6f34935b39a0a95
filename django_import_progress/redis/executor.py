"""Running commands of `core` on Redis clients of each kind.

Generators decide what to send, and get the replies; a driver for each kind of client waits.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import redis as sync_redis
from redis import asyncio as async_redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from ..core.command import Plan, RedisCommand
from ..core.errors import ProgressUnavailable
from .causes import REDIS_ERRORS, cause_of, exhausted_message, is_exhausted
from .cluster import LazyCluster, ShardedCluster, with_owners, with_owners_sync
from .timeouts import RunningTimeout
from .url import location_of

T = TypeVar("T")
Request = TypeVar("Request")
Response = TypeVar("Response")
Command = tuple[str | int, ...]

CALL_SECONDS = 5.0
"""Maximum time for a command. With redis-py's own retries a GET to a stopped server would take most
of a minute."""

_CLIENT_ERRORS = (*REDIS_ERRORS, ValueError)
"""The same if no code of ours runs: redis-py before 8 closes connections from which other threads
read, and those then find a closed buffer."""


AsyncClient = async_redis.Redis | async_redis.RedisCluster
SyncClient = sync_redis.Redis | sync_redis.RedisCluster | LazyCluster


def is_clustered(redis: AsyncClient | SyncClient) -> bool:
    """Tell whether each key may be on another server."""
    return isinstance(redis, async_redis.RedisCluster | sync_redis.RedisCluster | LazyCluster)


def is_sharded(redis: AsyncClient | SyncClient) -> bool:
    """Tell whether the updates of a job are published only by the server that has its key."""
    return isinstance(redis, ShardedCluster) or (isinstance(redis, LazyCluster) and redis.sharded)


def database_of(redis: AsyncClient | SyncClient) -> int:
    """Return the number of the client's database; a Cluster has only 0."""
    pool = None if is_clustered(redis) else getattr(redis, "connection_pool", None)
    return 0 if pool is None else int(pool.connection_kwargs.get("db") or 0)


@contextmanager
def _as_unavailable(redis: AsyncClient | SyncClient) -> Iterator[None]:
    """Turn the errors of a client into `ProgressUnavailable`."""
    try:
        yield
    except UnicodeDecodeError:  # From a strict client of the user's own: Redis has responded.
        raise
    except _CLIENT_ERRORS as error:
        if is_exhausted(redis, error):
            raise ProgressUnavailable(exhausted_message(redis)) from error
        # Not the text of the error, which may contain the URL's password.
        cause = cause_of(error) or "is REDIS_URL correct, and is the server up?"
        raise ProgressUnavailable(
            f"Redis at {location_of(redis)} is unavailable: {cause} ({type(error).__name__})"
        ) from error


async def drop_idle_connections(redis: AsyncClient) -> None:
    """Close the idle connections of the pool: if one connection is dead, they may be as well."""
    if isinstance(redis, async_redis.Redis):  # The client of a Cluster does so by itself.
        with suppress(*REDIS_ERRORS):
            async with RunningTimeout(CALL_SECONDS):
                await redis.connection_pool.disconnect(inuse_connections=False)


def drop_idle_connections_sync(redis: SyncClient) -> None:
    """Do the same with a sync client."""
    if isinstance(redis, sync_redis.Redis):
        try:
            redis.connection_pool.disconnect(inuse_connections=False)
        except TypeError:  # pragma: no cover - redis-py 6 closes those in use as well.
            redis.connection_pool.disconnect()


async def perform(redis: AsyncClient, call: RedisCommand[T], *, seconds: float = CALL_SECONDS) -> T:
    """Send a command and return its result.

    Raises:
        ProgressUnavailable: no reply within `seconds`, or Redis refused. (In a Cluster some
            commands are followed by others, each of which may take as long.)
        ProgressError: according to the reply.
    """

    async def send(step: RedisCommand[Any]) -> Any:
        with _as_unavailable(redis):
            async with RunningTimeout(seconds):
                replies = _replies_to([step])
                return (await _drive(replies, lambda commands: _execute(redis, *commands)))[0]

    return await _drive(_with_followers(call), send)


def perform_sync(redis: SyncClient, call: RedisCommand[T]) -> T:
    """Send a command and return its result.

    Raises:
        ProgressUnavailable: no reply within the client's time-outs, or Redis refused.
        ProgressError: according to the reply.
    """

    def send(step: RedisCommand[Any]) -> Any:
        with _as_unavailable(redis):
            replies = _replies_to([step])
            return _drive_sync(replies, lambda commands: _execute_sync(redis, *commands))[0]

    return _drive_sync(_with_followers(call), send)


async def perform_plan(redis: AsyncClient, plan: Plan[T]) -> T:
    """Perform an operation of several steps and return its result.

    Raises:
        ProgressUnavailable: Redis did not reply in time, or refused.
    """
    return await _drive(plan, lambda calls: read_all(redis, calls))


def perform_plan_sync(redis: SyncClient, plan: Plan[T]) -> T:
    """Do the same with a sync client."""
    return _drive_sync(plan, lambda calls: read_all_sync(redis, calls))


async def read_all(
    redis: AsyncClient, calls: Sequence[RedisCommand[T]], *, seconds: float = CALL_SECONDS
) -> list[T | None]:
    """Send reads in one pipeline, which may be sent twice, and return their results.

    The result is None for a key of another type: that is not a job, and must not keep the other
    jobs from being read.

    Raises:
        ProgressUnavailable: no reply within `seconds`, or Redis refused.
    """
    with _as_unavailable(redis):
        async with RunningTimeout(seconds):
            replies = await _drive(_replies_to(calls), lambda commands: _pipe(redis, commands))
    return _results(calls, replies)


def read_all_sync(redis: SyncClient, calls: Sequence[RedisCommand[T]]) -> list[T | None]:
    """Do the same with a sync client."""
    with _as_unavailable(redis):
        replies = _drive_sync(_replies_to(calls), lambda commands: _pipe_sync(redis, commands))
    return _results(calls, replies)


def ping_sync(redis: SyncClient) -> None:
    """Ping the server; in a Cluster each primary, while redis-py would ping any server.

    Raises:
        ProgressUnavailable: a server did not reply in time, or refused.
    """
    with _as_unavailable(redis):
        if is_clustered(redis):
            redis.ping(target_nodes="primaries")
        else:
            redis.ping()


def _with_followers(call: RedisCommand[T]) -> Generator[RedisCommand[Any], Any, T]:
    """Yield a command, then those that follow its reply; return its result."""
    reply = yield call
    result = call.parse(reply)
    for step in () if call.follow is None else call.follow(reply):
        yield from _with_followers(step)
    return result


def _replies_to(
    calls: Sequence[RedisCommand[Any]],
) -> Generator[list[Command], list[Any], list[Any]]:
    """Yield what to send: digests of scripts, and their texts if Redis does not know one of them.

    Return the replies. Raise an error among them, unless it says that a key has another type.
    """
    replies = yield [call.command for call in calls]
    if any(isinstance(reply, NoScriptError) for reply in replies):
        replies = yield [call.command if call.script is None else call.with_text for call in calls]
    for reply in replies:
        if isinstance(reply, Exception) and not _is_wrong_type(reply):
            raise reply
    return replies


def _results(calls: Sequence[RedisCommand[T]], replies: Sequence[Any]) -> list[T | None]:
    return [
        None if isinstance(reply, Exception) else call.parse(reply)
        for call, reply in zip(calls, replies, strict=True)
    ]


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def _is_read_only(error: ResponseError) -> bool:
    """Tell whether the server is no longer a primary.

    Redis 6.2 says so within the error of the script that was to write.
    """
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


async def _drive(
    steps: Generator[Request, Response, T], send: Callable[[Request], Awaitable[Response]]
) -> T:
    """Send what the generator yields, give it the responses, and return its result."""
    try:
        request = next(steps)
        while True:
            request = steps.send(await send(request))
    except StopIteration as end:
        result: T = end.value
        return result


def _drive_sync(steps: Generator[Request, Response, T], send: Callable[[Request], Response]) -> T:
    """Do the same with a sync function."""
    try:
        request = next(steps)
        while True:
            request = steps.send(send(request))
    except StopIteration as end:
        result: T = end.value
        return result


async def _execute(redis: AsyncClient, command: Command) -> list[Any]:
    """Send one command. An unknown digest is returned as an error."""
    try:
        return [await _route(redis, lambda: redis.execute_command(*command))]
    except NoScriptError as error:
        return [error]
    except ResponseError as error:
        if _is_read_only(error):
            # The primary was demoted, but the connection is still open. A new connection leads to
            # the new primary, if the address does.
            await drop_idle_connections(redis)
        raise


def _execute_sync(redis: SyncClient, command: Command) -> list[Any]:
    try:
        return [_route_sync(redis, lambda: redis.execute_command(*command))]
    except NoScriptError as error:
        return [error]
    except ResponseError as error:
        if _is_read_only(error):
            drop_idle_connections_sync(redis)
        raise


async def _pipe(redis: AsyncClient, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one pipeline. Errors are returned."""

    async def send() -> list[Any]:
        async with redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
            return replies

    return await _route(redis, send)


def _pipe_sync(redis: SyncClient, commands: Sequence[Command]) -> list[Any]:
    def send() -> list[Any]:
        with redis.pipeline(transaction=False) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            replies: list[Any] = pipeline.execute(raise_on_error=False)
            return replies

    return _route_sync(redis, send)


async def _route(redis: AsyncClient, send: Callable[[], Awaitable[T]]) -> T:
    return await (with_owners(redis, send) if is_clustered(redis) else send())


def _route_sync(redis: SyncClient, send: Callable[[], T]) -> T:
    return with_owners_sync(redis, send) if is_clustered(redis) else send()
