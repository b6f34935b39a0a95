"""How bars are kept live: one connection for all, by the best transport that works."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, Request, Route, expect

from django_import_progress import SyncProgressManager

from ..kit.asgi import AsgiServer
from ..kit.bars import NOTED, opened, part, requests, streams, turn
from ..kit.browser import IN_A_BROWSER
from ..kit.waiting import until

pytestmark = IN_A_BROWSER
WEBSOCKET = {"WEBSOCKET_URL": "/ws/progress/"}


async def refuse(route: Route) -> None:
    # Not an event stream: EventSource gives up, as after an error status.
    await route.fulfill(status=200, content_type="text/html")


async def cut(route: Route) -> None:
    await route.abort()


async def test_bars_share_a_stream_while_bars_are_added_and_removed(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    first, second, third = (jobs.create(data={"stage": name}) for name in "abc")
    bars = await opened(page, live.url, first, second, second)
    await streams(1)
    jobs.update(second, {"stage": "for both"})
    for place in (1, 2):
        await expect(part(bars.nth(place), "stage")).to_have_text("for both")
    html = await (await page.request.get(f"{live.url}/bars/?job={third}")).text()
    await page.evaluate(
        "html => document.querySelector('main').insertAdjacentHTML('beforeend', html)",
        "<import-progress" + html.split("<import-progress")[1].split("</main>")[0],
    )
    jobs.update(third, {"stage": "came later"})
    await expect(part(bars.nth(3), "stage")).to_have_text("came later")
    await page.evaluate("document.querySelectorAll('import-progress')[0].remove()")
    await streams(1)
    jobs.update(third, {"status": "done"})
    jobs.update(second, {"status": "done"})
    await streams(0)


async def test_an_unauthorized_bar_among_others_shows_a_notice(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    job_ids = [jobs.create(data={"status": "importing"}) for _ in range(2)]
    html = await (
        await page.request.get(f"{live.url}/bars/?job={job_ids[0]}&job={job_ids[1]}")
    ).text()
    ticket = html.split("/jobs/")[1].split("/")[0]

    async def forge(route: Route) -> None:
        await route.fulfill(body=html.replace(ticket, f"{ticket}x"), content_type="text/html")

    await page.route("**/bars/**", forge)
    bars = await opened(page, live.url, *job_ids)
    await expect(part(bars.first, "notice")).to_have_text(
        "Reload the page to see the current progress"
    )
    jobs.update(job_ids[1], {"status": "done"})
    await expect(bars.last).to_have_attribute("data-status", "done")
    await expect(bars.first).to_have_attribute("data-status", "importing")
    await page.goto("about:blank")  # Otherwise it continues to request the refused one.
    complaints.clear()


@pytest.mark.parametrize(
    ("transport", "kinds"),
    [("sse", {"eventsource"}), ("websocket", {"websocket"}), ("polling", {"fetch"})],
)
async def test_a_page_may_choose_the_transport(
    live: AsgiServer,
    page: Page,
    complaints: list[str],
    jobs: SyncProgressManager,
    settings: Any,
    transport: str,
    kinds: set[str],
) -> None:
    settings.IMPORT_PROGRESS |= WEBSOCKET
    used: set[str] = set()
    page.on("websocket", lambda _: used.add("websocket"))

    def note(request: Request) -> None:
        if "/progress/" in request.url:
            used.add(request.resource_type)

    page.on("request", note)
    job_id, gone = jobs.create(), jobs.create()
    bars = await opened(page, live.url, job_id, gone, transport=transport)
    for n, watched in enumerate((job_id, gone)):  # Polling only reports known jobs as gone.
        jobs.update(watched, {"processed_rows": 7})
        await expect(part(bars.nth(n), "rows")).to_have_text("7 rows")
    jobs.delete(gone)
    await expect(bars.last).to_have_attribute("data-status", "gone", timeout=20_000)
    jobs.update(job_id, {"status": "done"})
    await expect(bars.first).to_have_attribute("data-status", "done")
    assert used == kinds
    complaints.clear()


async def test_a_websocket_replaces_refused_streams(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= WEBSOCKET
    job_id = jobs.create()
    await page.route("**/stream/**", refuse)
    bar = await opened(page, live.url, job_id)
    await streams(1)
    jobs.update(job_id, {"status": "done"})
    await expect(bar).to_have_attribute("data-status", "done")
    assert {"MIME type" in complaint for complaint in complaints} == {True}
    complaints.clear()


async def test_a_buffered_stream_makes_the_bar_poll(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    await page.clock.install()
    found: list[Route] = []

    def leave_waiting(route: Route) -> None:
        found.append(route)

    await page.route("**/stream/", leave_waiting)
    bar = await opened(page, live.url, job_id)
    await page.evaluate(NOTED)
    jobs.update(job_id, {"processed_rows": 7})
    await until(lambda: found, "the stream to be requested")
    await page.clock.run_for(2_500)
    await expect(part(bar, "rows")).to_have_text("7 rows")
    await page.clock.run_for(2_000)
    assert await page.evaluate("window.noted") == []


async def test_a_lost_connection_is_shown_until_it_is_restored(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"status": "importing"})
    await page.clock.install()
    await page.route("**/progress/**", cut)
    bar = await opened(page, live.url, job_id)
    await page.clock.run_for(4000)
    await expect(part(bar, "notice")).to_have_text("Reconnecting…")
    await expect(bar).to_have_attribute("data-notice", "offline")
    await page.unroute("**/progress/**")
    jobs.update(job_id, {"processed_rows": 7})
    await page.clock.run_for(20_000)
    await expect(part(bar, "rows")).to_have_text("7 rows")
    await expect(part(bar, "notice")).to_have_text("")
    complaints.clear()


async def test_polling_resumes_as_soon_as_the_browser_is_online(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    await page.clock.install()
    job_id = jobs.create(data={"status": "importing"})
    bar = await opened(page, live.url, job_id, transport="polling")
    jobs.update(job_id, {"processed_rows": 7})
    await expect(part(bar, "rows")).to_have_text("7 rows")
    await page.context.set_offline(True)
    for _ in range(15):
        await page.clock.run_for(3_000)
    await expect(part(bar, "notice")).to_have_text("Reconnecting…")
    await page.clock.pause_at("2040-01-01")
    jobs.update(job_id, {"processed_rows": 8})
    await page.evaluate("addEventListener('online', () => (window.isOnline = true))")
    await page.context.set_offline(False)
    await until(lambda: page.evaluate("window.isOnline"), "the event")
    await page.clock.run_for(100)
    await expect(part(bar, "rows")).to_have_text("8 rows")
    await expect(part(bar, "notice")).to_have_text("")
    complaints.clear()


async def test_tabs_share_a_stream_and_another_one_takes_over(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    shared, own = jobs.create(), jobs.create()
    first = await opened(page, live.url, shared)
    await streams(1)
    tabs = [await page.context.new_page() for _ in range(7)]
    bars = [await opened(tab, live.url, shared, own) for tab in tabs]
    jobs.update(shared, {"processed_rows": 1})
    jobs.update(own, {"processed_rows": 2})
    for bar in bars:
        await expect(part(bar.first, "rows")).to_have_text("1 row")
        await expect(part(bar.last, "rows")).to_have_text("2 rows")
    await expect(part(first, "rows")).to_have_text("1 row")
    await streams(1)
    await page.goto("about:blank")
    jobs.update(own, {"processed_rows": 3})
    await expect(part(bars[-1].last, "rows")).to_have_text("3 rows")
    await streams(1)
    for job_id in (shared, own):
        jobs.update(job_id, {"status": "done"})
    await expect(bars[0].last).to_have_attribute("data-status", "done")
    await streams(0)


async def test_without_locks_each_tab_has_its_own_stream(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    await page.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    await streams(1)
    jobs.update(job_id, {"status": "done"})
    await expect(bar).to_have_attribute("data-status", "done")


async def test_a_hidden_page_disconnects_and_is_current_when_shown(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    await streams(1)
    await turn(page, "hidden")
    await streams(0)
    jobs.update(job_id, {"processed_rows": 7})
    await expect(part(bar, "rows")).to_have_text("")
    await turn(page, "visible")
    await expect(part(bar, "rows")).to_have_text("7 rows")


async def test_a_bar_that_becomes_another_jobs_bar_watches_that_job(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    first, second = jobs.create(), jobs.create(data={"stage": "second"})
    bar = (await opened(page, live.url, first, second)).first
    await streams(1)
    with requests(page) as found:
        await page.evaluate(
            """() => {
                const [first, second] = document.querySelectorAll("import-progress");
                second.remove();
                first.dataset.job = second.dataset.job;
                first.dataset.stream = second.dataset.stream;
            }"""
        )
        await expect(part(bar, "stage")).to_have_text("second")
        await until(lambda: len(found) == 1, "one stream to replace the other")
