"""The widget in each of its languages: plurals, numbers and direction."""

from __future__ import annotations

from typing import Any

import pytest
from django.template import Context, Template
from django.utils.translation import override
from playwright.async_api import Page, expect

from django_import_progress import SyncProgressManager
from django_import_progress.widget.text import parts

from ..kit.asgi import AsgiServer
from ..kit.bars import opened, part
from ..kit.browser import IN_A_BROWSER

pytestmark = IN_A_BROWSER
RUNNING = {"status": "importing", "total_rows": 1234567, "processed_rows": 1000}

ROWS: dict[str, dict[float, str]] = {
    "ar": {
        0: "0 صف",
        1: "1 صف",
        2: "2 صفان",
        10: "10 صفوف",
        11: "11 صفًا",
        102: "102 صف",
        103: "103 صفوف",
        1234567: "1234567 صفًا",
    },
    "de": {0: "0 Zeilen", 1: "1 Zeile", 2: "2 Zeilen", 1234567: "1.234.567 Zeilen"},
    "en": {0: "0 rows", 1: "1 row", 2: "2 rows", 1234567: "1,234,567 rows"},
    "es": {
        0: "0 filas",
        1: "1 fila",
        1234567: "1\xa0234\xa0567 filas",
        3000000: "3\xa0000\xa0000 de filas",
    },
    "fr": {
        0: "0 ligne",
        1: "1 ligne",
        1234567: "1\xa0234\xa0567 lignes",
        3000000: "3\xa0000\xa0000 de lignes",
    },
    "ja": {0: "0 行", 1: "1 行", 1234567: "1,234,567 行"},
    "pl": {
        0: "0 wierszy",
        1: "1 wiersz",
        2: "2 wiersze",
        5: "5 wierszy",
        12: "12 wierszy",
        22: "22 wiersze",
        101: "101 wierszy",
        1234567: "1\xa0234\xa0567 wierszy",
    },
    # Without a catalogue the texts are English, and so are their plurals.
    "he": {0: "0 rows", 1: "1 row", 2: "2 rows"},
    "lt": {1: "1 row", 21: "21 rows"},
    "ru": {1: "1 row", 21: "21 rows", 101: "101 rows"},
    "sl": {1: "1 row", 101: "101 rows"},
}
"""At least one number for each plural form of a language, and the expected text."""

BY_THE_SCRIPT = """async (numbers) => {
    const { reduce } = await import("/static/django_import_progress/import-progress.js");
    const texts = JSON.parse(document.querySelector("[id^=import-progress-texts]").textContent);
    return numbers.map((rows) => reduce({}, "job", { processed_rows: rows }, texts, "").parts.rows);
}"""
TIMES = """async ([left, waited]) => {
    const path = "/static/django_import_progress/import-progress.js";
    const { initialState, reduce } = await import(path);
    const texts = JSON.parse(document.querySelector("[id^=import-progress-texts]").textContent);
    const paceOf = (seconds) => reduce({}, "job", { eta_seconds: seconds }, texts, "").parts.pace;
    const waitOf = (seconds) => {
        const before = initialState({ status: "queued", waited: String(seconds) }, null, 0);
        const { parts } = reduce(before, "tick", undefined, texts, "", 0);
        return [parts.waited, parts.notice];
    };
    return [left.map(paceOf), waited.map(waitOf)];
}"""
DAY = 86_400
LEFT = [0, 1, 59.5, 60, 61, 3600, 3601, 4000, 7200, 39_725, 3 * DAY, 3 * DAY + 1]
WAITED = [0, 14, 15, 59, 60, 120, 660, 3599, 3600, 2 * DAY - 1, 2 * DAY, 3 * DAY, 7 * DAY]
READS_TO_THE = """(part) => {
    const range = document.createRange();
    const at = (place) => {
        range.setStart(part.firstChild, place);
        range.setEnd(part.firstChild, place + 1);
        return range.getBoundingClientRect().left;
    };
    return at(0) < at(part.textContent.length - 1) ? "right" : "left";
}"""


def by_the_page(language: str, rows: float) -> str:
    with override(language):
        unknown = {"percent": None, "stalled": False, "cancelling": False, "outcome": None}
        return parts({**unknown, "processed_rows": rows})["rows"]


