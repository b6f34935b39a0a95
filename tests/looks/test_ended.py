"""A bar says when its job ended, the same before and after the script runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

from ..kit.asgi import AsgiServer
from ..kit.bars import opened, part
from ..kit.browser import IN_A_BROWSER

pytestmark = IN_A_BROWSER


@pytest.mark.parametrize("language", ["en", "fr", "ar", "ja"])
@pytest.mark.parametrize(
    ("zone", "took"),
    [("UTC", {"seconds": 7}), ("Asia/Kolkata", {"minutes": 7}), ("UTC", {"days": 2})],
)
async def test_the_script_shows_the_same_end_as_the_page(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    settings: Any,
    language: str,
    zone: str,
    took: dict[str, int],
) -> None:
    settings.TIME_ZONE = zone
    job_id = jobs.create(data={"status": "importing"})
    bar = await opened(page, live.url, job_id, language=language)
    await expect(part(bar, "pace")).to_have_text("")
    started_at = (datetime.now(UTC) - timedelta(**took)).isoformat()
    jobs.update(job_id, {"status": "done", "started_at": started_at})
    await expect(part(bar, "pace")).to_contain_text("·")
    by_the_script = await part(bar, "pace").text_content()
    await page.reload()
    await expect(part(bar, "pace")).to_have_text(str(by_the_script))


async def test_without_a_known_start_only_the_end_is_shown(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"status": "importing"})
    bar = await opened(page, live.url, job_id)
    jobs.update(job_id, {"status": "cancelled", "started_at": "x"})
    await expect(part(bar, "pace")).to_contain_text("Ended ")
    await expect(part(bar, "pace")).not_to_contain_text("took")
    other = jobs.create(data={"status": "importing"})
    bar = await opened(page, live.url, other)
    jobs.update(other, {"status": "failed", "ended_at": "x"})
    await expect(bar).to_have_attribute("data-status", "failed")
    await expect(part(bar, "pace")).to_have_text("")
