"""The widget in a real Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from django_import_progress.web.limits import open_streams

from ..kit.asgi import AsgiServer
from ..kit.bars import LISTEN, opened, part
from ..kit.browser import IN_A_BROWSER
from ..kit.sse import open_stream
from ..kit.waiting import until

pytestmark = IN_A_BROWSER


async def test_a_bar_moves_and_ends(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"total_rows": 28298})
    await opened(page, live.url, job_id)
    await page.evaluate(LISTEN)
    bar = page.locator("import-progress")
    await expect(bar).to_have_attribute("data-status", "queued")
    fields: dict[str, Any] = {"status": "importing", "processed_rows": 14100, "stage": "a & <b>"}
    jobs.update(job_id, fields)
    await expect(bar).to_have_attribute("data-status", "importing")
    await expect(bar.locator("progress")).to_have_js_property("value", 49.8)
    await expect(bar.locator("[data-show=percent]")).to_have_text("49%")
    await expect(bar.locator("[data-show=rows]")).to_have_text("14,100 of 28,298 rows")
    await expect(bar.locator("[data-show=stage]")).to_have_text("a & <b>")
    jobs.update(job_id, {"processed_rows": 30000})
    await expect(bar.locator("[data-show=rows]")).to_have_text(
        "30,000 rows, more than the expected 28,298"
    )
    await expect(bar.locator("[data-show=percent]")).to_have_text("100%")
    jobs.update(job_id, {"status": "done"})
    await expect(bar).to_have_attribute("data-status", "done")
    await expect(bar.locator("[data-show=status]")).to_have_text("Done")
    await expect(bar.locator("progress")).to_have_js_property("value", 100)
    heard = await page.evaluate("window.heard")
    assert heard[-2:] == [
        ["change", "done", "import-progress"],
        ["end", "done", "import-progress"],
    ]


async def test_after_the_end_nothing_is_requested(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS = {**settings.IMPORT_PROGRESS, "STREAM_SECONDS": 0.2}
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    ended, running, other = jobs.create(data={"status": "done"}), jobs.create(), jobs.create()
    await opened(page, live.url, ended, running)
    error = "<img src=x onerror=alert(1)>"
    jobs.update(running, {"status": "failed", "error_message": error})
    await expect(page.locator("[data-show=error]").last).to_have_text(error)
    assert not [url for url in requested if ended in url and "/stream/" in url]
    before = len(requested)
    control = f"/progress/jobs/{make_ticket(other)}/stream/"
    await page.evaluate("url => { window.control = new EventSource(url); }", control)
    # The control's short streams reconnect after at least half a second each. In this time a bar,
    # which reconnects after at most one and a half seconds, would have reconnected as well.
    await until(lambda: requested[before:].count(live.url + control) >= 5, "reconnections")
    assert set(requested[before:]) == {live.url + control}


async def test_a_deleted_job_is_shown_as_unavailable(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    await opened(page, live.url, job_id)
    await page.evaluate(LISTEN)
    jobs.update(job_id, {"processed_rows": 5})
    await expect(page.locator("[data-show=rows]")).to_have_text("5 rows")
    jobs.delete(job_id)
    await expect(page.locator("import-progress")).to_have_attribute("data-status", "gone")
    await expect(page.locator("[data-show=status]")).to_have_text("No longer available")
    assert (await page.evaluate("window.heard"))[-1] == ["end", "gone", "import-progress"]


async def test_numbers_are_in_the_languages_format(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    await opened(page, live.url, job_id, language="de")
    jobs.update(job_id, {"status": "importing", "total_rows": 20000, "processed_rows": 15000})
    await expect(page.locator("[data-show=rows]")).to_have_text("15.000 von 20.000 Zeilen")
    await expect(page.locator("[data-show=percent]")).to_have_text("75 %")
    jobs.update(job_id, {"status": "my own", "total_rows": None, "processed_rows": 16})
    await expect(page.locator("[data-show=rows]")).to_have_text("16 Zeilen")
    await expect(page.locator("[data-show=status]")).to_have_text("my own")
    await expect(page.locator("progress")).not_to_have_attribute("value", "75")


async def test_a_removed_bar_disconnects(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    await opened(page, live.url, job_id)

    def watched() -> bool:
        reply: Any = jobs.redis.pubsub_numsub(f"import_progress:channel:{job_id}")
        return bool(reply[0][1])

    await until(watched, "the stream to open")
    await page.evaluate("document.querySelector('import-progress').remove()")
    await until(lambda: not watched(), "the stream to close")


async def test_a_refused_stream_is_retried(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    refusals: list[Route] = []

    async def refuse(route: Route) -> None:
        refusals.append(route)
        # Not an event stream: EventSource gives up, as after an error status.
        await route.fulfill(status=200, content_type="text/html")

    await page.route("**/stream/", refuse)
    await opened(page, live.url, job_id)
    await until(lambda: len(refusals) >= 2, "another attempt")
    await page.unroute("**/stream/")
    jobs.update(job_id, {"status": "done"})
    await expect(page.locator("import-progress")).to_have_attribute(
        "data-status", "done", timeout=20_000
    )
    assert len(complaints) == len(refusals)
    complaints.clear()


async def test_without_capacity_for_a_stream_the_bar_polls(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager, settings: Any
) -> None:
    # Streams of other tests may still be open.
    others = open_streams.of("address 127.0.0.1")
    settings.IMPORT_PROGRESS |= {"MAX_STREAMS_PER_CLIENT": others + 1}
    job_id = jobs.create()
    with open_stream(f"{live.url}/progress/jobs/{make_ticket(job_id)}/stream/"):
        await opened(page, live.url, job_id)
        for number in (1, 2):
            jobs.update(job_id, {"processed_rows": 100 * number})
            await expect(page.locator("[data-show=rows]")).to_have_text(
                f"{number}00 rows", timeout=20_000
            )
        jobs.update(job_id, {"status": "done"})
        bar = page.locator("import-progress")
        await expect(bar).to_have_attribute("data-status", "done", timeout=20_000)
    assert all("429" in complaint for complaint in complaints)
    complaints.clear()


async def test_an_expired_ticket_is_a_notice_with_the_fix(
    live: AsgiServer, page: Page, complaints: list[str], jobs: SyncProgressManager, settings: Any
) -> None:
    settings.IMPORT_PROGRESS |= {"TICKET_SECONDS": 1, "STREAM_SECONDS": 1}
    await opened(page, live.url, jobs.create(data={"status": "importing"}))
    shown = page.locator("[data-show=notice]")
    await expect(page.locator("[data-show=status]")).to_have_text("Importing")
    await expect(shown).to_have_text("Reload the page to see the current progress", timeout=20_000)
    settings.IMPORT_PROGRESS |= {"TICKET_SECONDS": 3600}
    await expect(shown).to_have_text("", timeout=20_000)
    assert all("404" in complaint for complaint in complaints)
    complaints.clear()


@pytest.mark.parametrize("status", ["constructor", "__proto__", "gone"])
async def test_any_word_may_be_a_status(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, status: str
) -> None:
    job_id = jobs.create()
    await opened(page, live.url, job_id)
    shown = page.locator("[data-show=status]")
    jobs.update(job_id, {"status": status, "processed_rows": 1})
    await expect(page.locator("[data-show=rows]")).to_have_text("1 row")
    await expect(shown).to_have_text("No longer available" if status == "gone" else status)
    jobs.update(job_id, {"status": "done"})
    await expect(shown).to_have_text("Done")


async def test_a_template_may_leave_out_parts(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"total_rows": 4})
    await opened(page, live.url, job_id)
    await page.evaluate(LISTEN)
    await page.evaluate(
        "document.querySelectorAll('import-progress > progress, [type=\"application/json\"]')"
        ".forEach((part) => part.remove())"
    )
    jobs.update(job_id, {"status": "done", "processed_rows": 4})
    await expect(page.locator("[data-show=rows]")).to_have_text("4 / 4")
    assert (await page.evaluate("window.heard"))[-1] == ["end", "done", "import-progress"]


ENDED = """
    window.ended = [];
    document.addEventListener("DOMContentLoaded", () =>
        document.addEventListener("import-progress:end", ({ target, detail }) =>
            window.ended.push([target.dataset.job, detail.job_id, detail.status, detail.initial])));
