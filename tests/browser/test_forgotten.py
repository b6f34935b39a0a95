"""An import that Redis has forgotten, on the example's page: the history knows what happened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.watch import archive

from ..faults.conftest import defence
from ..kit.airports import ZURICH, as_csv, imported
from ..kit.asgi import AsgiServer
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..kit.recorded import the_run

__all__ = ["defence"]

pytestmark = [*IN_A_BROWSER, pytest.mark.django_db(transaction=True)]


def history_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "current", lambda: None)


@pytest.mark.usefixtures("history")
@without(history_is_not_read)
async def test_the_bar_says_what_happened_and_the_report_downloads(
    live: AsgiServer,
    jobs: SyncProgressManager,
    page: Page,
    settings: Any,
    tmp_path: Path,
    defence: Any,
) -> None:
    settings.MEDIA_ROOT = tmp_path
    rows = as_csv(ZURICH, {**ZURICH, "icao": "X001", "lat": "north"})
    import_ = await sync_to_async(imported)(rows)
    assert (await sync_to_async(the_run)(str(import_.pk))).report
    await page.goto(live.url + import_.get_absolute_url())
    bar = page.locator("import-progress")
    link = bar.get_by_role("link", name="Download the rejected rows")
    for _ in range(2):
        await expect(bar.locator("[data-show=status]")).to_have_text("Partly imported")
        await expect(bar.locator("[data-show=counts]")).to_contain_text("1 imported · 1 rejected")
        async with page.expect_download() as waiting:
            await link.click()
        file = await (await waiting.value).path()
        assert "north" in file.read_text(encoding="utf-8-sig")
        jobs.redis.flushall()
        await page.reload()
