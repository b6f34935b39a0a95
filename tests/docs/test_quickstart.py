"""The README's quick start, followed to the letter in a new project."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from ..kit.documented import blocks
from ..kit.project import RUNSERVER, Project


def test_it_is_short() -> None:
    quick_start = blocks("README.md", "Quick start")
    assert [block.file for block in quick_start] == [
        "mysite/settings.py",
        "mysite/urls.py",
        "products/views.py",
        "products/templates/products/import.html",
    ]
    assert sum(len(block.code.splitlines()) for block in quick_start) < 30


@pytest.fixture(params=["wsgi", "asgi"])
def served(request: pytest.FixtureRequest, project: Project) -> Iterator[str]:
    """The project's address: served by `runserver`, and by uvicorn as the README starts it."""
    command = RUNSERVER
    if request.param == "asgi":
        project.follow("README.md", "Pushed instead of polled")
        options = ["--timeout-graceful-shutdown", "1", "--port"]
        command = ("-m", "uvicorn", "mysite.asgi:application", *options)
    with project.served(*command) as url:
        yield url


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_it_shows_a_live_bar(served: str, page: Page) -> None:
    await page.goto(f"{served}/import/")
    await page.get_by_role("button", name="Import").click()
    bar = page.locator("import-progress")
    seen = set()
    for percent in (10, 40, 70):
        await page.wait_for_function(
            f"document.querySelector('import-progress progress').value > {percent}"
        )
        seen.add(await bar.locator("progress").get_attribute("value"))
    await expect(bar).to_have_attribute("data-status", "done", timeout=30_000)
    await expect(bar.locator("[data-show=rows]")).to_have_text("300 of 300 rows")
    assert len(seen) == 3
