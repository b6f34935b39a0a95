"""What a browser, and the ways to it, do to a page that shows a bar."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.web.event_stream import retry
from tests.conftest import missing
from tests.kit.asgi import AsgiServer
from tests.kit.bars import NOTED, opened, part, requests, script_without, streams
from tests.kit.browser import IN_A_BROWSER
from tests.kit.controls import without
from tests.kit.nginx import Nginx, nginx_binary
from tests.kit.processes import RedisProcess
from tests.kit.proxy import Connection, Proxy
from tests.kit.queued import queued_for
from tests.kit.servers import ServerProcess
from tests.kit.visitors import subscribers
from tests.kit.waiting import until

pytestmark = IN_A_BROWSER
IMAGE = "<img src=x onerror=alert(1)>"


def the_browser_gives_up_and_we_do(monkeypatch: pytest.MonkeyPatch) -> None:
    start = '} else if (type === "fail") '
    script_without(monkeypatch, f"{start}fail();", f"{start}close();")


@without(the_browser_gives_up_and_we_do)
async def test_a_bar_recovers_after_502(
    server: RedisProcess,
    jobs: SyncProgressManager,
    page: Page,
    complaints: list[str],
    defence: bool,
) -> None:
    binary = nginx_binary()
    if binary is None:  # pragma: no cover - where the machine has everything
        missing("nginx")
    job_id = jobs.create()
    with ServerProcess(server.url) as web, Nginx(str(binary), web.port) as proxy:
        bar = await opened(page, f"http://127.0.0.1:{proxy.port}", job_id)
        await until(lambda: subscribers(jobs, job_id), "the stream")
        web.kill()
        await until(lambda: any("502" in text for text in complaints), "nginx to have nobody")
        complaints.clear()
        await asyncio.to_thread(web.start)
        jobs.update(job_id, {"status": "done"})
        try:
            patience = 15_000 if defence else 5_000
            await expect(bar).to_have_attribute("data-status", "done", timeout=patience)
        finally:
            complaints.clear()


def the_end_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "const isFinal = (type, value) =>"
    script_without(monkeypatch, line, "const isFinal = () => 0 &&")


@without(the_end_is_not_noticed)
async def test_nothing_is_requested_after_the_end(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    await page.clock.install()
    bar = await opened(page, live.url, job_id)
    await streams(1)
    jobs.update(job_id, {"status": "done"})
    await expect(part(bar, "status")).to_have_text("Done")
    await streams(0)
    with requests(page) as found:
        await page.clock.run_for(60_000)
        await page.evaluate("fetch('/bars/')")
        assert found == []


def a_job_that_never_appears_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "this.#waitingLeft <= 0", "0")


@without(a_job_that_never_appears_is_waited_for)
async def test_nothing_is_requested_of_a_job_that_never_appeared(
    live: AsgiServer, page: Page, complaints: list[str], settings: Any, defence: bool
) -> None:
    settings.IMPORT_PROGRESS |= {"WAITING_SECONDS": 1.5}
    await page.clock.install()
    bar = await opened(page, live.url, "absent")
    patience = 15_000 if defence else 4_000
    await expect(bar).to_have_attribute("data-status", "gone", timeout=patience)
    await streams(0)
    with requests(page) as found:
        await page.clock.run_for(60_000)
        await page.evaluate("fetch('/bars/')")
        assert found == []
    complaints.clear()


def time_counts_that_is_not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "isLive && !isOffline &&", "isLive &&")


@without(time_counts_that_is_not_connected)
async def test_an_outage_does_not_count_as_waiting(
    live: AsgiServer, page: Page, complaints: list[str]
) -> None:
    await page.clock.install()
    await page.route("**/progress/**", lambda route: route.abort())
    bar = await opened(page, live.url, "absent")
    await page.clock.run_for(4_000)
    await expect(part(bar, "notice")).to_have_text("Reconnecting…")
    await page.clock.run_for(120_000)
    try:
        await expect(bar).to_have_attribute("data-status", "waiting", timeout=3_000)
    finally:
        await page.goto("about:blank")  # From here on no request can fail any more.
        complaints.clear()


def a_wait_is_counted_by_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "label, performance.now());"
    script_without(monkeypatch, line, line.replace("performance", "Date"))


@without(a_wait_is_counted_by_the_wall_clock)
async def test_a_browser_with_a_wrong_clock_knows_how_long_a_job_waits(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    await page.clock.install()
    bar = await opened(page, live.url, queued_for(jobs, 600))
    await page.clock.set_system_time("2001-01-01")
    await page.clock.run_for(61_000)
    await expect(part(bar, "waited")).to_have_text("Waiting for 11 minutes", timeout=5_000)


def polling_begins_late(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "STREAM_TIMEOUT_MS = 2000", "STREAM_TIMEOUT_MS = 5000")


@without(polling_begins_late)
async def test_a_connection_that_is_cut_again_and_again_is_no_notice(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Firefox reconnects after 5 s where a gateway cut the connection before the first `retry:`."""
    settings.IMPORT_PROGRESS |= {"STREAM_SECONDS": 0.5}
    monkeypatch.setattr(retry, "__defaults__", ((5000, 5000),))
    with requests(page, "/stream/") as found:
        await opened(page, live.url, jobs.create())
        await page.evaluate(NOTED)
        await until(lambda: len(found) > 2, "the stream to be opened anew", seconds=60)
    assert await page.evaluate("window.noted") == []


