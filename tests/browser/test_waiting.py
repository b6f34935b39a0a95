"""Bars of jobs that are not running: queued, unknown and expired ones."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.template import Context, Template
from django.utils.translation import override
from playwright.async_api import Locator, Page, expect

from django_import_progress import SyncProgressManager, track_import
from django_import_progress.core.snapshot import TERMINAL

from ..kit.asgi import AsgiServer
from ..kit.bars import LISTEN, opened, part, requests, streams, turn
from ..kit.queued import queued_for
from ..kit.tracked import JOB
from ..kit.waiting import until
from ..kit.wsgi import wsgi_server

OUTCOME = {"processed_rows": 1000, "total_rows": 1000, "expired": True}
SPOKEN = """() => {
    window.spoken = [];
    const news = document.querySelector("[data-show=news]");
    new MutationObserver(() => news.textContent && window.spoken.push(news.textContent))
        .observe(news, { childList: true });
}"""


def render(job_id: str, **options: Any) -> str:
    tag = "{% load import_progress %}{% import_progress job_id cancel=cancel %}"
    context = Context({"job_id": job_id, "cancel": False, "csrf_token": "x", **options})
    return Template(tag).render(context)


def attribute(html: str, name: str) -> str | None:
    found = re.search(rf' {name}="([^"]*)"', html)
    return None if found is None else found[1]


def test_a_page_shows_how_long_a_job_has_been_queued(jobs: SyncProgressManager) -> None:
    html = render(queued_for(jobs, 200))
    assert attribute(html, "data-waited") == "200"
    assert attribute(html, "data-notice") == "unstarted"
    assert "Waiting for 3 minutes" in html
    assert "No worker has started it yet" in html
    assert attribute(html, "data-waiting-seconds") is None


def test_a_newly_queued_job_shows_no_waiting_time(jobs: SyncProgressManager) -> None:
    html = render(jobs.create())
    assert attribute(html, "data-waited") == "0"
    assert attribute(html, "data-notice") is None
    assert "Waiting for" not in re.sub("<script.*", "", html, flags=re.DOTALL)


@pytest.mark.parametrize("fields", [{"status": "importing"}, {"status": "done"}, {"attempt": 1}])
def test_jobs_that_run_or_ran_have_no_waiting_time(
    jobs: SyncProgressManager, fields: dict[str, Any]
) -> None:
    assert attribute(render(queued_for(jobs, 200, **fields)), "data-waited") is None


def test_a_job_of_another_program_has_no_waiting_time(jobs: SyncProgressManager) -> None:
    jobs.redis.hset(jobs.calls.keys.hash(JOB), "status", '"queued"')
    assert attribute(render(JOB), "data-waited") is None


def test_an_attempt_that_will_be_retried_has_no_waiting_time(
    jobs: SyncProgressManager,
) -> None:
    with track_import(JOB):
        jobs.update(JOB, {"status": "queued"})
        assert attribute(render(JOB), "data-waited") is None


def test_the_page_has_the_setting_for_unknown_jobs(
    jobs: SyncProgressManager, settings: Any
) -> None:
    assert attribute(render("absent"), "data-waiting-seconds") == "60"
    settings.IMPORT_PROGRESS |= {"WAITING_SECONDS": 2.5}
    with override("de"):
        assert attribute(render("absent"), "data-waiting-seconds") == "2.5"
    assert attribute(render(jobs.create()), "data-waiting-seconds") is None


def test_without_redis_a_job_does_not_count_as_unknown(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    assert attribute(render("absent"), "data-waiting-seconds") is None


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_expired_job_is_shown_as_ended(jobs: SyncProgressManager, status: str) -> None:
    html = render(jobs.create(data={**OUTCOME, "status": status}), cancel=True)
    assert attribute(html, "data-status") == status
    assert "1,000 of 1,000 rows" in html
    assert "<button" not in html


async def queued_bar(page: Page, url: str, job_id: str, **options: str) -> Locator:
    """Open the page of a job's bar, with a clock that the test controls."""
    await page.clock.install()
    bar = await opened(page, url, job_id, **options)
    await page.evaluate(LISTEN)
    await page.evaluate(SPOKEN)
    return bar


