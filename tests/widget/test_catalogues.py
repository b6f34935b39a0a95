"""The translations are complete, match the sources, and are compiled."""

from __future__ import annotations

import gettext
import re

import pytest
from django.template import Context, Template
from django.utils.translation import override

from ..kit.catalogues import CONTEXT, LANGUAGES, catalogue, messages, texts_of_sources

PLACEHOLDER = re.compile(r"{\w+}|%\(\w+\)s")
SHIPPED = {"ar", "de", "es", "fr", "ja", "pl"}


def plural_forms(language: str) -> tuple[int, list[int]]:
    """Return how many plural forms a catalogue declares, and which of them its rule selects."""
    header = messages(language)[""].texts["msgstr"]
    found = re.search(r"Plural-Forms: nplurals=(\d); plural=(.+);", header)
    assert found is not None
    which = gettext.c2py(found[2])  # type: ignore[attr-defined]
    numbers = [*range(200), 1_000_000, 2_000_000]
    return int(found[1]), sorted({which(number) for number in numbers})


def test_all_documented_languages_have_a_catalogue() -> None:
    assert set(LANGUAGES) >= SHIPPED


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_catalogue_has_every_text_and_no_other(language: str) -> None:
    assert set(messages(language)) - {""} == texts_of_sources()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated_in_all_forms(language: str) -> None:
    count, taken = plural_forms(language)
    # Polish has a form for fractions, which gettext never selects.
    assert taken == list(range(count - (language == "pl")))
    for message in messages(language).values():
        assert "fuzzy" not in message.flags
        assert len(message.translations) == (count if "msgid_plural" in message.texts else 1)
        assert all(message.translations), message.key


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_translation_has_the_placeholders_of_its_text(language: str) -> None:
    for message in messages(language).values():
        ours = sorted(PLACEHOLDER.findall(message.texts["msgid"]))
        for text in message.translations:
            assert sorted(PLACEHOLDER.findall(text)) == ours, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_matches_its_source(language: str) -> None:
    written: dict[str | tuple[str, int], str] = {}
    for key, message in messages(language).items():
        if "msgid_plural" in message.texts:
            written.update({(key, n): text for n, text in enumerate(message.translations)})
        else:
            written[key] = message.translations[0]
    with catalogue(language).with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    assert compiled == written


def test_another_apps_translation_of_import_is_not_used() -> None:
    bar = Template("{% load import_progress %}{% import_progress 'absent' %}")
    with override("fr"):
        assert 'aria-label="Importation"' in bar.render(Context())
    assert "Import" not in texts_of_sources()
    assert f"noun{CONTEXT}Import" in texts_of_sources()