def each_bar_has_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "${base} ${transport}", "${base} ${Math.random()}")


@without(each_bar_has_a_connection)
async def test_eight_bars_leave_room_for_the_page(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_ids = [jobs.create() for _ in range(8)]
    bars = await opened(page, live.url, *job_ids)
    for n, job_id in enumerate(job_ids):
        jobs.update(job_id, {"processed_rows": 10 + n})
    for n in range(8):
        await expect(part(bars.nth(n), "rows")).to_have_text(f"{10 + n} rows", timeout=3000)
    await streams(1)
    async with asyncio.timeout(3):
        assert await page.evaluate("fetch('/bars/').then(({ status }) => status)") == 200
    for job_id in job_ids:
        jobs.update(job_id, {"status": "done"})
    await streams(0)


def who_comes_back_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "if (isShown === isNowShown) return;"
    script_without(monkeypatch, line, "if (isNowShown || !isShown) return;")


@without(who_comes_back_is_not_noticed)
async def test_the_back_button_shows_the_current_state(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    await streams(1)
    await page.evaluate(
        "addEventListener('pageshow', ({ persisted }) => (window.kept = persisted))"
    )
    await page.goto(f"{live.url}/airports/")
    await streams(0)
    jobs.update(job_id, {"processed_rows": 7})
    await page.evaluate("history.back()")
    await page.wait_for_function("window.kept")
    await expect(part(bar, "rows")).to_have_text("7 rows")


def a_sleep_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "SILENCE_MS = 60000", "SILENCE_MS = Infinity")


@without(a_sleep_is_not_noticed)
async def test_after_a_sleep_the_current_state_is_shown(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    with Proxy(live.port) as proxy:
        await page.clock.install()
        bar = await opened(page, f"http://127.0.0.1:{proxy.port}", job_id)
        await streams(1)
        jobs.update(job_id, {"processed_rows": 1})
        await expect(part(bar, "rows")).to_have_text("1 row")
        # What the network forgot meanwhile: neither side is told.
        slept: set[Connection] = {c for c in proxy._open if b"/stream/ HTTP" in c.said}
        with proxy.holding(lambda connection: connection in slept):
            jobs.update(job_id, {"processed_rows": 7})
            await page.clock.fast_forward("05:00")
            await expect(part(bar, "rows")).to_have_text("7 rows")
        await page.goto("about:blank")


def text_is_taken_for_html(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "part.textContent = parts[name]"
    script_without(monkeypatch, line, line.replace("textContent", "innerHTML"))


@without(text_is_taken_for_html)
async def test_what_a_file_says_stays_text(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    jobs.update(job_id, {"stage": IMAGE, "error_message": IMAGE, "status": "failed"})
    await expect(bar).to_have_attribute("data-status", "failed")
    found, refused = await bar.locator("img").count(), [*complaints]
    complaints.clear()
    assert not found
    assert not refused
    for name in ("stage", "error"):
        await expect(part(bar, name)).to_have_text(IMAGE)
