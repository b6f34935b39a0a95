"""The history in the Django admin and its themes, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from django.test import Client
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.history.models import ImportRun

from ..kit.admin import ADMIN
from ..kit.asgi import AsgiServer
from ..kit.browser import IN_A_BROWSER
from ..kit.looks import contrasts, photograph
from ..kit.runs import REPORT, STARTED, past_run
from ..kit.states import RUNNING
from ..kit.themes import THEMES, use_theme
from ..looks.conftest import pictures

__all__ = ["pictures"]

pytestmark = [
    *IN_A_BROWSER,
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("archived"),
]


@pytest.fixture(params=THEMES)
def theme(request: pytest.FixtureRequest, settings: Any) -> str:
    use_theme(settings, request.param)
    return str(request.param)


@pytest.fixture
def admin(theme: str, transactional_db: None, jobs: SyncProgressManager) -> Iterator[AsgiServer]:
    """The admin, with runs of each kind."""
    owner = User.objects.create_user("bessie")
    for number, status in enumerate(["failed", "cancelled", "lost", "superseded", "interrupted"]):
        past_run(f"job{number}", status=status, error_message="Row 3: no price." * number)
    past_run("partly", attempt=1, status="failed", owner=owner.pk)
    past_run(
        "partly",
        attempt=2,
        outcome="partial",
        processed_rows=28_298,
        total_rows=28_298,
        rejected_rows=12,
        report=REPORT,
        owner=owner.pk,
        counters={"created": 1203, "updated": 27_083},
        snapshot={"status": "done", "file_name": "products.csv", "note": "x" * 300},
        queued_at=STARTED - timedelta(seconds=3),
    )
    past_run("running", status="running", ended_at=None, owner=owner.pk, label="All products")
    jobs.create("running", data=RUNNING)
    past_run("forgotten", status="running", ended_at=None, label="")
    past_run("queued", status="queued", started_at=None, ended_at=None)
    jobs.create("queued")
    with AsgiServer(ASGIStaticFilesHandler(get_asgi_application())) as server:
        yield server


async def visited(page: Page, admin: AsgiServer, path: str = "") -> None:
    client = Client()
    user, _ = await User.objects.aget_or_create(**ADMIN)
    await sync_to_async(client.force_login)(user)
    session = client.cookies["sessionid"].value
    cookie: Any = {"name": "sessionid", "value": session, "url": admin.url}
    await page.context.add_cookies([cookie])
    await page.goto(f"{admin.url}/admin/import_progress_history/importrun/{path}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_are_readable(
    admin: AsgiServer, page: Page, theme: str, scheme: Any, pictures: Path
) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await visited(page, admin)
    await expect(page.locator("import-progress")).to_have_count(3)
    await expect(page.locator("import-progress[data-notice=stalled]")).to_have_count(1)
    assert {what: n for what, n in (await contrasts(page)).items() if n < 4.5} == {}
    await photograph(page, pictures / f"history-{theme}-{scheme}-list")
    for job_id in ("partly", "running"):
        run = await ImportRun.objects.filter(job_id=job_id).alatest("attempt")
        await visited(page, admin, f"{run.pk}/change/")
        await expect(page.locator(".import-progress-attempts")).to_be_visible()
        await photograph(page, pictures / f"history-{theme}-{scheme}-{job_id}")
