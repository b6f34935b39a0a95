"""Why a Redis call failed, in words, without the text of the client's exception.

That text may contain a password, or the data to be written.
"""

from __future__ import annotations

import re
import socket
import ssl
from typing import Any

import redis as sync_redis
from redis import asyncio as async_redis
from redis.asyncio.sentinel import MasterNotFoundError as AsyncMasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    ClusterDownError,
    InvalidResponse,
    MaxConnectionsError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
)
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import MasterNotFoundError

from .embedded import EmbeddedServerError
from .url import location_of

REDIS_ERRORS = (RedisError, RedisClusterException, OSError, TimeoutError, IndexError)
"""The errors of a client: in a Cluster also `IndexError`, if no server has a slot."""

DOCUMENTED = "see “Redis permissions” in the documentation of django-import-progress"
REFUSALS = {
    "NOAUTH|Authentication required": "it requires a password, and REDIS_URL has none",
    "without any password configured|no password is set": (
        "REDIS_URL has a password, but this Redis requires none: remove it"
    ),
    "WRONGPASS|invalid (username-)?password": "it does not accept the user or the password",
    "DB index is out of range|invalid DB index": "it has no database with the number in REDIS_URL",
    "SELECT is not allowed in cluster mode": "a Cluster has no database other than 0",
    "MOVED|CROSSSLOT|cluster support disabled": (
        "use redis+cluster:// in REDIS_URL for a Cluster, and only for a Cluster"
    ),
    "DENIED|protected mode": "it is in protected mode, and accepts local connections only",
    "OOM|maxmemory": "its memory is full (maxmemory)",
    "READONLY|read only replica": "it is a replica, and accepts no writes",
    "LOADING": "it is still loading its data",
    "MASTERDOWN": "it is a replica that has lost its primary",
    "MISCONF": "it cannot save its data to disk, and accepts no writes until it can",
    "NOREPLICAS": "it has too few replicas to accept writes",
    "CLUSTERDOWN|TRYAGAIN": "the Cluster does not serve all hash slots",
    "BUSY": "it is busy with another program's script",
    "max number of clients": "it has reached its maximum number of clients (maxclients)",
    "No connection available": "all connections of this process are in use",
}
"""Causes by patterns for the text of an exception."""

_NO_PRIMARY = "the sentinels know of no reachable primary with the name in REDIS_URL"
KINDS: dict[type[BaseException], str] = {
    ssl.SSLError: (
        "the TLS connection failed; rediss:// requires a server with TLS, and some servers require"
        " a client certificate (ssl_certfile, ssl_keyfile)"
    ),
    socket.gaierror: "the name of its host cannot be resolved",
    ConnectionRefusedError: "nothing listens there (connection refused); is the server up?",
    ConnectionResetError: "it closed the connection; a server with TLS requires rediss://",
    BrokenPipeError: "it closed the connection",
    FileNotFoundError: "there is no such socket or certificate file as in REDIS_URL",
    PermissionError: "this process may not open the socket or certificate file in REDIS_URL",
    AuthenticationError: "it does not accept the user or the password",
    AsyncMasterNotFoundError: _NO_PRIMARY,
    MasterNotFoundError: _NO_PRIMARY,
    ClusterDownError: "the Cluster does not serve all hash slots",
    SlotNotCoveredError: "the Cluster does not serve all hash slots",
    IndexError: "the Cluster does not serve all hash slots",
    RedisClusterException: "none of the Cluster's servers can be used: down, or not in a Cluster",
    InvalidResponse: "the server there is not Redis",
    MaxConnectionsError: "all connections of this process are in use",
    TimeoutError: "it does not respond in time",
    RedisTimeoutError: "it does not respond in time",
}
"""Causes by the type of an exception; the first match counts."""

_UNKNOWN = re.compile(
    r"unknown (?:redis )?command\W+(\w+)|(Invalid command passed to)", re.IGNORECASE
)
_FORBIDDEN = re.compile(r"to run the '([\w|-]+)' command")
_PERMISSIONS = re.compile("NOPERM|permission|ACL failure|user executing the script")
_EXHAUSTED = ("Too many connections", "No connection available.")
"""Texts of redis-py's exceptions. Before version 7 it has no type for this, and a blocking
pool still raises a plain `ConnectionError`."""


def cause_of(error: BaseException) -> str:
    """Return why a call failed; empty if the cause is unknown."""
    own = next((e for e in _chain(error) if isinstance(e, EmbeddedServerError)), None)
    if own:
        return str(own)
    text = str(error)
    by_text = _by_permissions(text) or next(
        (words for pattern, words in REFUSALS.items() if re.search(pattern, text)), ""
    )
    # The first exception of the chain says most: a refused connection rather than a failed Cluster.
    return by_text or next(filter(None, map(_by_type, _chain(error))), "")


def _chain(error: BaseException | None) -> list[BaseException]:
    """Return an exception and those that led to it, the first cause first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.insert(0, error)
        error = error.__cause__ or error.__context__
    return chain


def _by_type(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its TLS certificate is not accepted ({error.verify_message})"
    return next((words for kind, words in KINDS.items() if isinstance(error, kind)), "")


def _by_permissions(text: str) -> str:
    """Return which command, key or channel the user has no permission for."""
    if unknown := _UNKNOWN.search(text):
        name = (unknown[1] or "a command that is needed").upper()
        return f"it does not know {name}: renamed or disabled? ({DOCUMENTED})"
    if not _PERMISSIONS.search(text):
        return ""
    if command := _FORBIDDEN.search(text):
        what = f"the command {command[1].upper()}, or may not use it here"
    elif "channel" in text:
        what = "its channel"
    else:
        what = "one of its keys" if "key" in text else "a command that is needed"
    return f"the user of REDIS_URL has no permission for {what} ({DOCUMENTED})"


def is_exhausted(redis: Any, error: BaseException | None) -> bool:
    """Tell whether a call failed because all connections of the client's pool are in use.

    Args:
        redis: a client of any kind.
        error: what the call raised.
    """
    if isinstance(error, MaxConnectionsError) or str(error) in _EXHAUSTED:
        return True
    # The pool may wait longer than the call.
    may_wait = isinstance(error, TimeoutError) and isinstance(redis, async_redis.Redis)
    return may_wait and not redis.connection_pool.can_get_connection()


def exhausted_message(redis: Any) -> str:
    """Return the error message for the developer, with the limit and the fix."""
    limit = "max_connections"
    if isinstance(redis, async_redis.Redis | sync_redis.Redis):
        limit += f"={redis.connection_pool.max_connections}"
    return (
        f"The client's connection pool for Redis at {location_of(redis)} is exhausted: all of its"
        f" connections are in use ({limit}). Raise max_connections, as in"
        " redis://localhost:6379/0?max_connections=200, or make fewer calls at the same time;"
        " if a higher limit does not help, Redis responds too slowly"
    )
