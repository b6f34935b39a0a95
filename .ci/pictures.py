"""Draw the pictures of docs/images: every state of a bar, as a real Chromium shows it.

Usage: pictures.py FOLDER
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "example_project")]
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"

import django  # noqa: E402
from django.template import Context, Template  # noqa: E402
from django.utils.translation import get_language_bidi, override  # noqa: E402
from playwright.async_api import Browser, Page, expect  # noqa: E402

from django_import_progress import get_sync_progress_manager  # noqa: E402
from tests.kit.asgi import AsgiServer  # noqa: E402
from tests.kit.browser import chromium_binary, launched  # noqa: E402
from tests.kit.processes import RedisProcess, valkey_binary  # noqa: E402
from tests.kit.states import RUNNING  # noqa: E402

GAP = 16
"""Between cards, in CSS pixels."""
PAGE = """{% load import_progress %}<!doctype html>
<html lang="{{ picture.language }}" dir="{% if LANGUAGE_BIDI %}rtl{% else %}ltr{% endif %}"><head>
<meta charset="utf-8"><title>Bars</title>{% import_progress_assets %}<style>
:root { color-scheme: light dark; --paper: light-dark(#f6f8fa, #0d1117);
  --card: light-dark(#fff, #161b22); --line: light-dark(#d8dee4, #30363d); }
body { margin: 0; background: var(--paper); color: light-dark(#1f2328, #e6edf3);
  font: 16px/1.5 "Inter", "Noto Sans", "DejaVu Sans", sans-serif; }
main { display: grid; gap: {{ gap }}px; padding: {{ gap }}px;
  grid-template-columns: repeat({{ picture.columns }}, {{ picture.width }}px); }
figure { display: flex; flex-direction: column; margin: 0; }
figcaption { color: light-dark(#59636e, #9198a1); font: 12px/2 "DejaVu Sans Mono", monospace; }
figure > div { flex: 1; padding: 16px; background: var(--card);
  border: 1px solid var(--line); border-radius: 8px; }
import-progress { margin: 0; }
</style></head><body><main>{% for name, state, label, job_id in bars %}
<figure id="{{ name }}"><figcaption><bdi>{{ state.caption }}</bdi></figcaption><div>
{% import_progress job_id label=label cancel=True transport=state.transport %}</div></figure>
{% endfor %}</main></body></html>"""

WORDS = {
    "en": {
        "label": "Products",
        "long": "Autumn_catalogue_2026_of_all_northern_warehouses_final_v3.csv",
        "stage": "Second pass: prices of the northern warehouses",
        "error": "Row 14,101: a price must be a number, not “twelve”.\n"
        "Correct the file and import it again.",
    },
    "ar": {
        "label": "المنتجات",
        "long": "كتالوج الخريف 2026 لجميع المستودعات autumn_catalogue_v3.csv",
        "stage": "المرحلة الثانية: أسعار المستودعات الشمالية",
        "error": "الصف 14101: يجب أن يكون السعر رقمًا، لا «اثنا عشر».\n"
        "صحّح الملف ثم استورده مرة أخرى.",
    },
}
QUEUED = {"status": "queued"}
UNKNOWN = {**RUNNING, "status": "parsing", "total_rows": None, "eta_seconds": None}
DONE = {**RUNNING, "status": "done", "processed_rows": 28298, "updated": 27095}
OVER = {**DONE, "processed_rows": 28310, "updated": 27107}
PARTLY = {**DONE, "rejected_rows": 12, "updated": 27083}
FORGOTTEN = {"status": "done", "total_rows": 28298, "processed_rows": 28298, "expired": True}
FAILED = {**RUNNING, "status": "failed"}
CANCELLED = {**RUNNING, "status": "cancelled"}


@dataclass(frozen=True, kw_only=True)
class State:
    """A state of a bar: the job that it has, and what shows that it is in it."""

    caption: str
    fields: dict[str, Any] = field(default_factory=lambda: RUNNING)
    said: dict[str, str] = field(default_factory=dict)
    """Fields that are in the picture's language, by the names of words."""
    label: str = "label"
    transport: str | None = None
    """A way of its own is a connection of its own, which can be broken."""
    status: str = "importing"
    notice: str | None = None


STATES = {
    "waiting": State(caption="waiting for an unknown job", status="waiting"),
    "missing": State(caption="never appeared", status="gone", transport="polling"),
    "queued": State(caption="queued", fields=QUEUED, status="queued"),
    "unstarted": State(
        caption="queued for some minutes", fields=QUEUED, status="queued", notice="unstarted"
    ),
    "unknown": State(caption="total unknown", fields=UNKNOWN, status="parsing"),
    "running": State(caption="running"),
    "stalled": State(caption="worker not responding", notice="stalled"),
    "offline": State(caption="connection lost", notice="offline", transport="sse"),
    "asking": State(caption="asks for confirmation"),
    "cancelling": State(caption="being cancelled", notice="cancelling"),
    "refused": State(caption="could not be cancelled", notice="refused"),
    "expired": State(caption="ticket expired", notice="expired", transport="polling"),
    "done": State(caption="done", fields=DONE, status="done"),
    "partly": State(caption="done, with rejected rows", fields=PARTLY, status="done"),
    "over": State(caption="more rows than expected", fields=OVER, status="done"),
    "failed": State(
        caption="failed", fields=FAILED, said={"error_message": "error"}, status="failed"
    ),
    "long": State(caption="long texts", label="long", said={"stage": "stage"}),
    "cancelled": State(caption="cancelled", fields=CANCELLED, status="cancelled"),
    "forgotten": State(caption="only the outcome is left", fields=FORGOTTEN, status="done"),
    "gone": State(caption="deleted, or expired", status="gone"),
}


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One file, and how its page is shown."""

    language: str = "en"
    scheme: Any = "light"
    columns: int = 2
    width: int = 620
    """Of a card, in CSS pixels."""
    scale: int = 1
    what: str = "main"
    """The part of the page that is drawn."""


PICTURES = {
    "widget": Picture(columns=1, width=728, scale=2, what="#running > div"),
    "widget-light": Picture(),
    "widget-dark": Picture(scheme="dark"),
    "widget-320": Picture(columns=4, width=320),
    "widget-rtl": Picture(language="ar"),
}


def jobs_in_all_states(words: dict[str, str]) -> dict[str, str]:
    """Make a job for each state; their ids."""
    jobs, ids = get_sync_progress_manager(), {}
    for name, state in STATES.items():
        said = {key: words[word] for key, word in state.said.items()}
        ids[name] = str(uuid.uuid4())
        if name not in {"waiting", "missing"}:
            jobs.create(ids[name], data={**state.fields, **said})
    long_ago = jobs.redis.time()[0] - 200
    jobs.redis.hset(f"import_progress:hash:{ids['unstarted']}", "_l", f"{long_ago}000000")
    jobs.redis.hset(f"import_progress:hash:{ids['stalled']}", "_d", "1")
    jobs.request_cancel(ids["cancelling"])
    return ids


def page_of(picture: Picture, ids: dict[str, str]) -> str:
    """Return the page's HTML, in the picture's language."""
    words = WORDS[picture.language]
    bars = [(name, state, words[state.label], ids[name]) for name, state in STATES.items()]
    with override(picture.language):
        context = {"picture": picture, "bars": bars, "csrf_token": "none", "gap": GAP}
        return Template(PAGE).render(Context({**context, "LANGUAGE_BIDI": get_language_bidi()}))


async def into_states(page: Page, ids: dict[str, str]) -> None:
    """Do to the bars what brings each of them into its state, and wait until all are."""
    jobs = get_sync_progress_manager()
    jobs.update(ids["gone"], {"stage": "prices.csv"})
    await expect(page.locator("#gone [data-show=stage]")).to_have_text("prices.csv")
    jobs.delete(ids["gone"])
    for name in ("asking", "refused"):
        await page.locator(f"#{name} [data-do=ask]").click()
    await page.locator("#refused [data-do=cancel]").click()
    for name, state in STATES.items():
        bar = page.locator(f"#{name} import-progress")
        await expect(bar).to_have_attribute("data-status", state.status)
        if state.notice:
            await expect(bar).to_have_attribute("data-notice", state.notice, timeout=10_000)
    await page.evaluate("document.activeElement.blur()")
    await page.mouse.move(0, 0)


async def draw(browser: Browser, url: str, picture: Picture, file: Path) -> None:
    """Draw all states into one picture."""
    ids = await asyncio.to_thread(jobs_in_all_states, WORDS[picture.language])
    html = await asyncio.to_thread(page_of, picture, ids)
    never = f'data-job="{ids["missing"]}"[^>]* data-waiting-seconds="'
    html = re.sub(f'({never})[^"]*', r"\g<1>0.1", html)
    context = await browser.new_context(
        viewport={"width": picture.columns * (picture.width + GAP) + GAP, "height": 600},
        device_scale_factor=picture.scale,
        color_scheme=picture.scheme,
        reduced_motion="reduce",
    )
    page = await context.new_page()

    def answer(path: str, **response: Any) -> Any:
        return page.route(re.compile(path), lambda route: route.fulfill(**response))

    await answer("/pictures/$", body=html, content_type="text/html")
    await answer(f"/jobs/[^/]*{ids['refused']}[^/]*/cancel/$", status=403)
    await answer(f"/jobs/[^/]*{ids['expired']}[^/]*/$", status=404)
    await page.route(re.compile(f"/jobs/[^/]*{ids['offline']}"), lambda route: route.abort())
    await page.goto(f"{url}/pictures/")
    await into_states(page, ids)
    await page.locator(picture.what).screenshot(path=file)
    await context.close()


async def draw_all(folder: Path, url: str) -> None:
    """Draw the pictures into `folder`."""
    async with launched(str(chromium_binary())) as browser:
        for name, picture in PICTURES.items():
            await draw(browser, url, picture, folder / f"{name}.png")
            print(folder / f"{name}.png")


def main(folder: Path) -> None:
    """Serve the tests' site, on a server of Valkey's of its own, and draw what it shows."""
    valkey = RedisProcess(valkey_binary()).start()
    os.environ["TEST_SITE_REDIS"] = valkey.url
    django.setup()
    from tests.site.asgi import application  # noqa: PLC0415 - needs the apps

    try:
        with AsgiServer(application) as server:
            asyncio.run(draw_all(folder, server.url))
    finally:
        valkey.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
