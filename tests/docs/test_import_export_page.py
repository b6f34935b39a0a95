"""The page on django-import-export, followed to the letter, and served by `runserver`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Page, expect

from ..kit.admin import ADMIN, bars_shown, confirm, upload
from ..kit.project import RUNSERVER, Project
from ..kit.waiting import until

ROWS, PASSWORD = 60, "as long as it has to be"
SLOW = """
import time
from django.db.models.signals import pre_save
pre_save.connect(lambda **_: time.sleep(0.1), sender=Product, weak=False)
"""
OUTSIDE = """
from django_import_progress import get_sync_progress_manager
from products.imports import import_names
import_names("outside", 1, ["a", "b"])
[job] = get_sync_progress_manager().jobs(owner=1)
assert (job["job_id"], job["status"], job["new"]) == ("outside", "done", 2)
"""


@pytest.fixture
def followed(project: Project) -> Project:
    project.follow("docs/import-export.md")
    project.run("manage.py", "makemigrations", "--verbosity", "0", "products")
    project.migrate()
    return project


def test_outside_of_the_admin_it_has_the_id_that_it_is_given(followed: Project) -> None:
    followed.run("manage.py", "shell", "-c", OUTSIDE)


@pytest.fixture
def served(followed: Project) -> Iterator[str]:
    followed.environment["DJANGO_SUPERUSER_PASSWORD"] = PASSWORD
    names = ["--username", ADMIN["username"], "--email", "admin@example.org"]
    followed.run("manage.py", "createsuperuser", "--noinput", "--verbosity", "0", *names)
    with (followed.folder / "products/models.py").open("a") as models:
        models.write(SLOW)
    with followed.served(*RUNSERVER) as url:
        yield url


async def moves(shown: list[dict[str, Any]], stage: str) -> None:
    """See the bar somewhere on its way."""
    await until(
        lambda: any(bar["stage"] == stage and 0 < bar["value"] < 100 for bar in shown),
        f"the bar to move while it is {stage}",
    )


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
async def test_the_bar_moves_under_wsgi(served: str, page: Page, complaints: list[str]) -> None:
    shown = await bars_shown(page)
    await page.goto(f"{served}/admin/products/product/import/")
    await page.get_by_label("Username").fill(ADMIN["username"])
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await upload(page, ROWS)
    await moves(shown, "checking")
    await confirm(page)
    await moves(shown, "rows")
    await expect(page.get_by_text(f"Import finished: {ROWS} new")).to_be_visible(timeout=20_000)
    # Chromium complains of a poll that came before the import had begun.
    assert {text for text in complaints if "404" not in text} == set()
    complaints.clear()
