"""The widget with various CSPs, storages, languages, screen readers and styles."""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe
from django.contrib.staticfiles.storage import ManifestStaticFilesStorage
from django.core.management import call_command
from playwright.async_api import Page, Route, expect

from django_import_progress import SyncProgressManager
from django_import_progress.core.snapshot import is_terminal

from ..faults.conftest import defence
from ..kit.airports import ZURICH, as_csv, imported, stored
from ..kit.asgi import AsgiServer
from ..kit.bars import STATIC, opened, part
from ..kit.browser import IN_A_BROWSER
from ..kit.controls import without
from ..kit.queued import queued_for

__all__ = ["defence"]

pytestmark = IN_A_BROWSER
DJANGOS = "django.contrib.staticfiles.storage.ManifestStaticFilesStorage"
STORAGES: dict[str, dict[str, Any]] = {
    "django": {"BACKEND": DJANGOS},
    "django-modules": {"BACKEND": "tests.browser.test_pages.ModuleStorage"},
    "whitenoise": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
TIMES = {"rows_per_second": 480.25, "eta_seconds": 119.2}
COUNTS = {"created": 1, "updated": 12000, "refused": 0}
SHOWN: list[dict[str, Any]] = [
    {"status": "importing", "total_rows": 28298, "processed_rows": 14100, **TIMES, **COUNTS},
    {"status": "importing", "total_rows": 1, "processed_rows": 0, "rows_per_second": 1.24},
    {"status": "importing", "processed_rows": 1, "eta_seconds": 1, "rows_per_second": 0.01},
    {"status": "my own", "total_rows": 1000, "processed_rows": 1030.5, "eta_seconds": 9000},
    {"status": "importing", "processed_rows": 1, "eta_seconds": 4000},
    {"status": "importing", "processed_rows": 1, "eta_seconds": 1_000_000_000},
    {"status": "queued", "stage": "products.csv", "eta_seconds": 60},
    {"status": "done", "rows_per_second": 5, "eta_seconds": 60},
    {"status": "failed", "error_message": "a <b> & c", "stage": 3, "skipped": 2, "deleted": 5},
    {"status": "parsing", "processed_rows": 1234567},
    {"status": "parsing", "processed_rows": "x", "total_rows": [], "rows_per_second": None},
]


class ModuleStorage(ManifestStaticFilesStorage):
    """Django's storage, which also rewrites the imports in scripts."""

    support_js_module_import_aggregation = True


@pytest.mark.parametrize("name", STORAGES)
async def test_storages_that_rename_files_work(
    live: AsgiServer,
    page: Page,
    jobs: SyncProgressManager,
    settings: Any,
    tmp_path: Path,
    name: str,
) -> None:
    settings.STATIC_ROOT = tmp_path
    settings.WHITENOISE_KEEP_ONLY_HASHED_FILES = True
    settings.STORAGES = {**settings.STORAGES, "staticfiles": STORAGES[name]}
    call_command("collectstatic", interactive=False, verbosity=0)
    served: list[str] = []

    async def serve(route: Route) -> None:
        file = tmp_path / route.request.url.split("/static/")[1]
        served.append(file.name)
        await route.fulfill(
            body=file.read_bytes(), content_type=str(mimetypes.guess_type(file.name)[0])
        )

    await page.route("**/static/**", serve)
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    jobs.update(job_id, {"status": "done"})
    await expect(bar).to_have_attribute("data-status", "done")
    assert len(served) == 2
    assert all(len(file.split(".")) == 3 for file in served), served


@pytest.mark.parametrize("policy", ["nonce", "strict-dynamic"])
async def test_a_nonce_is_enough(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, policy: str
) -> None:
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id, policy=policy)
    jobs.update(job_id, {"status": "done"})
    await expect(bar).to_have_attribute("data-status", "done")
    await expect(part(bar, "news")).to_have_css("position", "absolute")


def no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ALLOWED", {})


ALLOWED = {"Access-Control-Allow-Origin": "*"}


