"""Redis clients from a `REDIS_URL`: for one server, a Sentinel primary, or a Cluster."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

import redis as sync_redis
from redis import asyncio as async_redis
from redis.asyncio.cluster import ClusterNode as AsyncClusterNode
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialWithJitterBackoff
from redis.cluster import ClusterNode
from redis.exceptions import RedisError
from redis.retry import Retry

from .cluster import LazyCluster, ShardedCluster, start_with_any_server
from .embedded import SCHEME, AsyncEmbeddedConnection, EmbeddedConnection, missing_server, unix_url
from .executor import CALL_SECONDS, AsyncClient, SyncClient
from .sentinel import SentinelPool, Sentinels
from .url import normalized, problem_with

CONNECTIONS = 50
"""Maximum of one client. Further calls wait for a connection; redis-py's plain pool would raise."""
HEALTH_CHECK_SECONDS = 15
SENTINEL_SECONDS = 1.0
"""How long one sentinel may take to respond, before the next one is tried."""
NODE_SECONDS = 1.0
"""How long connecting to a server of a Cluster may take."""
CLUSTER_RETRIES = 3
"""How often a Cluster's client refreshes the slots and tries again, after a server has moved."""

_KINDS = {"redis": "server", "rediss": "server", "unix": "server"}
_KINDS |= {f"{scheme}+{kind}": kind for scheme in _KINDS for kind in ("sentinel", "cluster")}
del _KINDS["unix+sentinel"], _KINDS["unix+cluster"]
_DEFAULT_PORTS = {"sentinel": 26379, "cluster": 6379}
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_OUR_OPTIONS = (*_SENTINEL_OPTIONS, "sharded_pubsub")


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """The address of Redis: a parsed `REDIS_URL`."""

    kind: str
    """``server``, ``embedded``, ``sentinel`` or ``cluster``."""
    url: str
    """The URL of one server for redis-py: what all connections have in common."""
    hosts: tuple[tuple[str, int], ...] = ()
    """The sentinels, or the first servers of a Cluster."""
    service: str = ""
    """The name of the primary in the sentinels."""
    sentinel_options: tuple[tuple[str, str], ...] = ()
    sharded_pubsub: bool = False
    """Whether updates of a job are published by its own server of the Cluster only."""


def parse_address(url: str) -> Address:
    """Parse a URL.

    Args:
        url: ``redis://``, ``rediss://`` and ``unix://`` as redis-py reads them;
            ``redis+sentinel://host:port,host:port/service/db``; ``redis+cluster://host:port,…``.
            Both accept ``rediss+``, a user and a password for the servers before the hosts, and
            redis-py's options. ``sentinel_username`` and ``sentinel_password`` are for the
            sentinels. With ``sharded_pubsub=yes`` each server of a Cluster publishes the updates of
            its own jobs only. ``embedded://`` and ``embedded:///folder`` are a server that the
            first connection starts.

    Raises:
        ValueError: the URL is invalid. The message does not quote it: it may contain a password.
    """
    url = normalized(url)
    scheme, _, rest = url.partition("://")
    if scheme == SCHEME:
        return Address(SCHEME, unix_url(url))
    kind = _KINDS.get(scheme)
    if kind is None:
        raise ValueError("the scheme is unknown")
    if kind == "server":
        return Address(kind, url)
    location, _, query = rest.partition("?")
    authority, _, path = location.partition("/")
    login, at, names = authority.rpartition("@")
    hosts = tuple(_host(name, _DEFAULT_PORTS[kind]) for name in names.split(","))
    service, _, db = path.partition("/") if kind == "sentinel" else ("", "", path)
    if (kind == "sentinel") != bool(service):
        raise ValueError("Sentinel requires a service, and a Cluster has none")
    if not (db or "0").isdigit() or (kind == "cluster" and int(db or 0)):
        raise ValueError("the database is invalid; a Cluster has only 0")
    options = [option.partition("=") for option in query.split("&") if option]
    common = "&".join(f"{n}={value}" for n, _, value in options if n not in _OUR_OPTIONS)
    sharded = [value for n, _, value in options if n == "sharded_pubsub"]
    if sharded and (kind != "cluster" or not {"yes", "no"}.issuperset(sharded)):
        raise ValueError("sharded_pubsub must be yes or no, and is for a Cluster only")
    return Address(
        kind,
        f"{scheme.partition('+')[0]}://{login}{at}localhost/{db or 0}?{common}",
        hosts,
        unquote(service),
        tuple((n[9:], unquote(value)) for n, _, value in options if n in _SENTINEL_OPTIONS),
        sharded_pubsub=sharded[-1:] == ["yes"],
    )


