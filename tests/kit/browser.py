"""A real Chromium."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, Response, async_playwright, expect

IN_A_BROWSER = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]
"""The marks of a module whose tests have the fixture `page`."""

# A renderer is given less of a busy machine than its servers are.
expect.set_options(timeout=15_000)

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-extensions",
    "--disable-component-extensions-with-background-pages",
    # Pages behind the address bar, of which each window has two: half of what a short test costs.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,WebUIOmniboxFullPopup",
]


def chromium_binary() -> str | None:
    """Return the system's Chromium, if it has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@asynccontextmanager
async def launched(binary: str) -> AsyncIterator[Browser]:
    """Give a browser, and close it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=binary,
            args=ARGUMENTS,
            ignore_default_args=["--disable-back-forward-cache"],
        )
        yield browser
        await browser.close()


def note_complaints(page: Page, found: list[str]) -> None:
    """Add to `found` what goes wrong on `page`: errors, refusals, violations of its policy."""
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on(
        "console",
        lambda message: found.append(message.text) if message.type == "error" else None,
    )


def write_down_answers(page: Page) -> None:
    """Write what the page is answered, and when; pytest shows it where the test fails."""

    def write(answer: Response) -> None:
        asked = f"{answer.request.method} {answer.url}"
        sys.stdout.write(f"{time.monotonic():.2f} {answer.status} {asked}\n")

    page.on("response", write)
