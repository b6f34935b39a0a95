"""The README's quick start, followed to the letter in a new project."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from .kit.processes import RedisProcess, free_port
from .kit.waiting import wait_for

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"```(?:python|django)\n(?:# |\{# )(\S+\.\w+)(?: #\})?\n(.*?)```", re.DOTALL)


def blocks(section: str) -> list[tuple[str, str]]:
    """Return each code block of a section that names its file."""
    text = README.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return BLOCK.findall(text)


def test_it_is_short() -> None:
    quick_start = blocks("Quick start")
    assert [name for name, _ in quick_start] == [
        "mysite/settings.py",
        "mysite/urls.py",
        "products/views.py",
        "products/templates/products/import.html",
    ]
    assert sum(len(code.splitlines()) for _, code in quick_start) < 30


class Project:
    """A Django project in a folder of its own."""

    def __init__(self, folder: Path, redis_url: str) -> None:
        self.folder = folder
        self.environment = {**os.environ, "REDIS_URL": redis_url}
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)

    def run(self, *arguments: str) -> None:
        """Run Python in it."""
        command = [sys.executable, *arguments]
        subprocess.run(command, cwd=self.folder, env=self.environment, check=True)

    def follow(self, section: str) -> None:
        """Add the blocks of a section of the README to the files they name."""
        for name, code in blocks(section):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("a") as file:
                file.write("\n" + code)


@pytest.fixture
def project(tmp_path: Path, server: RedisProcess) -> Project:
    project = Project(tmp_path, server.url)
    project.run("-m", "django", "startproject", "mysite", ".")
    project.run("manage.py", "startapp", "products")
    project.follow("Quick start")
    project.run("manage.py", "migrate", "--verbosity", "0")
    return project


@pytest.fixture(params=["wsgi", "asgi"])
def served(request: pytest.FixtureRequest, project: Project) -> Iterator[str]:
    """The project's address: served by `runserver`, and by uvicorn as the README starts it."""
    port = free_port()
    if request.param == "wsgi":
        command = ["manage.py", "runserver", "--noreload", str(port)]
    else:
        project.follow("Pushed instead of polled")
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
