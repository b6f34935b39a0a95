"""`{% import_progress_list %}`: a user's newest imports, live, including new ones."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import Client, RequestFactory
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.core.errors import InvalidProgress
from django_import_progress.widget.job_list import JobList, viewer_of
from tests.faults.conftest import defence

from ..kit.asgi import AsgiServer
from ..kit.bars import STATIC, requests, script_without, serve
from ..kit.controls import without
from ..kit.waiting import until

__all__ = ["defence"]

pytestmark = pytest.mark.django_db(transaction=True)
list_script_without = partial(script_without, script="import-progress-list")


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


def test_a_list_is_rendered_without_redis(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    assert items(rendered(7)) == []


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
    assert items(Client().get(source(html)).text) == ["order"]
    assert Client().get(source(html).replace("/orders/", "/progress/")).status_code == 404


def test_the_page_may_refresh_its_list_and_gets_tickets_of_new_jobs(
    jobs: SyncProgressManager, owner: User, owners_client: Client
) -> None:
    url = source(rendered(owner, "cancel=True", owner))
    jobs.create("new", owner=owner)
    response = owners_client.get(url)
    assert items(response.text) == ["new"]
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


def test_a_site_without_logins_has_anonymous_viewers() -> None:
    assert viewer_of(RequestFactory().get("/")) is None


def test_its_script_is_small() -> None:
    assert len(gzip.compress((STATIC / "import-progress-list.js").read_bytes())) < 1100


@pytest.fixture
def session(owners_client: Client, live: AsgiServer) -> dict[str, str]:
    return {"name": "sessionid", "value": owners_client.cookies["sessionid"].value, "url": live.url}


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_new_imports_appear_and_ended_ones_make_room(
    live: AsgiServer,
    jobs: SyncProgressManager,
    owner: User,
    session: Any,
    page: Page,
    complaints: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    list_script_without(monkeypatch, "EVERY_MS = 4000", "EVERY_MS = 200")
    await serve(page)
    await page.context.add_cookies([session])
    await page.goto(f"{live.url}/mine/")
    await expect(page.get_by_text("No imports yet")).to_be_visible()
    bars = page.locator("import-progress")
    for number in range(4):
        jobs.create(f"j{number}", owner=owner, data={"label": f"File {number}"})
        first = bars.first
        await expect(first).to_have_attribute("data-job", f"j{number}", timeout=20_000)
        await expect(first.get_by_role("button", name="Cancel")).to_be_visible()
        jobs.update(f"j{number}", {"status": "done"})
        await expect(first).to_have_attribute("data-status", "done")
    await expect(page.get_by_text("No imports yet")).to_be_hidden()
    jobs.create("last", owner=owner)
    await expect(bars.first).to_have_attribute("data-job", "last", timeout=20_000)
    await expect(bars).to_have_count(3)
    await page.context.clear_cookies()
    await until(lambda: complaints, "the refresh to be refused")
    assert "404" in complaints.pop()


def ignores_incomplete_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "response.text().then((html) => this.#show(html), () => {})"
    list_script_without(monkeypatch, line, "this.#show(await response.text())")


INCOMPLETE_ONCE = """const { text } = Response.prototype;
Response.prototype.text = () => {
    Response.prototype.text = text;
    return Promise.reject(new TypeError("broken off"));
};"""


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
@without(ignores_incomplete_responses)
async def test_an_incomplete_response_does_not_stop_the_refreshes(
    live: AsgiServer, page: Page, complaints: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    list_script_without(monkeypatch, "EVERY_MS = 4000", "EVERY_MS = 50")
    await serve(page)
    await page.add_init_script(INCOMPLETE_ONCE)
    with requests(page, "/list/") as requested:
        await page.goto(f"{live.url}/mine/")
        await until(lambda: len(requested) > 1 or complaints, "the list to be requested again")
    complained = complaints.copy()
    complaints.clear()
    assert complained == []
