"""The tests' site with an admin in the themes that sites use, and what its pages look like."""

from __future__ import annotations

from typing import Any

from .admin import add_admin

THEMES: dict[str, list[str]] = {
    "django": [],
    "unfold": ["unfold.apps.BasicAppConfig"],
    "jazzmin": ["jazzmin"],
    "grappelli": ["grappelli"],
}
"""The apps of each theme, which go before the admin's."""


def use_theme(settings: Any, theme: str) -> None:
    """Have the site's admin in a theme; its bars are in the list of groups, by their names."""
    add_admin(settings)
    settings.INSTALLED_APPS = [*THEMES[theme], *settings.INSTALLED_APPS]
    settings.JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
    settings.JAZZMIN_UI_TWEAKS = {"default_theme_mode": "auto"}
    settings.ROOT_URLCONF = f"tests.site.themed.{'unfold' if theme == 'unfold' else 'plain'}"
