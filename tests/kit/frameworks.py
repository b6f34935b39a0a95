"""Pages with bars in the style of the CSS frameworks that sites use; `make test` installs these."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.template import Context, Template
from playwright.async_api import Page

from .bars import STATIC
from .controls import Switch
from .states import NOTE_CHANGES

FOLDER = Path(sys.prefix) / "css-frameworks" / "node_modules"
"""Where the Makefile has npm install them."""


@dataclass(frozen=True, kw_only=True)
class Framework:
    """A framework's style sheet, and how a page chooses its dark colours."""

    file: str
    html: str = ""
    """Attributes of the page's root; `{scheme}` is `light` or `dark`."""
    card: str = ""
    """Classes of a box."""

    @property
    def path(self) -> Path:
        """The style sheet."""
        return FOLDER / self.file


FRAMEWORKS = {
    "pico1": Framework(file="pico1/css/pico.css", html='data-theme="{scheme}"'),
    "pico2": Framework(file="pico2/css/pico.css", html='data-theme="{scheme}"'),
    "bulma": Framework(file="bulma/css/bulma.css", html='data-theme="{scheme}"', card="box"),
    "bootstrap": Framework(
        file="bootstrap/dist/css/bootstrap.css",
        html='data-bs-theme="{scheme}"',
        card="card card-body",
    ),
}

_cut: list[str] = []
"""What is missing in the style sheet of bars, for a negative control."""


def css_without(*lines: str) -> Switch:
    """Return a switch that leaves lines out of the style sheet of bars."""

    def switch(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(f"{__name__}._cut", lines)

    switch.__name__ = f"without_{re.sub(r'[^a-z]+', '_', lines[0]).strip('_')}"
    return switch


def own_css() -> str:
    """Return the style sheet of bars, as `css_without` left it.

    Raises:
        ValueError: it does not have a line that is to be left out. It is no `AssertionError`, with
            which a negative control would pass.
    """
    text = (STATIC / "import-progress.css").read_text(encoding="utf-8")
    for line in _cut:
        start = text.index(line)
        text = text[:start] + text[start + len(line) :]
    return text


PAGE = """{% load import_progress %}<!doctype html>
<html lang="en" {{ root }}><head><meta charset="utf-8"><title>Bars</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
{% import_progress_assets %}<link rel="stylesheet" href="/framework.css">
<style>{{ style }}</style></head><body><main class="container">
{{ body }}</main></body></html>"""
EACH = """{% for job_id in job_ids %}<article class="{{ card }}">
{% import_progress job_id label="Products" cancel=True compact=compact %}</article>{% endfor %}"""


async def framed(
    page: Page,
    site: str,
    framework: Framework | None,
    job_ids: Iterable[str],
    *,
    scheme: Any = "light",
    compact: bool = False,
    style: str = "",
    body: str = EACH,
) -> None:
    """Go to a page with bars, in the style of a framework or of none.

    Args:
        page: the page.
        site: the address of the tests' site.
        framework: the framework, whose style sheet comes after ours.
        job_ids: the jobs.
        scheme: `light` or `dark`, of the system and of the page.
        compact: whether the bars have one line.
        style: more styles, of the site itself.
        body: the template of the page's contents; it has `job_ids`, `card` and `compact`.
    """
    context = {
        "root": "" if framework is None else framework.html.format(scheme=scheme),
        "card": "" if framework is None else framework.card,
        "job_ids": list(job_ids),
        "compact": compact,
        "style": style,
        "csrf_token": "none",
    }
    html = Template(PAGE.replace("{{ body }}", body)).render(Context(context, autoescape=False))
    css = "" if framework is None else framework.path.read_text(encoding="utf-8")

    async def serve(path: str, text: str, content_type: str) -> None:
        await page.unroute(re.compile(path))
        await page.route(
            re.compile(path), lambda route: route.fulfill(body=text, content_type=content_type)
        )

    await serve("/framed/$", html, "text/html")
    await serve("/framework.css$", css, "text/css")
    await serve("/import-progress.css$", own_css(), "text/css")
    await page.add_init_script(NOTE_CHANGES)
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await page.goto(f"{site}/framed/")
