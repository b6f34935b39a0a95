"""The Redis clients, and calls performed on them: in time, or `ProgressUnavailable`."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis._parsers import _RESP2Parser

from django_import_progress import (
    ProgressManager,
    ProgressUnavailable,
    SyncProgressManager,
    create_redis_client,
    create_sync_redis_client,
)
from django_import_progress.core.command import RedisCommand
from django_import_progress.core.keys import Keys
from django_import_progress.redis import executor
from django_import_progress.redis.executor import perform, perform_sync, read_all
from django_import_progress.service.base import calls_for, now_text, plain
from tests.faults.conftest import defence

from ..kit.controls import without
from ..kit.processes import RedisProcess, valkey_binary
from ..kit.proxy import Proxy

__all__ = ["defence"]

CALLS = calls_for(redis.Redis(), "import_progress", 3600)


@pytest.fixture
async def client(server: RedisProcess) -> AsyncIterator[Any]:
    """An asynchronous client of ours."""
    made = create_redis_client(server.url)
    yield made
    await made.aclose()


@pytest.fixture
def sync_client(server: RedisProcess) -> Iterator[redis.Redis]:
    """A synchronous client of ours."""
    with create_sync_redis_client(server.url) as made:
        yield made


@pytest.mark.parametrize("create", [create_redis_client, create_sync_redis_client])
def test_a_client_has_health_checks_and_decodes_only_on_demand(create: Any) -> None:
    options = create("redis://localhost:6379/0").connection_pool.connection_kwargs
    assert options["health_check_interval"] > 0
    assert options["decode_responses"] is False
    decoding = create("redis://localhost:6379/0", decode_responses=True)
    assert decoding.connection_pool.connection_kwargs["decode_responses"] is True


@pytest.mark.parametrize("create", [create_redis_client, create_sync_redis_client])
@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", None, 7, "redis:/x"])
def test_a_url_of_another_kind_is_refused_with_the_fix(create: Any, url: Any) -> None:
    with pytest.raises(ValueError, match="Valid URLs look like redis://"):
        create(url)


@pytest.mark.parametrize("create", [create_redis_client, create_sync_redis_client])
def test_the_urls_own_options_hold(create: Any) -> None:
    pool = create("rediss://user:secret@example.com:1/3?max_connections=7").connection_pool
    assert (pool.max_connections, pool.connection_kwargs["db"]) == (7, 3)


async def test_a_unix_socket_is_a_server_too(tmp_path: Path) -> None:
    process = RedisProcess(valkey_binary(), "--unixsocket", str(tmp_path / "s")).start()
    client = create_redis_client(f"unix://{tmp_path / 's'}")
    await ProgressManager(client).set_progress("j1", {"a": 1})
    await client.aclose()
    with create_sync_redis_client(f"unix://{tmp_path / 's'}") as sync_client:
        assert (SyncProgressManager(sync_client).get_progress("j1") or {})["a"] == 1
    process.close()


async def test_hundreds_at_once_wait_their_turn(client: Any) -> None:
    progress = ProgressManager(client)
    await asyncio.gather(*(progress.set_progress(f"j{n}", {"n": n}) for n in range(300)))
    found = await asyncio.gather(*(progress.get_progress(f"j{n}") for n in range(300)))
    assert [(snapshot or {})["n"] for snapshot in found] == list(range(300))


def test_threads_share_a_client(sync_client: redis.Redis) -> None:
    progress = SyncProgressManager(sync_client)
    progress.set_progress("j1", {})
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        list(threads.map(lambda n: progress.update("j1", {f"f{n}": n}), range(200)))
    assert len(progress.get_progress("j1") or {}) == 201


async def test_no_answer_in_time_is_unavailable(server: RedisProcess) -> None:
    with Proxy(server.port) as proxy:
        client = create_redis_client(proxy.url)
        await perform(client, CALLS.get("j1"))
        proxy.blackhole()
        with pytest.raises(ProgressUnavailable, match="TimeoutError") as caught:
            await perform(client, CALLS.get("j1"), seconds=0.1)
        assert isinstance(caught.value.__cause__, TimeoutError)
        assert await perform(client, CALLS.get("j1")) is None  # Over a new connection.
        await client.aclose()


def test_no_answer_in_time_is_unavailable_to_sync_code_as_well(server: RedisProcess) -> None:
    with (
        Proxy(server.port) as proxy,
        create_sync_redis_client(proxy.url, timeout_seconds=0.1, retries=0) as client,
    ):
        perform_sync(client, CALLS.get("j1"))
        proxy.blackhole()
        began = time.monotonic()
        with pytest.raises(ProgressUnavailable) as caught:
            perform_sync(client, CALLS.get("j1"))
        assert isinstance(caught.value.__cause__, redis.TimeoutError)
        assert time.monotonic() - began < 2


async def test_a_broken_connection_is_replaced_and_the_call_sent_again(
    server: RedisProcess,
) -> None:
    with Proxy(server.port) as proxy:
        client = create_redis_client(proxy.url)
        await perform(client, CALLS.get("j1"))
        proxy.swallow()
        assert await perform(client, CALLS.get("j1")) is None
        await client.aclose()
        with create_sync_redis_client(proxy.url) as sync_client:
            perform_sync(sync_client, CALLS.get("j1"))
            proxy.swallow()
            assert perform_sync(sync_client, CALLS.get("j1")) is None


def knows_no_closed_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executor, "_CLIENT_ERRORS", executor.REDIS_ERRORS)


@without(knows_no_closed_buffer, fails_with=(ValueError,))
def test_a_connection_that_another_thread_has_closed_is_one_that_is_lost(
    server: RedisProcess,
) -> None:
    # hiredis, where it is installed, has no such buffer.
    options: Any = {"protocol": 2, "parser_class": _RESP2Parser}
    with redis.Redis.from_url(server.url, **options) as client:
        perform_sync(client, CALLS.get("job"))
        [connection] = client.connection_pool._available_connections
        connection._parser._buffer._buffer.close()  # As they do who disconnect it meanwhile.
        with pytest.raises(ProgressUnavailable, match="is unavailable"):
            perform_sync(client, CALLS.get("job"))


def test_bytes_that_are_no_text_are_no_outage(
    sync_client: redis.Redis, server: RedisProcess
) -> None:
    sync_client.hset(CALLS.keys.hash("job"), "name", b"\xff")
    with (
        redis.Redis.from_url(server.url, decode_responses=True) as decoding,  # Strict: not ours.
        pytest.raises(UnicodeDecodeError),
    ):
        perform_sync(decoding, CALLS.get("job"))


def test_without_retries_it_is_not_sent_again(server: RedisProcess) -> None:
    with Proxy(server.port) as proxy, create_sync_redis_client(proxy.url, retries=0) as client:
        perform_sync(client, CALLS.get("j1"))
        proxy.swallow()
        with pytest.raises(ProgressUnavailable):
            perform_sync(client, CALLS.get("j1"))


@pytest.mark.parametrize("refusal", ["OOM", "NOPERM", "WRONGPASS"])
async def test_a_server_that_refuses_is_unavailable(
    sync_client: redis.Redis, server: RedisProcess, refusal: str
) -> None:
    url = server.url
    if refusal == "OOM":
        sync_client.config_set("maxmemory", 1)
    elif refusal == "NOPERM":
        sync_client.acl_setuser("weak", enabled=True, nopass=True, commands=["+ping"])
        url = url.replace("//", "//weak:any@")
    else:
        url = url.replace("//", "//nobody:any@")
    client = create_redis_client(url)
    try:
        with pytest.raises(ProgressUnavailable) as caught:
            await perform(client, CALLS.create("j1", None, {}, now_text(), None))
        assert isinstance(caught.value.__cause__, redis.RedisError)
        with create_sync_redis_client(url) as other, pytest.raises(ProgressUnavailable):
            perform_sync(other, CALLS.create("j1", None, {}, now_text(), None))
    finally:
        sync_client.config_set("maxmemory", 0)
        sync_client.acl_deluser("weak")
        await client.aclose()
    assert sync_client.keys() == []


@pytest.mark.parametrize(("word", "is_kept"), [("READONLY", False), ("OOM", True)])
async def test_a_demoted_primary_is_let_go_of_though_it_says_so_as_redis_6_does(
    client: Any, sync_client: Any, word: str, is_kept: bool
) -> None:
    said = f"ERR Error running script (call to f_a): @user_script:1: @user_script: 1: -{word} no"
    call: Any = RedisCommand(("EVAL", f"return redis.error_reply('{said}')", 0), str)
    with pytest.raises(ProgressUnavailable, match="ResponseError"):
        await perform(client, call)
    with pytest.raises(ProgressUnavailable, match="ResponseError"):
        perform_sync(sync_client, call)
    [connection] = client.connection_pool._available_connections
    [sync_connection] = sync_client.connection_pool._connections
    assert connection.is_connected is is_kept
    assert (sync_connection._sock is not None) is is_kept


async def test_many_reads_are_one_round_trip_and_a_key_of_another_type_is_none(
    server: RedisProcess, sync_client: redis.Redis
) -> None:
    sync_client.set("import_progress:hash:odd", "text")
    with Proxy(server.port) as proxy:
        client = create_redis_client(proxy.url)
        await ProgressManager(client).set_progress("j1", {"a": 1})
        gets = [CALLS.get(job_id) for job_id in ("odd", "j1", "none")]
        for round_trips in (2, 1):  # The first has to tell the server the script.
            before = proxy.round_trips
            found = await read_all(client, gets)
            assert proxy.round_trips == before + round_trips
        await client.aclose()
    assert [stored and stored.fields["a"] for stored in found] == [None, 1, None]


async def test_many_reads_that_are_refused_are_unavailable(
    server: RedisProcess, sync_client: redis.Redis
) -> None:
    sync_client.acl_setuser("weak", enabled=True, nopass=True, commands=["+ping"], keys=["*"])
    client = create_redis_client(server.url.replace("//", "//weak:any@"))
    with pytest.raises(ProgressUnavailable, match="NoPermissionError"):
        await read_all(client, [CALLS.get("j1")])
    await client.aclose()
    sync_client.acl_deluser("weak")


async def test_many_reads_that_are_not_answered_in_time_are_unavailable(
    server: RedisProcess,
) -> None:
    with Proxy(server.port) as proxy:
        client = create_redis_client(proxy.url)
        await read_all(client, [CALLS.get("j1")])
        proxy.blackhole()
        with pytest.raises(ProgressUnavailable, match="TimeoutError"):
            await read_all(client, [CALLS.get("j1")], seconds=0.1)
        await client.aclose()


def test_plain_is_what_will_come_back_and_a_copy() -> None:
    data = {"pair": (1, [2])}
    copy = plain(data)
    data["pair"][1].append(3)  # type: ignore[attr-defined]
    assert copy == {"pair": [1, [2]]}


def test_a_managers_repr_names_its_namespace(
    sync_client: redis.Redis, server: RedisProcess
) -> None:
    client = create_redis_client(server.url)
    assert repr(ProgressManager(client, "orders")) == "<ProgressManager: orders>"
    assert repr(SyncProgressManager(sync_client, "orders")) == "<SyncProgressManager: orders>"
    assert CALLS.keys == Keys("import_progress")
