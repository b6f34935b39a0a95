"""Redis is frozen: one caller of a process waits for it, all others are answered at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.template import Context, Template
from django.test import Client

from django_import_progress import ProgressUnavailable, get_sync_progress_manager
from django_import_progress.access import make_ticket
from django_import_progress.contrib import queue_status
from django_import_progress.redis import circuit_breaker
from django_import_progress.redis.circuit_breaker import PROBE, Admission, Breaker, SharedBreaker
from django_import_progress.service import registry
from django_import_progress.service.registry import get_impatient_manager
from tests.kit.admin import ADMIN, add_admin
from tests.kit.controls import without
from tests.kit.processes import RedisProcess
from tests.kit.topologies import ClusterGroup
from tests.kit.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

SOME = 3
PAGE = """{% load import_progress %}
{% for id in ids %}{% import_progress id %}{% endfor %}{% import_progress_list owner=7 %}"""


def each_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Breaker, "admit", lambda self, now: Admission.CALL)


def never_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SharedBreaker, "_probe_in_a_thread", lambda self, breaker: None)


def pings_any_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "ping_sync", lambda client: client.ping())


@pytest.fixture
def process(valkey_server: RedisProcess, settings: Any) -> Iterator[RedisProcess]:
    """The site's Redis, which is the test's own, with some jobs."""
    with RedisProcess(valkey_server.binary) as process:
        settings.IMPORT_PROGRESS = {"REDIS_URL": process.url}
        for number in range(SOME):
            get_sync_progress_manager().create(f"j{number}", owner=7)
        yield process


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each call took that failed slowly; without the probes."""
    found: list[float] = []
    end = Breaker.end

    def noted(self: Breaker, now: float, waited: float, *, failed: bool) -> None:
        if failed and threading.current_thread().name != PROBE:
            found.append(waited)
        end(self, now, waited, failed=failed)

    monkeypatch.setattr(Breaker, "end", noted)
    return found


def page() -> str:
    return Template(PAGE).render(Context({"ids": [f"j{number}" for number in range(SOME)]}))


def shows_jobs() -> bool:
    return page().count('data-status="queued"') == 2 * SOME


def poll() -> int:
    return Client().get(f"/progress/jobs/{make_ticket('j1')}/stream/").status_code


@without(each_call_is_made)
def test_one_bar_of_a_page_waits_and_the_page_is_shown(
    process: RedisProcess, waits: list[float]
) -> None:
    assert shows_jobs()
    with process.frozen():
        assert page().count("<import-progress ") == SOME
        assert len(waits) == 1
        page()
    assert len(waits) == 1


@without(each_call_is_made)
@pytest.mark.parametrize("path", ["stream/", "", "cancel/"])
def test_polls_and_other_requests_do_not_wait_once_it_is_known(
    process: RedisProcess, waits: list[float], path: str
) -> None:
    client = Client()
    url = f"/progress/jobs/{make_ticket('j1', cancel=True)}/{path}"
    send: Callable[[str], Any] = client.post if path == "cancel/" else client.get
    with process.frozen():
        page()
        waits.clear()
        answers = [send(url) for _ in range(2)]
    assert waits == []
    assert [(answer.status_code, answer["Retry-After"]) for answer in answers] == [(503, "2")] * 2


def test_after_the_first_poll_no_other_request_waits(
    process: RedisProcess, waits: list[float]
) -> None:
    with process.frozen():
        assert [poll() for _ in range(SOME)] == [503] * SOME
        page()
    assert len(waits) == 1


@without(each_call_is_made)
def test_whoever_queues_many_imports_waits_once(
    process: RedisProcess, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with process.frozen():
        created = [queue_status.create_queued(None, f"new{n}", None, {}) for n in range(SOME)]
    assert created == [False] * SOME
    assert len(waits) == 1
    assert len(caplog.records) == SOME


def test_what_ends_an_import_is_tried_each_time(process: RedisProcess, waits: list[float]) -> None:
    """The end would be lost although Redis has been back for a moment."""
    with process.frozen():
        page()
    queue_status.update(None, "j1", {"status": "failed"})
    assert get_sync_progress_manager().get_progress("j1")["status"] == "failed"  # type: ignore[index]


@without(each_call_is_made)
def test_a_changelist_waits_once(process: RedisProcess, waits: list[float], settings: Any) -> None:
    add_admin(settings)
    settings.ROOT_URLCONF = "tests.site.uploads"
    Group.objects.bulk_create([Group(name=f"j{number}") for number in range(SOME)])
    staff = Client()
    staff.force_login(User.objects.create_user(**ADMIN))
    with process.frozen():
        for _ in range(2):
            assert staff.get("/admin/auth/group/").text.count("<import-progress ") == SOME
    assert len(waits) == 1


@without(never_probes)
def test_once_redis_is_back_pages_have_it_again_and_keep_it(
    process: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(circuit_breaker, "OPEN_SECONDS", 3600)  # No caller is let through to try.
    with process.frozen():
        page()
        assert poll() == 503
    wait_for(shows_jobs, "the page to show the jobs")
    assert all(shows_jobs() and poll() == 200 for _ in range(20))


@without(pings_any_server)
def test_a_cluster_is_back_once_each_of_its_servers_is(valkey_server: RedisProcess) -> None:
    """Else the probe closes the breaker again and again, and each time many wait for one server."""
    with ClusterGroup(valkey_server.binary) as cluster:
        for node in cluster.nodes:
            with node.frozen(), pytest.raises(ProgressUnavailable):
                registry._ping(registry.ServerAtUrl(cluster.url))
        registry._ping(registry.ServerAtUrl(cluster.url))


def test_a_redis_that_is_down_is_no_reason_to_refuse(
    process: RedisProcess, waits: list[float]
) -> None:
    """It answers at once, and so does the next attempt after its start."""
    process.kill()
    page()
    assert poll() == 503
    process.start()
    get_sync_progress_manager().create("j1")
    assert poll() == 200


def test_managers_without_a_breaker_call_redis_in_any_case(process: RedisProcess) -> None:
    with process.frozen():
        page()
    assert get_impatient_manager().get_progress("j1") is not None
    assert get_sync_progress_manager().get_progress("j1") is not None


def test_threads_wait_once_each_at_most_and_there_is_one_probe(
    process: RedisProcess, waits: list[float]
) -> None:
    with process.frozen(), ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: page(), range(10)))
        probes = [thread for thread in threading.enumerate() if thread.name == PROBE]
        list(threads.map(lambda _: page(), range(30)))
    assert 1 <= len(waits) <= 10
    assert len(probes) == 1
    wait_for(shows_jobs, "the page to show the jobs")
