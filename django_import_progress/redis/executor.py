"""Redis clients of each kind, and the calls of `core` performed on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import redis as sync_redis
from redis import asyncio as async_redis
from redis.exceptions import (
    NoScriptError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
)

from ..core.command import Plan, RedisCommand
from ..core.errors import ProgressUnavailable
from .causes import cause_of
from .hash_slots import with_owners, with_owners_sync
from .lazy_cluster import LazyCluster
from .locations import location_of
from .pools import exhausted_message, is_exhausted
from .timeouts import RunningTimeout

T = TypeVar("T")
Command = tuple[str | int, ...]

CALL_SECONDS = 5.0
"""How long a verb may take. redis-py's own retries would let a GET on a stopped server last for
most of a minute."""

REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError, IndexError)
"""What a client raises that cannot do what it was asked: a Cluster's also `IndexError`, where none
of its servers holds a slot."""
_CLIENT_ERRORS = (*REDIS_ERRORS, ValueError)
"""The same, where no code of ours runs: redis-py before 8 closes connections from which other
threads read, and those find a closed buffer."""


class ShardedCluster(async_redis.RedisCluster):
    """A Cluster in which each job is told by its own server alone."""


AsyncClient = async_redis.Redis | async_redis.RedisCluster
SyncClient = sync_redis.Redis | sync_redis.RedisCluster | LazyCluster


def is_clustered(redis: AsyncClient | SyncClient) -> bool:
    """Tell whether each key may live on another server."""
    return isinstance(redis, async_redis.RedisCluster | sync_redis.RedisCluster | LazyCluster)


def is_sharded(redis: AsyncClient | SyncClient) -> bool:
    """Tell whether a job is told by the server alone that has its key."""
    return isinstance(redis, ShardedCluster) or (isinstance(redis, LazyCluster) and redis.sharded)


def database_of(redis: AsyncClient | SyncClient) -> int:
    """Return the number of the database to which the client connects; a Cluster has only 0."""
    pool = None if is_clustered(redis) else getattr(redis, "connection_pool", None)
    return 0 if pool is None else int(pool.connection_kwargs.get("db") or 0)


@contextmanager
def _as_unavailable(redis: AsyncClient | SyncClient) -> Iterator[None]:
    """Turn what a client raises into `ProgressUnavailable`."""
    try:
        yield
    except UnicodeDecodeError:  # Of a strict client of the user's own: Redis has served.
        raise
    except _CLIENT_ERRORS as error:
        if is_exhausted(redis, error):
            raise ProgressUnavailable(exhausted_message(redis)) from error
        # Not the text of the error, which may hold the URL's password.
        cause = cause_of(error) or "is REDIS_URL right, and the server up?"
        raise ProgressUnavailable(
            f"Redis at {location_of(redis)} is out of reach or refuses to serve: {cause}"
            f" ({type(error).__name__})"
        ) from error


async def drop_idle_connections(redis: AsyncClient) -> None:
    """Close what lies idle in the pool: when one link has fallen silent, they may be as dead."""
    if isinstance(redis, async_redis.Redis):  # A Cluster's client does so by itself.
        with suppress(*REDIS_ERRORS):
            async with RunningTimeout(CALL_SECONDS):
                await redis.connection_pool.disconnect(inuse_connections=False)


def drop_idle_connections_sync(redis: SyncClient) -> None:
    """Do the same with a client of the sync kind."""
    if isinstance(redis, sync_redis.Redis):
        try:
            redis.connection_pool.disconnect(inuse_connections=False)
        except TypeError:  # pragma: no cover - redis-py 6: those in use go too, and come back.
            redis.connection_pool.disconnect()


async def perform(redis: AsyncClient, call: RedisCommand[T], *, seconds: float = CALL_SECONDS) -> T:
    """Send one call and return its result.

    Raises:
        ProgressUnavailable: no answer within `seconds`, or Redis refused. (In a Cluster some calls
            are followed by others, each of which may take as long.)
        ProgressError: what the answer says.
    """
    reply = await _answer(redis, call, seconds)
    result = call.parse(reply)
    for step in () if call.follow is None else call.follow(reply):
        await _answer(redis, step, seconds)
    return result


async def _answer(redis: AsyncClient, call: RedisCommand[Any], seconds: float) -> Any:
    with _as_unavailable(redis):
        async with RunningTimeout(seconds):
            return await _send(redis, call)


async def _send(redis: AsyncClient, call: RedisCommand[Any]) -> Any:
    try:
        return await _execute(redis, call.command)
    except NoScriptError:
        return await _execute(redis, call.with_text)
    except ResponseError as error:
        if _is_read_only(error):
            # The primary was demoted under an open socket: another one opens to its successor,
            # where the address leads there.
            await drop_idle_connections(redis)
        raise


def _is_read_only(error: ResponseError) -> bool:
    """Tell whether the server is no primary any more.

    Redis 6.2 says it within what it says of the script that was to write.
    """
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


async def _execute(redis: AsyncClient, command: Command) -> Any:
    if is_clustered(redis):
        return await with_owners(redis, lambda: redis.execute_command(*command))
    return await redis.execute_command(*command)


async def perform_plan(redis: AsyncClient, plan: Plan[T]) -> T:
    """Perform a verb of several steps and return its result.

    Raises:
        ProgressUnavailable: Redis did not answer in time, or refused.
    """
    answers: list[Any] | None = None
    while True:
        try:
            calls = plan.send(answers)  # type: ignore[arg-type]  # None begins it.
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answers = await read_all(redis, calls)


async def read_all(
    redis: AsyncClient, calls: Sequence[RedisCommand[T]], *, seconds: float = CALL_SECONDS
) -> list[T | None]:
    """Send commands in one pipeline, which may be sent twice, and return their results.

    None stands for a key of another type, which is no job of ours: one such key must not keep the
    other jobs from being read.

    Raises:
        ProgressUnavailable: no answer within `seconds`, or Redis refused.
    """
    with _as_unavailable(redis):
        async with RunningTimeout(seconds):
            replies = await _pipe(redis, [call.command for call in calls])
            if _lack_a_script(replies):
                replies = await _pipe(redis, _with_texts(calls))
            _raise_refusals(replies)
    return _results(calls, replies)


async def _pipe(redis: AsyncClient, commands: Sequence[Command]) -> list[Any]:
    if is_clustered(redis):
        return await with_owners(redis, lambda: _pipe_once(redis, commands))
    return await _pipe_once(redis, commands)


async def _pipe_once(redis: AsyncClient, commands: Sequence[Command]) -> list[Any]:
    async with redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies


def _with_texts(calls: Sequence[RedisCommand[Any]]) -> list[Command]:
    return [call.command if call.script is None else call.with_text for call in calls]


def _lack_a_script(replies: Sequence[Any]) -> bool:
    return any(isinstance(reply, NoScriptError) for reply in replies)


def _raise_refusals(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception) and not _is_wrong_type(reply):
            raise reply


def _results(calls: Sequence[RedisCommand[T]], replies: Sequence[Any]) -> list[T | None]:
    return [
        None if isinstance(reply, Exception) else call.parse(reply)
        for call, reply in zip(calls, replies, strict=True)
    ]


def _is_wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def perform_sync(redis: SyncClient, call: RedisCommand[T]) -> T:
    """Send one call and return its result.

    Raises:
        ProgressUnavailable: no answer within the client's time-outs, or Redis refused.
        ProgressError: what the answer says.
    """
    with _as_unavailable(redis):
        reply = _send_sync(redis, call)
    result = call.parse(reply)
    for step in () if call.follow is None else call.follow(reply):
        with _as_unavailable(redis):
            _send_sync(redis, step)
    return result


def _send_sync(redis: SyncClient, call: RedisCommand[Any]) -> Any:
    try:
        return _execute_sync(redis, call.command)
    except NoScriptError:
        return _execute_sync(redis, call.with_text)
    except ResponseError as error:
        if _is_read_only(error):
            drop_idle_connections_sync(redis)
        raise


def _execute_sync(redis: SyncClient, command: Command) -> Any:
    if is_clustered(redis):
        return with_owners_sync(redis, lambda: redis.execute_command(*command))
    return redis.execute_command(*command)


def perform_plan_sync(redis: SyncClient, plan: Plan[T]) -> T:
    """Perform a verb of several steps and return its result: see `perform_plan`."""
    answers: list[Any] | None = None
    while True:
        try:
            calls = plan.send(answers)  # type: ignore[arg-type]
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]
        answers = read_all_sync(redis, calls)


def read_all_sync(redis: SyncClient, calls: Sequence[RedisCommand[T]]) -> list[T | None]:
    """Send commands in one pipeline and return their results: see `read_all`."""
    with _as_unavailable(redis):
        replies = _pipe_sync(redis, [call.command for call in calls])
        if _lack_a_script(replies):
            replies = _pipe_sync(redis, _with_texts(calls))
        _raise_refusals(replies)
    return _results(calls, replies)


def _pipe_sync(redis: SyncClient, commands: Sequence[Command]) -> list[Any]:
    if is_clustered(redis):
        return with_owners_sync(redis, lambda: _pipe_once_sync(redis, commands))
    return _pipe_once_sync(redis, commands)


def _pipe_once_sync(redis: SyncClient, commands: Sequence[Command]) -> list[Any]:
    with redis.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute(raise_on_error=False)
        return replies


def ping_sync(redis: SyncClient) -> None:
    """Ping the server; of a Cluster each primary, where redis-py would be content with any server.

    Raises:
        ProgressUnavailable: one did not respond in time, or refused.
    """
    with _as_unavailable(redis):
        if is_clustered(redis):
            redis.ping(target_nodes="primaries")
        else:
            redis.ping()
