"""How often a page reads from Redis: once for all its bars, if they are prefetched."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.template import Context, Template, TemplateSyntaxError
from django.test import Client

from django_import_progress import InvalidJobId, SyncProgressManager, admin
from django_import_progress.widget.prefetch import PageReads

from ..faults.conftest import defence
from ..kit.admin import ADMIN, add_admin
from ..kit.controls import without
from ..kit.processes import RedisProcess
from ..kit.proxy import Proxy

__all__ = ["defence"]

IDS = [f"j{number}" for number in range(10)]
ROWS = 100
CHUNKS = 5
"""redis-py sends a long pipeline in parts; the first reply may arrive before the last part."""


@pytest.fixture
def proxy(site: RedisProcess, settings: Any) -> Iterator[Proxy]:
    """A proxy between the site and Redis."""
    with Proxy(site.port) as proxy:
        settings.IMPORT_PROGRESS = {"REDIS_URL": proxy.url}
        # Connects, and loads the script.
        PageReads().read(["another"], None)
        yield proxy


@pytest.fixture
def trips(proxy: Proxy) -> Callable[[Callable[[], Any]], int]:
    """Count the round trips to Redis of a function."""

    def count(do: Callable[[], Any]) -> int:
        before = proxy.round_trips
        do()
        return proxy.round_trips - before

    return count


@pytest.fixture
def ten(site: RedisProcess, jobs: SyncProgressManager) -> None:
    """Ten jobs."""
    for number, job_id in enumerate(IDS):
        jobs.create(job_id, owner=7, data={"total_rows": 10, "processed_rows": number})


def rendered(text: str, **context: Any) -> str:
    return Template("{% load import_progress %}" + text).render(Context(context))


def rows_of(html: str) -> list[str]:
    return [part.split("<")[0] for part in html.split('data-show="rows">')[1:]]


EXPECTED = [f"{number} of 10 rows" for number in range(10)]
BARS = "{% for id in ids %}{% import_progress id namespace=namespace %}{% endfor %}"
PREFETCHED = "{% import_progress_prefetch ids namespace=namespace %}" + BARS


def test_bars_that_are_prefetched_take_one_round_trip(ten: None, trips: Any) -> None:
    html: list[str] = []
    assert trips(lambda: html.append(rendered(BARS, ids=IDS))) == 10
    assert trips(lambda: html.append(rendered(PREFETCHED, ids=IDS))) == 1
    assert [rows_of(page) for page in html] == [EXPECTED] * 2


def test_each_rendering_reads_again(ten: None, trips: Any, jobs: SyncProgressManager) -> None:
    page = Template("{% load import_progress %}" + PREFETCHED)
    context = Context({"ids": IDS})
    page.render(context)
    jobs.update("j0", {"processed_rows": 5})
    assert rows_of(page.render(context))[0] == "5 of 10 rows"


def test_bars_of_one_job_read_it_once(ten: None, trips: Any) -> None:
    assert trips(lambda: rendered(BARS, ids=["j1"] * 5)) == 1
    assert trips(lambda: rendered(PREFETCHED, ids=["j1"] * 5)) == 1
    assert trips(lambda: rendered(PREFETCHED, ids=[])) == 0


@pytest.mark.parametrize(
    "place",
    [
        "{% include bars %}",
        "{% include bars with a=1 %}",
        "{% include bars with ids=ids only %}",
        "{% for _ in 'ab' %}{% with b=1 %}{% include bars %}{% endwith %}{% endfor %}",
    ],
)
def test_prefetched_bars_may_be_in_other_templates(ten: None, trips: Any, place: str) -> None:
    bars = Template("{% load import_progress %}" + BARS)
    page = "{% with c=1 %}{% import_progress_prefetch ids %}{% endwith %}" + place
    assert trips(lambda: rendered(page, ids=IDS, bars=bars)) == 1


def test_prefetched_bars_may_be_in_a_block(ten: None, trips: Any) -> None:
    base = Template(
        "{% load import_progress %}{% import_progress_prefetch ids %}{% block bars %}{% endblock %}"
    )
    page = "{% block bars %}{{ block.super }}" + BARS + "{% endblock %}"
    child = Template("{% extends base %}{% load import_progress %}" + page)
    assert trips(lambda: child.render(Context({"ids": IDS, "base": base}))) == 1


def test_prefetching_distinguishes_namespaces(
    ten: None, trips: Any, jobs: SyncProgressManager
) -> None:
    orders = SyncProgressManager(jobs.redis, "order_imports")
    orders.create("j1", data={"total_rows": 3, "processed_rows": 2})
    both = PREFETCHED + "{% import_progress 'j1' %}"
    html = rendered(both, ids=["j1"], namespace="order_imports")
    assert rows_of(html) == ["2 of 3 rows", "1 of 10 rows"]
    named = PREFETCHED + "{% import_progress 'j2' namespace='import_progress' %}"
    assert trips(lambda: rendered(named, ids=["j2"])) == 1


def test_ids_may_be_uuids_and_come_from_a_generator(trips: Any) -> None:
    job_id = uuid.uuid4()
    page = "{% import_progress_prefetch found %}" + BARS
    found = (each for each in [job_id])
    assert trips(lambda: rendered(page, found=found, ids=[job_id, str(job_id)])) == 1


def test_invalid_ids_cannot_be_prefetched() -> None:
    with pytest.raises(InvalidJobId):
        rendered(PREFETCHED, ids=["j1", "not an id"])
    with pytest.raises(TemplateSyntaxError, match="pass a list of job ids"):
        rendered(PREFETCHED, ids="j1")


def test_a_list_takes_two_round_trips(ten: None, trips: Any) -> None:
    html: list[str] = []
    tag = "{% import_progress_list owner=7 %}"
    assert trips(lambda: html.append(rendered(tag))) == 2
    assert rows_of(html[0]) == EXPECTED[::-1]


def each_bar_reads_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin._Page, "reads", lambda self: PageReads())


@pytest.fixture
def staff(settings: Any, transactional_db: None) -> Client:
    """A client that is logged in to an admin in which groups are named after jobs."""
    add_admin(settings)
    settings.ROOT_URLCONF = "tests.site.uploads"
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    return client


@without(each_bar_reads_its_job)
def test_a_changelist_of_100_rows_takes_one_pipeline(
    staff: Client, trips: Any, jobs: SyncProgressManager
) -> None:
    names = [f"job{number:03}" for number in range(ROWS)]
    Group.objects.bulk_create([Group(name=name) for name in [*names[1:], ""]])
    for name in names[1:]:
        jobs.set_progress(name, {"status": "importing"})
    html: list[str] = []
    assert trips(lambda: html.append(staff.get("/admin/auth/group/").text)) <= CHUNKS
    assert html[0].count('data-status="importing"') == ROWS - 1


def test_a_change_form_reads_its_job(staff: Client, jobs: SyncProgressManager) -> None:
    group = Group.objects.create(name=jobs.create("j1"))
    assert 'data-status="queued"' in staff.get(f"/admin/auth/group/{group.pk}/change/").text


def test_an_action_of_the_changelist_reads_nothing(staff: Client, trips: Any) -> None:
    Group.objects.create(name="j1")
    action = {"action": "delete_selected", "index": "0"}
    url = "/admin/auth/group/"
    assert trips(lambda: staff.post(url, action)) == 0
    assert trips(lambda: staff.get(url)) == 1
