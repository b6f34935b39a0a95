"""Pages with many bars: at most two connections, one of them for the other bars in turn."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, Route, expect

from django_import_progress import SyncProgressManager

from ..faults.conftest import defence
from ..kit.asgi import AsgiServer
from ..kit.bars import NOTED, opened, part, requests, script_without, streams
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..kit.waiting import until

__all__ = ["defence"]

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
    window.fetch = (...request) => {
        const end = count(request);
        request[1]?.signal?.addEventListener("abort", end);
        return fetch(...request).finally(end);
    };
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


async def refused(route: Route) -> None:
    await route.fulfill(status=200, content_type="text/html")


async def buffered(route: Route) -> None:
    """Leave the request without a response, as behind a proxy that waits for the stream's end."""


def polls_beside_a_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "isDue = false;\n    stopPolling();\n", "isDue = false;\n")


@without(polls_beside_a_stream)
@pytest.mark.parametrize("count", [60, 90])  # Two streams, and more.
@pytest.mark.parametrize("proxy", [refused, buffered])
async def test_many_bars_are_polled_over_two_connections_where_there_are_no_streams(
    live: AsgiServer,
    page: Page,
    complaints: list[str],
    jobs: SyncProgressManager,
    proxy: Callable[[Route], Awaitable[None]],
    count: int,
) -> None:
    job_ids = [jobs.create(f"{n:x>128}", data={"status": "importing"}) for n in range(count)]
    most = await counted(page)
    tried: list[str] = []

    async def no_stream(route: Route) -> None:
        tried.append(route.request.url)
        await proxy(route)

    await page.route("**/stream/**", no_stream)
    bars = await opened(page, live.url, *job_ids)
    await page.evaluate(NOTED)
    for place in (0, count // 2, count - 1):
        jobs.update(job_ids[place], {"processed_rows": 7})
        await expect(part(bars.nth(place), "rows")).to_have_text("7 rows", timeout=30_000)
    before = len(tried)
    await until(lambda: len(tried) > before + 2, "streams to be tried again", seconds=30)
    assert await page.evaluate("window.noted") == []
    assert await most() <= 2
    await page.unroute("**/stream/**")
    await streams(2 if count == 60 else 1)  # A stream is tried again, and kept.
    await page.goto("about:blank")
    complaints.clear()


async def counted(page: Page) -> Callable[[], Awaitable[int]]:
    """Count the page's connections; returns a function that returns the highest number so far."""
    await page.add_init_script(COUNTED)
    return lambda: page.evaluate("window.most")
