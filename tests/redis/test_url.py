"""The location of Redis in `ProgressUnavailable`, without a user or a password."""

from __future__ import annotations

from typing import Any

import pytest

from django_import_progress import (
    ProgressManager,
    ProgressUnavailable,
    SyncProgressManager,
    track_import,
)
from django_import_progress.redis.factory import create_redis_client, create_sync_redis_client
from django_import_progress.redis.url import location_of
from django_import_progress.tracker import outcome

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.processes import free_port
from ..kit.tracked import JOB, state

__all__ = ["defence"]

PLACES = [
    ("redis://user:secret@cache.example/1", "cache.example:6379"),
    ("rediss://:secret@[::1]:7000/0?max_connections=7", "::1:7000"),
    ("unix://user:secret@/run/redis.sock", "/run/redis.sock"),
    (
        "redis+sentinel://:secret@a.example:1,b.example/main/0?sentinel_password=secret",
        "main, by its sentinels a.example:1, b.example:26379",
    ),
    ("redis+cluster://:secret@a.example,b.example:2", "a.example:6379, b.example:2"),
]


@pytest.mark.parametrize("create", [create_redis_client, create_sync_redis_client])
@pytest.mark.parametrize(("url", "place"), PLACES)
async def test_a_place_is_said_without_secrets(create: Any, url: str, place: str) -> None:
    assert location_of(create(url)) == place


async def test_an_error_says_where_redis_was_looked_for() -> None:
    port = free_port()
    client = create_redis_client(f"redis://:secret@127.0.0.1:{port}/0")
    with pytest.raises(ProgressUnavailable, match=f"Redis at 127.0.0.1:{port} is un") as caught:
        await ProgressManager(client).get_progress("j1")
    assert "secret" not in str(caught.value)
    await client.aclose()


def test_so_does_one_in_sync_code() -> None:
    url = f"redis+cluster://:secret@127.0.0.1:{free_port()}"
    with pytest.raises(ProgressUnavailable, match=r"Redis at 127.0.0.1:\d+ is un") as caught:
        SyncProgressManager(create_sync_redis_client(url)).get_progress("j1")
    assert "secret" not in str(caught.value)


def _shows_each_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "_message", lambda job_id, error, expose: str(error))


@without(_shows_each_message)
def test_who_watches_an_import_that_fails_by_it_is_not_told_where(
    jobs: SyncProgressManager,
) -> None:
    away = SyncProgressManager(create_sync_redis_client("redis://127.0.0.1:1/0"))
    with (
        pytest.raises(ProgressUnavailable, match=r"127\.0\.0\.1:1 is un"),
        track_import(JOB),
    ):
        away.get_progress("another")
    assert "127.0.0.1" not in state(jobs)["error_message"]
