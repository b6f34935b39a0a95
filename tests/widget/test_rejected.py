"""A bar whose import has rejected rows: it says so, and links their report."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.template import Context, Template
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.access.tickets import read_ticket

from ..kit.asgi import AsgiServer
from ..kit.bars import opened
from ..kit.browser import IN_A_BROWSER

TAG = "{% load import_progress %}{% import_progress job_id cancel=cancel %}"
DONE = {"status": "done", "processed_rows": 12_039, "rejected_rows": 12}


def render(job_id: str, *, cancel: bool = False) -> str:
    context = Context({"job_id": job_id, "cancel": cancel, "csrf_token": "token"})
    return Template(TAG).render(context)


def link(html: str) -> str | None:
    """Return where the link to the report leads, if it does."""
    [found] = re.findall(r'<a class="import-progress-report"([^>]*)>', html)
    href = re.search(r'href="([^"]+)"', found)
    return None if href is None else href[1]


@pytest.mark.parametrize(
    ("fields", "status", "counts"),
    [
        ({}, "Partly imported", "12,027 imported · 12 rejected"),
        ({"created": 5}, "Partly imported", "12,027 imported · 12 rejected · 5 created"),
        ({"processed_rows": 12}, "Nothing imported", "12 rejected"),
        ({"processed_rows": 0, "rejected_rows": 0}, "Nothing imported", ""),
        ({"rejected_rows": 0}, "Done", ""),
        ({"status": "failed"}, "Failed", "12,027 imported · 12 rejected"),
        ({"status": "importing"}, "Importing", "12 rejected"),
    ],
)
def test_it_says_how_many_rows_were_imported_and_rejected(
    jobs: SyncProgressManager, fields: dict[str, Any], status: str, counts: str
) -> None:
    html = render(jobs.create(data={**DONE, **fields})).replace("\xa0", " ")
    assert f'data-show="status">{status}<' in html
    assert f'data-show="counts">{counts}<' in html


def test_the_link_has_a_ticket_that_may_only_watch(jobs: SyncProgressManager) -> None:
    job_id = jobs.create(data={**DONE, "status": "importing"}, owner=7)
    url = link(render(job_id, cancel=True))
    assert url is not None
    reference = url.removeprefix("/progress/jobs/").removesuffix("/rejects/")
    grant = read_ticket(reference, "watch", "import_progress")
    assert grant is not None
    assert grant.job_id == job_id
    assert read_ticket(reference, "cancel", "import_progress") is None


def test_a_page_that_may_only_watch_has_the_address_once_there_is_a_report(
    jobs: SyncProgressManager,
) -> None:
    assert link(render(jobs.create(data={"status": "importing"}))) is None
    assert link(render(jobs.create(data=DONE))) is not None


def test_a_report_that_has_expired_is_not_linked(jobs: SyncProgressManager) -> None:
    job_id = jobs.create(data=DONE)
    jobs.redis.delete(f"import_progress:hash:{job_id}")
    html = render(job_id)
    assert "Partly imported" in html
    assert (link(html), "data-rejected" in html) == (None, False)


@IN_A_BROWSER[0]
@IN_A_BROWSER[1]
async def test_it_changes_when_the_import_ends(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"status": "importing"})
    await opened(page, live.url, job_id)
    report = page.locator(".import-progress-report")
    await expect(page.locator("[data-show=status]")).to_have_text("Importing")
    await expect(report).to_be_hidden()
    jobs.update(job_id, DONE)
    await expect(page.locator("[data-show=status]")).to_have_text("Partly imported")
    await expect(report).to_be_visible()
    address = await report.get_attribute("href")
    assert address is not None
    assert address.startswith(f"{live.url}/progress/jobs/@")