async def test_page_and_script_have_the_right_plural_and_number_in_each_language(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data=RUNNING)
    for language, rows in ROWS.items():
        await opened(page, live.url, job_id, language=language)
        assert await page.evaluate(BY_THE_SCRIPT, list(rows)) == list(rows.values())
        assert [by_the_page(language, number) for number in rows] == list(rows.values())


async def test_plurals_are_those_of_the_language_that_untranslated_texts_fall_back_to(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any
) -> None:
    settings.LANGUAGE_CODE, settings.LOCALE_PATHS = "pl", []  # The latter clears Django's cache.
    await opened(page, live.url, jobs.create(data=RUNNING), language="ru")
    rows = {1: "1 wiersz", 21: "21 wierszy", 22: "22 wiersze", 3000000: "3000000 wierszy"}
    by_the_script = await page.evaluate(BY_THE_SCRIPT, list(rows))
    assert [text.replace("\xa0", "") for text in by_the_script] == list(rows.values())
    assert [by_the_page("ru", number) for number in rows] == by_the_script


async def test_a_bar_that_is_inserted_later_continues_in_the_pages_language(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create()
    await opened(page, live.url, language="de")
    with override("en"):
        inserted = Template("{% load import_progress %}{% import_progress id %}")
        html = inserted.render(Context({"id": job_id}))
    await page.evaluate("html => { document.querySelector('main').innerHTML = html; }", html)
    jobs.update(job_id, {"processed_rows": 2})
    await expect(part(page, "rows")).to_have_text("2 Zeilen")


async def test_page_and_script_format_times_equally_in_each_language(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data=RUNNING)
    unknown = {"percent": None, "stalled": False, "cancelling": False, "outcome": None}
    for language in ROWS:
        await opened(page, live.url, job_id, language=language)
        by_the_script = await page.evaluate(TIMES, [LEFT, WAITED])
        with override(language):
            left = [parts({**unknown, "eta_seconds": seconds})["pace"] for seconds in LEFT]
            waits = [parts(unknown, seconds) for seconds in WAITED]
        assert by_the_script == [left, [[wait["waited"], wait["notice"]] for wait in waits]]


@pytest.mark.parametrize(
    ("language", "direction", "reads_to_the"),
    [("ar", "rtl", "left"), ("he", "rtl", "right"), ("de", "ltr", "right")],
)
async def test_a_bar_fills_in_the_pages_direction_and_texts_read_in_their_own(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    language: str,
    direction: str,
    reads_to_the: str,
) -> None:
    job_id = jobs.create(data={**RUNNING, "created": 3, "rows_per_second": 2.5})
    bar = await opened(page, live.url, job_id, language=language)
    await expect(bar.locator("progress")).to_have_css("direction", direction)
    for name in ("rows", "counts", "pace"):
        assert await part(bar, name).evaluate(READS_TO_THE) == reads_to_the, name


ANNOUNCED = """async (events) => {
    const path = "/static/django_import_progress/import-progress.js";
    const { initialState, reduce } = await import(path);
    const texts = JSON.parse(document.querySelector("[id^=import-progress-texts]").textContent);
    let state = initialState({ status: "importing" }, null, 0);
    return events.map(([type, value]) => {
        state = reduce(state, type, value, texts, "Products", 0);
        return state.parts.news;
    });
}"""


async def test_each_notice_is_announced_once(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    await opened(page, live.url, jobs.create(data=RUNNING))
    job = {"status": "importing", "stalled": False}
    stalled = {**job, "stalled": True}
    silent, cancelling, lost, refused, reload = (
        f"Products: {text}"
        for text in (
            "The worker is not responding",
            "Cancelling…",
            "Reconnecting…",
            "The import could not be cancelled. Reload the page and try again.",
            "Reload the page to see the current progress",
        )
    )
    events: list[tuple[str, Any, str]] = [
        ("job", job, ""),
        ("job", stalled, silent),
        ("job", stalled, ""),
        ("offline", True, lost),
        ("tick", None, ""),
        ("offline", False, ""),
        ("job", stalled, ""),  # Still.
        ("job", job, ""),
        ("job", stalled, silent),
        ("job", job, ""),
        ("cancelling", None, cancelling),
        ("refused", None, refused),
        ("job", job, ""),
        ("cancelling", None, cancelling),
        ("refused", None, refused),
        ("expired", None, reload),
        ("expired", None, ""),
    ]
    said = await page.evaluate(ANNOUNCED, [[kind, value] for kind, value, _ in events])
    assert said == [text for _, _, text in events]
