"""The tests' page of bars in a browser, and what can be done to it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.async_api import FrameLocator, Locator, Page, Route

import django_import_progress
from django_import_progress.web.limits import open_streams

from .waiting import until

STATIC = Path(django_import_progress.__file__).parent / "static" / "django_import_progress"
LISTEN = """() => {
    window.heard = [];
    for (const type of ["change", "end"])
        document.addEventListener(`import-progress:${type}`, (event) =>
            window.heard.push([type, event.detail.status ?? "gone", event.target.localName]));
}"""
NOTED = """() => {
    window.noted = [];
    const note = ({ target }) => target.dataset.notice && window.noted.push(target.dataset.notice);
    new MutationObserver((records) => records.forEach(note))
        .observe(document.body, { subtree: true, attributeFilter: ["data-notice"] });
}"""
"""Writes down which notices the bars show from now on."""
_TURN = """state => {
    Object.defineProperty(document, "hidden", { value: state == "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
}"""
_replaced: list[tuple[str, str, str]] = []


def script_without(
    monkeypatch: pytest.MonkeyPatch, line: str, instead: str, *, script: str = "import-progress"
) -> None:
    """Replace a line of a script in the pages that load it.

    Raises:
        LookupError: the script does not have the line exactly once. It is no `AssertionError`, with
            which a negative control would pass.
    """
    text = (STATIC / f"{script}.js").read_text(encoding="utf-8")
    if text.count(line) != 1:
        raise LookupError(f"{script}.js must have this line exactly once: {line}")
    monkeypatch.setattr(f"{__name__}._replaced", [*_replaced, (script, line, instead)])


async def serve(page: Page) -> None:
    """Serve to the page the scripts that `script_without` changed."""
    texts: dict[str, str] = {}
    for script, line, instead in _replaced:
        text = texts.get(script) or (STATIC / f"{script}.js").read_text(encoding="utf-8")
        texts[script] = text.replace(line, instead)
    for script, text in texts.items():
        await page.route(f"**/{script}.js", _answering(text))


def _answering(text: str) -> Callable[[Route], Awaitable[None]]:
    async def answer(route: Route) -> None:
        await route.fulfill(body=text, content_type="text/javascript")

    return answer


async def opened(page: Page, site: str, *job_ids: str, **options: str) -> Locator:
    """Go to the page that has a bar for each job; the bars."""
    await serve(page)
    query = "&".join(
        [f"job={job_id}" for job_id in job_ids] + [f"{k}={v}" for k, v in options.items()]
    )
    await page.goto(f"{site}/bars/?{query}")
    return page.locator("import-progress")


def part(where: Page | Locator | FrameLocator, name: str) -> Locator:
    """Return the part of a bar that shows something."""
    return where.locator(f"[data-show={name}]")


async def turn(page: Page, state: str) -> None:
    """Let the page be `hidden` or `visible`."""
    await page.evaluate(_TURN, state)


async def streams(count: int) -> None:
    """Wait until the server has as many streams open."""
    await until(
        lambda: len(open_streams) == count, f"{count} open streams, not {len(open_streams)}"
    )


@contextmanager
def requests(page: Page, pattern: str = "/progress/") -> Iterator[list[str]]:
    """Give the addresses of what the page requests meanwhile, and match."""
    found: list[str] = []

    def note(request: object) -> None:
        url = request.url  # type: ignore[attr-defined]
        if re.search(pattern, url):
            found.append(url)

    page.on("request", note)
    yield found
    page.remove_listener("request", note)