class Elsewhere(SimpleHTTPRequestHandler):
    """Serves the static files, as a bucket does."""

    def end_headers(self) -> None:
        for name, value in ALLOWED.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def another_host() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Elsewhere, directory=STATIC.parent)) as host:
        thread = threading.Thread(target=host.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{host.server_port}/"
        host.shutdown()
        thread.join()


@without(no_header)
async def test_static_files_may_be_on_another_host_that_allows_it(
    live: AsgiServer,
    another_host: str,
    page: Page,
    jobs: SyncProgressManager,
    settings: Any,
    complaints: list[str],
    defence: bool,
) -> None:
    settings.STATIC_URL = another_host
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id, policy="nonce")
    jobs.update(job_id, {"status": "done"})
    try:
        await expect(bar).to_have_attribute("data-status", "done", timeout=5000)
    finally:
        assert ["CORS" in complaint for complaint in complaints[:1]] == [True] * (not defence)
        complaints.clear()


@pytest.mark.parametrize("language", ["en", "de", "pl", "ar", "hi"])
async def test_the_script_shows_the_same_texts_as_the_page(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any, language: str
) -> None:
    settings.NUMBER_GROUPING, settings.THOUSAND_SEPARATOR = (3, 2, 0), ","  # Hindi's format.
    job_ids = [jobs.create(data={**data, "updated_at": ""}) for data in SHOWN]
    job_ids += [queued_for(jobs, 200), queued_for(jobs, 4000)]
    running = [job_id for job_id in job_ids if not is_terminal(jobs.get_progress(job_id) or {})]
    texts = "[...document.querySelectorAll('[data-show]')].map((part) => part.textContent)"
    await page.route("**/progress/**", lambda route: route.abort())
    await page.route(
        "**/import-progress.js",
        lambda route: route.fulfill(body="", content_type="text/javascript"),
    )
    await opened(page, live.url, *job_ids, language=language)
    before = await page.evaluate(texts)
    assert ("12,34,567 rows" in before) is (language == "hi")
    assert ("Waiting for 3 minutes" in before) is (language in {"en", "hi"})
    await page.unroute("**/progress/**")
    await page.unroute("**/import-progress.js")
    bars = await opened(page, live.url, *job_ids, language=language)
    await page.evaluate(
        """count => new Promise((resolve) => {
            const seen = new Set();
            document.addEventListener("import-progress:change", ({ target }) => {
                if (seen.add(target).size === count) resolve();
            });
            const bars = document.querySelectorAll("import-progress");
            for (const bar of bars) bar.replaceWith(bar);
        })""",
        len(running),
    )
    await expect(bars).to_have_count(len(job_ids))
    assert await page.evaluate(texts) == before


async def test_a_screen_reader_announces_quarters_and_the_end(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"status": "importing", "total_rows": 100})
    bar = await opened(page, live.url, job_id)
    await page.evaluate(
        """() => {
            window.spoken = [];
            const news = document.querySelector("[data-show=news]");
            new MutationObserver(() => news.textContent && window.spoken.push(news.textContent))
                .observe(news, { childList: true });
        }"""
    )
    for rows in range(5, 100, 5):
        jobs.update(job_id, {"processed_rows": rows})
        await expect(part(bar, "rows")).to_have_text(f"{rows} of 100 rows")
    jobs.update(job_id, {"status": "failed", "error_message": "Row 96"})
    await expect(part(bar, "status")).to_have_text("Failed")
    assert await page.evaluate("window.spoken") == [
        *(f"Products: {percent}%" for percent in (25, 50, 75)),
        "Products: Failed. Row 96",
    ]


async def test_a_bar_shows_what_it_receives_and_a_restart_begins_at_zero(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"status": "importing", "total_rows": 100, "processed_rows": 99})
    bar = await opened(page, live.url, job_id)
    value = bar.locator("progress")
    jobs.update(job_id, {"stage": "products"})
    await expect(part(bar, "stage")).to_have_text("products")
    await expect(value).to_have_js_property("value", 99)
    jobs.update(job_id, {"processed_rows": 1})  # Same attempt, same stage.
    await expect(part(bar, "rows")).to_have_text("1 of 100 rows")
    await expect(value).to_have_js_property("value", 1)
    await expect(part(bar, "percent")).to_have_text("1%")


