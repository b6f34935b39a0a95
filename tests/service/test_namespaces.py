"""Namespaces share no keys, so a colon in one is refused everywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.template import Context, Template

from django_import_progress import (
    ProgressManager,
    SyncProgressManager,
    create_redis_client,
    get_sync_progress_manager,
)
from django_import_progress.core import keys
from django_import_progress.relay import progress_group
from django_import_progress.routing import get_websocket_urlpatterns
from django_import_progress.service.registry import get_impatient_manager, get_progress_manager

from ..faults.conftest import defence
from ..kit.controls import without
from ..kit.processes import RedisProcess

__all__ = ["defence"]

COLON = "a:hash"


def colons_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "clean_namespace", lambda namespace: None)


@without(colons_are_taken, fails_with=(pytest.fail.Exception,))
def test_two_namespaces_cannot_share_a_job(jobs: SyncProgressManager, defence: bool) -> None:
    SyncProgressManager(jobs.redis, namespace="a").create("hash:1", data={"stage": "mine"})
    with pytest.raises(ValueError, match="Invalid namespace"):
        SyncProgressManager(jobs.redis, namespace=COLON).get_progress("1")


def rendered(tag: str) -> str:
    context = Context({"nobody": AnonymousUser(), "ns": COLON})
    return Template("{% load import_progress %}" + tag).render(context)


PLACES: dict[str, Callable[[], Any]] = {
    "async manager": lambda: ProgressManager(create_redis_client("redis://localhost"), COLON),
    "manager from settings": lambda: get_sync_progress_manager(COLON),
    "impatient manager": lambda: get_impatient_manager(COLON),
    "bar": lambda: rendered("{% import_progress 'a' namespace=ns %}"),
    "list": lambda: rendered("{% import_progress_list owner=7 namespace=ns %}"),
    "nobody's list": lambda: rendered("{% import_progress_list owner=nobody namespace=ns %}"),
    "WebSocket routes": lambda: get_websocket_urlpatterns(COLON),
    "group": lambda: progress_group(namespace=COLON),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_colon_is_refused_wherever_a_namespace_comes_in(site: RedisProcess, place: str) -> None:
    with pytest.raises(ValueError, match="namespace 'a:hash': must be 1 to 128 characters out"):
        PLACES[place]()


async def test_so_it_is_by_the_running_loops_manager(site: RedisProcess) -> None:
    with pytest.raises(ValueError, match="Invalid namespace 'a:hash'"):
        get_progress_manager(COLON)
