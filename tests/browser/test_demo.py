"""The demo as a visitor uses it: choose the sample, watch the bar, find the rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Locator, Page, expect

from ..example.test_demo import SAMPLE_ROWS, demo, lines_until
from ..kit.airports import ZURICH, as_csv
from ..kit.browser import IN_A_BROWSER
from ..kit.processes import free_port

pytestmark = [*IN_A_BROWSER, pytest.mark.timeout(300)]


async def _sees_it_among_all_imports(page: Page, port: int, login: str) -> None:
    name, password = login.split()[3], login.rsplit(maxsplit=1)[-1]
    await page.goto(f"http://localhost:{port}/imports/now/")
    await page.get_by_label("Username").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#imports import-progress[data-status=done]")).to_have_count(4)


async def _uploads(page: Page, port: int, content: bytes) -> Locator:
    """Import a file, and return the bar of the import that has ended."""
    await page.goto(f"http://localhost:{port}/")
    await page.get_by_label("My own file").check()
    file: FilePayload = {"name": "mine.csv", "mimeType": "text/csv", "buffer": content}
    await page.get_by_label("CSV file").set_input_files(file)
    await page.get_by_role("button", name="Import").click()
    bar = page.locator("import-progress[data-status=done]")
    await expect(bar).to_be_visible(timeout=90_000)
    return bar


async def _fixes_rejected_rows(page: Page, port: int) -> None:
    rows = [{**ZURICH, "icao": f"X00{number}"} for number in range(3)]
    bar = await _uploads(page, port, as_csv(*rows, {**ZURICH, "icao": "X003", "lat": "north"}))
    await expect(bar.locator("[data-show=status]")).to_have_text("Partly imported")
    await expect(bar.locator("[data-show=counts]")).to_contain_text("3 imported · 1 rejected")
    async with page.expect_download() as waiting:
        await bar.get_by_role("link", name="Download the rejected rows").click()
    file = await (await waiting.value).path()
    report = file.read_text(encoding="utf-8-sig")
    assert "north" in report
    bar = await _uploads(page, port, report.replace("north", "47.4647").encode())
    await expect(bar.locator("[data-show=status]")).to_have_text("Done")
    await expect(bar.get_by_role("link", name="Download the rejected rows")).to_be_hidden()


NOTE_VALUES = """() => {
    window.values = new Set();
    document.addEventListener("import-progress:change", (event) =>
        window.values.add(event.target.querySelector("progress").value));
}"""


async def test_a_visitor_watches_the_import_of_the_sample(page: Page, tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, PORT=str(port)) as process:
        login = next(line for line in lines_until(process, "stays up") if "password" in line)
        await page.goto(f"http://localhost:{port}/")
        await page.get_by_label("The sample").check()
        await page.get_by_role("button", name="Import").click()
        await page.evaluate(NOTE_VALUES)
        bar = page.locator("import-progress")
        await expect(bar).to_have_attribute("data-status", "done", timeout=90_000)
        await expect(bar.locator("progress")).to_have_js_property("value", 100)
        await expect(bar.locator("[data-show=rows]")).to_have_text("28,298 of 28,298 rows")
        values = await page.evaluate("[...window.values]")
        assert values == sorted(values)
        assert len(values) >= 3
        await page.get_by_role("link", name="See the airports").click()
        await expect(page.get_by_text(f"of {SAMPLE_ROWS:,}")).to_be_visible()
        await page.get_by_label("Search").fill("heathrow")
        await page.get_by_label("Search").press("Enter")
        await expect(page.get_by_role("cell", name="EGLL")).to_be_visible()
        await _fixes_rejected_rows(page, port)
        await _sees_it_among_all_imports(page, port, login)
        await page.close()
