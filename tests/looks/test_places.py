"""Bars in any place of a page: their width and height, in print, in forced colours."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager

from ..kit.asgi import AsgiServer
from ..kit.bars import part
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..kit.frameworks import css_without, framed
from ..kit.looks import fills
from ..kit.states import ERROR, RUNNING, in_all_states, settled

pytestmark = IN_A_BROWSER

PLACES = {
    "cell": "display: table-cell",
    "block": "",
    "flex": "display: flex",
    "column": "display: flex; flex-direction: column; align-items: center",
    "grid": "display: grid; justify-items: start",
    "inline-block": "display: inline-block",
    "float": "float: left",
}
IN_PLACES = """{% for job_id in job_ids %}<fieldset><div class="place">
{% import_progress job_id label="Products" cancel=True %}</div></fieldset>{% endfor %}"""
WIDTHS = "(bars) => bars.map((bar) => bar.getBoundingClientRect().width)"
DISTANCE = """() => {
    const text = document.createRange();
    text.selectNodeContents(document.querySelector(".import-progress-question"));
    const answer = document.querySelector("[data-do=cancel]").getBoundingClientRect();
    return answer.left - text.getBoundingClientRect().right;
}"""
"""From the text of the question to the first answer."""
SCROLLS = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
UNPADDED = "* { margin: 0; padding: 0; border: 0; min-width: 0 } "


@pytest.mark.parametrize("place", PLACES)
@without(css_without("grid-template-columns: minmax(0, var(--_width));"))
async def test_a_bar_has_the_same_width_in_all_states_and_places(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, place: str
) -> None:
    ids = in_all_states(jobs).values()
    style = f"{UNPADDED} .place {{ {PLACES[place]} }}"
    for viewport, width in ((1280, 704), (320, 320)):
        await page.set_viewport_size({"width": viewport, "height": 600})
        await framed(page, live.url, None, ids, style=style, body=IN_PLACES)
        await settled(page)
        widths = await page.locator("import-progress").evaluate_all(WIDTHS)
        assert set(widths) == {width}
        assert not await page.evaluate(SCROLLS)


@without(css_without("position: relative;", "inset-block-start: 0;"))
async def test_bars_in_a_panel_that_scrolls_do_not_make_the_page_higher(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    ids = [jobs.create() for _ in range(40)]
    style = "main { height: 200px; overflow: auto }"
    await framed(page, live.url, None, ids, style=style)
    assert await page.evaluate("document.documentElement.scrollHeight <= innerHeight")


async def test_a_long_error_scrolls_by_keyboard(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    long = {**RUNNING, "status": "failed", "error_message": ERROR * 250}
    await framed(page, live.url, None, [jobs.create(data=long)])
    error = part(page, "error")
    assert (await error.bounding_box() or {"height": 0})["height"] == 192
    await page.keyboard.press("Tab")
    await expect(error).to_be_focused()
    await page.keyboard.press("End")
    await page.wait_for_function("document.querySelector('[data-show=error]').scrollTop > 1000")


@pytest.mark.parametrize("compact", [False, True], ids=["full", "compact"])
@without(css_without("justify-content: start;", "justify-content: end;"))
async def test_the_answers_are_next_to_the_question(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, compact: bool
) -> None:
    await framed(page, live.url, None, [jobs.create(data=RUNNING)], compact=compact)
    bar = page.locator("import-progress")
    height = (await bar.bounding_box() or {})["height"]
    await page.locator("[data-do=ask]").click()
    assert 0 < await page.evaluate(DISTANCE) < 20
    # In a compact bar the question takes the line's place.
    assert ((await bar.bounding_box() or {})["height"] == height) is compact


@pytest.mark.parametrize("width", [320, 900])
@without(css_without("justify-content: end;"))
async def test_the_answers_are_where_the_button_was(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, width: int
) -> None:
    await page.set_viewport_size({"width": width, "height": 600})
    await framed(page, live.url, None, [jobs.create(data=RUNNING)])
    ask, confirm = page.locator("[data-do=ask]"), page.locator(".import-progress-confirm")
    button = await ask.bounding_box()
    await ask.click()
    question, keep = (
        await confirm.bounding_box(),
        await page.locator("[data-do=keep]").bounding_box(),
    )
    assert button is not None
    assert question is not None
    assert keep is not None
    assert 0 < question["y"] - button["y"] < 50
    assert abs(keep["x"] + keep["width"] - button["x"] - button["width"]) < 1


async def test_compact_bars_have_one_line_and_one_width(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    ids = in_all_states(jobs).values()
    body = """<table>{% for job_id in job_ids %}<tr><td>
        {% import_progress job_id label="Products" compact=True %}</td></tr>{% endfor %}</table>"""
    await framed(page, live.url, None, ids, body=body, style="body { line-height: 20px }")
    await expect(page.locator("[data-notice=cancelling]")).to_be_visible()
    boxes = "(bars) => bars.map((bar) => [bar.offsetWidth, bar.offsetHeight])"
    measured = await page.locator("import-progress").evaluate_all(boxes)
    assert {height for _, height in measured} == {20}
    assert len({width for width, _ in measured}) == 1
    # Outside of tables they become as narrow as they have to.
    await page.set_viewport_size({"width": 320, "height": 600})
    await framed(page, live.url, None, ids, compact=True)
    await settled(page)
    assert not await page.evaluate(SCROLLS)


async def test_sites_override_styles_by_a_class_and_by_inherited_properties(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    style = """:root { --import-progress-done: rgb(1, 2, 3); --import-progress-width: 300px }
        .import-progress-label { font-weight: 300 } import-progress { margin: 7px 0 }"""
    job_id = jobs.create(data={**RUNNING, "status": "done"})
    await framed(page, live.url, None, [job_id], style=style)
    bar = page.locator("import-progress")
    await expect(bar).to_have_css("margin-top", "7px")
    await expect(bar).to_have_css("width", "300px")
    await expect(part(bar, "status")).to_have_css("color", "rgb(1, 2, 3)")
    await expect(bar.locator(".import-progress-label")).to_have_css("font-weight", "300")


async def test_bars_are_printed(live: AsgiServer, page: Page, jobs: SyncProgressManager) -> None:
    ids = in_all_states(jobs)
    long = jobs.create(data={**RUNNING, "status": "failed", "error_message": ERROR * 250})
    await framed(page, live.url, None, [*ids.values(), long])
    await page.emulate_media(media="print")
    for bar in await page.locator("progress").all():
        await expect(bar).to_have_css("print-color-adjust", "exact")
        await expect(bar).to_have_css("border-top-width", "1px")
    await expect(page.locator("[data-do=ask]:visible")).to_have_count(0)
    assert (await part(page, "error").last.bounding_box() or {"height": 0})["height"] > 5000


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_in_forced_colours_a_cancelled_bar_is_not_louder_than_a_done_one(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, scheme: Any
) -> None:
    ids = in_all_states(jobs)
    await framed(page, live.url, None, [ids["done"], ids["cancelled"]], scheme=scheme)
    await page.emulate_media(forced_colors="active", color_scheme=scheme)
    seen = await fills(page)
    assert seen["cancelled"] < seen["done"]


async def test_a_line_separates_the_bars_of_a_list(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    for _ in range(3):
        jobs.create(owner=1, data=RUNNING)
    await framed(page, live.url, None, [], body="{% import_progress_list owner=1 %}")
    items = page.locator("[data-item]")
    await expect(items).to_have_count(3)
    await expect(items.first).to_have_css("border-top-width", "0px")
    await expect(items.nth(1)).to_have_css("border-top-width", "1px")