def _host(name: str, default_port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{name}")
    if not parts.hostname:
        raise ValueError("a host is missing")
    return parts.hostname, parts.port or default_port


def crosses_hosts_in_the_clear(url: str) -> bool:
    """Tell whether the connection to Redis goes to another host without TLS."""
    if not url.startswith("redis"):  # unix:// and embedded://
        return False
    address = parse_address(url)
    hosts = [host for host, _ in address.hosts] or [urlsplit(url).hostname or "localhost"]
    return address.url.startswith("redis://") and not all(map(_is_local, hosts))


def without_secrets(url: str) -> str:
    """Return a valid Redis URL without its user, password and options."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_redis_url(url: object) -> bool:
    """Tell whether scheme, hosts, path and options of `url` are valid."""
    return not url_problem(url)


def url_problem(url: object) -> str:
    """Return what is wrong with `url`, without secrets; empty if it is valid."""
    return _problem_of(url) if isinstance(url, str) else "it is not a str"


@lru_cache(maxsize=8)  # Called at each access to the settings; takes 0.5 ms.
def _problem_of(url: str) -> str:
    if url.startswith(f"{SCHEME}:") and (problem := missing_server()):
        return problem
    try:
        server = parse_address(url).url
        if problem := problem_with(server):
            return problem
        pool = sync_redis.ConnectionPool.from_url(server)
        pool.make_connection()  # Does not connect yet.
    except (ValueError, TypeError, RedisError):
        return "its scheme, a host, a port or an option is invalid"
    return ""


def _address(url: str) -> Address:
    if problem := url_problem(url):  # The URL is not quoted: it may contain a password.
        raise ValueError(
            f"Invalid Redis URL: {problem}."
            " Valid URLs look like redis://localhost:6379/0, rediss://…, unix://…,"
            " redis+sentinel://host:port,host:port/service/db, redis+cluster://host:port or"
            " embedded://; special characters in a password must be percent-encoded, and"
            " sharded_pubsub=yes or no is for a Cluster only"
        )
    return parse_address(url)


def _options(address: Address, decode_responses: bool) -> dict[str, Any]:
    """Return the options of every connection."""
    options = {
        "decode_responses": decode_responses,
        "encoding_errors": "replace",
        "health_check_interval": HEALTH_CHECK_SECONDS,
    }
    if address.kind in ("sentinel", "cluster"):
        common = sync_redis.connection.parse_url(address.url)
        common.pop("host")
        # This is how redis-py's parser represents TLS; clients have an option for it.
        if common.pop("connection_class", None) is not None:
            options["ssl"] = True
        options |= common
    if address.sharded_pubsub:
        # Moved slots are refreshed one by one. On every fifth move redis-py would refresh all, and
        # close all connections for that, including those in use.
        options["reinitialize_steps"] = 0
    return options


def _backoff() -> ExponentialWithJitterBackoff:
    return ExponentialWithJitterBackoff(base=0.05, cap=0.5)


def create_redis_client(url: str, decode_responses: bool = False) -> AsyncClient:
    """Return a `redis.asyncio` client with health checks. It connects on first use.

    Args:
        url: where Redis is; see `parse_address`.
        decode_responses: whether replies are `str`; `ProgressManager` accepts both kinds.

    Raises:
        ValueError: the URL is invalid.
    """
    address = _address(url)
    options = _options(address, decode_responses)
    if address.kind == "cluster":
        options.pop("db", None)
        # After a time-out of its own redis-py closes all connections and starts again. Ours, which
        # ends one call only, must come first.
        limits: dict[str, Any] = {"socket_connect_timeout": NODE_SECONDS}
        limits["socket_timeout"] = 2 * CALL_SECONDS
        client = ShardedCluster if address.sharded_pubsub else async_redis.RedisCluster
        cluster = client(
            startup_nodes=[AsyncClusterNode(*host) for host in address.hosts],
            require_full_coverage=False,
            retry=AsyncRetry(_backoff(), CLUSTER_RETRIES),
            **{**limits, **options},
        )
        start_with_any_server(cluster)
        return cluster
    options |= {"retry": AsyncRetry(_backoff(), 1)}
    limits = {"max_connections": CONNECTIONS, "timeout": CALL_SECONDS}
    if address.kind == "sentinel":
        sentinel = Sentinels(
            address.hosts,
            sentinel_kwargs=_sentinel_options(address, AsyncRetry(_backoff(), 0), CALL_SECONDS),
        )
        primary: async_redis.Redis = sentinel.master_for(
            address.service, connection_pool_class=SentinelPool, **options, **limits
        )
        return primary
    pool = async_redis.BlockingConnectionPool.from_url(address.url, **options, **limits)
    if address.kind == SCHEME:
        pool.connection_class = AsyncEmbeddedConnection
    return async_redis.Redis.from_pool(pool)


def _sentinel_options(address: Address, retry: Any, timeout_seconds: float) -> dict[str, Any]:
    # All of them may be frozen, and they are tried one after the other.
    seconds = min(SENTINEL_SECONDS, timeout_seconds / len(address.hosts))
    return {
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "retry": retry,
        **dict(address.sentinel_options),
    }


def create_sync_redis_client(
    url: str,
    decode_responses: bool = False,
    *,
    timeout_seconds: float = CALL_SECONDS,
    retries: int = 1,
) -> SyncClient:
    """Return a `redis` client with health checks. It connects on first use.

    Args:
        url: where Redis is; see `parse_address`.
        decode_responses: whether replies are `str`; `SyncProgressManager` accepts both kinds.
        timeout_seconds: how long to wait for a connection, and for a reply.
        retries: how often a command is sent again after a broken connection.

    Raises:
        ValueError: the URL is invalid.
    """
    address = _address(url)
    options = _options(address, decode_responses)
    options["socket_timeout"] = timeout_seconds
    if not address.url.startswith("unix"):
        options["socket_connect_timeout"] = timeout_seconds
    if address.kind == "cluster":
        options.pop("db", None)
        return LazyCluster(
            lambda: sync_redis.RedisCluster(
                startup_nodes=[ClusterNode(*host) for host in address.hosts],
                require_full_coverage=False,
                retry=Retry(_backoff(), max(retries, 1)),
                **options,
            ),
            [f"{host}:{port}" for host, port in address.hosts],
            sharded=address.sharded_pubsub,
        )
    options["retry"] = Retry(_backoff(), retries)
    if address.kind == "sentinel":
        sentinel = sync_redis.Sentinel(
            address.hosts,
            sentinel_kwargs=_sentinel_options(address, Retry(_backoff(), 0), timeout_seconds),
        )
        primary: sync_redis.Redis = sentinel.master_for(address.service, **options)
        return primary
    pool = sync_redis.BlockingConnectionPool.from_url(
        address.url, max_connections=CONNECTIONS, timeout=timeout_seconds, **options
    )
    if address.kind == SCHEME:
        pool.connection_class = EmbeddedConnection
    return sync_redis.Redis.from_pool(pool)
