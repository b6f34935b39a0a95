"""Exports and tasks in a page: their texts, their labels, and the links to their results."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils.translation import override
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.widget import text

from ..faults.conftest import defence
from ..kit.asgi import AsgiServer
from ..kit.bars import opened, part, script_without
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..widget.test_context import render, text_of

__all__ = ["defence"]

EXPORT = {"status": "importing", "kind": "export", "label": "<b>Products</b>"}
EVIL: dict[str, Any] = {"status": "done", "link": {"text": "Open", "url": "javascript:alert(1)"}}


@IN_A_BROWSER[0]
@IN_A_BROWSER[1]
async def test_an_export_says_so_and_links_to_its_file_once_it_has_ended(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data=EXPORT)
    bar = await opened(page, live.url, job_id, cancel="1")
    await expect(part(bar, "status")).to_have_text("Exporting")
    await bar.get_by_role("button", name="Cancel", exact=True).click()
    await expect(bar.get_by_text("Cancel this export?")).to_be_visible()
    await expect(bar.get_by_role("button", name="No, keep exporting")).to_be_focused()
    link = part(bar, "link")
    jobs.update(job_id, {"link": {"text": "Download", "url": "/exports/1.csv"}, "stage": "x"})
    await expect(part(bar, "stage")).to_have_text("x")
    await expect(link).to_be_hidden()
    jobs.update(job_id, {"status": "done", "processed_rows": 12000})
    await expect(part(bar, "status")).to_have_text("Exported")
    await expect(link).to_have_text("Download")
    await expect(link).to_have_attribute("href", "/exports/1.csv")


@IN_A_BROWSER[0]
@IN_A_BROWSER[1]
async def test_the_question_follows_its_button(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    for options in ({}, {"compact": "1"}):
        bar = await opened(page, live.url, jobs.create(), cancel="1", **options)
        await bar.get_by_role("button", name="Cancel", exact=True).click()
        follows = "[data-do=ask] + .import-progress-confirm"
        await expect(bar.locator(follows)).to_be_visible()


def shows_any_link(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "SAFE_URL.test(asText(url))", "true")


@IN_A_BROWSER[0]
@IN_A_BROWSER[1]
@without(shows_any_link)
async def test_a_link_that_runs_a_script_is_not_shown_by_the_script(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    jobs.update(job_id, EVIL)
    await expect(bar).to_have_attribute("data-status", "done")
    assert await part(bar, "link").get_attribute("href") is None
    await expect(part(bar, "link")).to_be_hidden()


def renders_any_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "safe_link", lambda job: tuple(job["link"].values()))


@without(renders_any_link)
async def test_nor_in_the_page(jobs: SyncProgressManager) -> None:
    assert "javascript" not in render("{% import_progress job %}", job=jobs.create(data=EVIL))


async def test_the_tags_label_wins_over_the_fields(jobs: SyncProgressManager) -> None:
    job = jobs.create(data=EXPORT)
    assert "<bdi>&lt;b&gt;Products&lt;/b&gt;</bdi>" in render("{% import_progress job %}", job=job)
    assert "<bdi>Mine</bdi>" in render("{% import_progress job label='Mine' %}", job=job)
    for kind, noun in (("export", "Export"), ("sync", "Task"), (None, "Import")):
        job = jobs.create(data={"kind": kind})
        assert f"<bdi>{noun}</bdi>" in render("{% import_progress job %}", job=job)


@pytest.mark.parametrize(("language", "shown"), [("de", "Export läuft"), ("ja", "エクスポート中")])
async def test_its_texts_are_translated(
    jobs: SyncProgressManager, language: str, shown: str
) -> None:
    job = jobs.create(data=EXPORT)
    with override(language):
        assert text_of(render("{% import_progress job %}", job=job), "status") == shown
