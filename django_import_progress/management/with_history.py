"""Access to the history for subcommands, which may not be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from django.apps import apps
from django.core.management.base import CommandError

APP = "django_import_progress.history"


def history(module: str) -> Any:
    """Return a module of the history.

    Raises:
        CommandError: the history is not installed.
    """
    if not apps.is_installed(APP):
        raise CommandError(
            f"This needs the history of imports: add {APP!r} to INSTALLED_APPS, and run"
            " `manage.py migrate`"
        )
    return import_module(f"{APP}.{module}")