"""
"""Listens as late as a page's own scripts may begin to."""


async def test_a_bar_that_is_rendered_as_ended_fires_the_end_once(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    await page.add_init_script(ENDED)
    done, failed, running = (jobs.create(data={"status": "importing"}) for _ in range(3))
    deleted = jobs.create()
    jobs.update(done, {"status": "done"})
    jobs.update(failed, {"status": "failed"})
    jobs.delete(deleted)
    bars = await opened(page, live.url, done, failed, deleted, running)
    await until(lambda: page.evaluate("window.ended.length >= 3"), "the events")
    jobs.update(running, {"status": "done"})
    await expect(bars.last).to_have_attribute("data-status", "done")
    await page.evaluate(
        "document.querySelector('main').prepend(...document.querySelectorAll('import-progress'))"
    )
    html = await (await page.request.get(f"{live.url}/bars/?job={done}")).text()
    await page.evaluate(  # The new bar fires its event later than the moved ones would.
        "html => document.querySelector('main').insertAdjacentHTML('beforeend', html)",
        "<import-progress" + html.split("<import-progress")[1].split("</main>")[0],
    )
    await until(lambda: page.evaluate("window.ended.length >= 5"), "the events")
    assert await page.evaluate("window.ended") == [
        [done, done, "done", True],
        [failed, failed, "failed", True],
        [deleted, deleted, "gone", True],
        [running, running, "done", None],
        [done, done, "done", True],
    ]


async def test_a_job_that_is_restarted_ends_again(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    await page.add_init_script(ENDED)
    job_id = jobs.create(data={"status": "done"})
    bar = await opened(page, live.url, job_id)
    await until(lambda: page.evaluate("window.ended.length >= 1"), "the events")
    jobs.set_progress(job_id, {"status": "importing"})
    await bar.evaluate("(bar) => (bar.dataset.status = 'importing')")  # As a morph does.
    jobs.update(job_id, {"processed_rows": 1})
    await expect(part(bar, "rows")).to_have_text("1 row")
    jobs.update(job_id, {"status": "failed"})
    await until(lambda: page.evaluate("window.ended.length >= 2"), "the events")
    assert [status for _, _, status, _ in await page.evaluate("window.ended")] == ["done", "failed"]
