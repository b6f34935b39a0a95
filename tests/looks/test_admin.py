"""Bars in the Django admin and its themes: a line in a list, and of one width in a form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from django.contrib.auth.models import Group, User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.test import Client
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

from ..kit.admin import ADMIN
from ..kit.asgi import AsgiServer
from ..kit.browser import IN_A_BROWSER
from ..kit.looks import contrasts, photograph
from ..kit.states import FIELDS, in_all_states
from ..kit.themes import THEMES, use_theme

pytestmark = [*IN_A_BROWSER, pytest.mark.django_db(transaction=True)]

ROWS = """[...document.querySelectorAll("import-progress")].map((bar) => {
    const row = bar.closest("tr");
    bar.hidden = true;
    const without = row.offsetHeight;
    bar.hidden = false;
    return [row.offsetHeight - without, bar.offsetWidth];
})"""


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest, settings: Any) -> str:
    use_theme(settings, request.param)
    return str(request.param)


@pytest.fixture
def admin(theme: str, transactional_db: None, jobs: SyncProgressManager) -> Iterator[AsgiServer]:
    """The admin, with a group for each state of a bar."""
    for job_id in in_all_states(jobs).values():
        Group.objects.create(name=job_id)
    with AsgiServer(ASGIStaticFilesHandler(get_asgi_application())) as server:
        yield server


@pytest.fixture
def session(transactional_db: None) -> str:
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    return client.cookies["sessionid"].value


async def visited(page: Page, admin: AsgiServer, session: str, path: str = "") -> None:
    cookie: Any = {"name": "sessionid", "value": session, "url": admin.url}
    await page.context.add_cookies([cookie])
    await page.goto(f"{admin.url}/admin/auth/group/{path}")
    await expect(page.locator("import-progress").first).to_be_visible()


async def test_a_bar_in_a_list_is_a_line_of_a_row(
    admin: AsgiServer, page: Page, session: str
) -> None:
    await visited(page, admin, session)
    await expect(page.locator("[data-notice=cancelling]")).to_have_count(1)
    measured = await page.evaluate(ROWS)
    assert len(measured) == len(FIELDS)
    assert max(height for height, _ in measured) <= 1
    assert len({width for _, width in measured}) == 1
    # The first column has the name already.
    await expect(page.locator("import-progress .import-progress-label")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_all_texts_are_readable(
    admin: AsgiServer, page: Page, session: str, theme: str, scheme: Any, pictures: Path
) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await visited(page, admin, session)
    assert {what: n for what, n in (await contrasts(page)).items() if n < 4.5} == {}
    results = await Axe().run(page, "import-progress")
    assert results.violations_count == 0, results.generate_report()
    await photograph(page, pictures / f"{theme}-{scheme}-compact")
    group = await Group.objects.afirst()
    await visited(page, admin, session, f"{group.pk}/change/")  # type: ignore[union-attr]
    assert {what: n for what, n in (await contrasts(page)).items() if n < 4.5} == {}
    await photograph(page, pictures / f"{theme}-{scheme}")


async def test_a_bar_in_a_form_has_the_same_width_in_all_states(
    admin: AsgiServer, page: Page, session: str
) -> None:
    widths = set()
    for number in [group.pk async for group in Group.objects.all()]:
        await visited(page, admin, session, f"{number}/change/")
        widths.add(await page.locator("import-progress").evaluate("(bar) => bar.offsetWidth"))
    assert len(widths) == 1
    assert widths.pop() >= 400
