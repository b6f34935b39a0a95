"""What becomes of a bar whose tab cannot share connections with the site's other tabs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application
from playwright.async_api import Dialog, Page, Route, expect

from django_import_progress import SyncProgressManager
from django_import_progress.access import make_ticket
from tests.kit.asgi import AsgiServer
from tests.kit.bars import NOTED, opened, part, requests, script_without, serve, streams
from tests.kit.browser import IN_A_BROWSER
from tests.kit.controls import without
from tests.kit.waiting import until

pytestmark = IN_A_BROWSER
REFUSAL = "new DOMException('Access is denied', 'SecurityError')"
REFUSALS = {
    "rejected": f"navigator.locks.request = () => Promise.reject({REFUSAL})",
    "thrown": f"navigator.locks.request = () => {{ throw {REFUSAL}; }}",
    "missing": "Object.defineProperty(navigator, 'locks', { value: undefined })",
    "denied": f"Object.defineProperty(navigator, 'locks', {{ get() {{ throw {REFUSAL}; }} }})",
    "no channel": f"BroadcastChannel = class {{ constructor() {{ throw {REFUSAL}; }} }}",
    "absent channel": "delete window.BroadcastChannel",
}
"""Sandboxed frames, blocked site data and HTTP; scripts that make a page like one of them."""
FRAME = """(url) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.src = url;
    document.body.append(frame);
}"""
ROWS = """() => {
    window.rows = [];
    const part = document.querySelector("[data-show=rows]");
    new MutationObserver(() => window.rows.push(parseInt(part.textContent)))
        .observe(part, { childList: true });
}"""


def a_refusal_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "channel = null;\n        lead();", "channel = null;")


@pytest.mark.parametrize("script", REFUSALS.values(), ids=list(REFUSALS))
@without(a_refusal_is_ignored)
async def test_a_tab_without_locks_connects_at_once(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, script: str
) -> None:
    await page.add_init_script(script)
    await page.clock.install()
    await page.clock.pause_at("2040-01-01")
    job_id = jobs.create()
    with requests(page, "/stream/") as found:
        bar = await opened(page, live.url, job_id)
        await page.clock.run_for(1_000)
        await until(lambda: found, "the stream")
    jobs.update(job_id, {"processed_rows": 1})
    await expect(part(bar, "rows")).to_have_text("1 row")


async def allow_any_origin(route: Route) -> None:
    response = await route.fetch()
    headers = {**response.headers, "access-control-allow-origin": "*"}
    await route.fulfill(response=response, headers=headers)


@without(a_refusal_is_ignored)
async def test_a_bar_in_a_sandboxed_frame_is_live(
    transactional_db: None, page: Page, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.MIDDLEWARE = ["tests.kit.cors.allow_any_origin"]
    job_id = jobs.create()
    await page.route("**/static/**", allow_any_origin)  # Not by way of the middleware.
    await page.clock.install()
    await page.clock.pause_at("2040-01-01")
    await serve(page)
    with AsgiServer(ASGIStaticFilesHandler(get_asgi_application())) as server:
        frame = page.frame_locator("iframe")
        with requests(page, "/stream/") as found:
            await page.evaluate(FRAME, f"{server.url}/bars/?job={job_id}")
            await frame.locator("import-progress").evaluate(
                "() => customElements.whenDefined('import-progress').then(() => true)"
            )
            await page.clock.run_for(1_000)
            await until(lambda: found, "the stream")
        jobs.update(job_id, {"processed_rows": 7})
        await expect(part(frame, "rows")).to_have_text("7 rows")
        await page.goto("about:blank")


def a_silent_leader_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "SILENT_LEADER_MS = 5000", "SILENT_LEADER_MS = 2 ** 30")


@without(a_silent_leader_is_believed)
async def test_a_tab_whose_leader_stands_still_connects_until_it_wakes_up(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, defence: bool
) -> None:
    job_id = jobs.create()
    leader = await opened(page, live.url, job_id)
    await streams(1)
    other = await page.context.new_page()
    bar = await opened(other, live.url, job_id)
    await other.evaluate(ROWS)
    jobs.update(job_id, {"processed_rows": 1})
    await expect(part(leader, "rows")).to_have_text("1 row")
    await expect(part(bar, "rows")).to_have_text("1 row")
    dialogs: list[Dialog] = []

    def leave_open(dialog: Dialog) -> None:
        dialogs.append(dialog)

    page.on("dialog", leave_open)
    await page.evaluate("setTimeout(alert)")
    await until(lambda: dialogs, "the alert")
    try:
        for rows in (2, 3, 4):
            jobs.update(job_id, {"processed_rows": rows})
            patience = 15_000 if defence else 8_000
            await expect(part(bar, "rows")).to_have_text(f"{rows} rows", timeout=patience)
    finally:
        await dialogs[0].accept()
    await streams(1)
    jobs.update(job_id, {"processed_rows": 5})
    await expect(part(leader, "rows")).to_have_text("5 rows")
    await expect(part(bar, "rows")).to_have_text("5 rows")
    rows_shown = await other.evaluate("window.rows")
    assert rows_shown == sorted(rows_shown)


def the_last_ticket_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    script_without(monkeypatch, "dateOf(newest.get(job)) <= dateOf(reference)", "true")


@without(the_last_ticket_is_used)
async def test_the_newest_ticket_is_used_for_all_tabs(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    settings: Any,
    complaints: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.IMPORT_PROGRESS |= {"STREAM_SECONDS": 0.5}
    job_id = jobs.create(data={"status": "importing"})
    now = time.time
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: now() - 3600)
        old = make_ticket(job_id)

    async def forge(route: Route) -> None:
        response = await route.fetch()
        html = await response.text()
        ticket = html.split("/jobs/")[1].split("/")[0]
        await route.fulfill(response=response, body=html.replace(ticket, old))

    tabs = [page, await page.context.new_page(), await page.context.new_page()]
    for tab in (tabs[0], tabs[2]):
        await tab.route("**/bars/**", forge)
    for rows, tab in enumerate(tabs, 7):
        await opened(tab, live.url, job_id)
        await tab.evaluate(NOTED)
        jobs.update(job_id, {"processed_rows": rows})
        await expect(part(tab, "rows")).to_have_text(f"{rows} rows")
    settings.IMPORT_PROGRESS |= {"TICKET_SECONDS": 60}
    with requests(page, "/stream/") as found:
        await until(lambda: len(found) > 2, "the stream to be opened anew")
    for rows in (2, 3, 4):
        jobs.update(job_id, {"processed_rows": rows})
        for tab in tabs:
            await expect(part(tab, "rows")).to_have_text(f"{rows} rows")
    assert [await tab.evaluate("window.noted") for tab in tabs] == [[], [], []]
    assert complaints == []