async def given_up(page: Page, bar: Locator) -> None:
    """Advance the page's clock until the bar gives up. Only connected time counts."""

    async def is_gone_later() -> bool:
        await page.clock.run_for(3_000)
        return await bar.get_attribute("data-status") == "gone"

    await until(is_gone_later, "the bar to give up")


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="session")
class TestInABrowser:
    async def test_a_queued_bar_updates_its_waiting_time(
        self, live: AsgiServer, page: Page, jobs: SyncProgressManager
    ) -> None:
        job_id = queued_for(jobs, 35)
        bar = await queued_bar(page, live.url, job_id, cancel="1")
        await expect(part(bar, "waited")).to_have_text("Waiting for 30 seconds")
        await expect(bar.locator("[data-do=ask]")).to_be_visible()
        jobs.update(job_id, {"stage": "connected"})
        await expect(part(bar, "stage")).to_have_text("connected")
        await page.clock.set_system_time("2001-01-01")  # The browser's wall clock has no influence.
        await page.clock.run_for(16_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 45 seconds")
        await expect(part(bar, "notice")).to_have_text("")
        await page.clock.run_for(16_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 1 minute")
        await expect(part(bar, "notice")).to_have_text("No worker has started it yet")
        await expect(bar).to_have_attribute("data-notice", "unstarted")
        await expect(bar).to_have_attribute("data-status", "queued")
        await expect(bar.locator("[data-do=ask]")).to_be_visible()
        await page.clock.run_for(120_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 3 minutes")
        assert await page.evaluate("window.spoken") == ["Products: No worker has started it yet"]

    async def test_a_rendered_notice_is_not_announced_again(
        self, live: AsgiServer, page: Page, jobs: SyncProgressManager
    ) -> None:
        job_id = queued_for(jobs, 65)
        bar = await queued_bar(page, live.url, job_id, cancel="1")
        await expect(bar.locator("[data-do=ask]")).to_be_visible()
        jobs.update(job_id, {"stage": "connected"})
        await expect(part(bar, "stage")).to_have_text("connected")
        await page.clock.run_for(61_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 2 minutes")
        assert await page.evaluate("window.spoken") == []

    async def test_a_job_that_is_queued_again_restarts_its_waiting_time(
        self, live: AsgiServer, page: Page, jobs: SyncProgressManager
    ) -> None:
        job_id = queued_for(jobs, 200)
        bar = await queued_bar(page, live.url, job_id)
        jobs.update(job_id, {"status": "importing"})
        await expect(part(bar, "waited")).to_have_text("")
        await expect(part(bar, "notice")).to_have_text("")
        jobs.update(job_id, {"status": "queued", "stage": "again"})
        await expect(part(bar, "stage")).to_have_text("again")
        await expect(part(bar, "waited")).to_have_text("")
        await page.clock.run_for(16_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 15 seconds")
        await page.evaluate("document.body.append(document.querySelector('import-progress'))")
        await page.clock.run_for(16_000)  # A moved bar keeps its start.
        await expect(part(bar, "waited")).to_have_text("Waiting for 30 seconds")

    async def test_a_hidden_page_has_no_timer_and_is_current_when_shown(
        self, live: AsgiServer, page: Page, jobs: SyncProgressManager
    ) -> None:
        bar = await queued_bar(page, live.url, queued_for(jobs, 60))
        await turn(page, "hidden")
        await page.clock.run_for(300_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 1 minute")
        await turn(page, "visible")
        await expect(part(bar, "waited")).to_have_text("Waiting for 6 minutes")

    async def test_an_expired_jobs_bar_requests_nothing(
        self, live: AsgiServer, page: Page, jobs: SyncProgressManager
    ) -> None:
        job_id = jobs.create(data={**OUTCOME, "status": "failed", "error_message": "Row 3"})
        with requests(page) as found:
            bar = await queued_bar(page, live.url, job_id, cancel="1")
            await page.clock.run_for(60_000)
            await page.evaluate("fetch('/bars/')")
        assert found == []
        await expect(part(bar, "error")).to_have_text("Row 3")
        await expect(bar.locator("button")).to_have_count(0)

    async def test_a_bar_gives_up_an_unknown_job_after_a_minute(
        self, live: AsgiServer, page: Page, complaints: list[str]
    ) -> None:
        bar = await queued_bar(page, live.url, "absent")
        await streams(1)
        await page.clock.run_for(30_000)
        await expect(bar).to_have_attribute("data-status", "waiting")
        await given_up(page, bar)
        complaints.clear()  # A silent stream makes the bar poll as well: 404.

    @pytest.mark.parametrize("way", ["sse", "polling", "wsgi"])
    async def test_a_bar_that_gave_up_requests_nothing(
        self, live: AsgiServer, page: Page, complaints: list[str], settings: Any, way: str
    ) -> None:
        settings.IMPORT_PROGRESS |= {"WAITING_SECONDS": 2.5}
        with wsgi_server() as port:
            places = {"wsgi": (f"http://127.0.0.1:{port}", "sse")}
            url, transport = places.get(way, (live.url, way))
            bar = await queued_bar(page, url, "absent", cancel="1", transport=transport)
            await expect(bar).to_have_attribute("data-status", "gone")
            await expect(part(bar, "status")).to_have_text("Not available")
            await expect(bar.locator("[data-do=ask]")).to_be_hidden()
            assert await page.evaluate("window.heard") == [["end", "gone", "import-progress"]]
            assert await page.evaluate("window.spoken") == ["Products: Not available"]
            await streams(0)
            with requests(page) as found:
                await page.clock.run_for(120_000)
                await page.evaluate("fetch('/bars/')")
            assert found == []
        complaints.clear()  # The 404s of polling.

    async def test_only_connected_time_counts(
        self, live: AsgiServer, page: Page, complaints: list[str], settings: Any
    ) -> None:
        settings.IMPORT_PROGRESS |= {"WAITING_SECONDS": 40}
        bar = await queued_bar(page, live.url, "absent")
        await streams(1)
        await turn(page, "hidden")
        await page.clock.run_for(120_000)
        await page.route("**/progress/**", lambda route: route.abort())
        await turn(page, "visible")
        await page.clock.run_for(4_000)
        await expect(part(bar, "notice")).to_have_text("Reconnecting…")
        await page.clock.run_for(120_000)
        await expect(bar).to_have_attribute("data-status", "waiting")
        await page.unroute("**/progress/**")
        await page.clock.run_for(31_000)  # Until the next attempt to connect.
        await streams(1)
        await expect(part(bar, "notice")).to_have_text("")
        await expect(bar).to_have_attribute("data-status", "waiting")
        await given_up(page, bar)
        complaints.clear()

    async def test_a_job_that_appears_in_time_is_shown_as_usual(
        self, live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
    ) -> None:
        bar = await queued_bar(page, live.url, JOB)
        await page.clock.run_for(40_000)
        jobs.create(JOB)
        await expect(bar).to_have_attribute("data-status", "queued")
        await page.clock.run_for(40_000)
        await expect(part(bar, "waited")).to_have_text("Waiting for 30 seconds")
        jobs.update(JOB, {"status": "done"})
        await expect(bar).to_have_attribute("data-status", "done")
        complaints.clear()

    async def test_an_outcome_without_a_snapshot_is_shown_and_requests_nothing(
        self, live: AsgiServer, page: Page, jobs: SyncProgressManager
    ) -> None:
        ended, deleted, running = (jobs.create(owner=1) for _ in range(3))
        rows = {"processed_rows": 1000, "total_rows": 2000}
        jobs.update(ended, {"status": "failed", "error_message": "Line 7 is broken", **rows})
        jobs.redis.delete(f"import_progress:hash:{ended}")
        jobs.delete(deleted)
        with requests(page) as requested:
            bars = await opened(page, live.url, ended, deleted, running, cancel="True")
            await expect(bars.nth(0)).to_have_attribute("data-status", "failed")
            jobs.update(running, {"status": "done"})  # By then the page's script has run.
            await expect(bars.nth(2)).to_have_attribute("data-status", "done")
        await expect(bars.nth(0).locator("[data-show=rows]")).to_have_text("1,000 of 2,000 rows")
        await expect(bars.nth(0).locator("[data-show=error]")).to_have_text("Line 7 is broken")
        await expect(bars.nth(1).locator("[data-show=status]")).to_have_text("No longer available")
        await expect(page.get_by_role("button")).to_have_count(0)
        assert not [url for url in requested if ended in url or deleted in url]
