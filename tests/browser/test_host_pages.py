"""Bars in the Django admin, and in pages that htmx and Turbo change."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.test import Client
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

from ..kit.admin import ADMIN, add_admin
from ..kit.asgi import AsgiServer
from ..kit.bars import part, requests, streams
from ..kit.browser import IN_A_BROWSER
from ..kit.waiting import until

TURBO = Path(find_spec("turbo").submodule_search_locations[0]) / "static"  # type: ignore[union-attr, index]
"""The static files of turbo-django, whose wheel contains the script. The app is not needed."""

MORPH = "url => htmx.ajax('GET', url, { target: '#place', swap: 'innerMorph' })"

pytestmark = [*IN_A_BROWSER, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def full_site(jobs: SyncProgressManager, settings: Any) -> Any:
    """The site with the admin, htmx and Turbo."""
    add_admin(settings)
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_htmx"]
    settings.STATICFILES_DIRS = [TURBO]
    settings.ROOT_URLCONF = "tests.site.uploads"
    with AsgiServer(ASGIStaticFilesHandler(get_asgi_application())) as server:
        yield server


@pytest.fixture
def session(transactional_db: None) -> str:
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    return client.cookies["sessionid"].value


async def test_the_admin_shows_bars_in_its_lists_and_forms(
    full_site: AsgiServer, jobs: SyncProgressManager, session: str, page: Page
) -> None:
    url = full_site.url
    for name in ("a", "b"):
        await Group.objects.acreate(name=jobs.create(name, data={"total_rows": 4}))
    await Group.objects.acreate(name="")
    await page.context.add_cookies([{"name": "sessionid", "value": session, "url": url}])
    await page.goto(f"{url}/admin/auth/group/")
    bars = page.locator("import-progress")
    await expect(bars).to_have_count(2)
    jobs.update("a", {"processed_rows": 1})
    await expect(page.locator("[data-job=a] [data-show=percent]")).to_have_text("25%")
    await page.get_by_role("link", name="b", exact=True).click()
    await expect(bars).to_have_count(1)
    jobs.update("b", {"status": "done"})
    await expect(bars).to_have_attribute("data-status", "done")


@pytest.mark.parametrize("version", ["htmx-2", "htmx-4"])
async def test_htmx_swaps_a_bar_in_and_out_and_reacts_to_its_end(
    full_site: AsgiServer, jobs: SyncProgressManager, page: Page, version: str
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    await page.goto(f"{full_site.url}/htmx/?job={job_id}&version={version}")
    show, hide = (page.get_by_role("button", name=name) for name in ("Show", "Hide"))
    await show.click()
    await streams(1)
    jobs.update(job_id, {"processed_rows": 1})
    await expect(page.locator("[data-show=percent]")).to_have_text("25%")
    await hide.click()
    await streams(0)
    await show.click()
    await streams(1)
    jobs.update(job_id, {"status": "done"})
    await expect(page.get_by_text("It is over.")).to_be_visible()
    await expect(page.locator("import-progress")).to_have_count(0)


async def test_turbo_leaves_and_restores_a_page_with_a_bar(
    full_site: AsgiServer, jobs: SyncProgressManager, page: Page
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    await page.goto(f"{full_site.url}/turbo/nowhere/{job_id}/")
    await page.evaluate("window.isStillHere = true")
    await page.get_by_role("link", name="Import").click()
    await streams(1)
    jobs.update(job_id, {"processed_rows": 1})
    await expect(page.locator("[data-show=percent]")).to_have_text("25%")
    await page.get_by_role("link", name="Home").click()
    await streams(0)
    jobs.update(job_id, {"processed_rows": 2})
    await page.go_back()
    # Turbo shows its cached copy of the page.
    await expect(page.locator("[data-show=percent]")).to_have_text("50%")
    await streams(1)
    jobs.update(job_id, {"status": "done"})
    await expect(page.locator("import-progress")).to_have_attribute("data-status", "done")
    assert await page.evaluate("window.isStillHere"), "Turbo did not handle the links"


async def test_a_bar_comes_and_goes_in_a_turbo_frame(
    full_site: AsgiServer, jobs: SyncProgressManager, page: Page
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    await page.goto(f"{full_site.url}/turbo/page/{job_id}/")
    await streams(1)
    frame = page.locator("turbo-frame")
    await frame.get_by_role("link", name="Show").click()
    jobs.update(job_id, {"processed_rows": 1})
    await expect(frame.locator("[data-show=percent]")).to_have_text("25%")
    await streams(1)
    await frame.get_by_role("link", name="Hide").click()
    await expect(page.locator("import-progress")).to_have_count(1)
    jobs.update(job_id, {"status": "done"})
    await expect(page.locator("import-progress")).to_have_attribute("data-status", "done")


@pytest.mark.parametrize("version", ["htmx-2", "htmx-4"])
async def test_htmx_reacts_to_a_bar_that_has_ended_before_it_was_swapped_in(
    full_site: AsgiServer, jobs: SyncProgressManager, page: Page, version: str
) -> None:
    job_id = jobs.create(data={"status": "done"})
    await page.goto(f"{full_site.url}/htmx/?job={job_id}&version={version}")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text("It is over.")).to_be_visible()


async def test_a_morph_keeps_the_question_the_focus_and_the_connection(
    full_site: AsgiServer, jobs: SyncProgressManager, page: Page
) -> None:
    job_id = jobs.create(data={"status": "importing", "total_rows": 4})
    await page.goto(f"{full_site.url}/htmx/?job={job_id}&version=htmx-4")
    await page.get_by_role("button", name="Show").click()
    await streams(1)
    bar = page.locator("import-progress")
    jobs.update(job_id, {"processed_rows": 1})
    await expect(part(bar, "percent")).to_have_text("25%")
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    no = bar.get_by_role("button", name="No, keep importing")
    await expect(no).to_be_focused()
    before = await bar.get_attribute("data-stream")
    with requests(page, "/stream/") as found:

        async def has_a_new_ticket() -> bool:
            await page.evaluate(MORPH, f"/htmx/bar/{job_id}/")
            return await bar.get_attribute("data-stream") != before

        await until(has_a_new_ticket, "a morph in another second")
        await expect(no).to_be_focused()
        jobs.update(job_id, {"processed_rows": 2})
        await expect(part(bar, "percent")).to_have_text("50%")
        await expect(no).to_be_focused()
        await page.evaluate("document.querySelector('import-progress [data-csrf]').hidden = true")
        await expect(no).to_be_focused()
    assert found == []
    await streams(1)
    jobs.update(job_id, {"status": "done"})
    await expect(page.get_by_text("It is over.")).to_be_visible()
