"""Fields with values of any type: the page, the script and the command line show the same."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.utils.translation import override
from playwright.async_api import Page

from django_import_progress import SyncProgressManager
from django_import_progress.core.snapshot import represent
from django_import_progress.management.terminal_text import description
from django_import_progress.widget.text import parts

from ..kit.asgi import AsgiServer
from ..kit.bars import opened
from ..kit.browser import IN_A_BROWSER
from ..test_kinds import SAFE, UNSAFE

TEXTS: list[Any] = [
    None,
    "",
    "a <b>\nc",
    0,
    -1,
    1.0,
    0.5,
    1e15,
    2**53,
    True,
    False,
    [],
    {},
    ["one", "two"],
    {"price": ["Not a number.", "Too long."], "name": "Required."},
    {"12": "last", "b": 1, "3": "first", "007": "not a number", "": None, "a": True},
    [[1, [2.5]], {"row": 3}, None, "x"],
    {"__proto__": {"constructor": "x"}},
]
"""Values of `error_message` and `stage`."""
NUMBERS: list[Any] = [
    0,
    1,
    2,
    1234567,
    1.5,
    1030.25,
    -3,
    "0",
    "1",
    "12",
    "12.0",
    "12.50",
    "1234567",
    "-3",
    "1E+2",
    "5E-1",
    "0.1",
    "000",
    "123456789012345",
    "1234567890123456",
    "1e3",
    " 1",
    "1\n",
    "1,000",
    "١٢",
    "",
    "x",
    "NaN",
    "Infinity",
    ".5",
    True,
    None,
    [3],
    ["3"],
    {"a": 1},
]
"""Values of all fields that should be numbers."""
FIELDS = ("processed_rows", "total_rows", "created", "refused", "rows_per_second", "eta_seconds")
KINDS = ("import", "export", "task", "sync", "constructor")
ENDS = ("done", "failed", "cancelled")
PARTS = ("stage", "percent", "rows", "counts", "pace", "error", "notice", "status", "link", "url")
BY_THE_SCRIPT = """async ([jobs, names]) => {
    const { reduce } = await import("/static/django_import_progress/import-progress.js");
    const texts = JSON.parse(document.querySelector("[id^=import-progress-texts]").textContent);
    return JSON.parse(jobs).map((job) => {
        const { parts } = reduce({}, "job", job, texts, "");
        return names.map((name) => parts[name] ?? "");
    });
}"""


def shown() -> list[dict[str, Any]]:
    """Return representations with each of the values."""
    fields: list[dict[str, Any]] = [{"error_message": value, "stage": value} for value in TEXTS]
    fields += [dict.fromkeys(FIELDS, value) for value in NUMBERS]
    fields += [{"processed_rows": value, "total_rows": "1000"} for value in NUMBERS]
    fields += [{"status": value} for value in (*TEXTS, "done")]
    fields += [{"kind": value, "status": "importing"} for value in (*TEXTS, *KINDS)]
    fields += [{"kind": kind, "status": "done", "processed_rows": 12} for kind in KINDS]
    fields += [{**fields[-1], "kind": kind, "rejected_rows": 1} for kind in KINDS]
    fields += [{"link": {"text": "Open", "url": url}, "status": "done"} for url in [*SAFE, *UNSAFE]]
    fields += [{"link": {"text": value, "url": "/a"}, "status": "failed"} for value in TEXTS]
    fields += [{"link": value, "status": "cancelled"} for value in TEXTS]
    fields += [{"link": {"text": "Open", "url": "/a"}, "status": "importing"}]
    rejected = [{"rejected_rows": value, "processed_rows": 12} for value in NUMBERS]
    fields += [{**each, "status": status} for each in rejected for status in ENDS]
    return [represent("job", each, stalled=False, cancelling=False) for each in fields]


@IN_A_BROWSER[0]
@IN_A_BROWSER[1]
@pytest.mark.parametrize("language", ["en", "de", "ar"])
async def test_page_and_script_show_values_of_any_type_equally(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, language: str
) -> None:
    await opened(page, live.url, jobs.create(), language=language)
    by_the_script = await page.evaluate(BY_THE_SCRIPT, [json.dumps(shown()), PARTS])
    with override(language):
        by_the_page = [[parts(job)[name] for name in PARTS] for job in shown()]
    for job, script, html in zip(shown(), by_the_script, by_the_page, strict=True):
        assert script == html, job


def test_the_command_line_shows_the_same_texts() -> None:
    for job in shown():
        if job.get("status") == "importing":
            continue  # Its word depends on the kind.
        texts = [parts(job)[name] for name in ("stage", "error")]
        line = description({**job, "status": "s", "outcome": None})
        assert line == " · ".join(["s", *filter(None, texts)]).replace("\n", "\\n")
