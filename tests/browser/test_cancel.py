"""The cancel button: it asks for confirmation, then sends the request."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.template import TemplateSyntaxError
from playwright.async_api import Page, Route, expect

from django_import_progress import SyncProgressManager
from django_import_progress.widget import context

from ..faults.conftest import defence
from ..kit.asgi import AsgiServer
from ..kit.bars import opened, part, script_without
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..kit.waiting import until
from ..widget.test_context import render

__all__ = ["defence"]

pytestmark = IN_A_BROWSER


@pytest.mark.parametrize("setting", ["CSRF_COOKIE_HTTPONLY", "CSRF_USE_SESSIONS"])
async def test_cancelling_asks_for_confirmation(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any, setting: str
) -> None:
    setattr(settings, setting, True)
    job_id = jobs.create(data={"status": "importing"})
    bar = await opened(page, live.url, job_id, cancel="1")
    button, question = (
        bar.get_by_role("button", name="Cancel", exact=True),
        bar.locator("[data-csrf]"),
    )
    await expect(question).to_be_hidden()
    await button.focus()
    await page.keyboard.press("Enter")
    await expect(button).to_be_hidden()
    await expect(bar.get_by_role("button", name="No, keep importing")).to_be_focused()
    await page.keyboard.press("Escape")
    await expect(button).to_be_focused()
    await button.click()
    await bar.get_by_role("button", name="No, keep importing").click()
    await expect(question).to_be_hidden()
    await button.click()
    await bar.get_by_role("button", name="Yes, cancel it").click()
    await expect(part(bar, "notice")).to_have_text("Cancelling…")
    await expect(question).to_be_hidden()
    await expect(button).to_be_hidden()
    await expect(bar).to_be_focused()
    key = f"import_progress:hash:{job_id}"
    await until(lambda: jobs.redis.hget(key, "_c"), "the request to cancel")
    jobs.update(job_id, {"status": "cancelled"})
    await expect(part(bar, "status")).to_have_text("Cancelled")
    await expect(part(bar, "notice")).to_have_text("")


def sends_the_token_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "cookie ?? csrf", "csrf")


def uses_the_names_of_django(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "_csrf_names", list)


NAMES = {"CSRF_COOKIE_NAME": "xsrf-token", "CSRF_HEADER_NAME": "HTTP_X_XSRF_TOKEN"}
SITES: dict[str, dict[str, Any]] = {
    "with Django's names": {},
    "with names of its own": NAMES,
    "with a cookie that scripts cannot read": {**NAMES, "CSRF_COOKIE_HTTPONLY": True},
    "with tokens in sessions": {**NAMES, "CSRF_USE_SESSIONS": True},
}


async def cancelled(page: Page, jobs: SyncProgressManager, site: str, **cookie: Any) -> None:
    """Cancel an import; before, let a cookie replace the token of the page."""
    job_id = jobs.create(data={"status": "importing"})
    bar = await opened(page, site, job_id, cancel="1")
    if cookie:
        await page.context.add_cookies([{"url": site, **cookie}])  # type: ignore[typeddict-item]
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    async with page.expect_response("**/cancel/") as response:
        await bar.get_by_role("button", name="Yes, cancel it").click()
    assert (await (await response.value).request.all_headers())["origin"] == site
    assert (await response.value).status == 202


@pytest.mark.parametrize("kind", SITES)
async def test_it_works_on_a_site(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any, kind: str
) -> None:
    for name, value in SITES[kind].items():
        setattr(settings, name, value)
    await cancelled(page, jobs, live.url)


@without(uses_the_names_of_django)
async def test_it_needs_the_names_of_the_site(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any, complaints: list[str]
) -> None:
    for name, value in NAMES.items():
        setattr(settings, name, value)
    await cancelled(page, jobs, live.url)
    complaints.clear()


@without(sends_the_token_of_the_page)
@pytest.mark.parametrize("name", ["csrftoken", "xsrf-token"])
async def test_it_works_after_a_login_in_another_tab_has_replaced_the_token(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any, name: str
) -> None:
    settings.CSRF_COOKIE_NAME = name
    await cancelled(page, jobs, live.url, name=name, value="n" * 32)


async def test_a_cookie_that_is_not_the_sites_is_ignored(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.CSRF_USE_SESSIONS = True
    await cancelled(page, jobs, live.url, name="csrftoken", value="n" * 32)


@pytest.mark.parametrize(
    ("status", "text"), [(403, "The import could not be cancelled."), (409, "")]
)
async def test_a_refused_cancellation_is_shown(
    live: AsgiServer,
    page: Page,
    complaints: list[str],
    jobs: SyncProgressManager,
    status: int,
    text: str,
) -> None:
    async def refuse(route: Route) -> None:
        await route.fulfill(status=status)

    await page.route("**/cancel/", refuse)
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id, cancel="1")
    jobs.update(job_id, {"stage": "live"})
    await expect(part(bar, "stage")).to_contain_text("live")
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    async with page.expect_response("**/cancel/"):
        await bar.get_by_role("button", name="Yes, cancel it").click()
    await expect(part(bar, "notice")).to_contain_text(text or "Cancelling…")
    complaints.clear()


def takes_any_page(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "status !== 202", "!response?.ok")


@without(takes_any_page)
@pytest.mark.parametrize("login", [{"status": 302, "headers": {"Location": "/"}}, {"status": 200}])
async def test_a_login_page_is_no_confirmation(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, login: dict[str, Any]
) -> None:
    await page.route("**/cancel/", lambda route: route.fulfill(**login))
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id, cancel="1")
    jobs.update(job_id, {"stage": "live"})
    await expect(part(bar, "stage")).to_contain_text("live")
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    await bar.get_by_role("button", name="Yes, cancel it").click()
    await expect(part(bar, "notice")).to_contain_text("The import could not be cancelled.")


@pytest.mark.parametrize("status", [202, 403])
async def test_a_response_after_the_end_changes_nothing(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager, status: int
) -> None:
    may_respond = asyncio.Event()

    async def hold(route: Route) -> None:
        response = await route.fetch()
        await may_respond.wait()
        await route.fulfill(response=response, status=status)

    await page.route("**/cancel/", hold)
    job_id = jobs.create(data={"status": "importing"})
    bar = await opened(page, live.url, job_id, cancel="1")
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    await bar.get_by_role("button", name="Yes, cancel it").click()
    key = f"import_progress:hash:{job_id}"
    await until(lambda: jobs.redis.hget(key, "_c"), "the request to cancel")
    jobs.update(job_id, {"status": "cancelled"})
    await expect(part(bar, "status")).to_have_text("Cancelled")
    async with page.expect_response("**/cancel/"):
        may_respond.set()
    await page.evaluate("fetch(location).then((page) => page.text())")  # Later than the response.
    await expect(part(bar, "status")).to_have_text("Cancelled")
    await expect(part(bar, "notice")).to_have_text("")
    complaints.clear()


async def test_escape_answers_the_question_and_leaves_a_dialog_around_it_open(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    bar = await opened(page, live.url, jobs.create(), cancel="1")
    await page.evaluate(
        """() => {
            const dialog = document.createElement("dialog");
            document.body.append(dialog);
            dialog.append(document.querySelector("import-progress"));
            dialog.showModal();
            window.keys = [];
            dialog.addEventListener("keydown", ({ key }) => window.keys.push(key));
        }"""
    )
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    await page.keyboard.press("Escape")
    await expect(bar.locator("[data-csrf]")).to_be_hidden()
    await expect(page.locator("dialog")).to_be_visible()
    assert await page.evaluate("window.keys") == []
    await page.keyboard.press("Escape")
    await expect(page.locator("dialog")).to_be_hidden()


async def test_the_end_hides_the_question(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id, cancel="1")
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    jobs.update(job_id, {"status": "done"})
    await expect(bar.locator("[data-csrf]")).to_be_hidden()
    await expect(bar).to_be_focused()


async def test_the_button_needs_a_token_and_a_running_job(jobs: SyncProgressManager) -> None:
    tag = "{% import_progress job_id cancel=True %}"
    with pytest.raises(ImproperlyConfigured, match="render the page with the request"):
        render(tag, job_id="a")
    assert "data-csrf" in render(tag, job_id="a", csrf_token="t")
    ended = jobs.create(data={"status": "done"})
    assert "data-csrf" not in render(tag, job_id=ended, csrf_token="t")


async def test_an_invalid_transport_is_an_error_with_the_fix(
    jobs: SyncProgressManager, settings: Any
) -> None:
    with pytest.raises(TemplateSyntaxError, match="sse, websocket, polling"):
        render("{% import_progress 'a' transport='pigeon' %}")
    with pytest.raises(ImproperlyConfigured, match="WEBSOCKET_URL"):
        render("{% import_progress 'a' transport='websocket' %}")
    settings.IMPORT_PROGRESS |= {"WEBSOCKET_URL": "/ws/"}
    assert 'data-websocket="/ws/"' in render("{% import_progress 'a' %}")
    assert "data-websocket" not in render("{% import_progress 'a' namespace='order_imports' %}")
