"""Pages with many bars: at most two connections, one of them for the other bars in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

from ..kit.asgi import AsgiServer
from ..kit.bars import NOTED, opened, part, requests, streams
from ..kit.browser import IN_A_BROWSER
from ..kit.waiting import until

pytestmark = IN_A_BROWSER
ADDRESS = r"/progress/stream/\?"
COUNTED = """
    const open = new Set();
    window.most = 0;
    const count = (connection) => {
        open.add(connection);
        window.most = Math.max(window.most, open.size);
        return () => open.delete(connection);
    };
    const { fetch } = window;
    window.fetch = (...request) => fetch(...request).finally(count(request));
    window.EventSource = class extends EventSource {
        #end = count(this);
        constructor(url) {
            super(url);
            this.addEventListener("error", () => this.readyState === 2 && this.#end());
        }
        close() {
            super.close();
            this.#end();
        }
    };
"""


def made(jobs: SyncProgressManager, count: int) -> list[str]:
    return [jobs.create(data={"status": "importing"}) for _ in range(count)]


async def test_bars_that_fit_into_one_url_share_a_stream(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_ids = made(jobs, 60)
    bars = await opened(page, live.url, *job_ids)
    await streams(1)
    for job_id in (job_ids[0], job_ids[-1]):
        jobs.update(job_id, {"status": "done"})
    for bar in (bars.first, bars.last):
        await expect(bar).to_have_attribute("data-status", "done")


async def test_no_url_is_longer_than_nginx_accepts(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_ids = [jobs.create(f"{n:x>128}", data={"status": "importing"}) for n in range(60)]
    with requests(page, ADDRESS) as found:
        bars = await opened(page, live.url, *job_ids)
        await streams(2)
    lines = [f"GET {url.removeprefix(live.url)} HTTP/1.1\r\n" for url in found]
    assert len(lines) == 2
    assert max(map(len, lines)) < 8192
    assert sum(len(parse_qs(urlsplit(url).query)["job"]) for url in found) == 60
    jobs.update(job_ids[-1], {"status": "done"})
    await expect(bars.last).to_have_attribute("data-status", "done")


async def test_a_stream_that_has_ended_does_not_make_the_others_bars_offline(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"STREAM_SECONDS": 1}
    job_ids = made(jobs, 120)
    bars = await opened(page, live.url, *job_ids)
    await page.evaluate(NOTED)
    for job_id in job_ids[60:]:
        jobs.update(job_id, {"status": "done"})
    await expect(page.locator("[data-status=done]")).to_have_count(60)
    with requests(page, ADDRESS) as found:  # At most every one and a half seconds.
        await until(lambda: len(found) > 4, "the other stream to be reopened several times")
    assert await page.evaluate("window.noted") == []
    jobs.update(job_ids[0], {"processed_rows": 7})
    await expect(part(bars.first, "rows")).to_have_text("7 rows")


async def test_bars_beyond_two_streams_are_read_in_turn_until_there_is_room(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_ids = made(jobs, 320)
    most = await counted(page)
    with requests(page, "/progress/jobs/") as polled:
        bars = await opened(page, live.url, *job_ids)
        for place in (0, 80, 170, 240, 319):
            jobs.update(job_ids[place], {"processed_rows": 7})
            await expect(part(bars.nth(place), "rows")).to_have_text("7 rows")
    assert polled == []
    assert await most() <= 2
    with requests(page, ADDRESS) as found:
        for job_id in job_ids[:230]:
            jobs.update(job_id, {"status": "done"})
        await expect(page.locator("[data-status=done]")).to_have_count(230)
        await until(lambda: len(found) >= 2, "streams for the jobs that were read in turn")
        await streams(2)
        found.clear()
        jobs.update(job_ids[-1], {"status": "done"})
        await expect(bars.last).to_have_attribute("data-status", "done")
        await expect(bars.nth(230)).to_have_attribute("data-status", "importing")
        assert found == []
    assert await most() <= 2


async def test_bars_beyond_two_streams_are_polled_where_streams_are_refused(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    job_ids = [jobs.create(f"{n:x>128}", data={"status": "importing"}) for n in range(90)]
    await page.route(
        "**/stream/**", lambda route: route.fulfill(status=200, content_type="text/html")
    )
    most = await counted(page)
    bars = await opened(page, live.url, *job_ids)
    for place in (0, 50, 89):
        jobs.update(job_ids[place], {"processed_rows": 7})
        await expect(part(bars.nth(place), "rows")).to_have_text("7 rows", timeout=30_000)
    assert await most() <= 3  # For a moment: a stream that is tried again.
    await page.goto("about:blank")
    complaints.clear()


async def counted(page: Page) -> Callable[[], Awaitable[int]]:
    """Count the page's connections; returns a function that returns the highest number so far."""
    await page.add_init_script(COUNTED)
    return lambda: page.evaluate("window.most")
