"""The texts for the script: once per page and language, with the plurals of their own language."""

from __future__ import annotations

import gettext
import json
import re
from pathlib import Path
from typing import Any

import django
import pytest
from django.conf import global_settings
from django.contrib.auth.models import Group, User
from django.template import Context, Template
from django.test import Client
from django.utils.translation import deactivate_all, override, to_locale

from django_import_progress import SyncProgressManager
from django_import_progress.widget.phrases import PLURALS, texts

from ..kit.admin import ADMIN, add_admin
from ..kit.catalogues import LANGUAGES

DJANGOS = Path(django.__file__).parent / "conf" / "locale"
NUMBERS = [*range(200, 1300), 1_000_000, 1_000_001, 1_234_511, 3_000_000, 10_000_000, 12_000_002]
BAR = "{% import_progress 'a' %}"
ASSETS = "{% import_progress_assets %}"
GERMAN = "{% language 'de' %}" + BAR + "{% endlanguage %}"


def rendered(text: str, **context: Any) -> str:
    return Template("{% load i18n import_progress %}" + text).render(Context(context))


def blocks(html: str) -> dict[str, Any]:
    """Return the texts in a page, by language."""
    found = re.findall(r'id="import-progress-texts-([^"]*)"[^>]*>(.*?)</script>', html)
    assert len(dict(found)) == len(found)
    return {language: json.loads(text) for language, text in found}


@pytest.mark.parametrize("page", [ASSETS + BAR * 3, BAR * 3 + ASSETS, BAR + ASSETS * 2 + BAR])
def test_a_page_has_its_texts_once(jobs: SyncProgressManager, page: str) -> None:
    for language, waiting in (("en", "Waiting"), ("de", "Wartet")):
        with override(language):
            found = blocks(rendered(page))
        assert list(found) == [language]
        assert found[language]["kinds"]["import"]["statuses"]["waiting"] == waiting


@pytest.mark.parametrize("page", [ASSETS + BAR + GERMAN * 2, GERMAN * 2 + ASSETS + BAR])
def test_a_page_has_the_texts_of_each_of_its_languages_once(
    jobs: SyncProgressManager, page: str
) -> None:
    html = rendered(page)
    found = blocks(html)
    assert {language: found[language]["missing"] for language in found} == {
        "en-us": "Not available",
        "de": "Nicht verfügbar",
    }
    assert html.count('data-language="de"') == 2


def test_a_bar_that_is_inserted_later_uses_the_texts_of_its_page(jobs: SyncProgressManager) -> None:
    html = rendered(BAR)
    assert blocks(html) == {}
    assert 'data-language="en-us"' in html


def test_without_translations_the_texts_are_english(jobs: SyncProgressManager) -> None:
    with override("de"):
        deactivate_all()
        html = rendered(ASSETS + BAR)
    assert blocks(html)[""]["missing"] == "Not available"
    assert 'data-language=""' in html


def test_a_page_of_100_bars_is_small(jobs: SyncProgressManager) -> None:
    for n in range(100):
        jobs.create(f"{n:036}", owner=123456, data={"total_rows": 10**6, "processed_rows": 123456})
    bars = "{% for id in ids %}{% import_progress id label='products.csv' %}{% endfor %}"
    html = rendered(ASSETS + bars, ids=[f"{n:036}" for n in range(100)])
    assert len(html.encode()) < 100 * 1536


@pytest.mark.django_db(transaction=True)
def test_pages_of_the_admin_have_the_texts(jobs: SyncProgressManager, settings: Any) -> None:
    add_admin(settings)
    settings.ROOT_URLCONF = "tests.site.uploads"
    client = Client()
    client.force_login(User.objects.create_user(**ADMIN))
    group = Group.objects.create(name=jobs.create("j1"))
    for path in ("", f"{group.pk}/change/"):
        html = client.get(f"/admin/auth/group/{path}").text
        assert html.count("<import-progress ") == 1
        assert list(blocks(html)) == ["en-us"]


@pytest.mark.parametrize("fallback", ["en-us", "pl", "ar"])
def test_the_rules_choose_the_same_forms_as_gettext(fallback: str, settings: Any) -> None:
    settings.LANGUAGE_CODE, settings.LOCALE_PATHS = fallback, []  # The latter clears a cache.
    for language in (*LANGUAGES, "he", "lt", "lv", "ru", "sl", "uk"):
        with override(language):
            found = texts()
            for name, pattern in PLURALS.items():
                rule, *forms = found["plurals"][name]
                for number in (*range(200), *NUMBERS):
                    rest = number % 100 + 100 if number % 1_000_000 else 200
                    form = found["rules"][rule][number if number < 200 else rest]
                    assert forms[int(form)] == pattern(number), (language, name, number)


@pytest.mark.parametrize("language", [code for code, _ in global_settings.LANGUAGES])
def test_the_sample_numbers_are_enough_for_each_of_djangos_languages(language: str) -> None:
    """Django's own catalogue has the plural rule of each language."""
    catalogue = gettext.translation("django", DJANGOS, [to_locale(language)], fallback=True)
    rule = getattr(catalogue, "plural", lambda n: int(n != 1))
    for number in NUMBERS:
        assert rule(number) == rule(number % 100 + 100 if number % 1_000_000 else 1_000_000)
