"""The template tags: what a page shows before any script runs."""

from __future__ import annotations

import gzip
import re
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import override_settings
from django.utils.translation import override

from django_import_progress import InvalidJobId, SyncProgressManager
from django_import_progress.access.tickets import read_ticket

from ..kit.bars import STATIC, script_without


def render(text: str, **context: Any) -> str:
    return Template("{% load import_progress %}" + text).render(Context(context))


def text_of(html: str, part: str) -> str:
    found = re.search(rf'data-show="{part}"[^>]*>([^<]*)<', html)
    assert found is not None
    return found[1]


@pytest.fixture
def job_id(jobs: SyncProgressManager) -> str:
    return jobs.create(
        data={
            "status": "importing",
            "stage": "<b>products</b>",
            "total_rows": 28298,
            "processed_rows": 14100,
        }
    )


def test_a_bar_is_correct_before_any_script_runs(job_id: str) -> None:
    html = render("{% import_progress job_id label='Products' %}", job_id=job_id)
    assert f'<import-progress data-job="{job_id}" data-status="importing"' in html
    assert '<progress max="100" value="49.8" aria-label="Products">49%</progress>' in html
    assert text_of(html, "status") == "Importing"
    assert text_of(html, "percent") == "49%"
    assert text_of(html, "stage") == "&lt;b&gt;products&lt;/b&gt;"
    assert text_of(html, "rows") == "14,100 of 28,298 rows"
    assert text_of(html, "error") == ""


def test_it_carries_a_ticket_to_watch(job_id: str) -> None:
    html = render("{% import_progress job_id %}", job_id=job_id)
    found = re.search(r'data-stream="/progress/jobs/([^/"]+)/stream/"', html)
    assert found is not None
    grant = read_ticket(found[1], "watch", "import_progress")
    assert grant is not None
    assert grant.job_id == job_id
    assert read_ticket(found[1], "cancel", "import_progress") is None


def test_another_namespace(jobs: SyncProgressManager) -> None:
    job_id = SyncProgressManager(jobs.redis, "order_imports").create(data={"status": "parsing"})
    html = render("{% import_progress job_id namespace='order_imports' %}", job_id=job_id)
    assert 'data-status="parsing"' in html
    assert 'data-stream="/orders/jobs/' in html


def test_a_bar_is_in_the_active_language(job_id: str) -> None:
    with override("de"):
        html = render("{% import_progress job_id %}", job_id=job_id)
    assert text_of(html, "status") == "Import läuft"
    assert text_of(html, "rows") == "14.100 von 28.298 Zeilen"
    assert 'value="49.8"' in html
    assert text_of(html, "percent") == "49 %"


@pytest.mark.parametrize(
    ("data", "rows", "bar"),
    [
        ({"processed_rows": 3}, "3 rows", '<progress max="100" aria-label="Import">'),
        (
            {"processed_rows": 1030, "total_rows": 1000},
            "1,030 rows, more than the expected 1,000",
            '<progress max="100" value="100.0" aria-label="Import">',
        ),
        ({"total_rows": 3}, "", '<progress max="100" value="0.0" aria-label="Import">'),
        ({"processed_rows": "x", "total_rows": []}, "", '<progress max="100" aria-label="Import">'),
    ],
)
def test_unknown_numbers_are_left_out_and_surplus_rows_are_shown(
    jobs: SyncProgressManager, data: dict[str, Any], rows: str, bar: str
) -> None:
    html = render("{% import_progress job_id %}", job_id=jobs.create(data=data))
    assert text_of(html, "rows") == rows
    assert bar in html


@pytest.mark.parametrize(
    ("status", "shown", "text"),
    [("my own", "my own", "my own"), (7, "waiting", "Waiting"), (None, "waiting", "Waiting")],
)
def test_any_status_is_shown(jobs: SyncProgressManager, status: Any, shown: str, text: str) -> None:
    html = render("{% import_progress job_id %}", job_id=jobs.create(data={"status": status}))
    assert f'data-status="{shown}"' in html
    assert text_of(html, "status") == text


def test_a_missing_job_is_shown_as_waiting(jobs: SyncProgressManager) -> None:
    assert 'data-status="waiting"' in render("{% import_progress 'absent' %}")


def test_a_page_is_rendered_without_redis(settings: Any) -> None:
    settings.IMPORT_PROGRESS = {"REDIS_URL": "redis://127.0.0.1:1/0"}
    assert 'data-status="waiting"' in render("{% import_progress 'a' %}")


def test_an_invalid_id_is_an_error() -> None:
    with pytest.raises(InvalidJobId):
        render("{% import_progress nothing %}")


URLS = 'include("django_import_progress.urls"'
ORDERS = f'{URLS}, namespace="orders"), {{"progress_namespace": "orders"}}'


@pytest.mark.parametrize(
    ("namespace", "fix"),
    [("", f'path("progress/", {URLS}))'), ("orders", f'path("orders/", {ORDERS})')],
)
def test_missing_urls_are_an_error_with_the_fix(
    jobs: SyncProgressManager, namespace: str, fix: str
) -> None:
    with (
        override_settings(ROOT_URLCONF="tests.site.no_urls"),
        pytest.raises(ImproperlyConfigured, match=re.escape(f"add {fix} to your urlpatterns")),
    ):
        render("{% import_progress 'a'" + (namespace and f" namespace='{namespace}'") + " %}")


def test_the_script_is_small() -> None:
    assert len(gzip.compress((STATIC / "import-progress.js").read_bytes())) < 9 * 1024


def test_no_script_imports_another_one() -> None:
    """A storage that adds hashes to file names leaves the imports in scripts unchanged."""
    for file in STATIC.glob("*.js"):
        code = re.sub(r"/\*[\s\S]*?\*/|//.*", "", file.read_text(encoding="utf-8"))
        assert not re.search(r"(?<!\")\bimport(\s*[{*('\"]|\s+\w)", code), file.name


@pytest.mark.parametrize("line", ["is not there", "return;"])
def test_a_control_that_changes_nothing_in_the_script_fails(
    monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    with pytest.raises(LookupError, match="exactly once"):
        script_without(monkeypatch, line, "")


def test_assets_are_a_style_sheet_and_a_module() -> None:
    html = render("{% import_progress_assets %}")
    assert (
        '<link rel="stylesheet" href="/static/django_import_progress/import-progress.css">' in html
    )
    assert (
        '<script type="module" src="/static/django_import_progress/import-progress.js"></script>'
        in html
    )


@pytest.mark.parametrize(
    "context", [{"csp_nonce": "n0"}, {"request": SimpleNamespace(csp_nonce="n0")}]
)
def test_a_nonce_is_honoured(context: dict[str, Any]) -> None:
    assert render("{% import_progress_assets %}", **context).count('nonce="n0"') == 2
