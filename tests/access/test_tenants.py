"""One database per tenant and one Redis: user 1 of one tenant is not user 1 of another."""

from __future__ import annotations

import asyncio
import re
import reprlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from channels.routing import ProtocolTypeRouter
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured

from django_import_progress import (
    SyncProgressManager,
    get_progress_manager,
    get_sync_progress_manager,
    track_import,
)
from django_import_progress.access import Job, make_ticket, permissions
from django_import_progress.conf import KEYS
from django_import_progress.conf import settings as ours
from django_import_progress.relay import progress_group
from django_import_progress.service import registry
from tests.kit import http
from tests.kit.asgi import AsgiServer
from tests.kit.controls import without
from tests.kit.doors import DOORS
from tests.kit.processes import RedisProcess
from tests.kit.rejected import begin_with_a_reject
from tests.kit.sse import open_stream
from tests.kit.visitors import login
from tests.site import tenants
from tests.site.asgi import websocket, with_lane

from .test_checks import found

JOB = "the-job"
WAYS = {
    "context": (tenants.by_context, tenants.context_middleware),
    "connection": (tenants.by_connection, tenants.connection_middleware),
}


def one_namespace_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a site does whose `NAMESPACE` is a text."""
    monkeypatch.setattr(KEYS["NAMESPACE"], "load", lambda _: "import_progress")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """How the site knows the current tenant."""
    return str(request.param)


@pytest.fixture
def tenant_site(site: RedisProcess, settings: Any, way: str) -> None:
    function, middleware = WAYS[way]
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "NAMESPACE": function}
    settings.MIDDLEWARE = [f"{tenants.__name__}.{middleware.__name__}", *settings.MIDDLEWARE]


@pytest.fixture
def urls(tenant_site: None, transactional_db: None) -> Iterator[dict[str, str]]:
    """The address of each tenant."""
    http = with_lane(ASGIStaticFilesHandler(get_asgi_application()))  # With this middleware.
    application = ProtocolTypeRouter({"http": http, "websocket": websocket})
    with AsgiServer(tenants.with_tenants(application)) as server:
        yield {
            tenant: server.url.replace("127.0.0.1", host) for tenant, host in tenants.HOSTS.items()
        }


@pytest.fixture
def alpha(site: RedisProcess) -> SyncProgressManager:
    """The jobs of one of them."""
    return get_sync_progress_manager("alpha")


# Staff may wait for a job that does not exist, where an endpoint waits.
VISITS = [("owner", door) for door in DOORS] + [("staff", "json"), ("staff", "cancel")]
EVERYWHERE = [("connection", who, door) for who, door in VISITS if not door.startswith("websocket")]
"""A WebSocket has no connection of its own that could know the tenant."""
EVERYWHERE += [("context", who, door) for who, door in VISITS]


@pytest.mark.parametrize(("way", "who", "door"), EVERYWHERE)
@without(one_namespace_for_all)
def test_a_job_is_unknown_to_the_same_user_of_another_tenant(
    request: pytest.FixtureRequest,
    urls: dict[str, str],
    owner: User,
    door: str,
    who: str,
    defence: bool,
) -> None:
    for tenant in ("alpha", "import_progress"):  # The latter is the one without the defence.
        begin_with_a_reject(get_sync_progress_manager(tenant), JOB, owner)
    knock, yes = DOORS[door].knock, DOORS[door].yes
    with login(request.getfixturevalue(who)) as client:
        assert knock(client, urls["alpha"], JOB).status == yes
        elsewhere = knock(client, urls["beta"], JOB)
        assert elsewhere.status == DOORS[door].no
        assert elsewhere.body == knock(client, urls["beta"], "another").body


@pytest.mark.parametrize(
    ("way", "door"), [(way, door) for way, who, door in EVERYWHERE if who == "owner"]
)
@without(one_namespace_for_all)
def test_a_ticket_of_a_tenant_is_of_no_use_at_another(
    urls: dict[str, str], door: str, defence: bool
) -> None:
    for tenant in ("alpha", "beta", "import_progress"):
        begin_with_a_reject(get_sync_progress_manager(tenant), JOB)
    namespace = "alpha" if defence else "import_progress"
    ticket = make_ticket(JOB, cancel=True, namespace=namespace)
    with http.Client() as client:
        assert DOORS[door].knock(client, urls["alpha"], ticket).status == DOORS[door].yes
        assert DOORS[door].knock(client, urls["beta"], ticket).status == DOORS[door].no


@pytest.mark.parametrize("url", ["/mine/", "/bars/?job=the-job"])
def test_pages_show_jobs_of_their_tenant_with_tickets_for_it(
    urls: dict[str, str], alpha: SyncProgressManager, owner: User, url: str
) -> None:
    alpha.create(JOB, owner=owner, data={"stage": "of alpha"})
    with login(owner) as client:
        pages = {tenant: client.get(f"{base}{url}").text for tenant, base in urls.items()}
        [stream] = re.findall('data-stream="([^"]+)"', pages["alpha"])
        snapshot = stream.replace("stream/", "")
        assert client.get(urls["alpha"] + snapshot).json()["stage"] == "of alpha"
        assert client.get(urls["beta"] + snapshot).status_code == 404
    assert "of alpha" not in pages["beta"]


@without(one_namespace_for_all)
def test_a_list_of_a_tenant_cannot_be_refreshed_at_another(
    urls: dict[str, str], owner: User, defence: bool
) -> None:
    with login(owner) as client:
        page = client.get(f"{urls['alpha']}/mine/").text
        [listing] = re.findall('data-list="([^"]+)"', page)
        for tenant in ("alpha", "import_progress"):
            get_sync_progress_manager(tenant).create(JOB, owner=owner)
        items = client.get(urls["alpha"] + listing).json()["items"]
        assert [attributes["data-item"] for _, attributes, *_ in items] == [JOB]
        assert client.get(urls["beta"] + listing).status_code == 404


def test_the_streams_of_a_user_are_counted_for_each_tenant(
    urls: dict[str, str], owner: User, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"MAX_STREAMS_PER_CLIENT": 1}
    for tenant in tenants.HOSTS:
        get_sync_progress_manager(tenant).create(JOB, owner=owner)
    with login(owner) as client, ExitStack() as stack:
        for expected in (200, 429):
            for base in urls.values():
                url = f"{base}/progress/jobs/{JOB}/stream/"
                response, _ = stack.enter_context(open_stream(url, client))
                assert response.status_code == expected


@pytest.mark.parametrize("way", ["context"])
def test_a_stream_is_checked_again_as_its_request_was(
    urls: dict[str, str], alpha: SyncProgressManager, owner: User, settings: Any
) -> None:
    asked: list[str] = []

    def rule(user: Any, job: Job, action: str) -> bool:
        asked.append(ours.namespace)
        return len(asked) < 4

    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.1, "AUTHORIZE": rule}
    alpha.create(JOB, owner=owner)
    url = f"{urls['alpha']}/progress/jobs/{JOB}/stream/"
    with login(owner) as client, open_stream(url, client) as (_, events):
        assert [event.type for event in events] == ["message"]
    assert asked == ["alpha"] * 4


def looks_up_users_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    async def the_same() -> str:
        return "alpha"

    monkeypatch.setattr(permissions, "current_tenant", the_same)


@pytest.mark.parametrize("way", ["connection"])
@without(looks_up_users_wherever_it_is)
def test_no_user_of_another_tenant_is_asked_about_once_the_connection_is_closed(
    urls: dict[str, str], alpha: SyncProgressManager, owner: User, settings: Any
) -> None:
    asked: list[str] = []

    def rule(user: Any, job: Job, action: str) -> bool:
        asked.append(tenants.by_connection())
        return len(asked) < 3

    settings.IMPORT_PROGRESS |= {"HEARTBEAT_SECONDS": 0.1, "AUTHORIZE": rule}
    alpha.create(JOB, owner=owner)
    url = f"{urls['alpha']}/progress/jobs/{JOB}/stream/"
    with login(owner) as client, open_stream(url, client) as (_, events):
        assert [event.type for event in events] == ["message"]
    assert asked == ["alpha"]


@pytest.fixture
def in_alpha(site: RedisProcess, settings: Any) -> Iterator[None]:
    """What runs as alpha's code does."""
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "NAMESPACE": tenants.by_context}
    token = tenants.current.set("alpha")
    yield
    tenants.current.reset(token)


