"""Running commands of `core` on Redis clients of each kind.

A sync client is used by the same coroutines, which then never wait: see `without_waiting`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import Any, TypeVar

import redis as sync_redis
from redis import asyncio as async_redis
from redis.exceptions import NoScriptError, ReadOnlyError, ResponseError

from ..cancellation import result_of, without_waiting
from ..core.command import Plan, RedisCommand
from ..core.errors import ProgressUnavailable
from .causes import REDIS_ERRORS, cause_of, exhausted_message, is_exhausted
from .cluster import LazyCluster, ShardedCluster, server_of, with_owners
from .timeouts import RunningTimeout
from .url import location_of

T = TypeVar("T")
Command = tuple[str | int, ...]
Send = Callable[[Any, Sequence[Command]], Awaitable[list[Any]]]

CALL_SECONDS = 5.0
"""Maximum time for a command. With redis-py's own retries a GET to a stopped server would take most
of a minute."""

_CLIENT_ERRORS = (*REDIS_ERRORS, ValueError)
"""The same if no code of ours runs: redis-py before 8 closes connections from which other threads
read, and those then find a closed buffer."""


AsyncClient = async_redis.Redis | async_redis.RedisCluster
SyncClient = sync_redis.Redis | sync_redis.RedisCluster | LazyCluster
Client = AsyncClient | SyncClient


def is_clustered(redis: Client) -> bool:
    """Tell whether each key may be on another server."""
    return isinstance(redis, async_redis.RedisCluster | sync_redis.RedisCluster | LazyCluster)


def is_sharded(redis: Client) -> bool:
    """Tell whether the updates of a job are published only by the server that has its key."""
    return isinstance(redis, ShardedCluster) or (isinstance(redis, LazyCluster) and redis.sharded)


def database_of(redis: Client) -> int:
    """Return the number of the client's database; a Cluster has only 0."""
    pool = None if is_clustered(redis) else getattr(redis, "connection_pool", None)
    return 0 if pool is None else int(pool.connection_kwargs.get("db") or 0)


@contextmanager
def _as_unavailable(redis: Client) -> Iterator[None]:
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


async def drop_idle_connections(redis: Client) -> None:
    """Close the idle connections of the pool: if one connection is dead, they may be as well."""
    if isinstance(redis, async_redis.Redis):  # The client of a Cluster does so by itself.
        with suppress(*REDIS_ERRORS):
            async with RunningTimeout(CALL_SECONDS):
                await redis.connection_pool.disconnect(inuse_connections=False)
    elif isinstance(redis, sync_redis.Redis):
        try:
            redis.connection_pool.disconnect(inuse_connections=False)
        except TypeError:  # pragma: no cover - redis-py 6 closes those in use as well.
            redis.connection_pool.disconnect()


async def perform(redis: Client, call: RedisCommand[T], *, seconds: float = CALL_SECONDS) -> T:
    """Send a command, then those that follow its reply, and return its result.

    Raises:
        ProgressUnavailable: no reply within `seconds` (with a sync client, within its time-outs),
            or Redis refused. (In a Cluster some commands are followed by others, each of which may
            take as long.)
        ProgressError: according to the reply.
    """
    [reply] = await _exchange(redis, [call], seconds, _execute)
    result = call.parse(reply)
    for step in () if call.follow is None else call.follow(reply):
        await perform(redis, step, seconds=seconds)
    return result


async def perform_plan(redis: Client, plan: Plan[T]) -> T:
    """Perform an operation of several steps and return its result.

    Raises:
        ProgressUnavailable: Redis did not reply in time, or refused.
    """
    try:
        calls = next(plan)
        while True:
            calls = plan.send(await read_all(redis, calls))
    except StopIteration as end:
        result: T = end.value
        return result


async def read_all(
    redis: Client, calls: Sequence[RedisCommand[T]], *, seconds: float = CALL_SECONDS
) -> list[T | None]:
    """Send reads in one pipeline, which may be sent twice, and return their results.

    The result is None for a key of another type: that is not a job, and must not keep the other
    jobs from being read.

    Raises:
        ProgressUnavailable: no reply within `seconds`, or Redis refused.
    """
    replies = await _exchange(redis, calls, seconds, _pipe)
    return [
        None if isinstance(reply, Exception) else call.parse(reply)
        for call, reply in zip(calls, replies, strict=True)
    ]


async def read_each(
    redis: AsyncClient, calls: Sequence[RedisCommand[Any]], *, seconds: float = CALL_SECONDS
) -> list[Any]:
    """Send reads to all servers at the same time; return a result or an exception for each read.

    A server that is down or frozen does not delay the jobs of the others.
    """
    positions: dict[str, list[int]] = {}
    for position, call in enumerate(calls):
        server = server_of(redis, call.key) if is_clustered(redis) else ""
        positions.setdefault(server, []).append(position)
    pipelines = (
        read_all(redis, [calls[position] for position in group], seconds=seconds)
        for group in positions.values()
    )
    results: list[Any] = [None] * len(calls)
    found = await asyncio.gather(*pipelines, return_exceptions=True)
    for group, outcome in zip(positions.values(), found, strict=True):
        of_group = [outcome] * len(group) if isinstance(outcome, BaseException) else outcome
        for position, result in zip(group, of_group, strict=True):
            results[position] = result
    return results


def perform_sync(redis: SyncClient, call: RedisCommand[T]) -> T:
    """Send a command and return its result: see `perform`."""
    return without_waiting(perform(redis, call))


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


async def _exchange(
    redis: Client, calls: Sequence[RedisCommand[Any]], seconds: float, send: Send
) -> list[Any]:
    """Send digests of scripts, and their texts if Redis does not know one of them.

    Return the replies. Raise an error among them, unless it says that a key has another type.
    """
    is_async = isinstance(redis, async_redis.Redis | async_redis.RedisCluster)
    with _as_unavailable(redis):
        async with RunningTimeout(seconds) if is_async else nullcontext():
            replies = await send(redis, [call.command for call in calls])
            if any(isinstance(reply, NoScriptError) for reply in replies):
                texts = [call.command if call.script is None else call.with_text for call in calls]
                replies = await send(redis, texts)
            for reply in replies:
                if isinstance(reply, Exception) and not _is_wrong_type(reply):
                    raise reply
    return replies


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def _is_read_only(error: ResponseError) -> bool:
    """Tell whether the server is no longer a primary.

    Redis 6.2 says so within the error of the script that was to write.
    """
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


async def _execute(redis: Any, commands: Sequence[Command]) -> list[Any]:
    """Send one command. An unknown digest is returned as an error."""
    [command] = commands
    try:
        return [await _route(redis, lambda: result_of(redis.execute_command(*command)))]
    except NoScriptError as error:
        return [error]
    except ResponseError as error:
        if _is_read_only(error):
            # The primary was demoted, but the connection is still open. A new connection leads to
            # the new primary, if the address does.
            await drop_idle_connections(redis)
        raise


async def _pipe(redis: Any, commands: Sequence[Command]) -> list[Any]:
    """Send commands in one pipeline. Errors are returned."""

    async def send() -> list[Any]:
        pipeline = redis.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await result_of(pipeline.execute(raise_on_error=False))
        return replies

    return await _route(redis, send)


async def _route(redis: Any, send: Callable[[], Awaitable[T]]) -> T:
    return await (with_owners(redis, send) if is_clustered(redis) else send())
