"""The texts of a page for its script: once per language, however many bars there are."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.template.context import Context
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import get_language, override

from .phrases import texts
from .prefetch import outermost_layer

_KEY = "import_progress_texts"

Blocks = dict[str, dict[str, Any]]
"""Texts by the id of the `<script>` element that holds them."""


class PageTexts:
    """Which languages' texts a page contains, and which ones its bars need.

    The assets contain them. A bar contains texts only if it comes after the assets in the same page
    and is in another language. A bar that is rendered without assets is inserted into a page that
    has them, for example by htmx.
    """

    def __init__(self) -> None:
        self._needed: set[str] = set()
        self._written: set[str] = set()
        self._has_assets = False

    def for_assets(self) -> Blocks:
        """Return the texts in the active language, and in those of the bars so far."""
        self._has_assets = True
        return self._write([active_language(), *sorted(self._needed)])

    def for_bar(self) -> Blocks:
        """Return the texts that a bar has to contain."""
        self._needed.add(active_language())
        return self._write(self._needed) if self._has_assets else {}

    def _write(self, languages: Iterable[str]) -> Blocks:
        blocks = {}
        for language in dict.fromkeys(languages):
            if language not in self._written:
                with override(language or None):
                    blocks[f"import-progress-texts-{language}"] = texts()
        self._written.update(languages)
        return blocks


class TextsAsset:
    """The texts in the active language, as an entry of `django.forms.Media`."""

    def __html__(self) -> SafeString:
        return render_to_string(
            "django_import_progress/texts.html", {"text_blocks": PageTexts().for_assets()}
        )


def active_language() -> str:
    """Return the active language; empty if translations are deactivated."""
    return get_language() or ""


def texts_of(context: Context) -> PageTexts:
    """Return the `PageTexts` of the page that is being rendered."""
    page: PageTexts = outermost_layer(context).setdefault(_KEY, PageTexts())
    return page
