"""A list of imports in a browser: what appears in it, and how often it is requested."""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from django.contrib.auth.models import User
from django.test import Client
from playwright.async_api import Page, Route, expect

from django_import_progress import SyncProgressManager
from tests.faults.conftest import defence

from ..kit.asgi import AsgiServer
from ..kit.bars import part, requests, script_without, serve, turn
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..kit.waiting import until

__all__ = ["defence"]

pytestmark = IN_A_BROWSER
list_script_without = partial(script_without, script="import-progress-list")


@pytest.fixture
def owner(transactional_db: None) -> User:
    return User.objects.create_user("owner")


@pytest.fixture
def cookie(owner: User, live: AsgiServer) -> Any:
    """The cookie of the owner's session."""
    client = Client()
    client.force_login(owner)
    return {"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live.url}


@pytest_asyncio.fixture(loop_scope="session")
async def mine(live: AsgiServer, page: Page, cookie: Any) -> str:
    """The URL of the owner's list, who is logged in."""
    await page.context.add_cookies([cookie])
    return f"{live.url}/mine/"


@pytest_asyncio.fixture(loop_scope="session")
async def quick_page(page: Page, monkeypatch: pytest.MonkeyPatch, defence: bool) -> Page:
    """A page whose lists refresh often."""
    list_script_without(monkeypatch, "RUNNING_MS = 4000", "RUNNING_MS = 200")
    list_script_without(monkeypatch, "IDLE_MS = 30000", "IDLE_MS = 200")
    await serve(page)
    return page


async def test_new_imports_appear_and_ended_ones_make_room(
    mine: str,
    jobs: SyncProgressManager,
    owner: User,
    quick_page: Page,
) -> None:
    """The page has Trusted Types, so no script may parse HTML."""
    await quick_page.goto(f"{mine}?language=de")
    none = quick_page.locator(".import-progress-none")
    await expect(none).to_be_visible()
    bars = quick_page.locator("import-progress")
    for number in range(4):
        jobs.create(f"j{number}", owner=owner, data={"label": f"File {number}"})
        first = bars.first
        await expect(first).to_have_attribute("data-job", f"j{number}", timeout=20_000)
        await expect(first.get_by_role("button", name="Abbrechen")).to_be_visible()
        jobs.update(f"j{number}", {"status": "done"})
        await expect(first).to_have_attribute("data-status", "done")
        await expect(part(first, "status")).to_have_text("Fertig")
    await expect(none).to_be_hidden()
    jobs.create("last", owner=owner)
    await expect(bars.first).to_have_attribute("data-job", "last", timeout=20_000)
    await expect(bars).to_have_count(3)


async def test_an_import_that_runs_again_is_live_again(
    mine: str,
    jobs: SyncProgressManager,
    owner: User,
    quick_page: Page,
) -> None:
    jobs.create("a", owner=owner, data={"status": "failed"})
    await quick_page.goto(mine)
    jobs.set_progress("a", {"status": "importing"})
    bar = quick_page.locator("import-progress")
    await expect(bar).to_have_attribute("data-status", "importing", timeout=20_000)
    jobs.update("a", {"processed_rows": 7})
    await expect(part(bar, "rows")).to_have_text("7 rows")
    jobs.update("a", {"status": "done"})
    await expect(bar).to_have_attribute("data-status", "done")


LOGIN = {"status": 302, "headers": {"Location": "/mine/"}}
RESPONSES: dict[str, dict[str, Any]] = {
    "redirect": LOGIN,
    "page": {"status": 200, "content_type": "text/html", "body": "<h1>Log in</h1>"},
    "json": {"status": 200, "content_type": "application/json", "body": '{"login": true}'},
    "null": {"status": 200, "content_type": "application/json", "body": "null"},
    "incomplete": {"status": 200, "content_type": "application/json", "body": '{"items": ['},
    "unauthorized": {"status": 404},
    "unavailable": {"status": 503},
}


def takes_any_response_for_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "Array.isArray(found?.items) ? found.items : null"
    list_script_without(monkeypatch, line, "found?.items ?? []")


def gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    list_script_without(monkeypatch, ": this.#failures + 1", ": Infinity")


@pytest.mark.parametrize("name", RESPONSES)
@without(takes_any_response_for_the_list)
async def test_another_response_is_not_a_list(
    mine: str,
    jobs: SyncProgressManager,
    owner: User,
    quick_page: Page,
    complaints: list[str],
    name: str,
) -> None:
    jobs.create("a", owner=owner, data={"status": "done"})
    refreshed: list[Route] = []

    async def respond(route: Route) -> None:
        refreshed.append(route)
        await route.fulfill(**RESPONSES[name])

    await quick_page.route("**/list/**", respond)
    await quick_page.goto(mine)
    bars = quick_page.locator("import-progress")
    await until(lambda: len(refreshed) >= 2, "another refresh")
    await expect(bars).to_have_count(1)
    await expect(quick_page.get_by_text("No imports yet")).to_be_hidden()
    assert all("404" in complaint or "503" in complaint for complaint in complaints)
    complaints.clear()


@without(gives_up)
async def test_a_404_does_not_end_the_refreshes(
    mine: str,
    jobs: SyncProgressManager,
    owner: User,
    quick_page: Page,
    complaints: list[str],
) -> None:
    jobs.create("a", owner=owner)
    await quick_page.route("**/list/**", lambda route: route.fulfill(status=404), times=2)
    await quick_page.goto(mine)
    await until(lambda: complaints, "a refresh to be refused")
    complaints.clear()
    jobs.create("b", owner=owner)
    await expect(quick_page.locator("import-progress")).to_have_count(2)
    complaints.clear()


def requests_unconditionally(monkeypatch: pytest.MonkeyPatch) -> None:
    line = 'etag ? { "If-None-Match": etag } : {}'
    list_script_without(monkeypatch, line, "etag ? {} : {}")


@without(requests_unconditionally)
async def test_an_unchanged_list_is_requested_but_not_sent(
    mine: str,
    jobs: SyncProgressManager,
    owner: User,
    quick_page: Page,
) -> None:
    statuses: list[int] = []
    quick_page.on("response", lambda it: statuses.append(it.status) if "/list/" in it.url else None)
    for number in range(3):
        jobs.create(f"j{number}", owner=owner, data={"status": "importing"})
    await quick_page.goto(mine)
    await until(lambda: len(statuses) >= 3, "three refreshes")
    assert set(statuses) == {304}
    jobs.create("another", owner=owner)
    await expect(quick_page.locator("import-progress").first).to_have_attribute(
        "data-job", "another"
    )
    count = len(statuses)
    await until(lambda: len(statuses) >= count + 3, "three more refreshes")
    assert sorted(statuses)[:2] == [200, 304]


def refreshes_an_idle_list_often(monkeypatch: pytest.MonkeyPatch) -> None:
    list_script_without(monkeypatch, "IDLE_MS = 30000", "IDLE_MS = 4000")


def refreshes_while_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    list_script_without(monkeypatch, "document.hidden || ", "")


NOTE_DELAYS = """const { setTimeout } = window;
window.setTimeout = (then, milliseconds, ...rest) => {
    document.documentElement.dataset.seconds = Math.floor(milliseconds / 1000);
    return setTimeout(then, milliseconds, ...rest);
};"""
"""Writes down how long the page waits next."""


@without(refreshes_an_idle_list_often)
async def test_once_all_imports_have_ended_the_list_is_requested_every_30_seconds(
    mine: str,
    jobs: SyncProgressManager,
    owner: User,
    page: Page,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    list_script_without(monkeypatch, "RUNNING_MS = 4000", "RUNNING_MS = 200")
    await serve(page)
    await page.add_init_script(NOTE_DELAYS)
    jobs.create("a", owner=owner, data={"status": "importing"})
    with requests(page, "/list/") as requested:
        await page.goto(mine)
        await until(lambda: len(requested) >= 2, "a running list to be requested")
        jobs.update("a", {"status": "done"})
        # 30 s, and at most a quarter of it as jitter.
        await expect(page.locator("html")).to_have_attribute("data-seconds", re.compile("^3[0-7]$"))


@without(refreshes_while_hidden)
async def test_a_hidden_list_is_requested_once_it_is_shown(
    mine: str, jobs: SyncProgressManager, owner: User, page: Page
) -> None:
    await serve(page)
    jobs.create("a", owner=owner)
    await page.clock.install()
    await page.goto(mine)
    with requests(page, "/list/") as requested:
        await turn(page, "hidden")
        await page.clock.run_for(600_000)
        await page.evaluate("0")
        assert requested == []
        await turn(page, "visible")
        await page.clock.run_for(1)
        await until(lambda: len(requested) == 1, "the list to be requested")


def requests_expired_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    list_script_without(monkeypatch, " || this.#dueAt > this.#expiresAt", "")


@without(requests_expired_lists)
async def test_an_expired_list_is_not_requested(
    mine: str, jobs: SyncProgressManager, owner: User, page: Page, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "TICKET_SECONDS": 20}
    await serve(page)
    jobs.create("a", owner=owner)
    await page.clock.install()
    with requests(page, "/list/") as requested:
        await page.goto(mine)
        await page.clock.run_for(6000)
        await until(lambda: requested, "the list to be requested")
        await page.clock.fast_forward(60_000)
        count = len(requested)
        for _ in range(10):
            await page.clock.run_for(60_000)
            await page.evaluate("0")
        # A request may have been due before the list expired.
        assert len(requested) <= count + 1


async def test_an_anonymous_visitors_list_is_never_requested(live: AsgiServer, page: Page) -> None:
    await page.clock.install()
    with requests(page, "/list/") as requested:
        await page.goto(f"{live.url}/mine/")
        await expect(page.get_by_text("No imports yet")).to_be_visible()
        await page.clock.run_for(600_000)
        await page.evaluate("0")
        assert requested == []


BUILT = """async (items) => {
    const list = document.createElement("import-progress-list");
    list.dataset.list = "/built/";
    document.body.append(list);
}"""


async def test_a_template_may_have_pictures(live: AsgiServer, quick_page: Page) -> None:
    picture = ["svg", {"viewBox": "0 0 2 1", "width": "20"}, ["linearGradient", {}]]
    items = [["div", {"data-item": "a"}, "text", picture, ["b", {"hidden": ""}]]]
    body = json.dumps({"items": items})
    await quick_page.route(
        "**/built/", lambda route: route.fulfill(body=body, content_type="application/json")
    )
    await quick_page.goto(f"{live.url}/mine/")
    await quick_page.evaluate(BUILT)
    item = quick_page.locator("[data-item=a]")
    await expect(item).to_have_text("text")
    assert await item.locator("svg").evaluate("it => it.viewBox.baseVal.width") == 2
    assert await item.locator("svg > *").evaluate("it => it instanceof SVGLinearGradientElement")
    assert await item.locator("b").evaluate("it => it.namespaceURI.endsWith('xhtml')")
