"""`{% import_progress_list %}`: a user's newest imports, live, including new ones."""

from __future__ import annotations

import gzip
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import Client, RequestFactory
from django.utils import timezone
from django.utils.timezone import get_fixed_timezone
from django.utils.translation import deactivate_all, override

from django_import_progress import SyncProgressManager
from django_import_progress.core.errors import InvalidProgress
from django_import_progress.widget.job_list import ITEMS, JobList, viewer_of

from ..kit.bars import STATIC

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def owners_client(owner: User) -> Client:
    client = Client()
    client.force_login(owner)
    return client


def rendered(owner: object, options: str = "", user: object = None) -> str:
    request = RequestFactory().get("/")
    request.user = user or AnonymousUser()  # type: ignore[assignment]
    tag = "{% load import_progress %}{% import_progress_list owner=owner " + options + " %}"
    return Template(tag).render(Context({"request": request, "owner": owner}))


def source(html: str) -> str:
    return html.split('data-list="')[1].split('"', maxsplit=1)[0]


def items(html: str) -> list[str]:
    return [part.split('"')[0] for part in html.split('data-item="')[1:]]


def items_of(response: Any) -> list[str]:
    """Return the ids of the bars in a response of the view."""
    assert response["Content-Type"] == "application/json"
    return [attributes["data-item"] for _, attributes, *_ in response.json()["items"]]


def test_it_lists_the_newest_of_one_owner(jobs: SyncProgressManager) -> None:
    for job_id in ("a", "b", "c"):
        jobs.create(job_id, owner=7, data={"label": f"File {job_id}"})
    jobs.create("foreign", owner=8)
    html = rendered(7, "limit=2")
    assert items(html) == ["c", "b"]
    assert "File c" in html
    assert '<p class="import-progress-none" hidden>' in html


@pytest.mark.parametrize("owner", [AnonymousUser(), 7])
def test_an_empty_list_says_so(jobs: SyncProgressManager, owner: object) -> None:
    jobs.create("a")
    html = rendered(owner)
    assert items(html) == []
    assert '<p class="import-progress-none">No imports yet</p>' in html


def test_nobodys_list_has_nothing_to_refresh(jobs: SyncProgressManager) -> None:
    assert "data-list" not in rendered(AnonymousUser())
    assert "data-list" in rendered(7)


def test_a_list_is_rendered_without_redis(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    html = rendered(7)
    assert items(html) == []
    assert '<p class="import-progress-none" hidden>' in html
    response = Client().get(source(html))
    assert response.status_code == 503
    assert response["Retry-After"] == "2"
    assert response["Cache-Control"] == "private, no-store"
    assert response.json() == {"error": "Progress is unavailable right now."}


def test_a_missing_owner_is_an_error(jobs: SyncProgressManager) -> None:
    with pytest.raises(ImproperlyConfigured, match="needs an owner"):
        rendered(None)
    with pytest.raises(InvalidProgress, match="Invalid owner"):
        rendered("")


def test_each_namespace_has_its_own_lists(jobs: SyncProgressManager, owner: User) -> None:
    SyncProgressManager(jobs.redis, namespace="order_imports").create("order", owner=7)
    html = rendered(7, "namespace='order_imports'")
    assert items(html) == ["order"]
    assert source(html).startswith("/orders/list/")
    assert items_of(Client().get(source(html))) == ["order"]
    assert Client().get(source(html).replace("/orders/", "/progress/")).status_code == 404


def test_the_page_may_refresh_its_list_and_gets_tickets_of_new_jobs(
    jobs: SyncProgressManager, owner: User, owners_client: Client
) -> None:
    url = source(rendered(owner, "cancel=True", owner))
    jobs.create("new", owner=owner)
    response = owners_client.get(url)
    assert items_of(response) == ["new"]
    assert "data-csrf" in response.text
    assert response["Cache-Control"] == "private, no-store"


def test_no_other_viewer_may_refresh_the_list(
    jobs: SyncProgressManager, owner: User, owners_client: Client, settings: Any
) -> None:
    url = source(rendered(owner, "", owner))
    other = Client()
    other.force_login(User.objects.create_user("other"))
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.contrib.auth.middleware.LoginRequiredMiddleware",
    ]
    for client in (other, Client()):
        assert client.get(url).status_code == 404
    forged = url[:-2] + ("A/" if url[-2] != "A" else "B/")
    assert owners_client.get(forged).status_code == 404
    assert owners_client.get(url).status_code == 200
    signed = url.rstrip("/").rsplit("/", 1)[1]
    assert JobList.from_signed(signed, str(owner.pk)) is not None
    assert JobList.from_signed(signed, None) is None


def test_bars_that_are_added_later_are_in_the_pages_language(
    jobs: SyncProgressManager, owner: User, owners_client: Client
) -> None:
    with override("de"):
        url = source(rendered(owner, "", owner))
    jobs.create("new", owner=owner)
    response = owners_client.get(url, headers={"Accept-Language": "en"})
    assert "In der Warteschlange" in response.text
    with override("de"):
        deactivate_all()
        url = source(rendered(owner, "", owner))
    assert "Queued" in owners_client.get(url).text


@pytest.mark.parametrize(
    ("zone", "shown"), [("Asia/Tokyo", "JST"), (get_fixed_timezone(60), "CST")]
)
def test_bars_that_are_added_later_are_in_the_pages_time_zone(
    jobs: SyncProgressManager,
    owner: User,
    owners_client: Client,
    settings: Any,
    zone: Any,
    shown: str,
) -> None:
    """If it has no name, they are in the site's."""
    settings.USE_TZ, settings.TIME_ZONE = True, "Asia/Shanghai"
    with timezone.override(zone):
        url = source(rendered(owner, "", owner))
    template = {ITEMS: "<p data-item='a'>{% now 'T' %}</p>"}
    options = {"loaders": [("django.template.loaders.locmem.Loader", template)]}
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "APP_DIRS": False, "OPTIONS": options}]
    assert owners_client.get(url).json() == {"items": [["p", {"data-item": "a"}, shown]]}


def test_an_unchanged_list_is_not_sent_again(
    jobs: SyncProgressManager, owner: User, owners_client: Client
) -> None:
    jobs.create("a", owner=owner)
    html = rendered(owner, "", owner)
    etag = unescape(html.split('data-etag="')[1].split('"')[0])

    def refresh() -> tuple[int, str]:
        response = owners_client.get(source(html), headers={"If-None-Match": etag})
        assert response["Cache-Control"] == "private, no-store"
        return response.status_code, response["ETag"]

    jobs.update("a", {"status": "importing", "processed_rows": 1})
    assert refresh() == (304, etag)
    for change in (
        lambda: jobs.update("a", {"status": "done"}),
        lambda: jobs.set_progress("a", {"status": "importing"}),
        lambda: jobs.create("b", owner=owner),
        lambda: jobs.delete("a"),
    ):
        change()
        status, changed = refresh()
        assert (status, changed != etag) == (200, True)
        etag = changed
        assert refresh() == (304, etag)
    assert (
        owners_client.get(source(html), headers={"If-None-Match": f"W/{etag}"}).status_code == 304
    )


def test_a_label_may_be_a_number(jobs: SyncProgressManager) -> None:
    jobs.create("a", owner=7, data={"label": 2026})
    assert 'aria-label="2026"' in rendered(7)


def test_a_site_without_logins_has_anonymous_viewers() -> None:
    assert viewer_of(RequestFactory().get("/")) is None


def test_its_script_is_small() -> None:
    assert len(gzip.compress((STATIC / "import-progress-list.js").read_bytes())) < 1850
