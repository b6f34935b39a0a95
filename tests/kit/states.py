"""Jobs in all states that look different."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

RUNNING: dict[str, Any] = {
    "status": "importing",
    "stage": "products.csv",
    "total_rows": 28298,
    "processed_rows": 14100,
    "created": 1203,
    "updated": 12897,
    "rows_per_second": 480.2,
    "eta_seconds": 29,
    "started_at": "2026-11-30T12:00:00+00:00",
}
ERROR = "Row 14,101: a price must be a number, not “twelve”.\nCorrect the file.\n"
FIELDS: dict[str, dict[str, Any]] = {
    "running": RUNNING,
    "cancelling": RUNNING,
    "queued": {"status": "queued"},
    "parsing": {**RUNNING, "status": "parsing", "total_rows": None},
    "long": {**RUNNING, "status": "importing " * 20, "stage": "x" * 200},
    "done": {**RUNNING, "status": "done", "processed_rows": 28298},
    "partly": {**RUNNING, "status": "done", "processed_rows": 28298, "rejected_rows": 12},
    "failed": {**RUNNING, "status": "failed", "error_message": ERROR},
    "cancelled": {**RUNNING, "status": "cancelled"},
}

NOTE_CHANGES = """document.addEventListener("import-progress:change", ({ target }) =>
    target.setAttribute("data-heard", ""));"""
"""Marks the bars that have received their jobs, and no longer show what the page had."""
_WAITING = (
    "import-progress:not([data-heard], [data-status=done], [data-status=failed],"
    " [data-status=cancelled])"
)


def in_all_states(jobs: SyncProgressManager) -> dict[str, str]:
    """Make a job in each state; their ids."""
    ids = {name: jobs.create(data=fields) for name, fields in FIELDS.items()}
    jobs.request_cancel(ids["cancelling"])
    return ids


async def settled(page: Page) -> None:
    """Wait until the bars are as they stay, and ask whether to cancel the first one."""
    await expect(page.locator(_WAITING)).to_have_count(0)
    await expect(page.locator("[data-notice=cancelling]")).to_have_count(1)
    await expect(page.locator("[data-notice=offline]")).to_have_count(0)
    await page.locator("[data-do=ask]:visible").first.click()
    await expect(page.locator("[data-csrf]:visible")).to_have_count(1)
    # Some frameworks fade in what they change.
    await page.evaluate(
        "Promise.all(document.getAnimations().filter((it) => it instanceof CSSTransition)"
        ".map((it) => it.finished))"
    )