@pytest.mark.usefixtures("in_alpha")
def test_managers_and_trackers_write_for_the_tenant_of_their_code(
    alpha: SyncProgressManager,
) -> None:
    with track_import("tracked"):
        token = tenants.current.set("beta")
        get_sync_progress_manager().create("of-beta")
        tenants.current.reset(token)
    get_sync_progress_manager().create("of-alpha")
    assert [job["job_id"] for job in alpha.jobs()] == ["of-alpha", "tracked"]
    assert alpha.jobs()[1]["status"] == "done"
    assert [job["job_id"] for job in get_sync_progress_manager("beta").jobs()] == ["of-beta"]
    assert progress_group() == progress_group(namespace="alpha")


async def test_tasks_of_one_loop_have_their_own(site: RedisProcess, settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": site.url, "NAMESPACE": tenants.by_context}

    async def see(tenant: str) -> Any:
        tenants.current.set(tenant)
        await get_progress_manager().create(JOB, data={"of": tenant})
        watcher = get_progress_manager().watcher(JOB)
        state = await watcher.next(10)
        watcher.close()
        assert state is not None
        return state.fields["of"]

    async with asyncio.TaskGroup() as group:
        seen = [group.create_task(see(tenant)) for tenant in ("alpha", "beta")]
    assert [task.result() for task in seen] == ["alpha", "beta"]


@pytest.mark.parametrize("value", ["a:b", "", None, 7, b"alpha", "x" * 1000])
def test_a_callable_that_returns_no_namespace_is_named_with_what_it_returned(
    settings: Any, value: Any
) -> None:
    def tenant() -> Any:
        return value

    settings.IMPORT_PROGRESS = {"NAMESPACE": tenant}
    assert "E003" not in found()
    with pytest.raises(ImproperlyConfigured, match=r"NAMESPACE.*tenant, which returned") as caught:
        get_sync_progress_manager()
    assert reprlib.repr(value) in str(caught.value)
    assert f"({type(value).__name__})" in str(caught.value)


async def later() -> str:
    raise AssertionError


@pytest.mark.parametrize("value", [later, lambda tenant: tenant, 7])
def test_a_callable_without_arguments_is_asked_for(settings: Any, value: Any) -> None:
    settings.IMPORT_PROGRESS = {"NAMESPACE": value}
    assert "or a callable without arguments that returns one" in str(found()["E003"].hint)


@pytest.mark.parametrize(
    ("urlconf", "namespace", "is_said"),
    [
        ("tests.site.urls", tenants.by_context, True),
        ("tests.site.urls", "import_progress", False),
        ("tests.site.no_urls", tenants.by_context, False),
        (None, tenants.by_context, False),
    ],
)
def test_a_namespace_in_the_urls_is_shared_by_all_tenants(
    settings: Any, urlconf: str | None, namespace: Any, is_said: bool
) -> None:
    settings.IMPORT_PROGRESS = {"NAMESPACE": namespace}
    settings.ROOT_URLCONF = urlconf
    message = found().get("W003")
    assert (message is not None) is is_said
    assert message is None or "the jobs of order_imports" in message.msg


async def test_no_more_managers_are_kept_than_a_site_of_many_tenants_needs(
    site: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MOST_MANAGERS", 2)
    made = [get_sync_progress_manager(f"tenant{number}") for number in range(3)]
    assert get_sync_progress_manager("tenant2") is made[2]
    assert get_sync_progress_manager("tenant0") is not made[0]
    in_loop = [get_progress_manager(f"tenant{number}") for number in range(3)]
    assert get_progress_manager("tenant2") is in_loop[2]
    assert get_progress_manager("tenant0") is not in_loop[0]
