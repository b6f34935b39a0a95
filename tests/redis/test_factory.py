"""From a URL to a client: what can be said in it, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from redis.asyncio import RedisCluster

from django_import_progress import (
    ProgressUnavailable,
    create_redis_client,
    create_sync_redis_client,
)
from django_import_progress.redis.executor import is_sharded
from django_import_progress.redis.factory import is_redis_url, parse_address, url_problem

from ..kit.managers import manager_on
from ..kit.processes import free_port


def test_a_servers_url_is_left_as_it_is() -> None:
    for url in ("redis://localhost:6379/0", "rediss://u:p@example.com", "unix:///run/redis.sock"):
        address = parse_address(url)
        assert (address.kind, address.url, address.hosts) == ("server", url, ())


def test_sentinels() -> None:
    address = parse_address(
        "rediss+sentinel://u:p%40ss@a:1,b,[::1]:3/my%20jobs/2"
        "?sentinel_password=s%3Ft&socket_keepalive=true&sentinel_username=watch"
    )
    assert address.hosts == (("a", 1), ("b", 26379), ("::1", 3))
    assert address.service == "my jobs"
    assert address.url == "rediss://u:p%40ss@localhost/2?socket_keepalive=true"
    assert address.sentinel_options == (("password", "s?t"), ("username", "watch"))
    assert parse_address("redis+sentinel://a/jobs").url == "redis://localhost/0?"


@pytest.mark.parametrize("tail", ["", "/", "/0", "?protocol=3"])
def test_a_cluster(tail: str) -> None:
    address = parse_address(f"redis+cluster://a:7000,b{tail}")
    assert (address.kind, address.hosts) == ("cluster", (("a", 7000), ("b", 6379)))


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://a:1",
        "redis+sentinel://a:1/",
        "redis+sentinel:///jobs",
        "redis+sentinel://a/jobs?read_from_replicas=yes",
        "redis+cluster://a?sharded_pubsub=perhaps",
        "redis+cluster://a?sharded_pubsub",
        "redis+sentinel://a/jobs?sharded_pubsub=yes",
        "redis://a?sharded_pubsub=yes",
        "redis+sentinel://a:x/jobs",
        "redis+sentinel://a:99999/jobs",
        "redis+sentinel://a:1/jobs/zero",
        "redis+sentinel://a:1,/jobs",
        "redis+cluster://",
        "redis+cluster://a:1/1",
        "redis+cluster://a:1/jobs",
        "redis+cluster://a:1?socket_timeout=soon",
        "redis+cluster://a:1?nonsense=1",
        "unix+cluster:///run/redis.sock",
        "redis+other://a:1",
    ],
)
def test_what_cannot_be_is_refused(url: str) -> None:
    assert not is_redis_url(url)
    for create in (create_redis_client, create_sync_redis_client):
        with pytest.raises(ValueError, match=r"redis\+sentinel://host:port,host:port/service/db"):
            create(url)


def test_what_is_said_in_the_url_is_what_the_connections_are_made_with() -> None:
    url = "rediss+sentinel://u:p%40ss@a:1/jobs/2?socket_keepalive=true&sentinel_password=s"
    for create in (create_redis_client, create_sync_redis_client):
        client: Any = create(url, decode_responses=True)
        options = client.connection_pool.connection_kwargs
        assert (options["username"], options["password"], options["db"]) == ("u", "p@ss", 2)
        assert (options["decode_responses"], options["socket_keepalive"]) == (True, True)
        assert "SSL" in client.connection_pool.connection_class.__name__
        (sentinel,) = client.connection_pool.sentinel_manager.sentinels
        assert sentinel.connection_pool.connection_kwargs["password"] == "s"


@pytest.mark.parametrize(
    ("tail", "is_asked_for"),
    [("", False), ("?sharded_pubsub=no", False), ("?sharded_pubsub=yes", True)],
)
def test_a_clusters_servers_tell_of_their_own_jobs_alone_where_that_is_asked_for(
    tail: str, is_asked_for: bool
) -> None:
    url = f"redis+cluster://a:7000,b/0{tail}"
    assert parse_address(url).sharded_pubsub is is_asked_for
    assert "sharded" not in parse_address(url).url
    for create in (create_redis_client, create_sync_redis_client):
        assert is_sharded(create(url)) is is_asked_for


def test_a_choice_for_other_servers_is_named() -> None:
    with pytest.raises(ValueError, match="sharded_pubsub=yes or no is for a Cluster"):
        create_redis_client("redis+sentinel://a/jobs?sharded_pubsub=yes")


async def test_a_cluster_over_tls() -> None:
    client = create_redis_client("rediss+cluster://u:p@a:1")
    assert isinstance(client, RedisCluster)
    assert "SSL" in client.connection_kwargs["connection_class"].__name__
    assert client.connection_kwargs["password"] == "p"


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("url", ["redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/x"])
async def test_a_client_connects_when_it_is_first_used_and_says_no_more_than_it_must(
    kind: str, url: str
) -> None:
    url = url.format(free_port()).replace("://", "://user:secret@")
    async with manager_on(kind, url) as progress:
        for _ in range(2):
            with pytest.raises(ProgressUnavailable) as error:
                await progress.get_progress("j1")
            assert "secret" not in str(error.value)
        with pytest.raises(ProgressUnavailable):
            await progress.jobs()


PROBLEMS = {
    "redis://a/x": "the database (str), its path, must be a number",
    "redis://a/1/2": "the database (str), its path, must be a number",
    "redis://a/-1": "the database (str), its path, must be a number",
    "redis://a?db=-1": "the option db (str) must be the number of a database",
    "unix:///run/redis.sock?db=x": "the option db (str) must be the number of a database",
    "rediss://a?ssl_cert_reqs=perhaps": "ssl_cert_reqs (str) must be none, optional or required",
    "rediss://a?ssl_ca_certs=/nowhere": "ssl_ca_certs (str) must be a readable file",
    "rediss://a?ssl_ca_path=/nowhere": "ssl_ca_path (str) must be an existing folder",
    "rediss://a?ssl_min_version=1": "ssl_min_version (str) must be 771 for TLS 1.2 or 772",
    "rediss://a?ssl_min_version=-2": "ssl_min_version (str) must be 771 for TLS 1.2 or 772",
    "rediss://a?ssl_ciphers=nonsense": "ssl_ciphers (str) must be ciphers known to OpenSSL",
    "redis://a?ssl_cert_reqs=none": "the option ssl_cert_reqs is for rediss:// only",
    "redis://a?protocol=4": "protocol (str) must be 2 or 3",
    "redis://a?socket_timeout=nan": "socket_timeout (str) must be a positive number of seconds",
    "redis://a?socket_timeout=1e10": "socket_timeout (str) must be a positive number",
    "redis://a?max_connections=0": "max_connections (str) must be a positive whole number",
    "redis://a?client_name=a%20b": "client_name (str) must be a text without spaces",
    "redis://a?encoding=nonsense": "encoding (str) must be an encoding known to Python",
    "redis://a?encoding_errors=nonsense": "must be an error handler known to Python",
    "redis://a?decode_responses=false": "decode_responses (str) must be true, or omitted",
    "redis://a?retry_on_error=x": "'retry_on_error' is not an option of a Redis URL",
    "redis://a?socket_keepalive_options=x": "is not an option of a Redis URL",
    "redis+cluster://a?credential_provider=x": "is not an option of a Redis URL",
    "redis+sentinel://a/main?protocol=x": "protocol (str) must be 2 or 3",
    "redis://u:secr?et=x@a": "special characters in a password must be percent-encoded",
    "http://a": "its scheme, a host, a port or an option is invalid",
    "redis://a:99999": "its scheme, a host, a port or an option is invalid",
}


@pytest.mark.parametrize("url", PROBLEMS)
def test_what_redis_py_would_reject_on_connecting_is_said_before(url: str) -> None:
    assert PROBLEMS[url] in url_problem(url)
    for create in (create_redis_client, create_sync_redis_client):
        with pytest.raises(ValueError, match=re.escape(PROBLEMS[url])):
            create(url)


@pytest.mark.parametrize("kind", ["", "+sentinel", "+cluster"])
@pytest.mark.parametrize("spelling", ["CERT_NONE", "none", "None", "cert_none"])
async def test_celerys_spelling_of_ssl_cert_reqs_is_taken(kind: str, spelling: str) -> None:
    path = "/main" if kind == "+sentinel" else ""
    url = f"rediss{kind}://127.0.0.1:{free_port()}{path}?protocol=3&ssl_cert_reqs={spelling}"
    assert parse_address(url).url.endswith("protocol=3&ssl_cert_reqs=none")
    for manager in ("async", "sync"):
        async with manager_on(manager, url) as progress:
            with pytest.raises(ProgressUnavailable):
                await progress.get_progress("j1")


def test_what_is_no_text_is_no_url() -> None:
    assert url_problem(None) == "it is not a str"
