"""The README's quick start, followed to the letter in a new project."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.async_api import Page, expect

from .kit.processes import free_port
from .kit.project import Project, blocks
from .kit.waiting import wait_for


def test_it_is_short() -> None:
    quick_start = blocks("README.md", "Quick start")
    assert [name for name, _ in quick_start] == [
        "mysite/settings.py",
        "mysite/urls.py",
        "products/views.py",
        "products/templates/products/import.html",
    ]
    assert sum(len(code.splitlines()) for _, code in quick_start) < 30


@pytest.fixture
def migrated(project: Project) -> Project:
    project.run("manage.py", "migrate", "--verbosity", "0")
    return project


@pytest.fixture(params=["wsgi", "asgi"])
def served(request: pytest.FixtureRequest, migrated: Project) -> Iterator[str]:
    """The project's address: served by `runserver`, and by uvicorn as the README starts it."""
    project, port = migrated, free_port()
    if request.param == "wsgi":
        command = ["manage.py", "runserver", "--noreload", str(port)]
    else:
        project.follow("README.md", "Pushed instead of polled")
        command = ["-m", "uvicorn", "mysite.asgi:application", "--port", str(port)]
        command += ["--timeout-graceful-shutdown", "1"]
    log = project.folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=project.folder,
            env={**project.environment, "PYTHONUNBUFFERED": "1"},
            stdout=output,
            stderr=output,
        )
    try:
        wait_for(lambda: b"http://127.0.0.1" in log.read_bytes(), "the server to start")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.browser
async def test_it_shows_a_live_bar(served: str, page: Page) -> None:
    await page.goto(f"{served}/import/")
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
