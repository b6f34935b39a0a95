"""An admin with imports: the tests' site with one, and what a visitor does there and sees."""

from __future__ import annotations

from typing import Any

from playwright.async_api import FilePayload, Page, expect

ADMIN: dict[str, Any] = {"username": "admin", "is_staff": True, "is_superuser": True}

TELL = """document.addEventListener("import-progress:change", ({target, detail}) => window.tell({
    stage: detail.stage,
    rows: target.querySelector("[data-show=rows]").textContent,
    value: target.querySelector("progress").value,
    visible: target.checkVisibility(),
}));"""
"""Playwright looks at no page that is about to be left, so the page tells what it shows."""


def add_admin(settings: Any) -> None:
    """Have the site be what `startproject` makes, with django-import-export."""
    settings.INSTALLED_APPS = [
        "django.contrib.admin",
        "django.contrib.messages",
        "import_export",
        *settings.INSTALLED_APPS,
    ]
    settings.MIDDLEWARE = [
        *settings.MIDDLEWARE,
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]
    [templates] = settings.TEMPLATES
    processors = [
        *templates["OPTIONS"]["context_processors"],
        "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]
    settings.TEMPLATES = [{**templates, "OPTIONS": {"context_processors": processors}}]
    settings.ROOT_URLCONF = "tests.site.groups"


async def bars_shown(page: Page) -> list[dict[str, Any]]:
    """Return what the bars of all pages to come will show, as it is shown."""
    shown: list[dict[str, Any]] = []
    await page.expose_function("tell", lambda seen: shown.append(seen))  # noqa: PLW0108 - no built-in
    await page.add_init_script(TELL)
    return shown


async def upload(page: Page, rows: int) -> None:
    """Send the form with a file of so many names, and do not wait for the answer."""
    text = "\n".join(["name", *map(str, range(rows))])
    file: FilePayload = {"name": "a.csv", "mimeType": "text/csv", "buffer": text.encode()}
    await page.get_by_label("File to import").set_input_files(file)
    await page.get_by_role("button", name="Submit").click(no_wait_after=True)


async def confirm(page: Page) -> None:
    """Send the form of the page that comes then, as soon as its bar is alive."""
    button = page.get_by_role("button", name="Confirm import")
    await expect(button).to_be_visible(timeout=20_000)
    await page.wait_for_load_state()
    await button.click(no_wait_after=True)