async def test_a_silent_worker_is_shown(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    job_id = jobs.create(data={"status": "importing", **TIMES})
    jobs.redis.hset(f"import_progress:hash:{job_id}", "_d", "1")
    bar = await opened(page, live.url, job_id)
    for _ in range(2):  # From the page, then from the script.
        await expect(part(bar, "notice")).to_have_text("The worker is not responding")
        await expect(part(bar, "pace")).to_have_text("")
        await page.evaluate("new Promise(requestAnimationFrame)")
    await expect(bar).to_have_attribute("data-notice", "stalled")


@pytest.fixture
def paths(live: AsgiServer, jobs: SyncProgressManager, tmp_path: Path, settings: Any) -> list[str]:
    """The paths of the example's pages, and of a page with all kinds of bars."""
    settings.MEDIA_ROOT = tmp_path
    ended, running = imported(as_csv(ZURICH, {**ZURICH, "icao": "?"})), stored(as_csv(ZURICH))
    jobs.create(running.pk, data=SHOWN[0])
    states = [jobs.create(data=data) for data in [*SHOWN, {"status": "done"}]]
    jobs.request_cancel(states[0])
    query = "&".join(f"job={job_id}" for job_id in states)
    pages = ["/", "/airports/", f"/imports/{ended.pk}/", f"/imports/{running.pk}/"]
    return [*pages, f"/bars/?cancel=1&{query}"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_problems(
    live: AsgiServer, paths: list[str], page: Page, scheme: Any
) -> None:
    await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    for path in paths:
        await page.goto(live.url + path)
        await page.evaluate(
            "document.querySelectorAll('[data-do=ask]:not([hidden])').forEach((it) => it.click())"
        )
        results = await Axe().run(page)
        assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("language", ["de", "ar"])
async def test_at_320_pixels_nothing_overflows(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, language: str
) -> None:
    await page.set_viewport_size({"width": 320, "height": 600})  # 200 % of 640, too.
    data = {**SHOWN[0], "stage": "x" * 100, "error_message": "y" * 100}
    bar = await opened(page, live.url, jobs.create(data=data), language=language, cancel="1")
    await bar.locator("[data-do=ask]").click()
    assert await page.evaluate("document.documentElement.scrollWidth") == 320


async def test_motion_and_colours_follow_the_users_preferences(
    live: AsgiServer, page: Page, jobs: SyncProgressManager
) -> None:
    bar = await opened(page, live.url, jobs.create(data={"status": "importing"}))
    progress = bar.locator("progress")
    await expect(progress).to_have_css("animation-name", "import-progress-sweep")
    await page.emulate_media(reduced_motion="reduce", forced_colors="active")
    await expect(progress).to_have_css("animation-name", "none")
    await expect(progress).to_have_css("border-top-width", "1px")


async def test_an_older_template_still_works(
    live: AsgiServer, page: Page, jobs: SyncProgressManager, settings: Any
) -> None:
    old = """<import-progress data-job="{{ job_id }}" data-status="{{ status }}"
        data-stream="{{ stream_url }}"><b>{{ label }}</b> <progress max="100"></progress>
        <i data-show="status">{{ status_text }}</i>{{ texts|json_script }}</import-progress>"""
    loader = "django.template.loaders"
    settings.TEMPLATES = [
        {
            **settings.TEMPLATES[0],
            "APP_DIRS": False,
            "OPTIONS": {
                **settings.TEMPLATES[0]["OPTIONS"],
                "loaders": [
                    (f"{loader}.locmem.Loader", {"django_import_progress/bar.html": old}),
                    f"{loader}.filesystem.Loader",
                    f"{loader}.app_directories.Loader",
                ],
            },
        }
    ]
    job_id = jobs.create()
    bar = await opened(page, live.url, job_id)
    jobs.request_cancel(job_id)
    jobs.update(job_id, {"processed_rows": 1})
    await expect(part(bar, "status")).to_have_text("Cancelling…")
    jobs.update(job_id, {"status": "done"})
    await expect(part(bar, "status")).to_have_text("Done")
